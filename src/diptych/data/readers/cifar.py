"""CIFAR-10 in its two published forms, packed or unpacked: Python batches and binary batches.

The Python batches are pickles, written by Python 2. A pickle is a program that may call any importable
function, so this file runs them with three functions of its own: the format needs an array's shape, type
and bytes, and nothing in NumPy is reached by what a file says. Members of an archive are read into
memory by their exact names; nothing is ever unpacked to disk.
Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.errors import DataError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
NUM_PIXEL_BYTES = 3 * 32 * 32
RECORD_BYTES = 1 + NUM_PIXEL_BYTES
_MAX_MEMBER_BYTES = 64 * 2**20  # a batch takes 31 MB

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class Form:
    """One published form: its archive, the folder within, its six files, and how to parse one."""

    archive: str
    folder: str
    suffix: str
    parse: Callable[[bytes, str], Batch]

    @property
    def train_files(self) -> tuple[str, ...]:
        """The names of the five training batches, in order."""
        return tuple(f"data_batch_{number}{self.suffix}" for number in range(1, 6))

    @property
    def test_file(self) -> str:
        """The name of the test batch."""
        return f"test_batch{self.suffix}"


def read_cifar(source: Path, form: Form) -> tuple[Batch, Batch]:
    """Read CIFAR-10's training and test samples.

    Args:
        source: the archive (.tar.gz), or the folder that it unpacks to.
        form: PYTHON or BINARY.

    Returns:
        (images, labels) for training and for test. images: uint8, (N, 32, 32, 3), RGB; labels: int64, (N,).

    Raises:
        DataError: a batch is missing, damaged, cut short, holds a label out of range, or is a pickle that
            asks for anything but an array.
    """
    names = (*form.train_files, form.test_file)
    contents = _read_folder(source, names) if source.is_dir() else _read_archive(source, form.folder, names)
    batches = {name: form.parse(contents[name], str(source / name)) for name in names}
    train = [batches[name] for name in form.train_files]
    images_nhwc = np.concatenate([images for images, _ in train])
    labels_n = np.concatenate([labels for _, labels in train])
    return (images_nhwc, labels_n), batches[form.test_file]


def _read_folder(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    try:
        return {name: (folder / name).read_bytes() for name in names}
    except OSError as error:
        raise DataError(f"Cannot read {error.filename!r}: {error.strerror}.") from error


def _read_archive(archive: Path, folder: str, names: tuple[str, ...]) -> dict[str, bytes]:
    wanted = {f"{folder}/{name}": name for name in names}
    contents: dict[str, bytes] = {}
    try:
        with archive.open("rb") as raw:
            try:
                with tarfile.open(fileobj=raw, mode="r|gz") as members:
                    for member in members:
                        stream = members.extractfile(member) if _is_batch(member, wanted) else None
                        if stream is not None:
                            contents[wanted[member.name]] = stream.read()
            except (tarfile.TarError, EOFError, zlib.error) as error:
                raise DataError(f"{str(archive)!r} is damaged near byte {raw.tell()}: {error}.") from error
    except OSError as error:
        raise DataError(f"Cannot read {str(archive)!r}: {error.strerror or error}.") from error
    missing = [member for member, name in wanted.items() if name not in contents]
    if missing:
        raise DataError(f"{str(archive)!r} does not hold {', '.join(missing)}: fetch it again.")
    return contents


def _is_batch(member: tarfile.TarInfo, wanted: dict[str, str]) -> bool:
    return member.name in wanted and member.isfile() and member.size <= _MAX_MEMBER_BYTES


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


def parse_python(content: bytes, name: str) -> Batch:
    """Parse a Python batch: a pickled dictionary with `data`, uint8 (N, 3072), and `labels`, a list.

    Raises:
        DataError: the pickle asks for any global but the three of the format, breaks off, or holds
            something else; names `name` and, where the pickle itself is at fault, the byte offset.
    """
    batch = _unpickle(content, name)
    if not isinstance(batch, dict) or not {b"data", b"labels"} <= batch.keys():
        raise DataError(f"{name!r} is no CIFAR-10 batch: its pickle is no dictionary with data and labels.")
    pixels, labels = batch[b"data"], batch[b"labels"]
    if not isinstance(pixels, _PickledArray) or not isinstance(labels, list):
        raise DataError(f"{name!r} is no CIFAR-10 batch: wanted an array in data and a list in labels.")
    if pixels.values.shape != (len(labels), NUM_PIXEL_BYTES):
        raise DataError(f"{name!r} holds {len(labels)} labels and an array of shape {pixels.values.shape}.")
    for index, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < len(CLASS_NAMES):
            raise DataError(f"{name!r} has no label from 0 to 9 for image {index}.")
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


class _PickledArray:
    """Stands in for `numpy.ndarray` as its `__reduce__` rebuilds it; `values` is the true array."""

    values: NDArray[np.uint8] = np.empty(0, dtype=np.uint8)

    def __setstate__(self, state: tuple[int, tuple[int, ...], _PickledType, bool, bytes]) -> None:
        _version, shape, element_type, is_fortran, raw = state
        if not isinstance(element_type, _PickledType):
            raise pickle.UnpicklingError(f"array of type {element_type!r}")
        values = np.frombuffer(raw, dtype=np.uint8)
        self.values = values.reshape(shape, order="F" if is_fortran else "C")


class _BatchUnpickler(pickle.Unpickler):
    """Answers the format's three globals with stand-ins of its own, and no other global at all."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, encoding="bytes")
        # Functions of this one unpickler, not the classes: a pickle may set attributes of what it is given.
        self._globals: dict[tuple[str, str], object] = {
            ("numpy.core.multiarray", "_reconstruct"): lambda *_: _PickledArray(),
            ("numpy", "ndarray"): None,
            ("numpy", "dtype"): lambda code, *_: _PickledType(code),
        }

    def find_class(self, module_name: str, global_name: str) -> object:
        """Return a stand-in; refuse every global that the format does not need."""
        try:
            return self._globals[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}") from None


def _unpickle(content: bytes, name: str) -> object:
    stream = io.BytesIO(content)
    try:
        return _BatchUnpickler(stream).load()
    except Exception as error:  # a damaged pickle may raise anything, as pickle's documentation says
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name!r} is no CIFAR-10 batch: {reason} at byte {stream.tell()}.") from error


PYTHON = Form("cifar-10-python.tar.gz", "cifar-10-batches-py", "", parse_python)
BINARY = Form("cifar-10-binary.tar.gz", "cifar-10-batches-bin", ".bin", parse_binary)
