"""BMP: palettes of 1, 4 and 8 bits, colours of 16, 24 and 32; OpenCV unpacks run lengths.

OpenCV and Pillow both misread some of them (channels named by masks, 5-bit white, OS/2 headers), so rows are read here.
"""

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diptych.data.codecs.pixels import Image, Refused, opencv, over_white
from diptych.data.opencv import cv2

_RAW, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
_OS2, _WINDOWS = 12, 40  # sizes of the oldest headers
_DEFAULT_MASKS = {16: (0x7C00, 0x3E0, 0x1F, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}


class BmpHeader(NamedTuple):
    """Size and layout; a negative `stored_height` means that the first row is the uppermost."""

    height: int
    width: int
    orientation: int
    stored_height: int
    bits: int
    compression: int
    start: int
    palette: NDArray[np.uint8]  # (colours, 3), RGB
    masks: tuple[int, ...]  # red, green, blue, alpha


def header(encoded: bytes) -> BmpHeader:
    """Size and layout.

    Raises:
        Refused: it is a BMP of no kind that is read.
    """
    start, info = struct.unpack_from("<II", encoded, 10)
    num_colours, compression, entry = 0, _RAW, 4
    if info == _OS2:
        width, stored_height, _, bits = struct.unpack_from("<HHHH", encoded, 18)
        entry = 3
    elif info >= _WINDOWS:
        width, stored_height, _, bits, compression = struct.unpack_from("<iiHHI", encoded, 18)
        (num_colours,) = struct.unpack_from("<I", encoded, 46)
    else:
        raise Refused("damaged", f"the header is said to have {info} bytes")
    kinds = {1: (_RAW,), 4: (_RAW, _RLE4), 8: (_RAW, _RLE8), 24: (_RAW,)} | dict.fromkeys(
        (16, 32), (_RAW, _MASKS, _ALPHA_MASKS)
    )
    if compression not in kinds.get(bits, ()):
        raise Refused("unsupported", f"a BMP of {bits} bits with compression {compression} is not read")
    palette, masks = np.zeros((0, 3), np.uint8), _DEFAULT_MASKS.get(bits, ())
    if bits <= 8:
        num_colours = min(num_colours or 2**bits, 2**bits)
        stored = encoded[14 + info : min(14 + info + num_colours * entry, start)]
        palette = np.frombuffer(stored, np.uint8, len(stored) // entry * entry).reshape(-1, entry)[:, 2::-1]
    if compression in (_MASKS, _ALPHA_MASKS):
        masks = struct.unpack_from("<4I", encoded, 14 + _WINDOWS)
        if info == _WINDOWS and compression == _MASKS:
            masks = (*masks[:3], 0)
    return BmpHeader(abs(stored_height), width, 1, stored_height, bits, compression, start, palette, masks)


def rgb(encoded: bytes, header: BmpHeader) -> Image:
    """Pixels, (H, W, 3), alpha over white where the header has a mask for it.

    Raises:
        Refused: rows are missing.
    """
    if header.compression in (_RLE8, _RLE4):
        return _run_lengths(encoded)
    stride = (header.width * header.bits + 31) // 32 * 4
    if header.start + stride * header.height > len(encoded):
        raise Refused("truncated", f"the rows should end at byte {header.start + stride * header.height:,}")
    rows = np.frombuffer(encoded, np.uint8, stride * header.height, header.start).reshape(header.height, stride)
    if header.stored_height > 0:
        rows = rows[::-1]
    if header.bits == 24:
        bgr = np.ascontiguousarray(rows[:, : 3 * header.width]).reshape(header.height, header.width, 3)
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    if header.bits <= 8:
        table = np.zeros((256, 3), np.uint8)
        table[: len(header.palette)] = header.palette
        return np.take(table, _indices(rows, header.bits)[:, : header.width], axis=0)
    words = np.ascontiguousarray(rows).view(f"<u{header.bits // 8}")[:, : header.width]
    colour = np.stack([_channel(words, mask) for mask in header.masks[:3]], axis=-1)
    if not header.masks[3]:
        return colour
    return over_white(colour, _channel(words, header.masks[3])[..., np.newaxis])


def _indices(rows: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Each pixel's place in the palette, from the uppermost bits of a byte down."""
    if bits == 8:
        return rows
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    indices: NDArray[np.uint8] = rows[..., np.newaxis] >> shifts & np.uint8(2**bits - 1)
    return indices.reshape(len(rows), -1)


def _channel(words: NDArray[np.unsignedinteger], mask: int) -> NDArray[np.uint8]:
    """The bits under a mask, spread over 0 to 255 and rounded."""
    if mask == 0:
        return np.zeros(words.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    values = (words & words.dtype.type(mask & np.iinfo(words.dtype).max)).astype(np.uint64) >> np.uint64(shift)
    return ((values * 255 + most // 2) // most).astype(np.uint8)


def _run_lengths(encoded: bytes) -> Image:
    (size,) = struct.unpack_from("<I", encoded, 34)
    (start,) = struct.unpack_from("<I", encoded, 10)
    if start + size > len(encoded):
        raise Refused("truncated", f"the runs should end at byte {start + size:,}")
    return np.asarray(cv2.cvtColor(opencv(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), dtype=np.uint8)
