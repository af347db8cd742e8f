"""IDX, the format of MNIST and its relatives: a magic number, big-endian sizes, bytes.

Layout: two zero bytes, the type (8 is uint8), the number of axes, one 32-bit size an axis, the values.
Source: the foot of http://yann.lecun.com/exdb/mnist/. Files are read packed by gzip or plain.
"""

import gzip
import math
import zlib
from io import SEEK_END
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from diptych.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"
_LARGEST_DEFLATE_RATIO = 1032  # zlib's documentation; a header that claims more than this is wrong


def read_idx(path: Path, num_axes: int) -> NDArray[np.uint8]:
    """Read an IDX file of uint8 values.

    Args:
        path: the file, packed by gzip or plain.
        num_axes: how many axes it must have.

    Returns:
        uint8, of the shape that the file declares.

    Raises:
        DataError: anything else than exactly one such array; names the file and the byte offset. Offsets
            in a packed file count unpacked bytes, unless the packing itself is damaged.
    """
    try:
        with path.open("rb") as raw:
            return parse_idx(raw, str(path), num_axes)
    except OSError as error:
        raise DataError(f"Cannot read {str(path)!r}: {error.strerror}.") from error


def parse_idx(raw: BinaryIO, name: str, num_axes: int) -> NDArray[np.uint8]:
    """Read an IDX file of uint8 values from an open file that begins with it; see `read_idx`."""
    num_bytes = raw.seek(0, SEEK_END)
    raw.seek(0)
    is_packed = raw.read(2) == _GZIP_MAGIC
    raw.seek(0)
    stream = gzip.GzipFile(fileobj=raw) if is_packed else raw
    try:
        return _parse(stream, name, num_axes, num_bytes)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name!r} is damaged near byte {raw.tell()}: {error}.") from error


def _parse(stream: BinaryIO | gzip.GzipFile, name: str, num_axes: int, num_bytes: int) -> NDArray[np.uint8]:
    wanted_magic = bytes((0, 0, 8, num_axes))
    magic = stream.read(4)
    if magic != wanted_magic:
        raise DataError(
            f"{name!r} is no IDX file of {num_axes} uint8 axes: "
            f"magic number {magic.hex()} at byte 0, wanted {wanted_magic.hex()}."
        )
    sizes = stream.read(4 * num_axes)
    start = len(magic) + len(sizes)
    if start != 4 + 4 * num_axes:
        raise DataError(f"{name!r} is cut short at byte {start}, within its header.")
    shape = tuple(np.frombuffer(sizes, dtype=">u4").tolist())
    num_values = math.prod(shape)
    if num_values > _LARGEST_DEFLATE_RATIO * num_bytes:
        raise DataError(f"{name!r} is too small for the shape {shape} declared at byte 4.")
    values = stream.read(num_values + 1)
    if len(values) < num_values:
        raise DataError(
            f"{name!r} is cut short at byte {start + len(values)}: "
            f"{start + num_values} wanted for the shape {shape} declared at byte 4."
        )
    if len(values) > num_values:
        raise DataError(f"{name!r} goes on at byte {start + num_values}, where shape {shape} ends.")
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


def read_idx_pair(
    images_path: Path, labels_path: Path, num_classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read grey images and their labels.

    Returns:
        images: uint8, (N, H, W, 1), and labels: int64, (N,), below `num_classes`.

    Raises:
        DataError: see `read_idx`; also for different counts or a label out of range.
    """
    images_nhw, labels_n = read_idx(images_path, num_axes=3), read_idx(labels_path, num_axes=1)
    return paired(images_nhw, labels_n, (str(images_path), str(labels_path)), num_classes)


def paired(
    images_nhw: NDArray[np.uint8], labels_n: NDArray[np.uint8], names: tuple[str, str], num_classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Check that images and labels belong together; see `read_idx_pair`."""
    images_name, labels_name = names
    if len(images_nhw) != len(labels_n):
        raise DataError(
            f"{images_name!r} holds {len(images_nhw)} images, "
            f"{labels_name!r} {len(labels_n)} labels (declared at byte 4 of each): fetch both again."
        )
    wrong = np.flatnonzero(labels_n >= num_classes)
    if wrong.size:
        raise DataError(
            f"{labels_name!r} holds label {labels_n[wrong[0]]} at byte {8 + wrong[0]}, wanted 0 to {num_classes - 1}."
        )
    return images_nhw[..., np.newaxis], labels_n.astype(np.int64)
