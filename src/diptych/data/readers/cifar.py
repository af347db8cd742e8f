"""CIFAR-10 and CIFAR-100 in their published forms, packed or unpacked: Python batches, and binary ones of CIFAR-10.

The Python batches are pickles; see `pickles` for how they are run. Members of an archive are read into memory.
Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.data.readers.members import read_tar_gz
from diptych.data.readers.pickles import PickledArray, unpickle
from diptych.errors import DataError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FINE_NAMES = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()
)
"""Of CIFAR-100's 100 fine classes, as its `meta` has them."""
NUM_PIXEL_BYTES = 3 * 32 * 32
RECORD_BYTES = 1 + NUM_PIXEL_BYTES

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class Form:
    """One published form: its archive, the folder within, the training and the test files, and how to parse one."""

    archive: str
    folder: str
    train_files: tuple[str, ...]
    test_file: str
    parse: Callable[[bytes, str], Batch]


def read_cifar(source: Path, form: Form) -> tuple[Batch, Batch]:
    """Read the training and test samples.

    Args:
        source: the archive (.tar.gz), or the folder that it unpacks to.
        form: PYTHON, BINARY or PYTHON_100.

    Returns:
        (images, labels) for training and for test. images: uint8, (N, 32, 32, 3), RGB; labels: int64, (N,).

    Raises:
        DataError: a batch is missing, damaged, cut short, holds a label out of range, or is a pickle that
            asks for anything but an array.
    """
    names = (*form.train_files, form.test_file)
    if source.is_dir():
        contents = _read_folder(source, names)
    else:
        contents = read_tar_gz(source, [f"{form.folder}/{name}" for name in names])
    *train, test = [form.parse(content, str(source / name)) for name, content in zip(names, contents, strict=True)]
    images_nhwc = np.concatenate([images for images, _ in train])
    labels_n = np.concatenate([labels for _, labels in train])
    return (images_nhwc, labels_n), test


def _read_folder(folder: Path, names: tuple[str, ...]) -> list[bytes]:
    try:
        return [(folder / name).read_bytes() for name in names]
    except OSError as error:
        raise DataError(f"Cannot read {error.filename!r}: {error.strerror}.") from error


def parse_binary(content: bytes, name: str) -> Batch:
    """Parse a binary batch: records of one label byte and 3,072 pixel bytes.

    Raises:
        DataError: a record is cut short or a label is out of range; names `name` and the byte offset.
    """
    num_records, rest = divmod(len(content), RECORD_BYTES)
    if rest or not num_records:
        raise DataError(f"{name!r} is cut short at byte {len(content)}: a record takes {RECORD_BYTES} bytes.")
    records = np.frombuffer(content, dtype=np.uint8).reshape(num_records, RECORD_BYTES)
    labels_n = records[:, 0].astype(np.int64)
    wrong = np.flatnonzero(labels_n >= len(CLASS_NAMES))
    if wrong.size:
        raise DataError(f"{name!r} holds label {labels_n[wrong[0]]} at byte {wrong[0] * RECORD_BYTES}, wanted 0 to 9.")
    return _to_nhwc(records[:, 1:]), labels_n


def parse_python(content: bytes, name: str, key: str = "labels", num_classes: int = len(CLASS_NAMES)) -> Batch:
    """Parse a Python batch: a pickled dictionary with `data`, uint8 (N, 3072), and a list of labels under a key.

    Raises:
        DataError: the pickle asks for any global but the three of the format, breaks off, or holds
            something else; names `name` and, where the pickle itself is at fault, the byte offset.
    """
    batch = unpickle(content, name)
    if not isinstance(batch, dict) or not {b"data", key.encode()} <= batch.keys():
        raise DataError(f"{name!r} is no CIFAR batch: its pickle is no dictionary with data and {key}.")
    pixels, labels = batch[b"data"], batch[key.encode()]
    if not isinstance(pixels, PickledArray) or not isinstance(labels, list):
        raise DataError(f"{name!r} is no CIFAR batch: wanted an array in data and a list in {key}.")
    if pixels.values.shape != (len(labels), NUM_PIXEL_BYTES):
        raise DataError(f"{name!r} holds {len(labels)} labels and an array of shape {pixels.values.shape}.")
    for index, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < num_classes:
            raise DataError(f"{name!r} has no label from 0 to {num_classes - 1} for image {index}.")
    return _to_nhwc(pixels.values), np.array(labels, dtype=np.int64)


def _to_nhwc(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


PYTHON = Form(
    "cifar-10-python.tar.gz",
    "cifar-10-batches-py",
    tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test_batch",
    parse_python,
)
BINARY = Form(
    "cifar-10-binary.tar.gz",
    "cifar-10-batches-bin",
    tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test_batch.bin",
    parse_binary,
)
PYTHON_100 = Form(
    "cifar-100-python.tar.gz",
    "cifar-100-python",
    ("train",),
    "test",
    partial(parse_python, key="fine_labels", num_classes=len(FINE_NAMES)),
)
