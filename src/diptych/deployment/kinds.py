"""Kinds of files: how one is told from the others, and how the card is read out of it without running anything in it.

Zip directories, HDF5 attributes, ONNX's and safetensors' metadata are parsed; frameworks and runtimes stay out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diptych.deployment.archives import check_archive
from diptych.engines.contract import CARD
from diptych.errors import ArtifactError

MOST_CARD_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Kind:
    """A kind of file: what to call it, how its card is read, by which packages, and which formats it may be."""

    title: str
    read: Callable[[Path], str | bytes | None]
    forms: tuple[str, ...]
    packages: tuple[str, ...] = ()


def kind_of(path: Path) -> Kind:
    """What kind of file, or of folder, this is.

    Raises:
        ArtifactError: it is of none that is known here.
        OSError: it cannot be read.
    """
    if path.is_dir():
        return _kind_of_folder(path)
    with path.open("rb") as file:
        head = file.read(8)
    known = {
        "zip": head[:2] == b"PK",
        "hdf5": head == b"\x89HDF\r\n\x1a\n",
        "tflite": head[4:8] == b"TFL3",
        "onnx": path.suffix == ".onnx",
        "safetensors": path.suffix == ".safetensors",
    }
    found = next((name for name, fits in known.items() if fits), None)
    if found is None:
        raise ArtifactError(f"'{path}' is of no format that is known here: it starts {head!r}.")
    return _kind_of_archive(path) if found == "zip" else _KINDS[found]


def _kind_of_folder(path: Path) -> Kind:
    for kind, part in (("openvino", "model.xml"), ("saved-model", "1/saved_model.pb")):
        if (path / part).exists():
            return _KINDS[kind]
    raise ArtifactError(f"'{path}' is neither a SavedModel ('1/saved_model.pb') nor OpenVINO's ('model.xml').")


def _kind_of_archive(path: Path) -> Kind:
    """Told by what its own loader looks for, because PyTorch's formats share their suffixes."""
    with check_archive(path) as archive:
        names = {name.partition("/")[2] or name for name in archive.namelist()}
    for kind, mark in _MARKS:
        if mark in names:
            return _KINDS[kind]
    raise ArtifactError(f"'{path}' is a zip archive of no format that is known here.")


def _in_zip(path: Path) -> bytes | None:
    with check_archive(path) as archive:
        places = [entry for entry in archive.infolist() if entry.filename.rpartition("/")[2] == CARD]
        if len(places) > 1:
            raise ArtifactError(f"'{path}' carries {len(places)} cards; one is wanted.")
        if not places:
            return None
        if places[0].file_size > MOST_CARD_BYTES:
            raise ArtifactError(f"The card in '{path}' has {places[0].file_size:,} bytes; at most {MOST_CARD_BYTES:,}.")
        text = archive.read(places[0])
    if len(text) != places[0].file_size:
        raise ArtifactError(f"The card in '{path}' has {len(text):,} bytes, not {places[0].file_size:,} as it says.")
    return text


def _behind_flatbuffer(path: Path) -> bytes | None:
    with path.open("rb") as file:
        file.seek(-min(22, path.stat().st_size), 2)
        has_archive = file.read(4) == b"PK\5\6"
    return _in_zip(path) if has_archive else None


def _in_hdf5(path: Path) -> str | None:
    from diptych.engines.hdf5 import root_attributes

    return _text(root_attributes(path, str(path)).get(CARD), path)


def _in_onnx(path: Path) -> str | None:
    from diptych.deployment.programs import read_card

    return read_card(path)


def _in_safetensors(path: Path) -> str | None:
    import safetensors

    with safetensors.safe_open(path, framework="np") as file:
        return (file.metadata() or {}).get(CARD)


def _in_saved_model(path: Path) -> bytes | None:
    return _file_in(path / "1" / "assets" / CARD)


def _in_openvino(path: Path) -> bytes | None:
    return _file_in(path / CARD)


def _file_in(path: Path) -> bytes | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(MOST_CARD_BYTES)


def _text(value: object, path: Path) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ArtifactError(f"The card in '{path}' is a {type(value).__name__}; wanted text.")
    return value


_LITE = ("tflite", "tflite-fp16", "tflite-dynamic", "tflite-int8")
_MARKS = (
    ("keras", "config.json"),
    ("torchscript", "constants.pkl"),
    ("torch-export", "archive_format"),
    ("torch-export", "serialized_exported_program.json"),  # before PyTorch 2.8
    ("state-dict", "data.pkl"),
)
_KINDS = {
    "keras": Kind("Keras archive", _in_zip, ("keras",)),
    "torchscript": Kind("TorchScript archive", _in_zip, ("torchscript",)),
    "torch-export": Kind("torch.export archive", _in_zip, ("torch-export",)),
    "state-dict": Kind("PyTorch archive of weights", _in_zip, ("state-dict",)),
    "hdf5": Kind("HDF5 file", _in_hdf5, ("h5", "weights-h5"), ("h5py",)),
    "tflite": Kind("TensorFlow Lite file", _behind_flatbuffer, _LITE),
    "onnx": Kind("ONNX file", _in_onnx, ("onnx", "onnx-int8"), ("onnx",)),
    "safetensors": Kind("safetensors file", _in_safetensors, ("safetensors",)),
    "saved-model": Kind("SavedModel", _in_saved_model, ("saved-model",)),
    "openvino": Kind("OpenVINO folder", _in_openvino, ("openvino",)),
}
