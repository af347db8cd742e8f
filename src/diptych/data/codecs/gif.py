"""GIF: the first frame on its canvas, white where nothing is drawn.

The blocks are read here to the last one, so that a file cut short is noticed; Pillow's decoder unpacks the pixels.
"""

import struct
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow

from diptych.data.codecs.pixels import Image, Refused

_EXTENSION, _FRAME, _TRAILER, _CONTROL = 0x21, 0x2C, 0x3B, 0xF9
_WHITE = 255


class GifHeader(NamedTuple):
    """The canvas, and the first frame: its place, colours, and where its pixels start."""

    height: int
    width: int
    orientation: int
    box: tuple[int, int, int, int]  # left, top, width, height
    palette: bytes
    transparent: int | None
    is_interlaced: bool
    data: int


def header(encoded: bytes) -> GifHeader:
    """Size and first frame; reads over every block up to the trailer.

    Raises:
        Refused: there is no frame, or no trailer.
    """
    canvas_width, canvas_height = struct.unpack_from("<HH", encoded, 6)
    at, shared = _palette(encoded, 10, 13)
    first: GifHeader | None = None
    transparent = None
    while encoded[at] != _TRAILER:
        if encoded[at] == _EXTENSION:
            if encoded[at + 1] == _CONTROL and first is None:
                transparent = encoded[at + 6] if encoded[at + 3] & 1 else None
            at = _after_blocks(encoded, at + 2)
        elif encoded[at] == _FRAME:
            box = struct.unpack_from("<4H", encoded, at + 1)
            flags = encoded[at + 9]
            at, own = _palette(encoded, at + 9, at + 10)
            if first is None:
                height, width = max(canvas_height, box[1] + box[3]), max(canvas_width, box[0] + box[2])
                first = GifHeader(height, width, 1, box, own or shared, transparent, bool(flags & 64), at)
            at = _after_blocks(encoded, at + 1)
        else:
            raise Refused("damaged", f"no block starts with {encoded[at]}, as byte {at:,} does")
    if first is None:
        raise Refused("damaged", "there is no frame")
    return first


def rgb(encoded: bytes, header: GifHeader) -> Image:
    """Pixels, (H, W, 3), white where transparent.

    Raises:
        Refused: pixels are missing or their codes damaged.
    """
    left, top, width, height = header.box
    if not (header.palette and width and height):
        raise Refused("damaged", "the first frame has no pixels or no palette")
    bits = encoded[header.data]
    data = encoded[header.data + 1 : _after_blocks(encoded, header.data + 1)]
    try:
        frame = Pillow.frombytes("L", (width, height), data, "gif", bits, header.is_interlaced, -1)
    except ValueError as error:
        raise Refused("damaged", f"the first frame: {error}") from error
    table = np.zeros((256, 3), np.uint8)
    table[: len(header.palette) // 3] = np.frombuffer(header.palette, np.uint8).reshape(-1, 3)
    if header.transparent is not None:
        table[header.transparent] = _WHITE
    image = np.full((header.height, header.width, 3), _WHITE, np.uint8)
    image[top : top + height, left : left + width] = np.take(table, np.asarray(frame), axis=0)
    return image


def _palette(encoded: bytes, flags_at: int, start: int) -> tuple[int, bytes]:
    """Where the palette ends, and its bytes, none where the flags say so."""
    flags = encoded[flags_at]
    end = start + (3 << (flags & 7) + 1 if flags & 128 else 0)
    if end >= len(encoded):
        raise Refused("truncated", "they end in a palette")
    return end, encoded[start:end]


def _after_blocks(encoded: bytes, at: int) -> int:
    """Where a chain of sub-blocks, each with its size in front, ends."""
    while size := encoded[at]:
        at += 1 + size
    return at + 1
