"""Proofs of the ledger's rows on update rules: the frameworks' own optimizers differ, the engines agree."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
import torch

from diptych.comparison.parity import samples
from diptych.spec import Recipe
from diptych.training import schedule

KERAS, TORCH = keras.optimizers, torch.optim


def keras_steps(optimizer, rates, slopes, start):
    """Weights by name after a step of Keras's own optimizer at each rate; `slopes` returns the gradients of a step."""
    weights = {name: keras.Variable(array, dtype="float64") for name, array in start.items()}
    optimizer.build([*weights.values()])
    for step, rate in enumerate(rates):
        found = slopes(step, {name: weight.numpy() for name, weight in weights.items()})
        optimizer.learning_rate = rate
        optimizer.apply([tf.constant(found[name], tf.float64) for name in weights])
    return {name: weight.numpy() for name, weight in weights.items()}


def torch_steps(make, rates, slopes, start):
    """The same with PyTorch's own optimizer."""
    weights = {name: torch.tensor(array, dtype=torch.float64, requires_grad=True) for name, array in start.items()}
    optimizer = make([*weights.values()])
    for step, rate in enumerate(rates):
        found = slopes(step, {name: weight.detach().numpy() for name, weight in weights.items()})
        for name, weight in weights.items():
            weight.grad = torch.tensor(found[name], dtype=torch.float64)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    return {name: weight.detach().numpy() for name, weight in weights.items()}


def assert_same_training(both, recipe):
    """Both engines reach the same weights and the same optimizer state, in float64."""
    spec, rates = tiny.conv_net(dropout=0.0), (0.1, 0.02, 0.05)
    trained = [tiny.train(engine, spec, recipe, rates) for engine in both]
    tiny.assert_same_arrays(*(one.weights() for one in trained), rtol=1e-9, atol=1e-11)
    tiny.assert_same_arrays(*(one.state() for one in trained), rtol=1e-9, atol=1e-11)


# Numbers that float32 represents exactly, because Keras converts some of them to it.
RATES = (0.125, 0.03125, 0.09375, 0.0625) * 5
MOMENTUM, DECAY = 0.875, 0.25
ADAM = {"beta1": 0.875, "beta2": 0.96875, "epsilon": 2.0**-7}
KERAS_ADAM = {"beta_1": 0.875, "beta_2": 0.96875, "epsilon": 2.0**-7}
TORCH_ADAM = {"betas": (0.875, 0.96875), "eps": 2.0**-7}
RMSPROP, TORCH_RMSPROP = {"rho": 0.9375, "epsilon": 2.0**-7}, {"alpha": 0.9375, "eps": 2.0**-7}
HEAVY, NESTEROV = {"momentum": MOMENTUM}, {"momentum": MOMENTUM, "nesterov": True}


def decaying_kernel(weights):
    """SGD that decays the first weight only."""
    return TORCH.SGD([{"params": weights[:1], "weight_decay": DECAY}, {"params": weights[1:]}], **NESTEROV)


# Fields of the recipe, and the optimizers of Keras and PyTorch that have them.
RULES = {
    "sgd": ({"momentum": 0.0}, KERAS.SGD, TORCH.SGD),
    "sgd, momentum": ({**HEAVY, "nesterov": False}, partial(KERAS.SGD, **HEAVY), partial(TORCH.SGD, **HEAVY)),
    "sgd, nesterov": (HEAVY, partial(KERAS.SGD, **NESTEROV), partial(TORCH.SGD, **NESTEROV)),
    "sgd, l2": ({**HEAVY, "l2": DECAY}, None, decaying_kernel),
    "adam": (ADAM, partial(KERAS.Adam, **KERAS_ADAM), partial(TORCH.Adam, **TORCH_ADAM)),
    "adam, l2": ({**ADAM, "l2": DECAY, "no_decay": ()}, None, partial(TORCH.Adam, weight_decay=DECAY, **TORCH_ADAM)),
    "adamw": (
        {**ADAM, "decoupled_decay": DECAY, "no_decay": ()},
        partial(KERAS.AdamW, weight_decay=DECAY, **KERAS_ADAM),
        partial(TORCH.AdamW, weight_decay=DECAY, **TORCH_ADAM),
    ),
    "rmsprop": (
        {**RMSPROP, "momentum": 0.0},
        partial(KERAS.RMSprop, **RMSPROP),
        partial(TORCH.RMSprop, **TORCH_RMSPROP),
    ),
    "rmsprop, momentum": (
        {**RMSPROP, **HEAVY},
        partial(KERAS.RMSprop, **RMSPROP, **HEAVY),
        partial(TORCH.RMSprop, **TORCH_RMSPROP, **HEAVY),
    ),
}


