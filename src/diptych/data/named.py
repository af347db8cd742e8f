"""The datasets that have a name: what they are and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from diptych.data import published
from diptych.data.download import RemoteFile, fetch
from diptych.data.listing import Listing
from diptych.data.readers import cifar, emnist, imagenet
from diptych.data.readers.idx import read_idx_pair
from diptych.data.readers.svhn import read_svhn
from diptych.data.splits import Parts, Split
from diptych.errors import DataError


@dataclass(frozen=True)
class NamedDataset:
    """A dataset that diptych knows by name.

    Attributes:
        name: what to call it on the command line; also its folder in the data directory.
        description: one line for people.
        image_shape: height, width and channels; of image files, what they are brought to unless told otherwise.
        class_names: one for each label.
        num_train: samples to train and validate with.
        num_test: samples to test with.
        mirror: whether a mirrored image keeps its class.
        read: takes the dataset's folder, fetches what is missing, returns the samples, or where they are.
        may_be_less: whether a part of it, by classes or by images, is read too, and called after its classes.
    """

    name: str
    description: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    num_train: int
    num_test: int
    mirror: bool
    read: Callable[[Path], Parts | Listing]
    may_be_less: bool = False


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
KANA_NAMES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


def _read_digits(_folder: Path) -> Parts:
    from sklearn.datasets import load_digits  # takes a second to import

    images_nhw, labels_n = load_digits(return_X_y=True)
    levels = (images_nhw.reshape(-1, 8, 8, 1).astype(np.uint16) * 255 + 8) // 16  # 0–16 to 0–255, rounded
    return Parts(DIGIT_NAMES, Split(levels.astype(np.uint8), labels_n.astype(np.int64)))


def _read_idx(files: tuple[RemoteFile, ...], class_names: tuple[str, ...], folder: Path) -> Parts:
    unpacked = tuple(folder / file.name.removesuffix(".gz") for file in files)
    paths = unpacked if all(path.exists() for path in unpacked) else fetch(files, folder)
    train = Split(*read_idx_pair(paths[0], paths[1], len(class_names)))
    return Parts(class_names, train, test=Split(*read_idx_pair(paths[2], paths[3], len(class_names))))


def _read_cifar10(folder: Path) -> Parts:
    train, test = cifar.read_cifar(*_find_cifar10(folder))
    return Parts(cifar.CLASS_NAMES, Split(*train), test=Split(*test))


def _find_cifar10(folder: Path) -> tuple[Path, cifar.Form]:
    """Return the form of CIFAR-10 that is there, archives first; fetch the Python archive if none is."""
    for form, file in published.CIFAR10_FILES.items():
        if (folder / form.archive).exists():
            return fetch([file], folder)[0], form
    for form in published.CIFAR10_FILES:
        if (folder / form.folder).is_dir():
            return folder / form.folder, form
    return fetch([published.CIFAR10_FILES[cifar.PYTHON]], folder)[0], cifar.PYTHON


def _read_cifar100(folder: Path) -> Parts:
    form = cifar.PYTHON_100
    is_unpacked = (folder / form.folder).is_dir() and not (folder / form.archive).exists()
    source = folder / form.folder if is_unpacked else fetch([published.CIFAR100_FILE], folder)[0]
    train, test = cifar.read_cifar(source, form)
    return Parts(cifar.FINE_NAMES, Split(*train), test=Split(*test))


def _read_emnist(folder: Path) -> Parts:
    source = emnist.unpacked_files(folder) or fetch([published.EMNIST_FILE], folder)[0]
    train, test = emnist.read_emnist(source)
    return Parts(emnist.CLASS_NAMES, Split(*train), test=Split(*test))


def _read_svhn(folder: Path) -> Parts:
    train, test = map(read_svhn, fetch(published.SVHN_FILES, folder))
    return Parts(DIGIT_NAMES, Split(*train), test=Split(*test))


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
    read=partial(_read_idx, published.FASHION_MNIST_FILES, FASHION_NAMES),
)
MNIST = NamedDataset(
    "mnist",
    "handwritten digits (LeCun, Cortes, Burges 1998)",
    (28, 28, 1),
    DIGIT_NAMES,
    60_000,
    10_000,
    mirror=False,
    read=partial(_read_idx, published.MNIST_FILES, DIGIT_NAMES),
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
CIFAR100 = NamedDataset(
    "cifar100",
    "animals, plants, things and people, 100 fine classes (Krizhevsky 2009)",
    (32, 32, 3),
    cifar.FINE_NAMES,
    50_000,
    10_000,
    mirror=True,
    read=_read_cifar100,
)
KMNIST = NamedDataset(
    "kmnist",
    "cursive Japanese characters, hiragana (Clanuwat and others 2018)",
    (28, 28, 1),
    KANA_NAMES,
    60_000,
    10_000,
    mirror=False,
    read=partial(_read_idx, published.KMNIST_FILES, KANA_NAMES),
)
EMNIST = NamedDataset(
    "emnist",
    "handwritten digits and letters, balanced split (Cohen and others 2017)",
    (28, 28, 1),
    emnist.CLASS_NAMES,
    112_800,
    18_800,
    mirror=False,
    read=_read_emnist,
)
SVHN = NamedDataset(
    "svhn",
    "house numbers, cropped digits (Netzer and others 2011)",
    (32, 32, 3),
    DIGIT_NAMES,
    73_257,
    26_032,
    mirror=False,
    read=_read_svhn,
)
IMAGENET = NamedDataset(
    "imagenet",
    "ILSVRC2012, 1,000 classes (Russakovsky and others 2015), bring your own copy",
    (224, 224, 3),
    tuple(imagenet.class_names().values()),
    1_281_167,
    50_000,
    mirror=True,
    read=partial(imagenet.read_imagenet, pins=published.IMAGENET),
    may_be_less=True,
)
NAMED = {
    dataset.name: dataset
    for dataset in (DIGITS, FASHION_MNIST, MNIST, KMNIST, EMNIST, CIFAR10, CIFAR100, SVHN, IMAGENET)
}


def read_named(dataset: NamedDataset, data_dir: Path) -> tuple[str, Parts | Listing]:
    """Read a named dataset from its folder in the data directory.

    Returns:
        What to call it, which is its name unless it is less than what was published; and its samples.

    Raises:
        DataError: a file is damaged, or the samples are not as many or as large as they should be.
        DownloadError: a file is missing and cannot be fetched, or is not the published one.
    """
    folder = data_dir / dataset.name
    parts = dataset.read(folder)
    num_train, num_test = len(parts.train), len(parts.test) if parts.test else 0
    if dataset.may_be_less:
        is_whole = (num_train, num_test) == (dataset.num_train, dataset.num_test)
        return dataset.name if is_whole else f"{dataset.name}-{len(parts.class_names)}", parts
    wanted = dataset.num_train + dataset.num_test
    splits = [split for split in (parts.train, parts.test) if isinstance(split, Split)]
    shapes = {split.images.shape[1:] for split in splits}
    if num_train + num_test != wanted or shapes != {dataset.image_shape}:
        raise DataError(
            f"{str(folder)!r} holds {num_train + num_test:,} images of {sorted(shapes)}, "
            f"{dataset.name} has {wanted:,} of {dataset.image_shape}: fetch its files again."
        )
    return dataset.name, parts
