"""`.keras` archives, looked over before Keras sees them: classes that the TensorFlow engine writes, and plain arrays.

Keras's own safe mode has let other classes through before (CVE-2025-1550, CVE-2025-8747, CVE-2025-9906), and its HDF5
reader other files' content (CVE-2026-1669) and arrays without end (CVE-2026-0897).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diptych.deployment.archives import check_archive
from diptych.engines.contract import CARD
from diptych.errors import ArtifactError

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_ENTRIES = {"metadata.json", _CONFIG, _WEIGHTS, CARD}
_MOST_CONFIG_BYTES = 4 * 2**20
_CLASSES = frozenset(
    "Functional Sequential InputLayer Rescaling Conv2D DepthwiseConv2D ZeroPadding2D BatchNormalization ReLU "
    "LeakyReLU Activation MaxPooling2D AveragePooling2D GlobalAveragePooling2D Permute Reshape Flatten Dense "
    "Dropout Add Concatenate Identity Softmax DTypePolicy GlorotUniform Zeros Ones Pad AveragePool Divide "
    "__keras_tensor__ __numpy__ __tensor__".split()
)


def checked_config(path: Path) -> str:
    """The model's configuration, JSON, in an archive of which every part is as diptych writes it.

    Raises:
        ArtifactError: it holds anything else.
    """
    from diptych.engines.hdf5 import root_attributes

    if path.suffix != ".keras":  # by which Keras chooses its reader: as '.h5' the file may be something else entirely
        raise ArtifactError(f"'{path}' is a Keras archive; wanted a name that ends in '.keras'.")
    with check_archive(path) as archive:
        strange = [name for name in archive.namelist() if name not in _ENTRIES]
        if strange:
            raise ArtifactError(f"'{path}' holds {strange[0]!r:.60}, which diptych does not write.")
        if archive.getinfo(_CONFIG).file_size > _MOST_CONFIG_BYTES:
            raise ArtifactError(f"'{path}': its {_CONFIG} has more than {_MOST_CONFIG_BYTES:,} bytes.")
        text = archive.read(_CONFIG).decode()
        root_attributes(io.BytesIO(archive.read(_WEIGHTS)), str(path))
    for module, name, registered in _classes(json.loads(text)):
        known = name in _CLASSES and module.partition(".")[0] in ("keras", "builtins", "")
        if not known or registered not in (None, name):
            raise ArtifactError(f"'{path}' wants {f'{module}.{name}'!r:.80}, which diptych does not write.")
    return text


def _classes(value: Any) -> Iterator[tuple[str, str, Any]]:
    """Every module, class and registered name that a Keras configuration asks for."""
    if isinstance(value, dict):
        if {"class_name", "registered_name"} & value.keys():
            yield str(value.get("module") or ""), str(value.get("class_name")), value.get("registered_name")
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _classes(part)
