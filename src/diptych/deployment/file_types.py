"""Recognize model files, check that they are safe to open, and read the card inside.

Only zip directories, HDF5 attributes and the metadata of ONNX and safetensors are parsed; no framework or runtime is
imported.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.data.signatures import NUM_BYTES
from diptych.deployment.card import Card
from diptych.deployment.formats import FORMATS, Format, check_installed, what_is
from diptych.engines.contract import CARD, MOST_BYTES
from diptych.errors import ArtifactError, DiptychError, UsageError, cannot_read
from diptych.files import expanded

_MAX_CARD_BYTES = 4 * 2**20
_MAX_FILES = 100
_MAX_WEIGHTS_PER_BYTE = 8
# Of zip archives: entries, bytes of the directory, and unpacked bytes for one packed.
_MAX_ENTRIES, _MAX_DIRECTORY, _MAX_RATIO = 20_000, 4 * 2**20, 200
_ENCRYPTED = 1
# The files by which a folder is recognized.
_FOLDERS = {"model.xml": "openvino", "1/saved_model.pb": "saved-model", "saved_model.pb": "saved-model"}


@dataclass(frozen=True)
class FileType:
    """A type of file: its name in messages, the reader of its cards with the packages it needs, and its formats."""

    title: str
    read: Callable[[Path], Sequence[str | bytes]]
    formats: tuple[str, ...]
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Artifact:
    """A checked model file or folder and its card."""

    path: Path
    form: Format
    card: Card
    num_bytes: int
    is_trusted: bool
    """Whether code in it may run."""


def open_artifact(path: str | os.PathLike[str], *, trust: bool = True) -> Artifact:
    """Check a file or folder that `diptych export` wrote and read its card.

    Raises ArtifactError if it is missing, damaged or too large, or has no matching card, UsageError if its format can
    execute code, and `trust` is false, and MissingEngine if the package that reads its card is not installed.
    """
    found = expanded(path)
    file_type, card = _read(found)
    if card is None:
        raise ArtifactError(f"'{path}' has no card ('{CARD}'); expected a file written by `diptych export`.")
    form = FORMATS.get(card.form)
    if form is None or form.name not in file_type.formats:
        raise ArtifactError(f"The card in '{path}' says '{card.form:.40}', but it is a {file_type.title}.")
    if form.runs_code and not trust:
        fault = f"'{path}' is {form.name}, which can execute code when it is loaded"
        raise UsageError(f"{fault}. Add --trust if you trust its source.")
    size = num_bytes(found)
    num_weights = sum(array.size for array in card.spec.arrays)
    if num_weights > _MAX_WEIGHTS_PER_BYTE * size:
        raise ArtifactError(f"The card in '{path}' describes {num_weights:,} weights; {size:,} bytes cannot hold them.")
    return Artifact(found, form, card, size, trust)


def is_artifact(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a file, or a folder in one of the folder formats."""
    found = expanded(path)
    is_file = _exists(found) and found.is_file()
    return is_file or any(_exists(found / inside) for inside in _FOLDERS)


def _exists(path: Path) -> bool:
    """Return whether there is a file or folder; pipes and devices may never end, and are neither."""
    try:
        return path.is_file() or path.is_dir()
    except OSError as error:  # no permission, or the name is too long
        raise cannot_read(path, "file", error) from error


def find_card(path: Path) -> Card | None:
    """Return the card in a file or folder of any format, or None if it has none; raises as `open_artifact` does."""
    return _read(path)[1]


