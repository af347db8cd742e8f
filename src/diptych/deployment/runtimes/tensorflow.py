"""TensorFlow and Keras: their whole-model formats, and models built from the card's spec with weights from a file.

A `.keras` archive is checked before Keras opens it: only layers and entries that diptych writes are allowed. Keras's
safe mode has missed other classes (CVE-2025-1550, CVE-2025-8747, CVE-2025-9906), and its HDF5 reader has read other
files (CVE-2026-1669) and endless arrays (CVE-2026-0897).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from diptych.deployment.file_types import Artifact, open_zip
from diptych.deployment.runtimes import Infer
from diptych.deployment.transfer import read_weights
from diptych.engines import get
from diptych.engines.contract import CARD, INPUT, OUTPUTS
from diptych.engines.hdf5 import read_tree
from diptych.errors import ArtifactError

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_ENTRIES = {"metadata.json", _CONFIG, _WEIGHTS, CARD}
_MAX_CONFIG_BYTES = 4 * 2**20
_CLASSES = frozenset(
    "Functional Sequential InputLayer Rescaling Conv2D DepthwiseConv2D ZeroPadding2D BatchNormalization ReLU "
    "LeakyReLU Activation MaxPooling2D AveragePooling2D GlobalAveragePooling2D Permute Reshape Flatten Dense "
    "Dropout Add Concatenate Identity Softmax DTypePolicy GlorotUniform Zeros Ones Pad AveragePool Divide "
    "__keras_tensor__ __numpy__ __tensor__".split()
)


def load_tensorflow(artifact: Artifact, threads: int) -> Infer:
    """Build the model of the card's spec as one TensorFlow function."""
    engine = get("tensorflow")
    engine.configure(threads)
    weights = read_weights(artifact.path, artifact.card.spec)  # first, because a false card could ask for a huge model
    model = engine.build(artifact.card.spec)
    engine.load_weights(model, weights)

    def call(images: Any) -> dict[str, Any]:
        logits_nk = model(images, training=False)
        return dict(zip(OUTPUTS, (logits_nk, tf.nn.softmax(logits_nk)), strict=True))

    return _named(tf.function(call, autograph=False, reduce_retracing=True))


def load_keras(artifact: Artifact, threads: int) -> Infer:
    """Load a `.keras` or `.h5` file as one TensorFlow function."""
    get("tensorflow").configure(threads)
    if artifact.form.name == "keras":
        _check_size(artifact, _checked_config(artifact))
    model = keras.models.load_model(artifact.path, compile=False, safe_mode=True)
    return _named(tf.function(lambda images: model(images, training=False), autograph=False, reduce_retracing=True))


def load_saved_model(artifact: Artifact, threads: int) -> Infer:
    """Load a SavedModel's signature for pixels."""
    get("tensorflow").configure(threads)
    module = tf.saved_model.load(str(artifact.path / "1"))
    # The module is kept with its signature, or its variables would be freed.
    return _named(lambda images: module.signatures["serving_default"](**{INPUT: images}))


def _named(call: Callable[[Any], dict[str, Any]]) -> Infer:
    def infer(images_nhwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answer = call(tf.constant(images_nhwc))
        return answer[OUTPUTS[0]].numpy(), answer[OUTPUTS[1]].numpy()

    return infer


def _check_size(artifact: Artifact, config: str) -> None:
    """Raise if the configuration has another size than the card's model; in a graph, no array is allocated."""
    with tf.Graph().as_default():
        size = keras.models.model_from_json(config).count_params()
    expected = sum(array.size for array in artifact.card.spec.arrays)
    if size != expected:
        raise ArtifactError(f"'{artifact.path}' builds a model of {size:,} parameters; its card says {expected:,}.")


def _checked_config(artifact: Artifact) -> str:
    """Return the JSON configuration of a Keras archive after checking every part of the archive."""
    path = artifact.path
    if path.suffix != ".keras":  # Keras chooses its reader by the suffix; the same file may be something else as '.h5'
        raise ArtifactError(f"'{path}' is a Keras archive; its name must end in '.keras'.")
    with open_zip(path) as archive:
        unexpected = [name for name in archive.namelist() if name not in _ENTRIES]
        if unexpected:
            raise ArtifactError(f"'{path}' has the entry {unexpected[0]!r:.60}, which diptych does not write.")
        if archive.getinfo(_CONFIG).file_size > _MAX_CONFIG_BYTES:
            raise ArtifactError(f"'{path}': its {_CONFIG} has more than {_MAX_CONFIG_BYTES:,} bytes.")
        config = archive.read(_CONFIG).decode()
        read_tree(io.BytesIO(archive.read(_WEIGHTS)), str(path), arrays=False)
    for module, name, registered in _classes(json.loads(config)):
        is_known = name in _CLASSES and module.partition(".")[0] in ("keras", "builtins", "")
        if not is_known or registered not in (None, name):
            raise ArtifactError(f"'{path}' asks for {f'{module}.{name}'!r:.80}, which diptych does not write.")
    return config


def _classes(value: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield every module, class and registered name in a Keras configuration."""
    if isinstance(value, dict):
        if {"class_name", "registered_name"} & value.keys():
            yield str(value.get("module") or ""), str(value.get("class_name")), value.get("registered_name")
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _classes(part)
