"""The decoder for every image that reaches a model, in training and in service.

simplejpeg decodes JPEG, Pillow the other formats; docs/images.md lists the result for each kind of file.
"""

import io
import logging
import os
import re
import struct
import warnings
import zlib
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.AvifImagePlugin import SUPPORTED, AvifImageFile
from PIL.PpmImagePlugin import PpmImageFile

from diptych.data.preprocess import to_channels
from diptych.data.signatures import describe, sniff
from diptych.errors import ImageError, UsageError, in_one_line

VERSION = 1
"""Increased whenever a file decodes to different pixels; part of the key of every cache."""

Pixels = NDArray[np.uint8]
_MAX_SCANS = 100  # encoders write about ten; decoding thousands of empty ones takes hours
_MAX_JUNK = 32  # damaged scans leave more (72 bytes or more in 51 of 51 files)
_JUNK = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
# EXIF tag 0x0112, orientation: whether to transpose, then how to flip (codes of `cv2.flip`).
_TURNS = {2: (False, 1), 3: (False, -1), 4: (False, 0), 5: (True, None), 6: (True, 1), 7: (True, -1), 8: (True, 0)}
_PREFIXES = {"truncated": "the file is truncated: ", "damaged": "the file is damaged: "}

# Pillow reports damaged metadata by warnings and log messages, and would print both.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


def _max_pixels() -> int:
    default = 89_478_485  # a quarter of a GiB of RGB; Pillow warns of a decompression bomb above it
    text = os.environ.get("DIPTYCH_MAX_PIXELS", str(default))
    if not re.fullmatch("0*[1-9][0-9]{0,9}", text):
        raise UsageError(f"DIPTYCH_MAX_PIXELS must be an integer from 1 to 9,999,999,999, got {text!r:.40}.")
    return int(text)


MAX_PIXELS = _max_pixels()
"""The largest image that is decoded; DIPTYCH_MAX_PIXELS in the environment changes it."""


def decode(encoded: bytes, name: str, channels: int = 3) -> Pixels:
    """Decode an image, the first of several in a file, and apply its EXIF orientation: uint8, (H, W, channels), 0–255.

    Three channels are RGB, one is gray. Transparent pixels are blended with white; 16-bit samples keep their upper 8.
    Raises ImageError, which calls the image `name`, if the format is unknown or unsupported, the file is damaged or
    truncated, or the image is larger than MAX_PIXELS.
    """
    if not encoded:
        raise ImageError(f"Cannot decode {name!r}: the file is empty.", "empty")
    if not (file_format := sniff(encoded)):
        fault = f"expected JPEG, PNG, WebP, BMP, GIF, TIFF, PPM, AVIF or HEIC, got {describe(encoded)}"
        raise ImageError(f"Cannot decode {name!r}: {fault}.", "not-an-image")
    try:
        image = _decode_jpeg(encoded) if file_format == "jpeg" else _decode_by_pillow(encoded, file_format)
    except _Fault as fault:
        raise ImageError(f"Cannot decode {name!r}: {_PREFIXES.get(fault.kind, '')}{fault}.", fault.kind) from fault
    # Convert from RGB: the decoders' own conversions to gray round differently.
    return np.asarray(to_channels(image[np.newaxis], channels)[0])