def num_bytes(path: Path) -> int:
    """Return the size of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def file_type_of(path: Path) -> FileType:
    """Return the type of a file or folder that is safe to open, or raise ArtifactError if there is none."""
    if not _exists(path):
        is_pipe = os.path.exists(path)  # noqa: PTH110  (it never raises)
        raise ArtifactError(f"'{path}' is a pipe or a device." if is_pipe else f"No file or folder '{path}'.")
    if path.is_dir():
        for part, name in _FOLDERS.items():
            if (path / part).exists():
                check_files(path)
                return _TYPES[name]
        raise ArtifactError(f"'{path}' is not a SavedModel ('1/saved_model.pb') or OpenVINO folder ('model.xml').")
    check_files(path)
    with path.open("rb") as file:
        head = file.read(NUM_BYTES)
        tail = file.read()[-8:] if file.seek(max(0, path.stat().st_size - 8)) else b""
    if head[:2] == b"PK":
        with open_zip(path) as archive:
            names = {name.partition("/")[2] or name for name in archive.namelist()}
        # The entry that the format's loader looks for, because PyTorch's formats share suffixes.
        matches = [(name, mark in names) for mark, name in _ZIP_MARKS.items()]
    else:
        matches = [
            ("hdf5", head[:8] == b"\x89HDF\r\n\x1a\n"),
            ("tflite", head[4:8] == b"TFL3"),
            ("safetensors", head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size),
            ("pickle", re.match(rb"\x80[\2-\5]", head) is not None),
            ("onnx", re.match(rb"\x08[\1-\x20][\x12\x1a\"*0:Br]", head) is not None),  # its version, then another field
        ]
    for name, holds in matches:
        if holds:
            return _TYPES[name]
    raise ArtifactError(f"Cannot read '{path}': {what_is(head, tail)}.")


def _read(path: Path) -> tuple[FileType, Card | None]:
    title = "file"
    try:
        file_type = file_type_of(path)
        title = file_type.title
        check_installed(title, file_type.packages)
        cards = file_type.read(path)
    except DiptychError:
        raise
    except Exception as error:  # parsers of damaged files can raise anything
        raise cannot_read(path, title, error) from error
    if len(cards) > 1:
        raise ArtifactError(f"'{path}' has {len(cards)} cards; expected one.")
    return file_type, Card.from_text(cards[0], f"'{path}'") if cards else None


def check_files(path: Path) -> None:
    """Raise ArtifactError for a file or folder that is too large, or a folder with too many files or links."""
    for count, inside in enumerate(path.rglob("*") if path.is_dir() else (), start=1):
        if count > _MAX_FILES:
            raise ArtifactError(f"'{path}' has more than {_MAX_FILES} files; no known format has that many.")
        if inside.is_symlink() or not (inside.is_file() or inside.is_dir()):
            raise ArtifactError(f"'{inside}' is a link or a device; expected a folder of regular files.")
    if num_bytes(path) > MOST_BYTES:
        raise ArtifactError(f"'{path}' has {num_bytes(path):,} bytes; the limit is {MOST_BYTES:,}.")


def _cards_in_zip(path: Path) -> list[bytes]:
    """Read the cards of an archive, or of a flatbuffer that an archive may follow."""
    if not zipfile.is_zipfile(path):
        return []
    with open_zip(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.rpartition("/")[2] == CARD]
        size = sum(entry.file_size for entry in entries)
        texts = [archive.read(entry) for entry in entries if size <= _MAX_CARD_BYTES]
    if size != sum(map(len, texts)):
        raise ArtifactError(f"The card in '{path}' has more than {_MAX_CARD_BYTES:,} bytes, or its entry is wrong.")
    return texts


def _cards_in_hdf5(path: Path) -> list[Any]:
    from diptych.engines.hdf5 import read_tree

    attributes = read_tree(path, str(path), arrays=False).attributes[""]
    return [attributes[CARD]] if CARD in attributes else []


def _cards_in_onnx(path: Path) -> list[str]:
    """Read the cards of a program that is in one file and free of loops, branches and functions."""
    import onnx

    program = onnx.load(path, load_external_data=False)
    for message in _onnx_messages(program):
        match message.DESCRIPTOR.name:
            case "TensorProto" if message.external_data or message.data_location:
                raise ArtifactError(f"'{path}' stores {message.name!r:.60} in another file; expected a single file.")
            case "AttributeProto" if message.HasField("g") or message.graphs:
                raise ArtifactError(f"'{path}' has a nested graph ({message.name!r:.60}), such as a loop.")
            case "FunctionProto":
                raise ArtifactError(f"'{path}' defines a function ({message.name!r:.60}), which diptych never writes.")
    return [entry.value for entry in program.metadata_props if entry.key == CARD]


def _onnx_messages(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all nested ones, except those inside tensors."""
    yield message
    if message.DESCRIPTOR.name == "TensorProto":
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from _onnx_messages(part)


