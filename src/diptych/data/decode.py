"""The one decoder: every image that reaches a model, in training or in service, comes through here.

What each kind of file becomes is in docs/images.md.
"""

import os
import stat
import struct
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from diptych.data.codecs import bmp, gif, jpeg, png, tiff, webp
from diptych.data.codecs.pixels import Refused
from diptych.data.limits import MAX_PIXELS
from diptych.data.opencv import cv2
from diptych.errors import ImageError

VERSION = 1
"""Raised whenever a file would decode to other pixels; part of the key of whatever is kept of them."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})

_CODECS: dict[str, ModuleType] = {"jpeg": jpeg, "png": png, "webp": webp, "bmp": bmp, "gif": gif, "tiff": tiff}
_MOST_BYTES = 2**30
_HAVE_KINDS = {"truncated": "its {:,} bytes are cut short: ", "damaged": "its {:,} bytes are damaged: "}


def decode_file(path: Path, channels: int = 3) -> NDArray[np.uint8]:
    """Decode an image file; see `decode`.

    Raises:
        ImageError: the file cannot be read or decoded.
    """
    return decode(read(path), str(path), channels)


def read(path: Path) -> bytes:
    """The bytes of a regular file; never waits for a pipe or a device.

    Raises:
        ImageError: there is no such file, it is of another kind, or larger than any image within the cap.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"Cannot read {str(path)!r}: it is not a regular file.", "unreadable")
            if status.st_size > _MOST_BYTES:
                message = f"{status.st_size:,} bytes; files of up to {_MOST_BYTES:,} are read"
                raise ImageError(f"Cannot read {str(path)!r}: {message}.", "too large")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ImageError(f"Cannot read {str(path)!r}: {error.strerror}.", "unreadable") from error


def decode(encoded: bytes, name: str, channels: int = 3) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG, WebP, BMP, GIF (first frame) or TIFF (first page), turned upright by its EXIF orientation.

    Args:
        encoded: the file's bytes.
        name: what to call the image in an error.
        channels: 3 for RGB, 1 for grey. Transparency is laid over white, 16-bit samples lose their lower byte.

    Returns:
        uint8, (H, W, channels), 0–255.

    Raises:
        ImageError: the bytes are of no such format, damaged, cut short, or of more than MAX_PIXELS.
    """
    codec = _CODECS[_format(encoded, name)]
    try:
        head = _header(codec, encoded)
        image = codec.rgb(encoded, head)
        if image.shape != (*_upright(head), 3):
            raise Refused("damaged", "they hold an image of another size than their header says")  # noqa: TRY301
    except (Refused, struct.error, IndexError) as error:
        raise _told(error, encoded, name) from error
    if channels == 1:
        # Grey is made of the colours, for the codecs' own shortcuts to grey round differently.
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)[..., np.newaxis]
    return np.asarray(image, dtype=np.uint8)


def header(encoded: bytes, name: str) -> tuple[int, int]:
    """Height and width of the upright image that `decode` would make, without decoding it.

    Raises:
        ImageError: the bytes are of no supported format, or the header is damaged, cut short or over the cap.
    """
    codec = _CODECS[_format(encoded, name)]
    try:
        return _upright(_header(codec, encoded))
    except (Refused, struct.error, IndexError) as error:
        raise _told(error, encoded, name) from error


def sniff(encoded: bytes) -> str | None:
    """The format that the bytes start like: jpeg, png, webp, bmp, gif, tiff, or None; the first 16 will do."""
    if encoded.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if encoded.startswith(png.SIGNATURE):
        return "png"
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "webp"
    if encoded.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if encoded.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    return "bmp" if encoded.startswith(b"BM") else None


def _format(encoded: bytes, name: str) -> str:
    if not encoded:
        raise ImageError(f"Cannot decode {name!r}: it is empty.", "empty")
    found = sniff(encoded)
    if found is None:
        wanted = "wanted a JPEG, PNG, WebP, BMP, GIF or TIFF"
        raise ImageError(f"Cannot decode {name!r}: {wanted}, it starts {encoded[:8]!r}.", "unknown")
    return found


def _header(codec: ModuleType, encoded: bytes) -> tuple[int, ...]:
    """The codec's header, with a size that may be decoded."""
    head: tuple[int, ...] = codec.header(encoded)
    height, width = head[:2]
    if height <= 0 or width <= 0:
        raise Refused("damaged", f"the header says {width:,} × {height:,} pixels")
    if height * width > MAX_PIXELS:
        raise Refused("too large", f"{width:,} × {height:,} pixels; images of up to {MAX_PIXELS:,} pixels are read")
    return head


def _upright(head: tuple[int, ...]) -> tuple[int, int]:
    height, width, orientation = head[:3]
    return (width, height) if orientation >= 5 else (height, width)


def _told(error: Exception, encoded: bytes, name: str) -> ImageError:
    """The error that names the file; reading past the last byte means that bytes are missing."""
    kind, why = (error.kind, str(error)) if isinstance(error, Refused) else ("truncated", "more should follow")
    return ImageError(f"Cannot decode {name!r}: {_HAVE_KINDS.get(kind, '').format(len(encoded))}{why}.", kind)