def assert_forms(both, *rules):
    """Both engines take the steps of Keras's and of PyTorch's own optimizer, whose weights and buffers differ."""
    spec = tiny.linear()
    start, batches = samples.weights(spec, seed=0), samples.batches(spec, len(RATES), 6, seed=0)

    def slopes(step, weights):
        return tiny.linear_gradients(weights, batches[step])[1]

    for rule in rules:
        settings, theirs, other = RULES[rule]
        expected = {"torch": torch_steps(other, RATES, slopes, start)}
        if theirs:
            expected["keras"] = keras_steps(theirs(), RATES, slopes, start)
            apart = np.abs(expected["keras"]["head.weight"] - expected["torch"]["head.weight"]).max()
            assert (apart > 1e-4) == (rule != "sgd"), rule
        for form, weights in expected.items():
            recipe = Recipe(optimizer=rule.partition(",")[0], update_form=form, **settings)
            trained = [tiny.train(engine, spec, recipe, RATES, batches=batches) for engine in both]
            # The states are equal, too, so that the other engine may continue.
            tiny.assert_same_arrays(*(one.state() for one in trained), rtol=1e-11, atol=1e-12)
            for one in trained:
                tiny.assert_same_arrays(weights, one.weights(), rtol=1e-12, atol=1e-12)


def test_the_learning_rate_stays_outside_sgds_buffer(both):
    assert_forms(both, "sgd", "sgd, momentum", "sgd, nesterov")


def test_adams_epsilon_is_added_after_bias_correction(both):
    assert (1e-7, 1e-8) == (KERAS.Adam().epsilon, TORCH.Adam([torch.zeros(1)]).defaults["eps"])
    assert_forms(both, "adam")


def test_rmsprops_epsilon_is_outside_the_root(both):
    defaults = TORCH.RMSprop([torch.zeros(1)]).defaults
    assert (0.9, 1e-7) == (KERAS.RMSprop().rho, KERAS.RMSprop().epsilon)
    assert (0.99, 1e-8) == (defaults["alpha"], defaults["eps"])
    assert_forms(both, "rmsprop", "rmsprop, momentum")


def test_both_weight_decays_have_a_name(both):
    assert_forms(both, "sgd, l2", "adam, l2", "adamw")
    assert_same_training(both, Recipe(optimizer="adam", l2=0.5, decoupled_decay=0.3, no_decay=("bias",)))


def test_adams_second_moment_parts_in_float32_alone(both):
    spec = tiny.linear()
    apart = {}
    for precision in ("float64", "float32"):
        recipe = Recipe(optimizer="adam", precision=precision)
        trained = [tiny.train(engine, spec, recipe, (0.0,), precision=precision) for engine in both]
        first, second = (one.state()["second_moment/head.weight"].astype(np.float64) for one in trained)
        apart[precision] = np.linalg.norm(first - second) / np.linalg.norm(first)
    assert apart["float64"] < 1e-12
    assert 1e-5 < apart["float32"] < 2e-5


def test_gradients_are_clipped_by_their_common_norm(both):
    slopes = [np.array([3.0]), np.array([4.0])]
    clipped = [value.numpy().item() for value in keras.optimizers.SGD(clipnorm=1.0)._clip_gradients(slopes)]
    assert [1.0, 1.0] == pytest.approx(clipped)
    exact = [value.numpy().item() for value in tf.clip_by_global_norm(slopes, 1.0)[0]]
    assert [0.6, 0.8] == pytest.approx(exact, rel=1e-12)
    weights = [torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in slopes]
    for weight, slope in zip(weights, slopes, strict=True):
        weight.grad = torch.from_numpy(slope)
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    found = [weight.grad.item() for weight in weights]
    assert [3 / (5 + 1e-6), 4 / (5 + 1e-6)] == pytest.approx(found, rel=1e-12)
    assert [0.6, 0.8] != pytest.approx(found, rel=1e-8)

    assert_same_training(both, Recipe(optimizer="sgd", clip_norm=0.1))


