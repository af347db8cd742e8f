"""The datasets that have a name: what they are, where their files come from, how they are read.

Sizes and digests of MNIST, Fashion-MNIST and CIFAR-10's binary archive are those of TensorFlow Datasets
(url_checksums/{mnist,fashion_mnist,cifar10}.txt), and Fashion-MNIST's were also taken from the files. The
digest of CIFAR-10's Python archive is the one in Keras (datasets/cifar10.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.data.download import RemoteFile, fetch
from diptych.data.readers import cifar
from diptych.data.readers.idx import read_idx_pair
from diptych.data.splits import Parts, Split
from diptych.errors import DataError


@dataclass(frozen=True)
class NamedDataset:
    """A dataset that diptych knows by name.

    Attributes:
        name: what to call it on the command line; also its folder in the data directory.
        description: one line for people.
        image_shape: height, width and channels.
        class_names: one for each label.
        num_train: samples to train and validate with.
        num_test: samples to test with.
        mirror: whether a mirrored image keeps its class.
        read: takes the dataset's folder, fetches what is missing, returns the samples.
    """

    name: str
    description: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    num_train: int
    num_test: int
    mirror: bool
    read: Callable[[Path], Parts]


DIGIT_NAMES = tuple("0123456789")
FASHION_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
IDX_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _idx_files(pins: tuple[tuple[int, str], ...], bases: tuple[str, ...]) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(name, size, sha256, tuple(base + name for base in bases))
        for name, (size, sha256) in zip(IDX_NAMES, pins, strict=True)
    )


MNIST_FILES = _idx_files(
    (
        (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
FASHION_MNIST_FILES = _idx_files(
    (
        (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
)
CIFAR10_FILES = {
    cifar.PYTHON: RemoteFile(
        cifar.PYTHON.archive,
        170_498_071,
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
    ),
    cifar.BINARY: RemoteFile(
        cifar.BINARY.archive,
        170_052_171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    ),
}


def _read_digits(_folder: Path) -> Parts:
    from sklearn.datasets import load_digits  # takes a second to import

    images_nhw, labels_n = load_digits(return_X_y=True)
    levels = (images_nhw.reshape(-1, 8, 8, 1).astype(np.uint16) * 255 + 8) // 16  # 0–16 to 0–255, rounded
    return Parts(DIGIT_NAMES, Split(levels.astype(np.uint8), labels_n.astype(np.int64)))


def _read_mnist(folder: Path) -> Parts:
    return _read_idx(folder, MNIST_FILES, DIGIT_NAMES)


def _read_fashion_mnist(folder: Path) -> Parts:
    return _read_idx(folder, FASHION_MNIST_FILES, FASHION_NAMES)


def _read_idx(folder: Path, files: tuple[RemoteFile, ...], class_names: tuple[str, ...]) -> Parts:
    unpacked = tuple(folder / file.name.removesuffix(".gz") for file in files)
    paths = unpacked if all(path.exists() for path in unpacked) else fetch(files, folder)
    train = Split(*read_idx_pair(paths[0], paths[1], len(class_names)))
    return Parts(class_names, train, test=Split(*read_idx_pair(paths[2], paths[3], len(class_names))))


def _read_cifar10(folder: Path) -> Parts:
    train, test = cifar.read_cifar(*_find_cifar10(folder))
    return Parts(cifar.CLASS_NAMES, Split(*train), test=Split(*test))


def _find_cifar10(folder: Path) -> tuple[Path, cifar.Form]:
    """Return the form of CIFAR-10 that is there, archives first; fetch the Python archive if none is."""
    for form, file in CIFAR10_FILES.items():
        if (folder / form.archive).exists():
            return fetch([file], folder)[0], form
    for form in CIFAR10_FILES:
        if (folder / form.folder).is_dir():
            return folder / form.folder, form
    return fetch([CIFAR10_FILES[cifar.PYTHON]], folder)[0], cifar.PYTHON


DIGITS = NamedDataset(
    "digits",
    "handwritten digits of scikit-learn, needs no download",
    (8, 8, 1),
    DIGIT_NAMES,
    1438,
    359,
    mirror=False,
    read=_read_digits,
)
FASHION_MNIST = NamedDataset(
    "fashion-mnist",
    "articles of clothing (Xiao, Rasul, Vollgraf 2017)",
    (28, 28, 1),
    FASHION_NAMES,
    60_000,
    10_000,
    mirror=True,
    read=_read_fashion_mnist,
)
MNIST = NamedDataset(
    "mnist",
    "handwritten digits (LeCun, Cortes, Burges 1998)",
    (28, 28, 1),
    DIGIT_NAMES,
    60_000,
    10_000,
    mirror=False,
    read=_read_mnist,
)
CIFAR10 = NamedDataset(
    "cifar10",
    "animals and vehicles (Krizhevsky 2009)",
    (32, 32, 3),
    cifar.CLASS_NAMES,
    50_000,
    10_000,
    mirror=True,
    read=_read_cifar10,
)
NAMED = {dataset.name: dataset for dataset in (DIGITS, FASHION_MNIST, MNIST, CIFAR10)}


def read_named(dataset: NamedDataset, data_dir: Path) -> Parts:
    """Read a named dataset from its folder in the data directory.

    Raises:
        DataError: a file is damaged, or the samples are not as many or as large as they should be.
        DownloadError: a file is missing and cannot be fetched, or is not the published one.
    """
    folder = data_dir / dataset.name
    parts = dataset.read(folder)
    splits = [split for split in (parts.train, parts.test) if split is not None]
    num_samples, wanted = sum(map(len, splits)), dataset.num_train + dataset.num_test
    shapes = {split.images.shape[1:] for split in splits}
    if num_samples != wanted or shapes != {dataset.image_shape}:
        raise DataError(
            f"{str(folder)!r} holds {num_samples:,} images of {sorted(shapes)}, "
            f"{dataset.name} has {wanted:,} of {dataset.image_shape}: fetch its files again."
        )
    return parts
