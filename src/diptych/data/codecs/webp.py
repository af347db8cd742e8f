"""WebP, by way of OpenCV: lossy, lossless, and the first frame of an animation."""

import struct
from collections.abc import Iterator

import numpy as np

from diptych.data.codecs import tags
from diptych.data.codecs.pixels import Header, Image, Refused, opencv, over_white, upright
from diptych.data.opencv import cv2


def header(encoded: bytes) -> Header:
    """Size and orientation.

    Raises:
        Refused: the chunks are cut short, or the first is not of an image.
    """
    (kind, _), start = struct.unpack_from("<4sI", encoded, 12), 20
    if kind == b"VP8X":
        width = 1 + int.from_bytes(encoded[start + 4 : start + 7], "little")
        height = 1 + int.from_bytes(encoded[start + 7 : start + 10], "little")
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", encoded, start + 6))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", encoded, start + 1)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        raise Refused("damaged", f"the first chunk is {kind!r}, not of an image")
    exif = next((encoded[at:end] for kind, at, end in _chunks(encoded) if kind == b"EXIF"), b"")
    return Header(height, width, tags.orientation(exif))


def rgb(encoded: bytes, header: Header) -> Image:
    """Pixels, (H, W, 3), transparency over white, upright.

    Raises:
        Refused: the image data is damaged.
    """
    decoded = opencv(encoded, cv2.IMREAD_UNCHANGED)
    if decoded.shape[-1] == 4:
        decoded = over_white(decoded[..., :3], decoded[..., 3:])
    return upright(np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8), header.orientation)


def _chunks(encoded: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Every chunk: its kind, and where its content starts and ends."""
    (size,) = struct.unpack_from("<I", encoded, 4)
    if 8 + size > len(encoded):
        raise Refused("truncated", f"there should be {8 + size:,} bytes")
    at = 12
    while at + 8 <= 8 + size:
        (length,) = struct.unpack_from("<I", encoded, at + 4)
        yield encoded[at : at + 4], at + 8, at + 8 + length
        at += 8 + length + length % 2
