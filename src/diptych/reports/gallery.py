"""Pictures of test images, small enough to travel inside the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np

LARGEST = 96
"""Pixels on a side."""
PIXELATED = 48
"""Up to this size, pixels are shown as they are and kept without loss."""


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int

    @property
    def is_small(self) -> bool:
        """Whether it is shown pixel by pixel."""
        return max(self.width, self.height) <= PIXELATED


def picture(image_hwc: np.ndarray) -> Picture:
    """A test image, uint8, (H, W, 1 or 3), at most 96 pixels on a side."""
    height, width = image_hwc.shape[:2]
    shrink = LARGEST / max(height, width)
    if shrink < 1:
        wanted = max(1, round(width * shrink)), max(1, round(height * shrink))
        image_hwc = cv2.resize(image_hwc, wanted, interpolation=cv2.INTER_AREA).reshape(*wanted[::-1], -1)
    bgr = np.ascontiguousarray(image_hwc[..., ::-1])
    kind, extension, options = ("png", ".png", []) if max(height, width) <= PIXELATED else _lossy()
    encoded = cv2.imencode(extension, bgr, options)[1]
    text = base64.b64encode(encoded.tobytes()).decode()
    return Picture(f"data:image/{kind};base64,{text}", image_hwc.shape[1], image_hwc.shape[0])


def _lossy() -> tuple[str, str, list[int]]:
    return "jpeg", ".jpg", [cv2.IMWRITE_JPEG_QUALITY, 88]
