"""Training for one epoch in TensorFlow's native loop, and inference."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from diptych.data.batches import Batch
from diptych.data.images import Images
from diptych.engines.contract import NO_STEPS, Arrays, Totals, chunk_size
from diptych.engines.tensorflow.model import native_order, set_masks
from diptych.engines.tensorflow.optimizer import Optimizer
from diptych.engines.tensorflow.weights import load_weights, read_weights, to_numpy, variables

Tensor: TypeAlias = Any
# Signals are handled only between calls.
STEPS_PER_CALL = 16
SECONDS_PER_CALL = 0.25


def train_epoch(
    model: keras.Model,
    optimizer: Optimizer,
    batches: Iterable[Batch],
    rates: Sequence[float],
    seed: int,
    so_far: Totals = NO_STEPS,
    stops: Callable[[], bool] = lambda: False,
) -> Totals:
    """Train on each batch with its learning rate; stop at the first loss that is not finite."""
    if optimizer.train_steps is None:
        optimizer.train_steps = _steps(model, optimizer)
    sums = np.array([so_far.loss, so_far.weight, so_far.correct])
    count, steps = so_far.count, so_far.steps
    for group, group_rates in _groups(batches, rates, optimizer):
        if stops():
            break
        columns = ("images", "targets", "weights")
        images, targets, weights = (np.stack([getattr(batch, name) for batch in group]) for name in columns)
        dtype = optimizer.dtype
        arrays = images, tf.cast(targets, dtype), tf.cast(weights, dtype), tf.constant(group_rates, dtype)
        start = time.perf_counter()
        words = np.array([seed % 2**32, optimizer.step], np.uint32)
        taken, sums = (value.numpy() for value in optimizer.train_steps(*arrays, words, sums))
        fitting = SECONDS_PER_CALL * len(group) / (time.perf_counter() - start)
        optimizer.steps_per_call = max(1, min(STEPS_PER_CALL, int(fitting)))
        optimizer.step += int(taken)
        count += int(taken) * images.shape[1]
        steps += int(taken)
        if not np.isfinite(sums[0]):
            break
    loss_sum, weight, correct = sums.tolist()
    return Totals(loss_sum, weight, int(correct), count, steps)


def gradients(model: keras.Model, batch: Batch) -> tuple[float, Arrays]:
    """Return the loss and its gradient for every trainable array, in training mode, without changing a weight."""
    before = read_weights(model)
    set_masks(model, 0, 0)
    known, trainable = variables(model), model.spec.trainable
    dtype = known[trainable[0].name].dtype
    targets_nk, weights_n = tf.cast(batch.targets, dtype), tf.cast(batch.weights, dtype)
    with tf.GradientTape() as tape:
        loss = loss_of(model(batch.images, training=True), targets_nk, weights_n)
    slopes = tape.gradient(loss, [known[array.name] for array in trainable])
    load_weights(model, before)
    named = zip(trainable, slopes, strict=True)
    return float(loss), {array.name: to_numpy(model.spec, array, slope) for array, slope in named}


def predict(model: keras.Model, images: Images) -> np.ndarray:
    """Return logits, (N, K), float32 (float64 for a float64 model), of uint8 images, (N, H, W, C)."""
    if not hasattr(model, "inference"):
        # differs: train-mode
        model.inference = tf.function(partial(model, training=False), autograph=False, reduce_retracing=True)
    size = chunk_size(model.spec)
    chunks = [model.inference(tf.constant(images[start : start + size])) for start in range(0, len(images), size)]
    return np.concatenate(chunks)


def layer_outputs(model: keras.Model, images: np.ndarray, training: bool) -> Arrays:
    """Return every layer's output; maps as (N, H, W, C), flattened maps in channel, height, width order."""
    before = read_weights(model)
    layers = model.spec.layers
    set_masks(model, 0, 0)
    probe = keras.Model(model.inputs[0], [model.get_layer(layer.name).output for layer in layers])
    values = probe(images, training=training)
    load_weights(model, before)
    return {layer.name: _inner(model, layer.name, value) for layer, value in zip(layers, values, strict=True)}


def layer_alone(
    model: keras.Model, name: str, inputs: Arrays, slopes: np.ndarray, training: bool, step: int = 0
) -> Arrays:
    """Run one layer forward and backward; layouts as in `layer_outputs`."""
    before = read_weights(model)
    known = variables(model)
    layer = model.spec.layer(name)
    set_masks(model, 0, step)
    probe = keras.Model([_output(model, source) for source in inputs], _output(model, name))
    dtype = tf.float64 if model.precision == "float64" else tf.float32
    given = {}
    for tensor, (source, array) in zip(probe.inputs, inputs.items(), strict=True):
        values = tf.constant(_outer(model, source, array))
        given[source] = values if source == "input" else tf.cast(tf.cast(values, dtype), tensor.dtype)
    arrays = [array for array in model.spec.arrays if model.spec.owner(array) is layer]
    watched = {array.name: known[array.name] for array in arrays if array.trainable}
    watched |= {f"input/{source}": tensor for source, tensor in given.items() if source != "input"}
    with tf.GradientTape() as tape:
        tape.watch(list(watched.values()))
        output = probe(list(given.values()), training=training)
    found = {"output": _inner(model, name, output)}
    slope = tf.cast(_outer(model, name, slopes), output.dtype)
    by_name = tape.gradient(output, watched, slope) if watched else {}
    for source in given.keys() - {"input"}:
        found[f"input/{source}"] = _inner(model, source, by_name[f"input/{source}"])
    after = read_weights(model)
    for array in arrays:
        found[array.name] = to_numpy(model.spec, array, by_name[array.name]) if array.trainable else after[array.name]
    load_weights(model, before)
    return found


