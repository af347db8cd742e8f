"""Build a spec as a `keras.Model`; corresponds case by case to the PyTorch engine's model.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from diptych.engines import masks
from diptych.engines.contract import INPUT, Pixels
from diptych.spec import Layer, ModelSpec
from diptych.spec import layers as L

Tensor: TypeAlias = Any
Call: TypeAlias = Callable[..., Tensor]


def build(spec: ModelSpec, precision: str = "float32", plain: Pixels | None = None) -> keras.Model:
    """Build the model of `spec`: uint8 images, (N, H, W, C), in; float logits, (N, K), out."""
    # differs: image-layout
    dtype = "uint8" if plain in (None, "uint8") else "float32"
    images_nhwc = keras.Input(spec.input_shape, dtype=dtype, name=INPUT)
    # differs: mixed-precision
    reduced = f"mixed_{precision}" if precision in ("bfloat16", "float16") else precision
    ends = (spec.layers[0], spec.layers[-1])
    policies = ["float32" if layer in ends and reduced != precision else reduced for layer in spec.layers]
    calls = [_calls(spec, layer, policy, plain) for layer, policy in zip(spec.layers, policies, strict=True)]
    flat = [call for group in calls for call in group]
    if spec.is_chain and all(isinstance(call, keras.layers.Layer) for call in flat):
        model = keras.Sequential([images_nhwc, *flat], name=spec.name)
    else:
        values = {"input": images_nhwc}
        for layer, (first, *rest) in zip(spec.layers, calls, strict=True):
            value = first(*(values[name] for name in layer.inputs))
            for call in rest:
                value = call(value)
            values[layer.name] = value
        model = keras.Model(images_nhwc, value, name=spec.name)
    if plain:  # Keras casts all images to the input's format, and a Sequential does so before it checks them
        model.autocast = plain != "uint8"
        accepted, shape = None if plain == "0-255" else dtype, (None, *spec.input_shape)
        model.input_spec = keras.InputSpec(accepted, shape, allow_last_axis_squeeze=True, name=INPUT)
    model.spec, model.precision = spec, precision
    return model


def set_masks(model: keras.Model, seed: Tensor, step: Tensor) -> None:
    """Choose the dropout masks of the next forward passes in training."""
    drawn = _mix(_mix(tf.cast(seed, tf.uint32)) ^ tf.cast(step, tf.uint32))
    for layer in model.layers:
        if isinstance(layer, Dropout):
            layer.key = _mix(drawn ^ masks.layer_word(layer.name))


def _mix(words: Tensor) -> Tensor:
    """Return the hash of 32-bit words; see `engines.masks`."""
    for shift, factor in masks.ROUNDS:
        words = (words ^ tf.bitwise.right_shift(words, shift)) * factor
    return words


def _calls(spec: ModelSpec, layer: Layer, policy: str, plain: Pixels | None) -> list[Call]:  # noqa: PLR0912  (a table)
    """Return what to call in sequence; the last is a Keras layer with the spec's name."""
    named = {"name": layer.name, "dtype": policy}
    shape = spec.input_shapes(layer)[0]
    match layer:
        case L.Normalize(mean=mean, std=std):
            # differs: rescaling-constants
            scale, offset = (np.array(values, policy) for values in L.scale_and_offset(mean, std))
            return [keras.layers.Rescaling(scale * 255 if plain == "0-1" else scale, offset, **named)]
        case L.Conv():
            return _conv(layer, shape[-1], named)
        case L.BatchNorm():
            # differs: norm-epsilon, norm-momentum, norm-running-variance
            norm = keras.layers.BatchNormalization if plain else partial(BatchNorm, layer.running_variance)
            return [norm(momentum=layer.decay, epsilon=layer.epsilon, **named)]
        case L.Activation():
            return _activation(layer, named)
        case L.MaxPool():
            # differs: max-pool-padding
            pool = keras.layers.MaxPooling2D(layer.kernel, layer.strides, padding="valid", **named)
            pads = _pads(layer.padding)
            return [partial(ops.pad, pad_width=pads, constant_values=-np.inf), pool] if any(layer.padding) else [pool]
        case L.AvgPool():
            # differs: avg-pool-padding
            pool = keras.layers.AveragePooling2D(layer.kernel, layer.strides, padding="valid", **named)
            padded = [*_padded_mean(layer, shape, pool.compute_dtype), keras.layers.Identity(**named)]
            return padded if any(layer.padding) else [pool]
        case L.GlobalAvgPool():
            return [keras.layers.GlobalAveragePooling2D(**named)]
        case L.Flatten():
            # differs: flatten-order
            permute = keras.layers.Permute((3, 1, 2), name=f"{layer.name}.permute", dtype=policy)
            flatten = keras.layers.Flatten(**named)
            return [permute, flatten] if len(shape) == 3 and not spec.only_feeds_dense(layer) else [flatten]
        case L.Dense(units=units, use_bias=use_bias):
            return [keras.layers.Dense(units, use_bias=use_bias, **named)]
        case L.Dropout(rate=rate, mode=mode):
            # differs: dropout-stream
            if not plain:
                return [Dropout(layer, shape, native_order(spec, layer.name), **named)]
            noise = {"channel": (None, 1, 1, None), "sample": (None, *[1] * len(shape))}.get(mode)
            return [keras.layers.Dropout(rate, noise_shape=noise, seed=spec.layers.index(layer), **named)]
        case L.Add():
            return [lambda *inputs: keras.layers.Add(**named)(list(inputs))]
        case L.Concat():
            return [lambda *inputs: keras.layers.Concatenate(axis=-1, **named)(list(inputs))]
        case L.PadChannels():
            return _pad_channels(layer, shape, named)


