"""Datasets of pixels in one file or a few: IDX (MNIST, Fashion-MNIST, KMNIST, EMNIST) and MATLAB (SVHN).

IDX is two zero bytes, the type (8 is uint8), the number of axes, one big-endian 32-bit size an axis, and the values;
source: the foot of http://yann.lecun.com/exdb/mnist/. Files may be packed by gzip. The digests of MNIST, KMNIST, EMNIST
and SVHN are those of TensorFlow Datasets (url_checksums/{mnist,kmnist,emnist,svhn_cropped}.txt), Fashion-MNIST's also
those of the files.
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

from diptych.data.readers import ListedSplit, Listing
from diptych.data.readers.remote import RemoteFile, fetch, read_members
from diptych.errors import DataError, in_one_line

Samples = tuple[NDArray[np.uint8], NDArray[np.int64]]

DIGIT_NAMES = tuple("0123456789")
FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
KANA_NAMES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
EMNIST_NAMES = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt")
"""As in `emnist-balanced-mapping.txt`: letters whose two cases look alike are one class, named by the capital."""

_IDX_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _files(
    *pins: tuple[int, str], bases: tuple[str, ...], names: tuple[str, ...] = _IDX_NAMES
) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(name, size, sha256, tuple(base + name for base in bases))
        for name, (size, sha256) in zip(names, pins, strict=True)
    )


MNIST_FILES = _files(
    (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    bases=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
KMNIST_FILES = _files(
    (18_165_135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
    (29_497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
    (3_041_136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
    (5_120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
    bases=("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
)
FASHION_MNIST_FILES = _files(
    (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    bases=(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
)
EMNIST_FILES = _files(
    (561_753_746, "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"),
    bases=("https://biometrics.nist.gov/cs_links/EMNIST/", "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/"),
    names=("gzip.zip",),
)
SVHN_FILES = _files(
    (182_040_794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
    (64_275_384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
    bases=("https://ufldl.stanford.edu/housenumbers/",),
    names=("train_32x32.mat", "test_32x32.mat"),
)
EMNIST_PARTS = tuple(
    f"emnist-balanced-{split}-{what}-ubyte.gz" for split in ("train", "test") for what in ("images-idx3", "labels-idx1")
)
_GZIP_MAGIC = b"\x1f\x8b"
_LARGEST_DEFLATE_RATIO = 1032  # zlib's documentation; a header that claims more than this is wrong


def list_idx(files: tuple[RemoteFile, ...], class_names: tuple[str, ...], folder: Path) -> Listing:
    """Read the four files of a dataset, unpacked if all of them are; download what is missing."""
    names = [file.name.removesuffix(".gz") for file in files]
    if not all((folder / name).exists() for name in names):
        names = [path.name for path in fetch(files, folder)]
    return _listing(class_names, *read_idx_files(folder, names, len(class_names)))


def list_emnist(folder: Path) -> Listing:
    """Read EMNIST's balanced split: its four files in the folder or in its `gzip/`, or the zip; turn it upright."""
    forms = [[f"{place}{name}" for name in EMNIST_PARTS] for place in ("", "gzip/")]
    forms += [[name.removesuffix(".gz") for name in form] for form in forms]
    names = next((form for form in forms if all((folder / name).is_file() for name in form)), None)
    source = folder if names else fetch(EMNIST_FILES, folder)[0]
    samples = read_idx_files(source, names or forms[1], len(EMNIST_NAMES))
    # Stored column by column, as Cohen, Afshar, Tapson and van Schaik did, https://arxiv.org/abs/1702.05373: "inverted
    # horizontally and rotated 90 degrees anti-clockwise", as TensorFlow Datasets puts it.
    upright = ((np.ascontiguousarray(images_nwhc.transpose(0, 2, 1, 3)), labels_n) for images_nwhc, labels_n in samples)
    return _listing(EMNIST_NAMES, *upright)


def list_svhn(folder: Path) -> Listing:
    """Read SVHN's cropped digits, without `extra`; download what is missing."""
    return _listing(DIGIT_NAMES, *map(read_svhn, fetch(SVHN_FILES, folder)))


def _listing(class_names: tuple[str, ...], train: Samples, test: Samples) -> Listing:
    return Listing(class_names, ListedSplit.of_pixels(*train), test=ListedSplit.of_pixels(*test))


def read_idx_files(source: Path, names: Sequence[str], num_classes: int) -> list[Samples]:
    """Read pairs of files in a folder or zip: gray images, uint8, (N, H, W, 1), and labels, int64, (N,)."""
    paths = [str(source / name) for name in names]
    arrays = [
        parse_idx(content, path, num_axes=3 - 2 * (number % 2))
        for number, (content, path) in enumerate(zip(read_members(source, names), paths, strict=True))
    ]
    samples = []
    for first in range(0, len(names), 2):
        images_nhw, labels_n = arrays[first : first + 2]
        if len(images_nhw) != len(labels_n):
            raise DataError(
                f"{paths[first]!r} holds {len(images_nhw)} images, {paths[first + 1]!r} {len(labels_n)} labels "
                "(declared at byte 4 of each): download both again."
            )
        wrong = np.flatnonzero(labels_n >= num_classes)
        if wrong.size:
            where = f"{paths[first + 1]!r} holds label {labels_n[wrong[0]]} at byte {8 + wrong[0]}"
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
    end = len(header) + num_values
    if len(values) < num_values:
        raise DataError(
            f"{name!r} is truncated at byte {len(header) + len(values)}: shape {shape}, declared at byte 4, "
            f"ends at {end}."
        )
    if len(values) > num_values:
        raise DataError(f"{name!r} continues at byte {end}, where shape {shape} ends.")
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


def read_svhn(path: Path) -> Samples:
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
