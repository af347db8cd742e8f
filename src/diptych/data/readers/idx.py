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

from diptych.data.readers import Listing, Pixels, labeled
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
    contents, samples = read_members(source, names), []
    for first in range(0, len(names), 2):
        images, labels = (str(source / name) for name in names[first : first + 2])
        images_nhw, labels_n = parse_idx(contents[first], images, 3), parse_idx(contents[first + 1], labels, 1)
        if len(images_nhw) != len(labels_n):
            counts = f"{images!r} holds {len(images_nhw)} images, {labels!r} {len(labels_n)} labels"
            raise DataError(f"{counts} (declared at byte 4 of each): download both again.")
        samples.append(labeled(labels, images_nhw[..., np.newaxis], labels_n, range(num_classes)))
    return samples


def parse_idx(content: bytes, name: str, num_axes: int) -> NDArray[np.uint8]:
    """Parse an IDX file of uint8 values, packed by gzip or plain, that must have `num_axes` axes."""
    stream = io.BytesIO(content)
    try:
        plain = gzip.GzipFile(fileobj=stream).read() if content.startswith(b"\x1f\x8b") else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{name!r} is damaged near byte {stream.tell()}: {error}.") from error
    start, expected = 4 + 4 * num_axes, bytes((0, 0, 8, num_axes))
    if plain[:4] != expected or len(plain) < start:
        fault = f"{plain[:start].hex() or 'nothing'} at byte 0, expected {expected.hex()} and {num_axes} sizes"
        raise DataError(f"{name!r} is not an IDX file of uint8: {fault}.")
    shape = tuple(np.frombuffer(plain[4:start], dtype=">u4").tolist())
    if len(plain) != start + math.prod(shape):
        ends = f"ends at byte {len(plain)}, expected {start + math.prod(shape)}"
        raise DataError(f"{name!r} {ends} for the shape {shape}, declared at byte 4.")
    return np.frombuffer(plain, dtype=np.uint8, offset=start).reshape(shape)


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
    images_nhwc, labels_n = labeled(str(path), images_hwcn.transpose(3, 0, 1, 2), labels_n1[:, 0], range(1, 11))
    return np.ascontiguousarray(images_nhwc), labels_n % 10
