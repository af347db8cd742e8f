"""TIFF: the first page, unpacked by Pillow's libtiff, which stops at damage; colours are made here.

OpenCV's libtiff goes on over damaged strips and says nothing; Pillow's own reader warns, logs and has global switches.
"""

import contextlib
import ctypes
import struct
from typing import NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import _imaging

from diptych.data.codecs import tags
from diptych.data.codecs.pixels import Image, Refused, grey_to_rgb, high_byte, ink_to_light, over_white, upright
from diptych.data.limits import MAX_PIXELS

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 256, 257, 258, 259, 262, 274, 277
_COLOURS, _EXTRA, _FORMAT = 320, 338, 339
_STRIPS, _STRIP_BYTES, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 273, 279, 322, 323, 324, 325
_DEFAULTS = {_BITS: 1, _COMPRESSION: 1, _PHOTOMETRIC: 0, _ORIENTATION: 1, _SAMPLES: 1, _EXTRA: 0, _FORMAT: 1}
_WANTED = {*_DEFAULTS, _WIDTH, _HEIGHT, _COLOURS} | {
    *(_STRIPS, _STRIP_BYTES, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES)
}
_WHITE_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 2, 3, 5, 6
_ASSOCIATED, _UNASSOCIATED = 1, 2  # alpha that the colours are multiplied with, or not
_JPEG = 7
# None, three of fax machines, LZW, JPEG, deflate, PackBits, deflate's old number, LZMA, Zstandard.
_COMPRESSIONS = {1, 2, 3, 4, 5, _JPEG, 8, 32773, 32946, 34925, 50000}
# Photometric interpretation, samples per pixel and their bits: Pillow's mode, and how it unpacks the samples.
_GREYS = {1: ("1", "1"), 2: ("L", "L;2"), 4: ("L", "L;4"), 8: ("L", "L"), 16: ("I;16", "I;16N")}
_LAYOUTS = {
    **{(photometric, 1, bits): layout for photometric in (0, 1) for bits, layout in _GREYS.items()},
    (1, 2, 8): ("LA", "LA"),
    (_RGB, 3, 8): ("RGB", "RGB"),
    (_RGB, 3, 16): ("RGB", "RGB;16N"),
    (_RGB, 4, 8): ("RGBA", "RGBA"),
    (_RGB, 4, 16): ("RGBA", "RGBA;16N"),
    **{(_PALETTE, 1, bits): ("P", f"P;{bits}") for bits in (1, 2, 4)},
    (_PALETTE, 1, 8): ("P", "P"),
    (_CMYK, 4, 8): ("CMYK", "CMYK"),
    (_CMYK, 4, 16): ("CMYK", "CMYK;16N"),
    (_YCBCR, 3, 8): ("RGB", "RGBX"),
}

# Until Pillow 13 its decoder also took the name of the compression, which it did not use.
_NO_NAME = ("",) if int(PIL.__version__.partition(".")[0]) < 13 else ()

# libtiff prints what it dislikes on stderr. Where Pillow has it inside itself (Windows), there is nothing to find.
with contextlib.suppress(AttributeError):
    for _name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        _set_handler = getattr(ctypes.CDLL(_imaging.__file__), _name)
        _set_handler.argtypes, _set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        _set_handler(None)


class TiffHeader(NamedTuple):
    """Size, and the numbers of the first page's directory by tag."""

    height: int
    width: int
    orientation: int
    tags: dict[int, tuple[int, ...]]

    def one(self, tag: int) -> int:
        """A tag's first number, or what it is where the file does not say."""
        return self.tags[tag][0] if tag in self.tags else _DEFAULTS[tag]


def header(encoded: bytes) -> TiffHeader:
    """Size and directory of the first page.

    Raises:
        Refused: the directory lies outside the file, or is that of a BigTIFF.
    """
    if encoded[:4] not in tags.BYTE_ORDERS:
        raise Refused("unsupported", "a BigTIFF is not read; wanted a TIFF of less than 4 GiB")
    found = {tag: values for tag, values in tags.numbers(encoded, _WANTED, is_whole=True).items() if values}
    if _WIDTH not in found or _HEIGHT not in found:
        raise Refused("damaged", "they do not say the image's size")
    if found.get(_TILE_WIDTH, (0,))[0] * found.get(_TILE_HEIGHT, (0,))[0] > MAX_PIXELS:
        raise Refused("too large", f"a TIFF of tiles of more than {MAX_PIXELS:,} pixels is not read")
    orientation = found.get(_ORIENTATION, (1,))[0]
    return TiffHeader(found[_HEIGHT][0], found[_WIDTH][0], orientation if 1 <= orientation <= 8 else 1, found)


