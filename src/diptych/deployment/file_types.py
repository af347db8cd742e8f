"""Recognize model files, check that they are safe to open, and read the card inside.

Only zip directories, HDF5 attributes and the metadata of ONNX and safetensors are parsed; no framework or runtime is
imported.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.deployment.card import Card
from diptych.deployment.formats import FORMATS, Format, check_installed
from diptych.deployment.zip_archives import open_zip
from diptych.engines.contract import CARD, MOST_BYTES
from diptych.errors import ArtifactError, DiptychError, UsageError, in_one_line

_MAX_CARD_BYTES = 4 * 2**20
_MAX_FILES = 100
_MAX_WEIGHTS_PER_BYTE = 8


@dataclass(frozen=True)
class FileType:
    """A type of file: its name in messages, the reader of its card, and the formats it can be."""

    title: str
    read: Callable[[Path], str | bytes | None]
    formats: tuple[str, ...]
    packages: tuple[str, ...] = ()
    """Packages that the reader needs."""


@dataclass(frozen=True)
class Artifact:
    """A checked model file or folder and its card."""

    path: Path
    form: Format
    card: Card
    num_bytes: int


def open_artifact(path: str | Path, *, trust: bool = True) -> Artifact:
    """Check an exported file and read its card.

    Args:
        path: A file or folder that `diptych export` wrote.
        trust: Whether to accept a format that can execute code when it is loaded.

    Raises:
        ArtifactError: The file is missing, damaged or too large, or has no matching card.
        UsageError: Its format can execute code, and `trust` is false.
        MissingEngine: The package that reads its card is not installed.
    """
    expanded = Path(path).expanduser()
    file_type, card = _read(expanded)
    if card is None:
        raise ArtifactError(f"'{path}' has no card ('{CARD}'); expected a file written by `diptych export`.")
    form = FORMATS.get(card.form)
    if form is None or form.name not in file_type.formats:
        raise ArtifactError(f"The card in '{path}' says '{card.form:.40}', but it is a {file_type.title}.")
    if form.runs_code and not trust:
        raise UsageError(
            f"'{path}' is {form.name}, which can execute code when it is loaded. Add --trust if you trust its source."
        )
    size = num_bytes(expanded)
    num_weights = sum(array.size for array in card.spec.arrays)
    if num_weights > _MAX_WEIGHTS_PER_BYTE * size:
        raise ArtifactError(f"The card in '{path}' describes {num_weights:,} weights; {size:,} bytes cannot hold them.")
    return Artifact(expanded, form, card, size)


def is_artifact(path: str | Path) -> bool:
    """Return whether a path is a file, or a folder in one of the folder formats."""
    expanded = Path(path).expanduser()
    try:
        return expanded.is_file() or any((expanded / inside).exists() for inside in ("model.xml", "1/saved_model.pb"))
    except OSError:  # the name is too long
        return False


def find_card(path: Path) -> Card | None:
    """Return the card in a file or folder of any format, or None if it has none.

    Raises:
        ArtifactError: The file is missing, damaged, too large, or of an unknown type.
        MissingEngine: The package that reads its card is not installed.
    """
    return _read(path)[1]


def num_bytes(path: Path) -> int:
    """Return the size of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def file_type_of(path: Path) -> FileType:
    """Return the type of a file or folder.

    Raises:
        ArtifactError: The type is unknown.
        OSError: It cannot be read.
    """
    if path.is_dir():
        for name, part in (("openvino", "model.xml"), ("saved-model", "1/saved_model.pb")):
            if (path / part).exists():
                return _TYPES[name]
        raise ArtifactError(f"'{path}' is not a SavedModel ('1/saved_model.pb') or OpenVINO folder ('model.xml').")
    with path.open("rb") as file:
        head = file.read(8)
    if head[:2] == b"PK":
        return _zip_type_of(path)
    matches = {
        "hdf5": head == b"\x89HDF\r\n\x1a\n",
        "tflite": head[4:8] == b"TFL3",
        "onnx": path.suffix == ".onnx",
        "safetensors": path.suffix == ".safetensors",
    }
    match = next((name for name, holds in matches.items() if holds), None)
    if match is None:
        raise ArtifactError(f"'{path}' is not in a known format (its first bytes: {head!r}).")
    return _TYPES[match]


def _zip_type_of(path: Path) -> FileType:
    """Look for the entry that the format's loader looks for: PyTorch's formats share suffixes."""
    with open_zip(path) as archive:
        names = {name.partition("/")[2] or name for name in archive.namelist()}
    for name, mark in _ZIP_MARKS:
        if mark in names:
            return _TYPES[name]
    raise ArtifactError(f"'{path}' is a zip archive, but not in a known format.")


def _read(path: Path) -> tuple[FileType, Card | None]:
    title = "file"
    try:
        _check_mode(path)
        file_type = file_type_of(path)
        title = file_type.title
        _check_inside(path)
        check_installed(title, file_type.packages)
        text = file_type.read(path)
    except DiptychError:
        raise
    except Exception as error:  # parsers of damaged files can raise anything
        raise ArtifactError(
            f"Cannot read '{path}': the {title} is corrupt or truncated ({in_one_line(error)})."
        ) from error
    return file_type, None if text is None else Card.from_text(text, f"'{path}'")