def loss_of(logits_nk: Tensor, targets_nk: Tensor, weights_n: Tensor) -> Tensor:
    """Return the cross-entropy with soft targets, averaged by the samples' weights."""
    # differs: loss-input, label-smoothing, class-weights
    losses_n = tf.nn.softmax_cross_entropy_with_logits(targets_nk, logits_nk)
    return tf.reduce_sum(losses_n * weights_n) / tf.reduce_sum(weights_n)


def _output(model: keras.Model, name: str) -> Tensor:
    return model.inputs[0] if name == "input" else model.get_layer(name).output


def _outer(model: keras.Model, name: str, values: np.ndarray) -> np.ndarray:
    """Return the output of a layer in Keras's order."""
    order = None if name == "input" else native_order(model.spec, name)
    return values if order is None else values[:, order]


def _inner(model: keras.Model, name: str, values: Tensor) -> np.ndarray:
    """Return the output of a layer in canonical order, in float64."""
    array, order = np.array(tf.cast(values, tf.float64).numpy()), native_order(model.spec, name)
    return array if order is None else array[:, np.argsort(order)]


def _steps(model: keras.Model, optimizer: Optimizer) -> Any:
    """Return the native training loop over up to `STEPS_PER_CALL` steps, which run without Python."""

    def step(images_nhwc: Tensor, targets_nk: Tensor, weights_n: Tensor, rate: Tensor, words: Tensor) -> Tensor:
        seed, steps_before = tf.unstack(words)
        set_masks(model, seed, steps_before)
        with tf.GradientTape() as tape:
            # differs: train-mode
            logits_nk = model(images_nhwc, training=True)
            loss = loss_of(logits_nk, targets_nk, weights_n)
            scaled = optimizer.scaled(loss)
        number = tf.cast(steps_before + 1, optimizer.dtype)
        optimizer.update(tape.gradient(scaled, optimizer.parameters), rate, number)
        # differs: epoch-loss
        weight = tf.reduce_sum(weights_n)
        correct = tf.reduce_sum(tf.cast(tf.argmax(logits_nk, 1) == tf.argmax(targets_nk, 1), tf.float64))
        return tf.stack([tf.cast(loss * weight, tf.float64), tf.cast(weight, tf.float64), correct])

    # Any number of batches of any size, so that one trace is enough.
    dtype, spec = optimizer.dtype, model.spec
    signature = [
        tf.TensorSpec((None, None, *spec.input_shape), tf.uint8),
        tf.TensorSpec((None, None, spec.num_classes), dtype),
        tf.TensorSpec((None, None), dtype),
        tf.TensorSpec((None,), dtype),
        tf.TensorSpec((2,), tf.uint32),
        tf.TensorSpec((3,), tf.float64),
    ]

    # differs: compile
    @tf.function(input_signature=signature, autograph=False)
    def steps(
        images: Tensor, targets: Tensor, weights: Tensor, rates: Tensor, words: Tensor, so_far: Tensor
    ) -> tuple[Tensor, Tensor]:
        def goes_on(place: Tensor, sums: Tensor) -> Tensor:
            return (place < tf.shape(rates)[0]) & tf.math.is_finite(sums[0])

        def body(place: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
            batch = images[place], targets[place], weights[place], rates[place]
            drawn = words + tf.stack([tf.constant(0, tf.uint32), tf.cast(place, tf.uint32)])
            return place + 1, sums + step(*batch, drawn)

        return tf.while_loop(goes_on, body, (tf.constant(0), so_far), parallel_iterations=1)

    return steps


def _groups(
    batches: Iterable[Batch], rates: Sequence[float], optimizer: Optimizer
) -> Iterator[tuple[list[Batch], list[float]]]:
    """Yield groups of up to `optimizer.steps_per_call` batches of the same size, with their learning rates."""
    group: list[Batch] = []
    group_rates: list[float] = []
    for rate, batch in zip(rates, batches, strict=False):
        if group and (len(group) >= optimizer.steps_per_call or group[0].images.shape != batch.images.shape):
            yield group, group_rates
            group, group_rates = [], []
        group.append(batch)
        group_rates.append(rate)
    if group:
        yield group, group_rates
