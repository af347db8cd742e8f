"""Datasets of pixels in one file or a few: IDX (MNIST, Fashion-MNIST, KMNIST, EMNIST) and MATLAB (SVHN).

IDX is two zero bytes, the type (8 is uint8), the number of axes, one big-endian 32-bit size an axis, and the values;
source: the foot of http://yann.lecun.com/exdb/mnist/. Files may be packed by gzip.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.data.readers import Listing, Pixels
from diptych.data.readers.remote import fetch, published, read_members
from diptych.errors import DataError, in_one_line

DIGIT_NAMES = tuple("0123456789")
FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
KANA_NAMES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
EMNIST_NAMES = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt")
"""As in `emnist-balanced-mapping.txt`: letters whose two cases look alike are one class, named by the capital."""

EMNIST_PARTS = tuple(
    f"emnist-balanced-{split}-{what}-ubyte.gz" for split in ("train", "test") for what in ("images-idx3", "labels-idx1")
)
_GZIP_MAGIC = b"\x1f\x8b"
_LARGEST_DEFLATE_RATIO = 1032  # zlib's documentation; a header that claims more than this is wrong


def list_idx(dataset: str, class_names: tuple[str, ...], folder: Path) -> Listing:
    """Read the four files of a dataset, unpacked if all of them are; download what is missing."""
    files = published(dataset)
    names = [file.name.removesuffix(".gz") for file in files]
    if not all((folder / name).exists() for name in names):
        names = [path.name for path in fetch(files, folder)]
    return Listing.of_pixels(class_names, *read_idx_files(folder, names, len(class_names)))


def list_emnist(folder: Path) -> Listing:
    """Read EMNIST's balanced split: its four files in the folder or in its `gzip/`, or the zip; turn it upright."""
    forms = [[f"{place}{name}" for name in EMNIST_PARTS] for place in ("", "gzip/")]
    forms += [[name.removesuffix(".gz") for name in form] for form in forms]
    names = next((form for form in forms if all((folder / name).is_file() for name in form)), None)
    source = folder if names else fetch(published("emnist"), folder)[0]
    samples = read_idx_files(source, names or forms[1], len(EMNIST_NAMES))
    # Stored column by column, as Cohen, Afshar, Tapson and van Schaik did, https://arxiv.org/abs/1702.05373: "inverted
    # horizontally and rotated 90 degrees anti-clockwise", as TensorFlow Datasets puts it.
    upright = ((np.ascontiguousarray(images_nhwc.transpose(0, 2, 1, 3)), labels_n) for images_nhwc, labels_n in samples)
    return Listing.of_pixels(EMNIST_NAMES, *upright)


def list_svhn(folder: Path) -> Listing:
    """Read SVHN's cropped digits, without `extra`; download what is missing."""
    return Listing.of_pixels(DIGIT_NAMES, *map(read_svhn, fetch(published("svhn"), folder)))


def read_idx_files(source: Path, names: Sequence[str], num_classes: int) -> list[Pixels]:
    """Read pairs of files in a folder or zip: gray images, uint8, (N, H, W, 1), and labels, int64, (N,)."""
    paths = [str(source / name) for name in names]
    arrays = [
        parse_idx(content, path, num_axes=3 - 2 * (number % 2))
        for number, (content, path) in enumerate(zip(read_members(source, names), paths, strict=True))
    ]
    samples = []
    for images, labels, images_nhw, labels_n in zip(paths[::2], paths[1::2], arrays[::2], arrays[1::2], strict=True):
        if len(images_nhw) != len(labels_n):
            counts = f"{images!r} holds {len(images_nhw)} images, {labels!r} {len(labels_n)} labels"
            raise DataError(f"{counts} (declared at byte 4 of each): download both again.")
        wrong = np.flatnonzero(labels_n >= num_classes)
        if wrong.size:
            where = f"{labels!r} holds label {labels_n[wrong[0]]} at byte {8 + wrong[0]}"
            raise DataError(f"{where}, expected 0 to {num_classes - 1}.")
        samples.append((images_nhw[..., np.newaxis], labels_n.astype(np.int64)))
    return samples


def parse_idx(content: bytes, name: str, num_axes: int) -> NDArray[np.uint8]:
    """Parse an IDX file of uint8 values, packed by gzip or plain, that must have `num_axes` axes."""
    raw = io.BytesIO(content)
    stream = gzip.GzipFile(fileobj=raw) if content.startswith(_GZIP_MAGIC) else raw
    try:
        header = stream.read(4 + 4 * num_axes)
        expected = bytes((0, 0, 8, num_axes))
        if header[:4] != expected:
            raise DataError(
                f"{name!r} is not an IDX file of {num_axes} uint8 axes: "
                f"magic number {header[:4].hex()} at byte 0, expected {expected.hex()}."
            )
        if len(header) != 4 + 4 * num_axes:
            raise DataError(f"{name!r} is truncated at byte {len(header)}, within its header.")
        shape = tuple(np.frombuffer(header[4:], dtype=">u4").tolist())
        num_values = math.prod(shape)
        if num_values > _LARGEST_DEFLATE_RATIO * len(content):
            raise DataError(f"{name!r} is too small for the shape {shape} declared at byte 4.")
        values = stream.read(num_values + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name!r} is damaged near byte {raw.tell()}: {error}.") from error
    if len(values) != num_values:
        fault = "is truncated" if len(values) < num_values else "continues"
        end = f"shape {shape}, declared at byte 4, ends at byte {len(header) + num_values}"
        raise DataError(f"{name!r} {fault} at byte {min(len(values), num_values) + len(header)}: {end}.")
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


def read_svhn(path: Path) -> Pixels:
    """Read the cropped digits of SVHN: images, uint8, (N, 32, 32, 3), RGB, and labels, int64, (N,), 0–9.

    A MATLAB 5 file has `X`, (32, 32, 3, N), and `y`, (N, 1), where 10 means 0: http://ufldl.stanford.edu/housenumbers/
    """
    from scipy.io import loadmat  # slow to import

    try:
        content = loadmat(str(path), variable_names=("X", "y"))
    except Exception as error:  # a damaged file may raise anything
        raise DataError(f"Cannot read {str(path)!r} as a MATLAB 5 file: {in_one_line(error)}.") from error
    images_hwcn, labels_n1 = (np.asarray(content.get(name, ())) for name in ("X", "y"))
    num_images = images_hwcn.shape[-1]
    if images_hwcn.shape[:-1] != (32, 32, 3) or images_hwcn.dtype != np.uint8 or labels_n1.shape != (num_images, 1):
        raise DataError(
            f"{str(path)!r} holds X {images_hwcn.dtype} {images_hwcn.shape} and y {labels_n1.shape}, "
            "expected X uint8 (32, 32, 3, N) and y (N, 1)."
        )
    labels_n = labels_n1[:, 0].astype(np.int64)
    wrong = np.flatnonzero((labels_n < 1) | (labels_n > 10))
    if wrong.size:
        raise DataError(f"{str(path)!r} has label {labels_n[wrong[0]]} for image {wrong[0]}, expected 1 to 10.")
    return np.ascontiguousarray(images_hwcn.transpose(3, 0, 1, 2)), labels_n % 10
