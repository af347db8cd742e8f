"""CIFAR-10 and CIFAR-100 in their published forms, packed or unpacked: Python batches, and binary ones of CIFAR-10.

The Python batches are pickles, as NumPy under Python 2 wrote them. A pickle is a program that may call any importable
function, so this file runs them with three stand-ins of its own: nothing in NumPy is reached by what a file says.
Source: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.data.readers import Listing, Pixels
from diptych.data.readers.remote import RemoteFile, fetch, published, read_members
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
"""CIFAR-100's 100 fine classes, as in its `meta`."""
NUM_PIXEL_BYTES = 3 * 32 * 32
RECORD_BYTES = 1 + NUM_PIXEL_BYTES


@dataclass(frozen=True)
class Form:
    """One published form: its archive, the training files and the test file within, and their parser."""

    archive: RemoteFile
    members: tuple[str, ...]
    parse: Callable[[bytes, str], Pixels]
    class_names: tuple[str, ...]


def list_cifar(forms: Sequence[Form], folder: Path) -> Listing:
    """Read a dataset in the first form that is there, archives first; download the first form if none is.

    Images are uint8, (N, 32, 32, 3), RGB; labels are int64, (N,).
    """
    packed = [form for form in forms if (folder / form.archive.name).exists()]
    unpacked = [form for form in forms if (folder / form.members[0]).parent.is_dir()]
    form = [*packed, *unpacked, *forms][0]
    source = folder if unpacked and not packed else fetch([form.archive], folder)[0]
    return read_cifar(source, form)


def read_cifar(source: Path, form: Form) -> Listing:
    """Read the archive of a form, or the folder that it was unpacked in; see `list_cifar`."""
    contents = read_members(source, form.members)
    batches = [form.parse(content, str(source / name)) for name, content in zip(form.members, contents, strict=True)]
    images_nhwc, labels_n = (np.concatenate(arrays) for arrays in zip(*batches[:-1], strict=True))
    return Listing.of_pixels(form.class_names, (images_nhwc, labels_n), batches[-1])


def parse_binary(content: bytes, name: str) -> Pixels:
    """Parse a binary batch: records of one label byte and 3,072 pixel bytes."""
    num_records, rest = divmod(len(content), RECORD_BYTES)
    if rest or not num_records:
        raise DataError(f"{name!r} is truncated at byte {len(content)}: a record takes {RECORD_BYTES} bytes.")
    records = np.frombuffer(content, dtype=np.uint8).reshape(num_records, RECORD_BYTES)
    labels_n = records[:, 0].astype(np.int64)
    wrong = np.flatnonzero(labels_n >= len(CLASS_NAMES))
    if wrong.size:
        raise DataError(
            f"{name!r} holds label {labels_n[wrong[0]]} at byte {wrong[0] * RECORD_BYTES}, expected 0 to 9."
        )
    return _to_nhwc(records[:, 1:]), labels_n


def parse_python(content: bytes, name: str, key: str = "labels", num_classes: int = len(CLASS_NAMES)) -> Pixels:
    """Parse a Python batch: a pickled dictionary with `data`, uint8 (N, 3072), and a list of labels under a key."""
    stream = io.BytesIO(content)
    try:
        batch = _BatchUnpickler(stream).load()
    except Exception as error:  # a damaged pickle may raise anything, as pickle's documentation says
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name!r} is not a CIFAR batch: {reason} at byte {stream.tell()}.") from error
    if not isinstance(batch, dict) or not {b"data", key.encode()} <= batch.keys():
        raise DataError(f"{name!r} is not a CIFAR batch: its pickle is not a dictionary with data and {key}.")
    pixels, labels = batch[b"data"], batch[key.encode()]
    if not isinstance(pixels, PickledArray) or not isinstance(labels, list):
        raise DataError(f"{name!r} is not a CIFAR batch: expected an array in data and a list in {key}.")
    if pixels.values.shape != (len(labels), NUM_PIXEL_BYTES):
        raise DataError(f"{name!r} holds {len(labels)} labels and an array of shape {pixels.values.shape}.")
    for index, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < num_classes:
            raise DataError(f"{name!r} has no label from 0 to {num_classes - 1} for image {index}.")
    return _to_nhwc(pixels.values), np.array(labels, dtype=np.int64)


def _to_nhwc(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


class _PickledType:
    """Stands in for `numpy.dtype`; only uint8 is admitted."""

    def __init__(self, code: object) -> None:
        if code != b"u1":
            raise pickle.UnpicklingError(f"array of type {code!r}, wanted b'u1'")

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and alignment, which one byte has not."""


class PickledArray:
    """Stands in for `numpy.ndarray` as its `__reduce__` rebuilds it; `values` is the true array."""

    values: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], _PickledType, bool, bytes]) -> None:
        _version, shape, element_type, is_fortran, raw = state
        if not isinstance(element_type, _PickledType):
            raise pickle.UnpicklingError(f"array of type {element_type!r}")
        values = np.frombuffer(raw, dtype=np.uint8)
        self.values = values.reshape(shape, order="F" if is_fortran else "C")


class _BatchUnpickler(pickle.Unpickler):
    """Resolves the format's three globals to stand-ins, and no other global."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, encoding="bytes")
        # Functions of this one unpickler, not the classes: a pickle may set attributes of what it is given.
        self._globals: dict[tuple[str, str], object] = {
            ("numpy.core.multiarray", "_reconstruct"): lambda *_: PickledArray(),
            ("numpy", "ndarray"): None,
            ("numpy", "dtype"): lambda code, *_: _PickledType(code),
        }

    def find_class(self, module_name: str, global_name: str) -> object:
        """Return a stand-in; raise an error for every global that the format does not need."""
        try:
            return self._globals[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}") from None


_BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
_PYTHON_FILES = tuple(f"cifar-10-batches-py/{name}" for name in _BATCHES)
_BINARY_FILES = tuple(f"cifar-10-batches-bin/{name}.bin" for name in _BATCHES)
PYTHON = Form(published("cifar10")[0], _PYTHON_FILES, parse_python, CLASS_NAMES)
BINARY = Form(published("cifar10")[1], _BINARY_FILES, parse_binary, CLASS_NAMES)
PYTHON_100 = Form(
    published("cifar100")[0],
    ("cifar-100-python/train", "cifar-100-python/test"),
    partial(parse_python, key="fine_labels", num_classes=len(FINE_NAMES)),
    FINE_NAMES,
)
