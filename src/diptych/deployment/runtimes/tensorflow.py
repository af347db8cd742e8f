"""Keras's and TensorFlow's own whole-model files, and models from weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from diptych.deployment.containers import Artifact
from diptych.deployment.keras_archives import checked_config
from diptych.deployment.runtimes import Infer
from diptych.deployment.runtimes.weights import arrays
from diptych.engines import get
from diptych.engines.contract import INPUT, OUTPUTS
from diptych.errors import ArtifactError


def function(artifact: Artifact, threads: int) -> Infer:
    """The model of the file's spec, as one function."""
    engine = get("tensorflow")
    engine.configure(threads)
    held = arrays(artifact)  # before a model is built, as large as the card says
    model = engine.build(artifact.card.spec)
    engine.load_weights(model, held)

    def call(images: Any) -> dict[str, Any]:
        logits_nk = model(images, training=False)
        return dict(zip(OUTPUTS, (logits_nk, tf.nn.softmax(logits_nk)), strict=True))

    return _named(tf.function(call, autograph=False, reduce_retracing=True))


def keras_model(artifact: Artifact, threads: int) -> Infer:
    """A `.keras` or `.h5` file, as one function."""
    get("tensorflow").configure(threads)
    if artifact.form.name == "keras":
        _check_size(artifact, checked_config(artifact.path))
    model = keras.models.load_model(artifact.path, compile=False, safe_mode=True)
    return _named(tf.function(lambda images: model(images, training=False), autograph=False, reduce_retracing=True))


def saved_model(artifact: Artifact, threads: int) -> Infer:
    """A SavedModel's signature on pixels."""
    get("tensorflow").configure(threads)
    module = tf.saved_model.load(str(artifact.path / "1"))
    signature = module.signatures["serving_default"]

    def call(images: Any) -> dict[str, Any]:
        assert module is not None  # its variables live as long as it does
        return signature(**{INPUT: images})  # type: ignore[no-any-return]

    return _named(call)


def _named(call: Callable[[Any], dict[str, Any]]) -> Infer:
    def infer(images_nhwc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answer = call(tf.constant(images_nhwc))
        return answer[OUTPUTS[0]].numpy(), answer[OUTPUTS[1]].numpy()

    return infer


def _check_size(artifact: Artifact, config: str) -> None:
    """Refuse a configuration that is of another size than the card's model; in a graph no array is made."""
    with tf.Graph().as_default():
        found = keras.models.model_from_json(config).count_params()
    wanted = sum(array.size for array in artifact.card.spec.arrays)
    if found != wanted:
        raise ArtifactError(f"'{artifact.path}' builds a model of {found:,} numbers; its card tells of {wanted:,}.")
