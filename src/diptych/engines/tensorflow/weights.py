"""Weights between NumPy, in canonical layout (PyTorch's), and Keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from diptych.engines.contract import Arrays, check_arrays
from diptych.engines.tensorflow.model import is_depthwise
from diptych.spec import ArraySpec, ModelSpec
from diptych.spec import layers as L

Variable: TypeAlias = Any
_ATTRIBUTES = {
    "kernel": "kernel",
    "bias": "bias",
    "scale": "gamma",
    "shift": "beta",
    "mean": "moving_mean",
    "variance": "moving_variance",
}


def read_weights(model: keras.Model) -> Arrays:
    """Return every array of a model, running statistics included, by canonical name in canonical layout."""
    known = variables(model)
    return {array.name: to_numpy(model.spec, array, known[array.name]) for array in model.spec.arrays}


def load_weights(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Load arrays into a model."""
    check_arrays(arrays, model.spec.arrays, f"the weights of {model.spec.name}")
    known = variables(model)
    for array in model.spec.arrays:
        from_numpy(model.spec, array, known[array.name], arrays[array.name])


def variables(model: keras.Model) -> dict[str, Variable]:
    """Return the model's variable of every array, by canonical name."""
    owners = {array: model.get_layer(model.spec.owner(array).name) for array in model.spec.arrays}
    return {array.name: getattr(layer, _ATTRIBUTES[array.role]) for array, layer in owners.items()}


def to_numpy(spec: ModelSpec, array: ArraySpec | None, variable: Variable) -> np.ndarray:
    """Return a copy in canonical layout; without `array`, in the variable's layout."""
    native = np.array(variable.numpy())
    if array is None:
        return native
    match spec.owner(array):
        case L.Conv() as conv:
            # differs: conv-kernel-axes
            if array.role == "kernel" and is_depthwise(conv, spec.input_shapes(conv)[0][-1]):
                return np.ascontiguousarray(native.transpose(2, 3, 0, 1)).reshape(array.shape)
            return np.ascontiguousarray(native.transpose(3, 2, 0, 1)) if array.role == "kernel" else native
        case L.Dense() as dense if array.role == "kernel":
            # differs: dense-kernel-axes
            order = native_order(spec, dense.inputs[0])
            return np.ascontiguousarray((native if order is None else native[np.argsort(order)]).T)
        case _:
            return native


def from_numpy(spec: ModelSpec, array: ArraySpec | None, variable: Variable, values: np.ndarray) -> None:
    """Set a variable to values in canonical layout; without `array`, in the variable's layout."""
    match array and array.role == "kernel" and spec.owner(array):
        case L.Conv() as conv:
            # differs: conv-kernel-axes
            channels = spec.input_shapes(conv)[0][-1]
            if is_depthwise(conv, channels):
                values = values.reshape(channels, -1, *conv.kernel).transpose(2, 3, 0, 1)
            else:
                values = values.transpose(2, 3, 1, 0)
        case L.Dense() as dense:
            # differs: dense-kernel-axes
            order = native_order(spec, dense.inputs[0])
            values = values.T if order is None else values.T[order]
    native(variable).assign(tf.cast(values, variable.dtype))


def native_order(spec: ModelSpec, name: str) -> np.ndarray | None:
    """Return the canonical index of each element of the layer's output in Keras; None if the order is the same.

    A Flatten that only feeds Dense layers keeps Keras's height, width, channel order; the kernels' rows are permuted.
    """
    # differs: flatten-order
    flatten = spec.flatten_behind(spec.layer(name))
    if flatten is None or not spec.only_feeds_dense(flatten):
        return None
    height, width, channels = spec.input_shapes(flatten)[0]
    return np.arange(height * width * channels).reshape(channels, height, width).transpose(1, 2, 0).ravel()


def native(variable: Variable) -> tf.Variable:
    """Return the TensorFlow variable of a Keras variable."""
    return variable if isinstance(variable, tf.Variable) else variable.value
