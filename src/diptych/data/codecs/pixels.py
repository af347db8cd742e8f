"""What the image formats share: sizes, refusals, transparency over white, EXIF's turns."""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diptych.data.opencv import cv2

Image = NDArray[np.uint8]
_WHITE = 255
# EXIF orientation: whether rows and columns change places, then what is mirrored (as `cv2.flip` counts).
_TURNS = {2: (False, 1), 3: (False, -1), 4: (False, 0), 5: (True, None), 6: (True, 1), 7: (True, -1), 8: (True, 0)}


class Header(NamedTuple):
    """Height and width as stored, and the EXIF orientation, 1 to 8, that turns them upright."""

    height: int
    width: int
    orientation: int = 1


class Refused(Exception):  # noqa: N818  (a file's state, told to the caller, who knows the file's name)
    """A file that is not decoded: a kind of `errors.ImageError`, and why, in words that follow the file's name."""

    def __init__(self, kind: Literal["unknown", "truncated", "damaged", "too large", "unsupported"], why: str) -> None:
        super().__init__(why)
        self.kind = kind


def opencv(encoded: bytes, mode: int) -> NDArray[Any]:
    """What OpenCV decodes, its channels in reverse order.

    Raises:
        Refused: OpenCV finds the image damaged.
    """
    try:
        decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), mode)
    except cv2.error as error:
        raise Refused("unsupported", f"OpenCV asks for {error.err}") from error
    if decoded is None:
        raise Refused("damaged", "OpenCV cannot decode the pixels")
    return np.asarray(decoded)


def over_white(colour: NDArray[Any], alpha: NDArray[Any]) -> Image:
    """Colour laid over white: 255 − round(alpha · (255 − colour) / 255), in whole numbers; there are no ties.

    Args:
        colour: uint8, (..., channels), not multiplied by alpha.
        alpha: uint8, (..., 1); 0 is transparent.
    """
    covered = alpha.astype(np.uint16) * (_WHITE - colour).astype(np.uint16)
    covered += 127
    covered //= _WHITE
    return (_WHITE - covered).astype(np.uint8)


def ink_to_light(cmyk: Image) -> Image:
    """CMYK, where 255 is all the ink, as RGB: round((255 − ink) · (255 − black) / 255), in whole numbers."""
    light = (_WHITE - cmyk[..., :3]).astype(np.uint16)
    light *= (_WHITE - cmyk[..., 3:]).astype(np.uint16)
    light += 127
    light //= _WHITE
    return light.astype(np.uint8)


def grey_to_rgb(grey: Image) -> Image:
    """Three equal channels of a (H, W) image."""
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def high_byte(samples: NDArray[Any]) -> Image:
    """16-bit samples in 8 bits: the upper eight, as libpng strips them; v · 257 comes back as v."""
    return (samples >> 8).astype(np.uint8)


def upright(image: Image, orientation: int) -> Image:
    """The image as EXIF orientation 1 to 8 means it to be seen."""
    if orientation == 1:
        return image
    is_on_its_side, mirrored = _TURNS[orientation]
    turned = cv2.transpose(image) if is_on_its_side else image
    return np.asarray(turned if mirrored is None else cv2.flip(turned, mirrored), dtype=np.uint8)
