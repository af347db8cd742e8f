"""Published datasets of pixels: IDX (MNIST, Fashion-MNIST, KMNIST, EMNIST), MATLAB (SVHN) and CIFAR-10 and -100.

IDX is two zero bytes, the type (8 is uint8), the number of axes, one big-endian 32-bit size per axis, and the values;
source: the foot of http://yann.lecun.com/exdb/mnist/. Files may be packed by gzip.

CIFAR comes packed or unpacked, in Python batches, or in binary ones of CIFAR-10: https://www.cs.toronto.edu/~kriz/cifar.
Python batches are pickles, as NumPy under Python 2 wrote them. A pickle is a program that may call any importable
function, so calls are recorded here instead of made: a file cannot reach anything in NumPy.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import pickle
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.data.paths import read_file
from diptych.data.readers import Listing, Pixels, labeled
from diptych.data.readers.layout import split_named
from diptych.data.readers.objects import read_pixels
from diptych.data.readers.remote import RemoteFile, class_names, fetch, published, read_members
from diptych.data.readers.tree import is_image, visible_entries
from diptych.data.rules import Finding
from diptych.errors import DataError, first_of, in_one_line

EMNIST_PARTS = tuple(
    f"emnist-balanced-{split}-{what}-ubyte.gz" for split in ("train", "test") for what in ("images-idx3", "labels-idx1")
)
NUM_PIXEL_BYTES = 3 * 32 * 32
RECORD_BYTES = 1 + NUM_PIXEL_BYTES
_IDX, _MATLAB = b"\0\0\x08", b"MATLAB 5.0 MAT-file"


def list_idx(dataset: str, folder: Path) -> Listing:
    """Read the four files of a dataset, unpacked if all of them are; download what is missing."""
    files, known = published(dataset), class_names(dataset)
    names = [file.name.removesuffix(".gz") for file in files]
    if not all((folder / name).exists() for name in names):
        names = [path.name for path in fetch(files, folder)]
    return Listing.of_pixels(known, *read_idx_files(folder, names, len(known)))


def list_emnist(folder: Path) -> Listing:
    """Read EMNIST's balanced split: its four files in the folder or in its `gzip/`, or the zip; turn it upright."""
    forms = [[f"{place}{name}" for name in EMNIST_PARTS] for place in ("", "gzip/")]
    forms += [[name.removesuffix(".gz") for name in form] for form in forms]
    names = next((form for form in forms if all((folder / name).is_file() for name in form)), None)
    source = folder if names else fetch(published("emnist"), folder)[0]
    samples = read_idx_files(source, names or forms[1], len(class_names("emnist")))
    # Stored column by column, as Cohen, Afshar, Tapson and van Schaik did, https://arxiv.org/abs/1702.05373: "inverted
    # horizontally and rotated 90 degrees anti-clockwise", as TensorFlow Datasets puts it.
    upright = ((np.ascontiguousarray(images_nhwc.transpose(0, 2, 1, 3)), labels_n) for images_nhwc, labels_n in samples)
    return Listing.of_pixels(class_names("emnist"), *upright)


def list_array_files(folder: Path) -> Listing | None:
    """List the CIFAR, IDX or MATLAB files at the top of a folder, by their first bytes; None if there are none."""
    for form in (PYTHON, BINARY, FINE):
        members = tuple(PurePath(name).name for name in form.members)
        if (folder / members[0]).is_file():
            return read_cifar(folder, replace(form, members=members))
    entries = visible_entries(folder)
    starts = {} if any(entry.is_dir() for entry in entries) else {entry.name: _start(entry) for entry in entries}
    found = [name for name, start in starts.items() if start.startswith((_IDX, _MATLAB))]
    found = [name for name in found if name.removesuffix(".gz") == name or name.removesuffix(".gz") not in found]
    splits = {name: split_named(name.replace("t10k", "test-")) for name in found}
    used = [name for name in found if splits[name] or not any(splits.values())]
    arrays = dict[str, NDArray[Any]]()
    for name in used:
        for role, array in _arrays_in(folder / name, starts[name]).items():
            if arrays.setdefault(key := f"{role}_{splits[name] or 'train'}", array) is not array:
                raise DataError(f"{str(folder)!r} has several files of {key}, one of them {name!r}: keep one of them.")
    if not arrays:
        return None
    listing = read_pixels(folder / "arrays", arrays)
    turned = ["the images of EMNIST turned upright"] * any(map(_is_turned, used))
    unused = [
        Finding("not-used", f"{name}: its name says neither train nor test") for name in found if name not in used
    ]
    return replace(listing, inferred=(f"arrays from {first_of(used, 5)}", *turned), findings=tuple(unused))


