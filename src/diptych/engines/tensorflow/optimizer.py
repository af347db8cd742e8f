"""Optimizers: TensorFlow's fused kernels where they have the required form, else written out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from diptych.engines import contract
from diptych.engines.contract import Arrays
from diptych.engines.tensorflow.weights import from_numpy, to_numpy, variables
from diptych.spec import ArraySpec, ModelSpec, Recipe

Tensor: TypeAlias = Any
State: TypeAlias = dict[str, tf.Variable]


class Optimizer:
    """An optimizer of a model's weights with its state, step count and weight average."""

    def __init__(self, model: keras.Model, recipe: Recipe) -> None:
        known = variables(model)
        self.spec = model.spec
        self.recipe = recipe
        self.step = 0
        self.parameters = [known[array.name] for array in model.spec.trainable]
        # differs: weight-decay
        self.decays = [array.role not in recipe.no_decay for array in model.spec.trainable]
        self.slots = {
            f"{slot}/{array.name}": tf.Variable(tf.zeros_like(known[array.name]))
            for array in model.spec.trainable
            for slot in contract.optimizer_slots(recipe)
        }
        self.tracked = [known[array.name] for array in model.spec.arrays] if recipe.average_decay else []
        self.averages = [tf.Variable(variable) for variable in self.tracked]
        arrays = model.spec.arrays
        self.slots.update({f"average/{array.name}": mean for array, mean in zip(arrays, self.averages, strict=False)})
        self.loss_scale = tf.Variable([contract.FIRST_LOSS_SCALE, 0.0])
        if recipe.precision == "float16":
            self.slots["loss_scale"] = self.loss_scale
        self.dtype = self.parameters[0].dtype
        self.train_steps: Any = None
        self.given: list[tf.Variable] = []
        self.steps_per_call = 1  # until the duration of a step is known

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the loss to differentiate: in float16, scaled so that small gradients do not underflow."""
        return loss * self.loss_scale[0] if self.recipe.precision == "float16" else loss

    def update(self, gradients: list[Tensor], rate: Tensor, step: Tensor) -> None:
        """Update the weights from `gradients`, in step number `step` from 1; part of a `tf.function`."""
        if self.recipe.precision == "float16":
            gradients, finite = self._unscale(gradients)
            tf.cond(finite, lambda: self._update(gradients, rate, step), lambda: None)
        else:
            self._update(gradients, rate, step)

    def _update(self, gradients: list[Tensor], rate: Tensor, step: Tensor) -> None:
        recipe = self.recipe
        if recipe.clip_norm:
            # differs: gradient-clipping
            share = recipe.clip_norm / (tf.linalg.global_norm(gradients) + 1e-6)
            gradients = [gradient * tf.minimum(share, 1.0) for gradient in gradients]
        rows = zip(self.spec.trainable, self.parameters, gradients, self.decays, strict=True)
        for array, parameter, gradient, decays in rows:
            if recipe.decay and decays:
                parameter.assign_sub(rate * recipe.decay * parameter)
            slope = gradient + recipe.l2 * parameter if recipe.l2 and decays else gradient
            state = {slot: self.slots[f"{slot}/{array.name}"] for slot in contract.optimizer_slots(recipe)}
            _RULES[recipe.optimizer](recipe, parameter, slope, rate, step, state)
        if self.averages:
            # differs: weight-average
            share = tf.maximum(tf.constant(1.0 - recipe.average_decay, self.dtype), 9.0 / (10.0 + step))
            for mean, variable in zip(self.averages, self.tracked, strict=True):
                mean.assign_add(share * (variable - mean))

    def _unscale(self, gradients: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Divide the gradients by the loss scale, adapt the scale, and return whether the gradients are finite."""
        slopes = [gradient / self.loss_scale[0] for gradient in gradients]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(slope)) for slope in slopes])
        scale, steps = tf.unstack(self.loss_scale)
        grows = tf.equal(steps + 1.0, contract.STEPS_TO_GROW)
        grown = tf.where(grows, [scale * 2.0, 0.0], [scale, steps + 1.0])
        self.loss_scale.assign(tf.where(finite, grown, [scale / 2.0, 0.0]))
        return slopes, finite


def make_optimizer(model: keras.Model, recipe: Recipe) -> Optimizer:
    """Create the optimizer of `recipe` for the weights of `model`, at step 0."""
    return Optimizer(model, recipe)


