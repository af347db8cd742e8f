"""Small image files of every kind that the decoder reads or refuses, and writers of PNG and JPEG headers.

`images.zip` holds a folder `decoded`, and one for each kind of error. Uncompressed files were written byte by byte,
without a library, from the pixels in the `.npy` file of the same name; the others by Pillow 13 and OpenCV 5. Lossy
files have no pixels there. Add a file with its pixels, and run `DIPTYCH_UPDATE_GOLDEN=1 make test`.
"""

import itertools
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Case:
    """A file, and the pixels it was written from, or the kind of its error; neither for a lossy file."""

    encoded: bytes
    pixels: np.ndarray | None = None
    kind: str | None = None


@cache
def corpus():
    """Return a `Case` for every name."""
    with zipfile.ZipFile(Path(__file__).with_name("images.zip")) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    cases = {}
    for path, content in files.items():
        folder, _, name = path.rpartition(".")[0].partition("/")
        if not path.endswith(".npy"):
            pixels = files.get(f"{folder}/{name}.npy")
            cases[name] = Case(content, pixels and np.load(BytesIO(pixels)), None if folder == "decoded" else folder)
    return cases


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(depth, color, rows, size=(7, 6)):
    """Write a PNG; rows start with a filter."""
    header = struct.pack(">IIBBBBB", *size, depth, color, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 0)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(itertools.starmap(png_chunk, chunks))


def png_rows(samples):
    return [b"\0" + row.astype(np.uint8).tobytes() for row in samples]


def jpeg_frame_with(jpeg, height, width):
    """Change the height and the width in the header of a JPEG's frame."""
    at = next(jpeg.index(bytes([0xFF, kind])) for kind in (0xC0, 0xC1, 0xC2) if bytes([0xFF, kind]) in jpeg)
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]