class _Fault(Exception):  # noqa: N818  (becomes an ImageError, which names the file)
    """Why an image cannot be decoded, and one of `ImageError.KINDS`."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise _Fault("damaged", f"its header says {width:,} × {height:,} pixels")
    if width * height > MAX_PIXELS:
        raise _Fault("too-large", f"the image has {width:,} × {height:,} pixels; the limit is {MAX_PIXELS:,}")


def _decode_jpeg(encoded: bytes, *, is_strict: bool = True) -> Pixels:
    """Decode a JPEG; unlike OpenCV and Pillow, do not fill damaged parts with gray."""
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(encoded)
        _check_size(width, height)
        if (num_scans := encoded.count(b"\xff\xda")) > _MAX_SCANS:
            raise _Fault("unsupported", f"a JPEG with {num_scans:,} scans; the limit is {_MAX_SCANS}")
        if colors in ("CMYK", "YCCK"):
            cmyk = simplejpeg.decode_jpeg(encoded, "CMYK", strict=is_strict)
            # Adobe's programs store inverted values, and say so by a marker.
            light = cmyk if b"Adobe\0" in encoded[: 2**16] else 255 - cmyk
            image = _product(light[..., :3], light[..., 3:])
        else:
            image = simplejpeg.decode_jpeg(encoded, strict=is_strict)
    except ValueError as error:
        message = str(error)
        version = encoded.find(b"JFIF\0") + 5
        if "JFIF revision" in message and encoded[version] != 1:  # harmless, but it would hide the next warning
            return _decode_jpeg(encoded[:version] + b"\1" + encoded[version + 1 :])
        if is_strict and (junk := _JUNK.search(message)) and int(junk[1]) <= _MAX_JUNK:
            return _decode_jpeg(encoded, is_strict=False)
        if "Premature end of JPEG" in message or b"\xff\xd9" not in encoded:
            raise _Fault("truncated", message) from error
        is_unsupported = re.search("subsampling level|data precision|color conversion", message)
        raise _Fault("unsupported" if is_unsupported else "damaged", message) from error
    exif = encoded.find(b"Exif\0\0", 0, encoded.find(b"\xff\xda"))
    return image if exif < 0 else _upright(image, encoded[exif : exif + 2**16])


def _decode_by_pillow(encoded: bytes, file_format: str) -> Pixels:
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise UsageError("Pillow's ImageFile.LOAD_TRUNCATED_IMAGES hides damaged images: set it to False.")
    try:
        if file_format in ("gif", "tiff"):
            (_check_gif if file_format == "gif" else _check_tiff)(encoded)
        with _plugin(file_format)(io.BytesIO(encoded)) as image:
            _check_layout(image, file_format, encoded)
            if file_format == "png":
                _check_png(encoded, image)
            image.load()
            return _upright(_to_rgb(image), image.info.get("exif", b""))
    except _Fault:
        raise
    except Image.DecompressionBombError as error:
        raise _Fault("too-large", in_one_line(error)) from error
    except Exception as error:  # Pillow raises many types for damaged files
        reason = in_one_line(error).rstrip(".")
        is_unsupported = "nsupported" in reason or isinstance(error.__cause__, KeyError)
        is_truncated = isinstance(error, IndexError) or re.search("runcated|requires a buffer|not enough", reason)
        kind = "unsupported" if is_unsupported else "truncated" if is_truncated else "damaged"
        raise _Fault(kind, f"Pillow cannot decode it ({reason})") from error


def from_pillow(image: Image.Image, name: str) -> Pixels:
    """Convert an image in memory as `decode` converts files, but leave gray as it is: uint8, (H, W, 1 or 3)."""
    try:
        is_gray = image.mode == "L" and not image.has_transparency_data
        image_hwc = np.asarray(image)[..., np.newaxis] if is_gray else _to_rgb(image)
    except (_Fault, OSError) as fault:
        raise ImageError(f"Cannot read {name!r}: {fault}.", getattr(fault, "kind", "damaged")) from fault
    turned = _upright(image_hwc, image.info.get("exif", b""))
    return turned.reshape(*turned.shape[:2], image_hwc.shape[2])  # OpenCV drops a single channel


def _to_rgb(image: Image.Image) -> Pixels:
    """Convert a loaded image to (H, W, 3), transparent pixels blended with white."""
    if image.mode.startswith("I;16") or (image.mode == "I" and isinstance(image, PpmImageFile)):
        gray = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(gray[..., np.newaxis], 3, axis=-1)
    if image.mode == "CMYK":
        light = 255 - np.asarray(image)
        return _product(light[..., :3], light[..., 3:])
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return 255 - _product(rgba[..., 3:], 255 - rgba[..., :3])  # Pillow's blending is one level off
    if image.mode in ("1", "L", "P", "RGB", "YCbCr"):
        return np.array(image.convert("RGB"))
    raise _Fault("unsupported", f"Pillow's mode {image.mode!r} is not supported; save it as an 8-bit RGB PNG")


def _product(left: Pixels, right: Pixels) -> Pixels:
    """Return left · right / 255, rounded."""
    product = left.astype(np.uint16) * right.astype(np.uint16)
    product += 127
    product //= 255
    return product.astype(np.uint8)


def _upright(image: Pixels, exif: bytes) -> Pixels:
    """Apply the orientation in EXIF data; ignore damaged data. (Pillow applies the orientation of a TIFF.)"""
    try:
        tags = Image.Exif()
        tags.load(exif)
        is_transposed, flip = _TURNS[tags[0x0112]]
    except Exception:  # Pillow raises many types for damaged data, which is common
        return image
    turned = cv2.transpose(image) if is_transposed else image
    return np.asarray(turned if flip is None else cv2.flip(turned, flip), dtype=np.uint8)


def _check_png(encoded: bytes, image: Image.Image) -> None:
    """Compare every checksum, and count the pixels' bytes if rows may be missing, which Pillow leaves zero."""
    view, start, kind, pixels = memoryview(encoded), 8, b"", []
    while kind != b"IEND":
        size, kind = struct.unpack_from(">I4s", encoded, start)
        end = start + 8 + size
        (checksum,) = struct.unpack_from(">I", encoded, end)
        if zlib.crc32(view[start + 4 : end]) != checksum:
            raise _Fault("damaged", f"the checksum of chunk {kind!r} at byte {start:,} is wrong")
        if kind == b"IDAT":
            pixels.append(view[start + 8 : end])
        start = end + 4
    width, height, depth, color, is_interlaced = struct.unpack_from(">IIBB2x?", encoded, 16)
    if not is_interlaced and any(image.crop((0, height - 1, width, height)).tobytes()):
        return
    num_bytes = 0
    for left, top, across, down in _ADAM7 if is_interlaced else ((0, 0, 1, 1),):
        columns, rows = len(range(left, width, across)), len(range(top, height, down))
        num_bytes += rows * (1 + (columns * depth * _PNG_SAMPLES[color] + 7) // 8) if columns else 0
    num_missing = num_bytes - len(zlib.decompressobj().decompress(b"".join(pixels), num_bytes))
    if num_missing:
        raise _Fault("damaged", f"{num_missing:,} bytes of pixels are missing")


_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by the type of color


def _check_gif(encoded: bytes) -> None:
    """Require whole blocks up to the end marker; Pillow reads no further than the first frame."""
    start = 13 + _palette_bytes(encoded[10])
    while (kind := encoded[start : start + 1]) != b";":
        if kind not in (b"!", b","):
            raise _Fault("damaged" if kind else "truncated", f"expected a GIF block at byte {start:,}")
        start += 2 if kind == b"!" else 11 + _palette_bytes(encoded[start + 9])
        while size := encoded[start]:
            start += 1 + size
        start += 1


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _check_tiff(encoded: bytes) -> None:
    """Require a whole directory with all its values; Pillow skips entries that are cut off."""
    if b"+" in encoded[2:4]:
        raise _Fault("unsupported", "BigTIFF is not supported")
    order = "<" if encoded.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(f"{order}I", encoded, 4)
    (num_entries,) = struct.unpack_from(f"{order}H", encoded, directory)
    for start in range(directory + 2, directory + 2 + 12 * num_entries, 12):
        _, kind, count, values = struct.unpack_from(f"{order}HHII", encoded, start)
        num_bytes = _TIFF_BYTES.get(kind, 0) * count
        if num_bytes > 4 and values + num_bytes > len(encoded):
            raise _Fault("truncated", f"a tag's values end at byte {values + num_bytes:,}")
    struct.unpack_from(f"{order}I", encoded, directory + 2 + 12 * num_entries)


_TIFF_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # by the type of a tag
_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "ppm": PpmImageFile,
    "avif": AvifImageFile,
}
OPTIONAL = {"avif": SUPPORTED, "heic": find_spec("pillow_heif") is not None}
"""Formats that not every installation reads."""