def rgb(encoded: bytes, header: TiffHeader) -> Image:
    """Pixels, (H, W, 3), transparency over white, upright.

    Raises:
        Refused: pixels are missing or damaged, or of a layout that is not read.
    """
    samples = _samples(encoded, header)
    if samples.dtype == np.uint16:
        samples = high_byte(samples)
    return upright(_coloured(samples, header), header.orientation)


def _samples(encoded: bytes, header: TiffHeader) -> NDArray[np.uint8]:
    """(H, W) or (H, W, samples); 16-bit grey as uint16."""
    photometric, compression = header.one(_PHOTOMETRIC), header.one(_COMPRESSION)
    num_samples, bits, kind = header.one(_SAMPLES), header.one(_BITS), header.one(_FORMAT)
    if (photometric, num_samples, bits) not in _LAYOUTS or kind != 1 or compression not in _COMPRESSIONS:
        raise Refused(
            "unsupported",
            f"a TIFF with {num_samples} samples of {bits} bits, photometric {photometric}, sample format {kind}, "
            f"compression {compression} is not read; wanted grey, RGB, palette or CMYK of whole numbers",
        )
    starts, sizes = (_TILES, _TILE_BYTES) if _TILES in header.tags else (_STRIPS, _STRIP_BYTES)
    parts = zip(header.tags.get(starts, ()), header.tags.get(sizes, ()), strict=False)
    if (end := max(map(sum, parts), default=0)) > len(encoded):
        raise Refused("truncated", f"the pixels should end at byte {end:,}")
    mode, layout = _LAYOUTS[photometric, num_samples, bits]
    if photometric == _YCBCR and compression == _JPEG:
        layout = "RGB"  # libjpeg has converted it
    (directory,) = struct.unpack_from(f"{tags.BYTE_ORDERS[encoded[:4]]}I", encoded, 4)
    how = (layout, *_NO_NAME, False, directory)
    try:
        image = Pillow.frombytes(mode, (header.width, header.height), encoded, "libtiff", *how)
    except (ValueError, RuntimeError, OSError) as error:
        raise Refused("damaged", "libtiff cannot unpack the pixels") from error
    unpacked = np.array(image)
    return unpacked * np.uint8(255) if mode == "1" else unpacked


def _coloured(samples: NDArray[np.uint8], header: TiffHeader) -> Image:
    photometric, extra = header.one(_PHOTOMETRIC), header.one(_EXTRA)
    if photometric == _PALETTE:
        return np.take(_palette(header), samples, axis=0)
    if photometric == _CMYK:
        return ink_to_light(samples)
    if samples.ndim == 2:
        return grey_to_rgb(255 - samples if photometric == _WHITE_IS_ZERO else samples)
    if samples.shape[-1] == 3:
        return samples
    colour, alpha = samples[..., :-1], samples[..., -1:]
    if extra == _ASSOCIATED:
        colour = np.minimum(colour, alpha) + (255 - alpha)
    elif extra == _UNASSOCIATED:
        colour = over_white(colour, alpha)
    return np.ascontiguousarray(colour) if colour.shape[-1] == 3 else grey_to_rgb(np.ascontiguousarray(colour))


def _palette(header: TiffHeader) -> Image:
    """256 colours, (256, 3); some programs store them in 8 bits, not 16."""
    stored = np.array(header.tags.get(_COLOURS, ()), np.uint16)
    if len(stored) != 3 * 2 ** header.one(_BITS):
        raise Refused("damaged", "there is no whole palette")
    table = np.zeros((256, 3), np.uint8)
    table[: len(stored) // 3] = (stored if stored.max() < 256 else high_byte(stored)).reshape(3, -1).T
    return table
