"""CIFAR-10 and CIFAR-100 in their published forms, packed or unpacked: Python batches, and binary ones of CIFAR-10.

The Python batches are pickles, as NumPy under Python 2 wrote them. A pickle is a program that may call any importable
function, so calls are recorded here instead of made: nothing in NumPy is reached by what a file says.
Source: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.data.readers import Listing, Pixels, labeled
from diptych.data.readers.remote import RemoteFile, fetch, published, read_members
from diptych.errors import DataError, in_one_line

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
    return labeled(name, _to_nhwc(records[:, 1:]), records[:, 0], range(len(CLASS_NAMES)))


def parse_python(content: bytes, name: str, key: str = "labels", num_classes: int = len(CLASS_NAMES)) -> Pixels:
    """Parse a Python batch: a pickled dictionary with `data`, uint8 (N, 3072), and a list of labels under a key."""
    stream = io.BytesIO(content)
    try:
        batch = _BatchUnpickler(stream, encoding="bytes").load()
        images_nhwc, labels = _to_nhwc(_as_array(batch[b"data"])), list(batch[key.encode()])
        labels_n = np.array(labels).astype(np.int64, casting="safe").reshape(len(images_nhwc))
    except Exception as error:  # a damaged pickle may raise anything, as pickle's documentation says
        expected = f"expected a pickled dictionary with uint8 (N, {NUM_PIXEL_BYTES}) in data and N numbers in {key}"
        fault = f"{in_one_line(error).rstrip('.')} at byte {stream.tell()}"
        raise DataError(f"{name!r} is not a CIFAR batch: {fault}; {expected}.") from error
    return labeled(name, images_nhwc, labels_n, range(num_classes))


def _to_nhwc(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


@dataclass
class _Call:
    """A call that a pickle asks for, which is not made, and the state for its result."""

    arguments: tuple[Any, ...]
    state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _BatchUnpickler(pickle.Unpickler):  # noqa: TID251  (its find_class is below)
    """Records the calls of the format's three globals, and refuses every other global."""

    def find_class(self, module_name: str, global_name: str) -> Callable[..., _Call]:
        """Return a function of its own each time: a pickle may set attributes of what it is given."""
        if f"{module_name}.{global_name}" not in _GLOBALS:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}")
        return lambda *arguments: _Call(arguments)


_GLOBALS = ("numpy.core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype")


def _as_array(call: _Call) -> NDArray[np.uint8]:
    """Return the array that the state of NumPy's `__reduce__` describes."""
    _version, shape, element_type, is_fortran, raw = call.state
    if element_type.arguments[0] != b"u1":
        raise pickle.UnpicklingError(f"array of type {element_type.arguments[0]!r}")
    return np.frombuffer(raw, dtype=np.uint8).reshape(shape, order="F" if is_fortran else "C")


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