def _plugin(file_format: str) -> Any:
    """Return the class of Pillow's images in a format."""
    if not OPTIONAL.get(file_format, True):
        wanted = {"avif": "a Pillow with libavif", "heic": "pillow-heif: `pip install 'diptych[heic]'`"}[file_format]
        raise _Fault("unsupported", f"{file_format.upper()} requires {wanted}")
    return import_module("pillow_heif").HeifImageFile if file_format == "heic" else _PLUGINS[file_format]


def _check_layout(image: ImageFile.ImageFile, file_format: str, encoded: bytes) -> None:
    """Refuse what Pillow decodes to wrong colors."""
    _check_size(*image.size)
    codec, extents, _, arguments = image.tile[0] if image.tile else ("", (), 0, ())
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    _check_size(tags.get(322, 1), tags.get(323, 1))  # libtiff allocates a whole tile
    is_key = "transparency" in image.info
    wrong = {
        "a PNG with a transparent color in 2, 4 or 16 bits": file_format == "png"
        and (is_key and encoded[25] != 3 and encoded[24] not in (1, 8)),
        "a GIF whose first frame does not fill the image": file_format == "gif"
        and (extents != (0, 0, *image.size) and not is_key),
        "a BMP with run lengths or 16 bits": file_format == "bmp"
        and (codec != "raw" or str(arguments).startswith("('BGR;1")),
        "a TIFF whose colors are premultiplied with alpha": 1 in tags.get(338, ()),
        "a TIFF with 16 bits where 0 is white": image.mode.startswith("I;16") and tags.get(262) == 0,
        "a TIFF with an 8-bit palette": image.mode == "P" and max(tags.get(320, (256,))) < 256,
    }
    if layout := next((layout for layout, applies in wrong.items() if applies), None):
        raise _Fault("unsupported", f"{layout} is not supported; save it as an 8-bit RGB PNG")
