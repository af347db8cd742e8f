"""Weights files, whoever wrote them: which format one is, whether it may be read at all, and what it holds."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors

from diptych.deployment.archives import check_archive
from diptych.deployment.card import Card
from diptych.deployment.containers import find_card
from diptych.deployment.formats import FORMATS, Format
from diptych.engines.contract import MOST_BYTES, Stored
from diptych.errors import ArtifactError, UsageError, in_one_line

SUFFIXES = {
    ".pt": "state-dict",
    ".pth": "state-dict",
    ".th": "state-dict",
    ".safetensors": "safetensors",
    ".keras": "keras",
    ".weights.h5": "weights-h5",
    ".h5": "h5",
}
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def format_of(path: Path) -> Format:
    """The format that a file's name says.

    Raises:
        UsageError: it says none that holds weights.
    """
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
    if suffix is None:
        raise UsageError(f"'{path}' is of no kind that transfer knows; wanted a name with {', '.join(SUFFIXES)}.")
    return FORMATS[SUFFIXES[suffix]]


def read_card(path: Path) -> Card | None:
    """What a file says of itself; None where it says nothing.

    Raises:
        ArtifactError: there is no such file, or it is damaged or too large.
        UsageError: its name says no format that holds weights.
    """
    _check(path)
    # PyTorch's files from before 2020 are pickles, which nobody else reads.
    is_pickle = format_of(path).name == "state-dict" and not zipfile.is_zipfile(path)
    return None if is_pickle else find_card(path)


def read_stored(path: Path, reader: Callable[[str], Callable[[Path], Stored]]) -> Stored:
    """What a file holds; nothing in it is run.

    Args:
        path: the file.
        reader: `read_file` of the engine of that name.

    Raises:
        ArtifactError: there is no such file, it is damaged or too large, or holds more than weights.
        UsageError: its name says no format that holds weights.
    """
    _check(path)
    writers = format_of(path).writers
    return reader(writers[0])(path) if writers else _safetensors(path)


def _check(path: Path) -> None:
    """Refuse what is not there, and what is not of a sane size."""
    format_of(path)
    if not path.is_file():
        raise ArtifactError(f"There is no file '{path}'.")
    if path.stat().st_size > MOST_BYTES:
        raise ArtifactError(f"'{path}' has {path.stat().st_size:,} bytes; at most {MOST_BYTES:,} are read.")
    if zipfile.is_zipfile(path):
        check_archive(path).close()


def _safetensors(path: Path) -> Stored:
    """Its floats; bfloat16, which NumPy lacks and its own reader refuses, as float32, to the bit."""
    try:
        entries = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except (OSError, safetensors.SafetensorError) as error:
        raise ArtifactError(f"Cannot read '{path}': it is no whole safetensors file ({in_one_line(error)}).") from error
    arrays = {}
    for name, entry in entries:
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(entry["data"], "<u2").astype("<u4") << 16).view("<f4")
        elif entry["dtype"] in _FLOATS:
            values = np.frombuffer(entry["data"], _FLOATS[entry["dtype"]])
        else:  # counters, which are no weights
            continue
        arrays[name] = values.reshape(entry["shape"])
    return Stored(arrays)
