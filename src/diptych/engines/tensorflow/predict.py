"""Inference: logits for any number of images, and what every layer gives, for parity."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from diptych.data.images import Images
from diptych.engines.contract import Arrays
from diptych.engines.tensorflow.weights import load_weights, native_order, read_weights

CHUNK = 256


def predict(model: keras.Model, images: Images) -> np.ndarray:
    """Logits, (N, K), float32 (float64 for a float64 model), of uint8 images, (N, H, W, C)."""
    if not hasattr(model, "inference"):
        # differs: train-mode
        model.inference = tf.function(
            lambda batch: model(batch, training=False), autograph=False, reduce_retracing=True
        )
    chunks = [model.inference(tf.constant(images[start : start + CHUNK])) for start in range(0, len(images), CHUNK)]
    return np.concatenate(chunks)


def layer_outputs(model: keras.Model, images: np.ndarray, training: bool) -> Arrays:
    """Output of every layer by name; maps as (N, H, W, C), flattened maps in channel, height, width order."""
    before = read_weights(model)
    layers = model.spec.layers
    probe = keras.Model(model.inputs[0], [model.get_layer(layer.name).output for layer in layers])
    values = probe(images, training=training)
    load_weights(model, before)
    outputs = {
        layer.name: np.array(tf.cast(value, tf.float64).numpy()) for layer, value in zip(layers, values, strict=True)
    }
    for layer in layers:
        order = native_order(model.spec, layer.name)
        if order is not None:
            outputs[layer.name] = outputs[layer.name][:, np.argsort(order)]
    return outputs