def read_optimizer(optimizer: Optimizer) -> Arrays:
    """Return the optimizer's state: `step`, and `<slot>/<array name>` for each slot, in canonical layout."""
    spec = optimizer.spec
    arrays = {name: to_numpy(spec, _array(spec, name), variable) for name, variable in optimizer.slots.items()}
    return {"step": np.array(optimizer.step, np.int64), **arrays}


def load_optimizer(optimizer: Optimizer, arrays: Mapping[str, np.ndarray]) -> None:
    """Load a state that either engine returned; raise ArtifactError if names or shapes do not match."""
    recipe = optimizer.recipe
    contract.check_arrays(arrays, contract.optimizer_arrays(optimizer.spec, recipe), f"the state of {recipe.optimizer}")
    for name, variable in optimizer.slots.items():
        from_numpy(optimizer.spec, _array(optimizer.spec, name), variable, arrays[name])
    optimizer.step = int(arrays["step"])


def apply_gradients(optimizer: Optimizer, gradients: Arrays, rate: float) -> None:
    """Update the weights once; in float16 the gradients are those of the scaled loss."""
    optimizer.given = optimizer.given or [tf.Variable(parameter) for parameter in optimizer.parameters]
    for array, slope in zip(optimizer.spec.trainable, optimizer.given, strict=True):
        from_numpy(optimizer.spec, array, slope, gradients[array.name])
    optimizer.step += 1
    slopes = [slope.value() for slope in optimizer.given]
    optimizer.update(slopes, tf.constant(rate, optimizer.dtype), tf.constant(optimizer.step, optimizer.dtype))


def _array(spec: ModelSpec, slot: str) -> ArraySpec | None:
    """Return the array of a slot; None for a slot of the whole optimizer."""
    _, _, name = slot.partition("/")
    return spec.array(name) if name else None


def _sgd(recipe: Recipe, parameter: Tensor, gradient: Tensor, rate: Tensor, step: Tensor, state: State) -> None:
    # differs: sgd-velocity
    if "momentum" not in state:
        parameter.assign_sub(rate * gradient)
        return
    gradient, rate = _momentum_term(recipe, gradient, rate)
    tf.raw_ops.ResourceApplyMomentum(
        var=parameter.handle,
        accum=state["momentum"].handle,
        lr=rate,
        grad=gradient,
        momentum=tf.constant(recipe.momentum, gradient.dtype),
        use_nesterov=recipe.nesterov,
    )


def _adam(recipe: Recipe, parameter: Tensor, gradient: Tensor, rate: Tensor, step: Tensor, state: State) -> None:
    # differs: adam-epsilon, adam-complements
    beta1, beta2 = (tf.constant(beta, gradient.dtype) for beta in (recipe.beta1, recipe.beta2))
    beta2_power = tf.pow(beta2, step)
    epsilon = tf.constant(recipe.epsilon, gradient.dtype)
    tf.raw_ops.ResourceApplyAdam(
        var=parameter.handle,
        m=state["first_moment"].handle,
        v=state["second_moment"].handle,
        beta1_power=tf.pow(beta1, step),
        beta2_power=beta2_power,
        lr=rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon if recipe.update_form == "keras" else epsilon * tf.sqrt(1.0 - beta2_power),
        grad=gradient,
    )


def _rmsprop(recipe: Recipe, parameter: Tensor, gradient: Tensor, rate: Tensor, step: Tensor, state: State) -> None:
    # differs: rmsprop-epsilon
    square = state["square"]
    mean = square.assign(recipe.rho * square + (1.0 - recipe.rho) * gradient * gradient)
    keras_form = recipe.update_form == "keras"
    root = tf.sqrt(mean + recipe.epsilon) if keras_form else tf.sqrt(mean) + recipe.epsilon
    direction, rate = _momentum_term(recipe, gradient / root, rate)
    if "momentum" in state:
        momentum = state["momentum"]
        direction = momentum.assign(recipe.momentum * momentum + direction)
    parameter.assign_sub(rate * direction)


_RULES = {"sgd": _sgd, "adam": _adam, "adamw": _adam, "rmsprop": _rmsprop}


def _momentum_term(recipe: Recipe, direction: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """Return the term that momentum accumulates and the rate applied to it; Keras's momentum includes the rate."""
    # differs: sgd-velocity
    return (rate * direction, tf.ones_like(rate)) if recipe.update_form == "keras" else (direction, rate)