def _is_turned(name: str) -> bool:
    return "emnist" in name.lower()


def _arrays_in(path: Path, start: bytes) -> dict[str, NDArray[Any]]:
    if start.startswith(_MATLAB):
        return dict(zip(("images", "labels"), read_svhn(path), strict=True))
    role, num_axes = ("labels", 1) if start[3:4] == b"\1" else ("images", 3)
    array = parse_idx(read_file(path), str(path), num_axes)
    return {role: array.transpose(0, 2, 1) if num_axes == 3 and _is_turned(path.name) else array}


def _start(entry: os.DirEntry[str]) -> bytes:
    """Return the first bytes of a file, unpacked if it is packed by gzip."""
    if is_image(entry.name) or not entry.is_file():
        return b""
    with open(entry.path, "rb") as file:  # noqa: PTH123
        start = file.read(128)
    with suppress(zlib.error):
        return zlib.decompressobj(31).decompress(start)
    return start


def list_svhn(folder: Path) -> Listing:
    """Read SVHN's cropped digits, without `extra`; download what is missing."""
    return Listing.of_pixels(class_names("svhn"), *map(read_svhn, fetch(published("svhn"), folder)))


def read_idx_files(source: Path, names: Sequence[str], num_classes: int) -> list[Pixels]:
    """Read pairs of files in a folder or zip: gray images, uint8, (N, H, W, 1), and labels, int64, (N,)."""
    contents, samples = read_members(source, names), []
    for first in range(0, len(names), 2):
        images, labels = (str(source / name) for name in names[first : first + 2])
        images_nhw, labels_n = parse_idx(contents[first], images, 3), parse_idx(contents[first + 1], labels, 1)
        if len(images_nhw) != len(labels_n):
            counts = f"{images!r} has {len(images_nhw)} images, {labels!r} has {len(labels_n)} labels"
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
        found = f"X {images_hwcn.dtype} {images_hwcn.shape} and y {labels_n1.shape}"
        raise DataError(f"{str(path)!r} contains {found}, expected X uint8 (32, 32, 3, N) and y (N, 1).")
    images_nhwc, labels_n = labeled(str(path), images_hwcn.transpose(3, 0, 1, 2), labels_n1[:, 0], range(1, 11))
    return np.ascontiguousarray(images_nhwc), labels_n % 10


@dataclass(frozen=True)
class Form:
    """One published form: its archive, the training files and the test file within, and their parser."""

    archive: RemoteFile
    members: tuple[str, ...]
    parse: Callable[[bytes, str], Pixels]
    class_names: tuple[str, ...]


def list_cifar(forms: Sequence[Form], folder: Path) -> Listing:
    """Read a dataset in the first form that exists, archives first; download the first form if none does.

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
    return labeled(name, _to_nhwc(records[:, 1:]), records[:, 0], range(10))


def parse_python(content: bytes, name: str, key: str = "labels", num_classes: int = 10) -> Pixels:
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
        """Return a new function each time, because a pickle may set attributes on it."""
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
PYTHON = Form(published("cifar10")[0], _PYTHON_FILES, parse_python, class_names("cifar10"))
BINARY = Form(published("cifar10")[1], _BINARY_FILES, parse_binary, class_names("cifar10"))
FINE = Form(
    published("cifar100")[0],
    ("cifar-100-python/train", "cifar-100-python/test"),
    partial(parse_python, key="fine_labels", num_classes=100),
    class_names("cifar100"),
)