def _check_mode(path: Path) -> None:
    """Raise for pipes and devices, which may never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise ArtifactError(f"No file or folder '{path}'.") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ArtifactError(f"'{path}' is not a regular file or folder.")


def _check_inside(path: Path) -> None:
    for count, inside in enumerate(path.rglob("*") if path.is_dir() else (), start=1):
        if count > _MAX_FILES:
            raise ArtifactError(f"'{path}' has more than {_MAX_FILES} files; no known format has.")
        if inside.is_symlink() or not (inside.is_file() or inside.is_dir()):
            raise ArtifactError(f"'{inside}' is a link or a device; expected a folder of regular files.")
    if num_bytes(path) > MOST_BYTES:
        raise ArtifactError(f"'{path}' has {num_bytes(path):,} bytes; the limit is {MOST_BYTES:,}.")


def _card_in_zip(path: Path) -> bytes | None:
    with open_zip(path) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.rpartition("/")[2] == CARD]
        if len(entries) > 1:
            raise ArtifactError(f"'{path}' has {len(entries)} cards; expected one.")
        if not entries:
            return None
        size = entries[0].file_size
        if size > _MAX_CARD_BYTES:
            raise ArtifactError(f"The card in '{path}' has {size:,} bytes; the limit is {_MAX_CARD_BYTES:,}.")
        text = archive.read(entries[0])
    if len(text) != size:
        raise ArtifactError(f"The card in '{path}' has {len(text):,} bytes, but its entry says {size:,}.")
    return text


def _card_after_flatbuffer(path: Path) -> bytes | None:
    with path.open("rb") as file:
        file.seek(-min(22, path.stat().st_size), 2)
        has_zip = file.read(4) == b"PK\5\6"
    return _card_in_zip(path) if has_zip else None


def _card_in_hdf5(path: Path) -> str | None:
    from diptych.engines.hdf5 import read_tree

    value = read_tree(path, str(path), arrays=False).attributes[""].get(CARD)
    if value is not None and not isinstance(value, str):
        raise ArtifactError(f"The card in '{path}' must be text, got {type(value).__name__}.")
    return value


def _card_in_onnx(path: Path) -> str | None:
    """Read the card of a program that is in one file and free of loops, branches and functions."""
    import onnx

    program = onnx.load(path, load_external_data=False)
    for message in _onnx_messages(program):
        match message.DESCRIPTOR.name:
            case "TensorProto" if message.external_data or message.data_location:
                raise ArtifactError(f"'{path}' stores {message.name!r:.60} in another file; expected a single file.")
            case "AttributeProto" if message.HasField("g") or message.graphs:
                raise ArtifactError(f"'{path}' has a nested graph ({message.name!r:.60}), such as a loop.")
            case "FunctionProto":
                raise ArtifactError(f"'{path}' defines a function ({message.name!r:.60}); diptych writes none.")
    cards = [entry.value for entry in program.metadata_props if entry.key == CARD]
    if len(cards) > 1:
        raise ArtifactError(f"'{path}' has {len(cards)} cards; expected one.")
    return cards[0] if cards else None


def _onnx_messages(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all nested ones, except those inside tensors."""
    yield message
    if message.DESCRIPTOR.name == "TensorProto":
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from _onnx_messages(part)


def _card_in_safetensors(path: Path) -> str | None:
    import safetensors

    with safetensors.safe_open(path, framework="np") as file:
        return (file.metadata() or {}).get(CARD)


def _card_in_folder(path: Path) -> bytes | None:
    """Read the card of a SavedModel or an OpenVINO folder."""
    for file in (path / CARD, path / "1" / "assets" / CARD):
        if file.is_file():
            with file.open("rb") as opened:
                return opened.read(_MAX_CARD_BYTES)
    return None


_TFLITE = ("tflite", "tflite-fp16", "tflite-dynamic", "tflite-int8")
_ZIP_MARKS = (
    ("keras", "config.json"),
    ("torchscript", "constants.pkl"),
    ("torch-export", "archive_format"),
    ("torch-export", "serialized_exported_program.json"),  # before PyTorch 2.8
    ("state-dict", "data.pkl"),
)
_TYPES = {
    "keras": FileType("Keras archive", _card_in_zip, ("keras",)),
    "torchscript": FileType("TorchScript archive", _card_in_zip, ("torchscript",)),
    "torch-export": FileType("torch.export archive", _card_in_zip, ("torch-export",)),
    "state-dict": FileType("PyTorch weights file", _card_in_zip, ("state-dict",)),
    "hdf5": FileType("HDF5 file", _card_in_hdf5, ("h5", "weights-h5"), ("h5py",)),
    "tflite": FileType("TensorFlow Lite file", _card_after_flatbuffer, _TFLITE),
    "onnx": FileType("ONNX file", _card_in_onnx, ("onnx", "onnx-int8"), ("onnx",)),
    "safetensors": FileType("safetensors file", _card_in_safetensors, ("safetensors",)),
    "saved-model": FileType("SavedModel", _card_in_folder, ("saved-model",)),
    "openvino": FileType("OpenVINO folder", _card_in_folder, ("openvino",)),
}