def _conv(layer: L.Conv, channels: int, named: dict[str, str]) -> list[Call]:
    # differs: same-padding
    symmetric = (layer.kernel[0] // 2,) * 2 + (layer.kernel[1] // 2,) * 2
    odd = all(size % 2 for size in layer.kernel)
    same = layer.strides == (1, 1) and odd and layer.padding == symmetric
    top, bottom, left, right = layer.padding
    margins = keras.layers.ZeroPadding2D(((top, bottom), (left, right)), name=f"{layer.name}.pad", dtype=named["dtype"])
    settings = {"strides": layer.strides, "padding": "same" if same else "valid", "use_bias": layer.use_bias}
    if is_depthwise(layer, channels):
        multiplier = layer.filters // channels
        conv = keras.layers.DepthwiseConv2D(layer.kernel, depth_multiplier=multiplier, **settings, **named)
    else:
        conv = keras.layers.Conv2D(layer.filters, layer.kernel, groups=layer.groups, **settings, **named)
    return [conv] if same or not any(layer.padding) else [margins, conv]


def is_depthwise(layer: L.Conv, channels: int) -> bool:
    """Whether the convolution is built as Keras's faster depthwise layer, which has its own kernel layout."""
    return 1 < layer.groups == channels and layer.strides[0] == layer.strides[1]


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


def _activation(layer: L.Activation, named: dict[str, str]) -> list[Call]:
    # differs: constant-cast
    exact = named["dtype"] == "float64"
    match layer.function:
        case "relu":
            return [keras.layers.ReLU(**named)]
        case "leaky_relu":
            # differs: leaky-relu
            if exact:
                return [partial(_leaky_relu, slope=layer.slope), keras.layers.Identity(**named)]
            return [keras.layers.LeakyReLU(negative_slope=layer.slope, **named)]
        case "gelu":
            # differs: gelu
            return [_gelu, keras.layers.Identity(**named)] if exact else [keras.layers.Activation("gelu", **named)]
        case "silu" | "tanh" | "sigmoid" as name:
            return [keras.layers.Activation(name, **named)]


def _leaky_relu(values: Tensor, slope: float) -> Tensor:
    """Leaky ReLU with a float64 slope; `tf.nn.leaky_relu` rounds it to float32."""
    return ops.where(values > 0.0, values, slope * values)


def _gelu(values: Tensor) -> Tensor:
    """GELU with a float64 √2; `tf.nn.gelu` rounds it to float32."""
    return 0.5 * values * (1.0 + ops.erf(values / 2**0.5))


class BatchNorm(keras.layers.BatchNormalization):
    """Keras's layer with the spec's running variance and TensorFlow's fused kernel (3 times faster on a CPU).

    Weights and configuration are those of Keras's layer, which replaces it in plain and exported models. The raw
    operation is called because older versions of `tf.compat.v1.nn.fused_batch_norm` raise epsilon to at least 1.001e-5.
    """

    def __init__(self, running_variance: L.RunningVariance, **settings: Any) -> None:
        super().__init__(**settings)
        self.biased = running_variance == "biased"

    def call(self, inputs: Tensor, training: bool | None = None, mask: None = None) -> Tensor:
        """Return normalized values of the same shape; in training, update the running statistics."""
        if inputs.dtype == "float64":
            return self._call_float64(inputs, training)
        maps = inputs if len(inputs.shape) == 4 else inputs[:, None, None, :]
        fused = tf.raw_ops.FusedBatchNormV3(
            x=maps,
            scale=self.gamma,
            offset=self.beta,
            mean=self.moving_mean,
            variance=self.moving_variance,
            epsilon=self.epsilon,
            exponential_avg_factor=1.0 - self.momentum,
            is_training=bool(training),
        )
        if training:
            variance = fused.batch_variance
            if self.biased:
                share = 1.0 / self._count(inputs)
                variance = self.momentum * share * self.moving_variance + (1.0 - share) * variance
            self.moving_mean.assign(fused.batch_mean)
            self.moving_variance.assign(variance)
        return fused.y if len(inputs.shape) == 4 else fused.y[:, 0, 0, :]

    def _call_float64(self, inputs: Tensor, training: bool | None) -> Tensor:
        """The same in float64, which the fused kernel does not support."""
        mean, variance = self.moving_mean.value, self.moving_variance.value
        if training:
            mean, variance = tf.nn.moments(inputs, list(range(len(inputs.shape) - 1)))
            count = self._count(inputs)
            sample = variance if self.biased else variance * count / (count - 1.0)
            self.moving_mean.assign(self.momentum * self.moving_mean + (1.0 - self.momentum) * mean)
            self.moving_variance.assign(self.momentum * self.moving_variance + (1.0 - self.momentum) * sample)
        return tf.nn.batch_normalization(inputs, mean, variance, self.beta, self.gamma, self.epsilon)

    def _count(self, inputs: Tensor) -> Tensor:
        """Number of values per channel."""
        return tf.cast(tf.size(inputs) / inputs.shape[-1], self.moving_variance.dtype)


class Dropout(keras.layers.Layer):
    """Dropout with the masks of `engines.masks`, drawn by `key`."""

    def __init__(self, layer: L.Dropout, shape: L.Shape, order: np.ndarray | None, **named: str) -> None:
        super().__init__(**named)
        self.rate, self.key = layer.rate, np.uint32(masks.key(0, 0, layer.name))
        self.offsets = masks.offsets(layer, shape)
        if order is not None and layer.mode == "element":
            self.offsets = self.offsets[order]

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Return the values with some of them zero and the others scaled, in training."""
        if not (training and self.rate):
            return inputs
        stride = tf.constant(self.offsets.size * masks.STRIDE % masks.BITS, tf.uint32)
        first_n = tf.cast(tf.range(tf.shape(inputs)[0]), tf.uint32) * stride + self.key
        words = _mix(tf.reshape(first_n, (-1, *[1] * self.offsets.ndim)) + self.offsets)
        kept = tf.cast(words >= tf.constant(masks.least(self.rate), tf.uint32), inputs.dtype)
        return inputs * (kept * tf.constant(1.0 / (1.0 - self.rate), inputs.dtype))


def _pads(padding: L.Padding) -> list[tuple[int, int]]:
    top, bottom, left, right = padding
    return [(0, 0), (top, bottom), (left, right), (0, 0)]


def _pad_channels(layer: L.PadChannels, shape: L.Shape, named: dict[str, str]) -> list[Call]:
    """Pad channels with Keras's own layers: the channels become the columns of one long map."""
    *area, channels = shape
    rows, policy = int(np.prod(area)), named["dtype"]
    margins = ((0, 0), (layer.before, layer.after))
    return [
        keras.layers.Reshape((rows, channels, 1), name=f"{layer.name}.rows", dtype=policy),
        keras.layers.ZeroPadding2D(margins, name=f"{layer.name}.margins", dtype=policy),
        keras.layers.Reshape((*area, layer.before + channels + layer.after), **named),
    ]


def _padded_mean(layer: L.AvgPool, shape: L.Shape, dtype: str) -> list[Call]:
    """Average pooling without padding in the divisor: pad with zeros, pool, divide by the window's share of the map."""
    pool = partial(ops.average_pool, pool_size=layer.kernel, strides=layer.strides, padding="valid")
    covered = np.pad(np.ones(shape[:2]), _pads(layer.padding)[1:3])
    windows = np.lib.stride_tricks.sliding_window_view(covered, layer.kernel)
    share = windows[:: layer.strides[0], :: layer.strides[1]].mean((2, 3))
    return [
        lambda maps: ops.pad(ops.cast(maps, dtype), _pads(layer.padding)),
        pool,
        lambda maps: ops.divide(maps, ops.cast(share[None, :, :, None], maps.dtype)),
    ]