def _cards_in_safetensors(path: Path) -> list[str]:
    import safetensors

    with safetensors.safe_open(path, framework="np") as file:
        metadata = file.metadata() or {}
    return [metadata[CARD]] if CARD in metadata else []


def _cards_in_folder(path: Path) -> list[bytes]:
    """Read the card of a SavedModel or an OpenVINO folder."""
    files = [file for file in (path / CARD, path / "1" / "assets" / CARD) if file.is_file()]
    if any(file.stat().st_size > _MAX_CARD_BYTES for file in files):
        raise ArtifactError(f"The card in '{path}' has more than {_MAX_CARD_BYTES:,} bytes.")
    return [file.read_bytes() for file in files]


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip archive, which may follow other data, or raise ArtifactError if it is damaged, odd or too large."""
    try:
        if _directory_size(path) > _MAX_DIRECTORY:
            raise ArtifactError(f"'{path}' has more than {_MAX_ENTRIES:,} entries, the most that are read.")
        with zipfile.ZipFile(path) as archive:
            _check_entries(path, archive.infolist())
        return zipfile.ZipFile(path)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise cannot_read(path, "zip archive", error) from error


def _directory_size(path: Path) -> int:
    """Size of the directory, which zipfile loads whole, from the record at the end of the file or its Zip64 twin."""
    with path.open("rb") as file:
        file.seek(-min(98, path.stat().st_size), 2)
        end = file.read().rjust(98, b"\0")
    if end[76:80] != b"PK\5\6" or end[96:] != b"\0\0":
        raise zipfile.BadZipFile("it does not end with its directory")
    is_zip64 = end[56:60] == b"PK\6\7"
    return int.from_bytes(end[40:48] if is_zip64 else end[88:92], "little")


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    unpacked, packed = sum(entry.file_size for entry in entries), path.stat().st_size
    if len(entries) > _MAX_ENTRIES or unpacked > min(MOST_BYTES, _MAX_RATIO * max(packed, 2**20)):
        raise ArtifactError(
            f"'{path}' unpacks to {unpacked:,} bytes in {len(entries):,} entries from {packed:,}; "
            f"the limits are {MOST_BYTES:,} bytes, {_MAX_ENTRIES:,} entries and {_MAX_RATIO} times its size."
        )
    names = Counter(entry.filename for entry in entries)
    for entry in entries:
        name = entry.filename
        is_outside = name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name)
        is_packed_oddly = entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if names[name] > 1 or is_outside or is_packed_oddly or entry.flag_bits & _ENCRYPTED:
            raise ArtifactError(
                f"Cannot read '{path}': its entry {name!r:.60} is duplicated, encrypted, outside the archive or "
                "compressed in an unsupported way."
            )


_ZIP_MARKS = {
    "config.json": "keras",
    "constants.pkl": "torchscript",
    "archive_format": "torch-export",
    "serialized_exported_program.json": "torch-export",  # before PyTorch 2.8
    "data.pkl": "state-dict",
}
_TYPES = {
    "keras": FileType("Keras archive", _cards_in_zip, ("keras",)),
    "torchscript": FileType("TorchScript archive", _cards_in_zip, ("torchscript",)),
    "torch-export": FileType("torch.export archive", _cards_in_zip, ("torch-export",)),
    "state-dict": FileType("PyTorch weights file", _cards_in_zip, ("state-dict",)),
    "pickle": FileType("PyTorch weights file", lambda path: (), ("state-dict",)),  # before 2020, without a card
    "hdf5": FileType("HDF5 file", _cards_in_hdf5, ("h5", "weights-h5"), ("h5py",)),
    "tflite": FileType(
        "TensorFlow Lite file", _cards_in_zip, ("tflite", "tflite-fp16", "tflite-dynamic", "tflite-int8")
    ),
    "onnx": FileType("ONNX file", _cards_in_onnx, ("onnx", "onnx-int8"), ("onnx",)),
    "safetensors": FileType("safetensors file", _cards_in_safetensors, ("safetensors",)),
    "saved-model": FileType("SavedModel", _cards_in_folder, ("saved-model",)),
    "openvino": FileType("OpenVINO folder", _cards_in_folder, ("openvino",)),
}