def test_running_averages_forget_early_weights_and_hold_statistics(both):
    assert 0.99 == keras.optimizers.SGD(use_ema=True).ema_momentum
    averaged = torch.optim.swa_utils.AveragedModel(
        torch.nn.BatchNorm1d(1), multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn()
    )
    moved = torch.nn.BatchNorm1d(1, momentum=1.0)
    for value in (1.0, 3.0):
        moved.running_mean.fill_(value)
        averaged.update_parameters(moved)
    assert 3.0 == averaged.module.running_mean.item()

    recipe = Recipe(optimizer="sgd", average_decay=0.99)
    assert_same_training(both, recipe)
    spec = tiny.conv_net(dropout=0.0)
    for engine in both:
        trained = tiny.train(engine, spec, recipe, [0.1])
        old, new, state = samples.weights(spec, seed=0), trained.weights(), trained.state()
        expected = {f"average/{name}": 2 / 11 * old[name] + 9 / 11 * new[name] for name in old}
        tiny.assert_same_arrays(expected, {name: state[name] for name in expected}, rtol=1e-12, atol=1e-14)


def test_float16s_loss_scale_starts_and_adapts_alike(both):
    assert 2.0**15 == keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()).initial_scale
    assert 2.0**16 == torch.amp.GradScaler("cpu").get_scale()

    spec = tiny.conv_net(dropout=0.0)
    recipe = Recipe(optimizer="sgd", precision="float16")
    (batch,) = samples.batches(spec, 1, 6, seed=0)
    for engine in both:
        model = tiny.loaded(engine, spec, "float16")
        optimizer = engine.make_optimizer(model, recipe)
        first = engine.read_optimizer(optimizer)
        assert [2.0**16, 0.0] == first["loss_scale"].tolist()
        engine.load_optimizer(optimizer, {**first, "loss_scale": np.array([2.0**100, 5.0])})
        before = engine.read_weights(model)
        engine.train_epoch(model, optimizer, [batch], [0.1], seed=0)
        state = engine.read_optimizer(optimizer)
        assert ([2.0**99, 0.0], 1) == (state["loss_scale"].tolist(), state["step"])
        after = engine.read_weights(model)
        for array in spec.trainable:
            np.testing.assert_array_equal(before[array.name], after[array.name])


def test_each_step_uses_the_rate_it_receives(both):
    decay = keras.optimizers.schedules.ExponentialDecay(1.0, decay_steps=1, decay_rate=0.5)
    theirs = keras.optimizers.SGD(decay)
    weight = keras.Variable(1.0)
    theirs.build([weight])
    theirs.apply([tf.constant(0.0)])
    assert 0.5 == float(theirs.learning_rate)
    other = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(other, 0.5)
    other.step()
    assert [1.0] == scheduler.get_last_lr()

    spec = tiny.linear()
    recipe = Recipe(optimizer="sgd", momentum=0.0, schedule="constant", learning_rate=0.1)
    assert [0.1, 0.1] == schedule.learning_rates(recipe, epoch=1, steps_per_epoch=2)
    batches = samples.batches(spec, 2, 6, seed=0)
    for engine in both:
        one = tiny.train(engine, spec, recipe, [0.1], batches=batches[:1])
        two = tiny.train(engine, spec, recipe, [0.1, 0.0], batches=batches)
        tiny.assert_same_arrays(one.weights(), two.weights())


# Keras 3.15 passes its learning rate to NumPy 2.4 in a deprecated way.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_a_plateau_is_patience_epochs_without_a_lower_loss():
    model, callback = _started(keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=2))
    optimizer = TORCH.SGD([torch.zeros(1)], lr=1.0)
    scheduler = TORCH.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
    found = []
    for epoch in range(1, 5):
        callback.on_epoch_end(epoch, {"loss": 1.0 - 1e-5 * epoch})
        scheduler.step(1.0)
        found.append((float(model.optimizer.learning_rate) < 1.0, optimizer.param_groups[0]["lr"] < 1.0))
    assert [(False, False), (False, False), (True, False), (True, True)] == found

    assert [0, 0, 1] == [schedule.plateaus([1.0] * epochs, patience=2) for epochs in (1, 2, 3)]
    assert 0 == schedule.plateaus([1.0 - 1e-5 * epoch for epoch in range(6)], patience=2)


def test_early_stopping_waits_patience_epochs_for_a_lower_loss():
    model, callback = _started(keras.callbacks.EarlyStopping(monitor="loss", patience=2))
    for epoch in range(3):
        callback.on_epoch_end(epoch, {"loss": 1.0})
    assert (2, True) == (callback.stopped_epoch, model.stop_training)
    assert not hasattr(torch.optim, "EarlyStopping")

    assert [False, False, True] == [schedule.should_stop([1.0] * epochs, patience=2) for epochs in (1, 2, 3)]
    assert not schedule.should_stop([1.0] * 9, patience=0)


def _started(callback):
    """A compiled model, and the callback at the start of its training."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=KERAS.SGD(1.0), loss="mse")
    callback.set_model(model)
    callback.on_train_begin()
    return model, callback
