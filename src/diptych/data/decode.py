"""The one decoder: every image that reaches a model, in training or in service, comes through here."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.data.opencv import MAX_PIXELS, cv2
from diptych.errors import DataError

VERSION = 1
"""Of the decoder: a new one for every change of pixels."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


def decode_file(path: Path, channels: int = 3) -> NDArray[np.uint8]:
    """Decode an image file; see `decode`.

    Raises:
        DataError: the file cannot be read or decoded.
    """
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {str(path)!r}: {error.strerror}.") from error
    return decode(encoded, str(path), channels)


def decode(encoded: bytes, name: str, channels: int = 3) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG, BMP or WebP image, turned upright by its EXIF orientation.

    Args:
        encoded: the file's bytes.
        name: what to call the image in an error.
        channels: 3 for RGB, 1 for grey. Transparency is dropped, 16-bit samples are scaled to 8.

    Returns:
        uint8, (H, W, channels), 0–255.

    Raises:
        DataError: the bytes are of no such format, damaged, cut short, or more than MAX_PIXELS large.
    """
    if not _is_supported(encoded):
        raise DataError(f"Cannot decode {name!r}: wanted a JPEG, PNG, BMP or WebP, it starts {encoded[:8]!r}.")
    try:
        # differs: decode
        image = cv2.imdecode(np.frombuffer(encoded, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise DataError(
            f"Cannot decode {name!r}: OpenCV asks for {error.err}; images of up to {MAX_PIXELS:,} pixels are read."
        ) from error
    if image is None:
        raise DataError(f"Cannot decode {name!r}: its {len(encoded):,} bytes are damaged or cut short.")
    # Grey is made of the colours, for the codecs' own shortcuts to grey round differently.
    conversion = cv2.COLOR_BGR2GRAY if channels == 1 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(image, conversion), dtype=np.uint8).reshape(*image.shape[:2], channels)


def _is_supported(encoded: bytes) -> bool:
    is_webp = encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP"
    return is_webp or encoded.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM"))
