"""Proofs of the ledger's rows on update rules: how the frameworks' own go apart, and that the engines do not."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
import torch

from diptych.comparison.parity import samples
from diptych.spec import Recipe
from diptych.training import schedule

GRADIENTS = (1.0, -0.5, 2.0)


def keras_steps(optimizer, rates, gradients=GRADIENTS, start=1.0):
    """A weight that begins at `start`, after each of Keras's own steps."""
    weight = keras.Variable(start, dtype="float64")
    optimizer.build([weight])
    path = []
    for rate, gradient in zip(rates, gradients, strict=True):
        optimizer.learning_rate = rate
        optimizer.apply([tf.constant(gradient, tf.float64)])
        path.append(weight.numpy().item())
    return np.array(path)


def torch_steps(make, rates, gradients=GRADIENTS, start=1.0):
    """A weight that begins at `start`, after each of PyTorch's own steps."""
    weight = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = make([weight])
    path = []
    for rate, gradient in zip(rates, gradients, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        path.append(weight.item())
    return np.array(path)


def assert_same_training(both, recipe, rates=(0.1, 0.02, 0.05)):
    """Both engines reach the same weights and the same optimizer state, in float64."""
    spec = tiny.conv_net(dropout=0.0)
    trained = [tiny.train(engine, spec, recipe, rates) for engine in both]
    weights = [engine.read_weights(one.model) for engine, one in zip(both, trained, strict=True)]
    states = [engine.read_optimizer(one.optimizer) for engine, one in zip(both, trained, strict=True)]
    tiny.assert_same_arrays(*weights, rtol=1e-9, atol=1e-11)
    tiny.assert_same_arrays(*states, rtol=1e-9, atol=1e-11)


# Numbers that float32 holds exactly, because Keras takes some of them through it.
RATES = (0.125, 0.03125, 0.09375, 0.0625) * 10
MOMENTUM, RHO, BETAS, EPSILON, DECAY = 0.875, 0.9375, (0.875, 0.96875), 2.0**-7, 0.25
_ADAM = {"beta1": BETAS[0], "beta2": BETAS[1], "epsilon": EPSILON}
RULES = {
    "sgd": (
        {"optimizer": "sgd", "momentum": MOMENTUM, "nesterov": False},
        lambda: keras.optimizers.SGD(momentum=MOMENTUM),
        lambda weights: torch.optim.SGD(weights, momentum=MOMENTUM),
    ),
    "sgd, nesterov": (
        {"optimizer": "sgd", "momentum": MOMENTUM},
        lambda: keras.optimizers.SGD(momentum=MOMENTUM, nesterov=True),
        lambda weights: torch.optim.SGD(weights, momentum=MOMENTUM, nesterov=True),
    ),
    "adam": (
        {"optimizer": "adam", **_ADAM},
        lambda: keras.optimizers.Adam(beta_1=BETAS[0], beta_2=BETAS[1], epsilon=EPSILON),
        lambda weights: torch.optim.Adam(weights, betas=BETAS, eps=EPSILON),
    ),
    "adamw": (
        {"optimizer": "adamw", **_ADAM, "decoupled_decay": DECAY, "no_decay": ()},
        lambda: keras.optimizers.AdamW(beta_1=BETAS[0], beta_2=BETAS[1], epsilon=EPSILON, weight_decay=DECAY),
        lambda weights: torch.optim.AdamW(weights, betas=BETAS, eps=EPSILON, weight_decay=DECAY),
    ),
    "rmsprop": (
        {"optimizer": "rmsprop", "rho": RHO, "epsilon": EPSILON, "momentum": 0.0},
        lambda: keras.optimizers.RMSprop(rho=RHO, epsilon=EPSILON),
        lambda weights: torch.optim.RMSprop(weights, alpha=RHO, eps=EPSILON),
    ),
    "rmsprop, momentum": (
        {"optimizer": "rmsprop", "rho": RHO, "epsilon": EPSILON, "momentum": MOMENTUM},
        lambda: keras.optimizers.RMSprop(rho=RHO, epsilon=EPSILON, momentum=MOMENTUM),
        lambda weights: torch.optim.RMSprop(weights, alpha=RHO, eps=EPSILON, momentum=MOMENTUM),
    ),
}


def keras_training(optimizer, start, batches):
    """Weights of softmax regression after Keras's own optimizer took a step at each of `RATES`."""
    weights = {name: keras.Variable(array, dtype="float64") for name, array in start.items()}
    optimizer.build([*weights.values()])
    for batch, rate in zip(batches, RATES, strict=True):
        _, slopes = tiny.linear_gradients({name: weight.numpy() for name, weight in weights.items()}, batch)
        optimizer.learning_rate = rate
        optimizer.apply([tf.constant(slopes[name]) for name in weights])
    return {name: weight.numpy() for name, weight in weights.items()}


def torch_training(make, start, batches):
    """The same by PyTorch's own optimizer."""
    weights = {name: torch.tensor(array, requires_grad=True) for name, array in start.items()}
    optimizer = make([*weights.values()])
    for batch, rate in zip(batches, RATES, strict=True):
        _, slopes = tiny.linear_gradients({name: weight.detach().numpy() for name, weight in weights.items()}, batch)
        for name, weight in weights.items():
            weight.grad = torch.from_numpy(slopes[name])
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return {name: weight.detach().numpy() for name, weight in weights.items()}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_in_a_frameworks_form_is_that_frameworks_own(both, rule):
    settings, theirs, other = RULES[rule]
    spec = tiny.linear()
    start, batches = samples.weights(spec, seed=0), samples.batches(spec, len(RATES), 6, seed=0)
    own = {"keras": keras_training(theirs(), start, batches), "torch": torch_training(other, start, batches)}
    assert 1e-3 < np.abs(own["keras"]["head.weight"] - own["torch"]["head.weight"]).max()
    for form, expected in own.items():
        recipe = Recipe(update_form=form, **settings)
        for engine in both:
            model = tiny.train(engine, spec, recipe, RATES, batches=batches).model
            tiny.assert_same_arrays(expected, engine.read_weights(model), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", ["sgd", "adam", "rmsprop"])
def test_a_training_in_kerass_form_is_the_same_in_both_and_changes_sides(both, rule):
    recipe = Recipe(optimizer=rule, update_form="keras", epsilon=1e-3, l2=0.1)
    assert_same_training(both, recipe, RATES)
    spec = tiny.conv_net(dropout=0.0)
    batches = samples.batches(spec, len(RATES), 6, seed=0)
    half = len(RATES) // 2
    for first, second in (both, both[::-1]):
        whole = tiny.train(second, spec, recipe, RATES, batches=batches)
        begun = tiny.train(first, spec, recipe, RATES[:half], batches=batches[:half])
        model = second.build(spec, "float64")
        second.load_weights(model, first.read_weights(begun.model))
        optimizer = second.make_optimizer(model, recipe)
        second.load_optimizer(optimizer, first.read_optimizer(begun.optimizer))
        second.train_epoch(model, optimizer, batches[half:], RATES[half:], seed=0)
        tiny.assert_same_arrays(second.read_weights(whole.model), second.read_weights(model), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_learning_rate_stays_outside_sgds_buffer(both, nesterov):
    theirs = keras.optimizers.SGD(momentum=0.9, nesterov=nesterov)

    def other(weights):
        return torch.optim.SGD(weights, lr=0.0, momentum=0.9, nesterov=nesterov)

    constant, changing = (0.1, 0.1, 0.1), (0.1, 0.01, 0.05)
    np.testing.assert_allclose(keras_steps(theirs, constant), torch_steps(other, constant), rtol=1e-6)
    theirs = keras.optimizers.SGD(momentum=0.9, nesterov=nesterov)
    assert 1e-2 < np.abs(keras_steps(theirs, changing) - torch_steps(other, changing)).max()

    assert_same_training(both, Recipe(optimizer="sgd", nesterov=nesterov))


def test_adams_epsilon_is_added_after_bias_correction(both):
    assert 1e-7 == keras.optimizers.Adam().epsilon
    assert 1e-8 == torch.optim.Adam([torch.zeros(1)]).defaults["eps"]
    rates, epsilon = (0.1, 0.1, 0.1), 1e-2
    theirs = keras_steps(keras.optimizers.Adam(epsilon=epsilon), rates)
    other = torch_steps(lambda weights: torch.optim.Adam(weights, eps=epsilon), rates)
    assert 1e-2 < np.abs(theirs - other).max()
    first = keras_steps(keras.optimizers.Adam(epsilon=epsilon * np.sqrt(1 - 0.999)), rates[:1], GRADIENTS[:1])
    np.testing.assert_allclose(first, other[:1], rtol=1e-6)

    assert_same_training(both, Recipe(optimizer="adam", epsilon=epsilon))


def test_adams_second_moment_parts_in_float32_alone(both):
    spec = tiny.linear()
    apart = {}
    for precision in ("float64", "float32"):
        recipe = Recipe(optimizer="adam", precision=precision)
        trained = [tiny.train(engine, spec, recipe, (0.0,), precision=precision) for engine in both]
        states = [engine.read_optimizer(one.optimizer) for engine, one in zip(both, trained, strict=True)]
        first, second = (state["second_moment/head.weight"].astype(np.float64) for state in states)
        apart[precision] = np.linalg.norm(first - second) / np.linalg.norm(first)
    assert apart["float64"] < 1e-12
    assert 1e-5 < apart["float32"] < 2e-5


def test_both_weight_decays_have_a_name(both):
    rates, settings = (0.1, 0.1, 0.1), {"weight_decay": 0.5}
    plain = keras_steps(keras.optimizers.SGD(), rates)
    decoupled = keras_steps(keras.optimizers.SGD(**settings), rates, gradients=(0.0, 0.0, 0.0))
    np.testing.assert_allclose(decoupled, 0.95 ** np.arange(1, 4), rtol=1e-6)
    assert not np.allclose(plain, keras_steps(keras.optimizers.SGD(**settings), rates))
    coupled = torch_steps(lambda weights: torch.optim.Adam(weights, **settings), rates, (0.0, 0.0, 0.0))
    assert 1e-2 < np.abs(coupled - keras_steps(keras.optimizers.Adam(**settings), rates, (0.0, 0.0, 0.0))).max()
    adamw = torch_steps(lambda weights: torch.optim.AdamW(weights, **settings), rates, (0.0, 0.0, 0.0))
    np.testing.assert_allclose(adamw, decoupled, rtol=1e-6)

    assert_same_training(both, Recipe(optimizer="adam", l2=0.5, decoupled_decay=0.3, no_decay=("bias",)))


def test_rmsprops_epsilon_is_outside_the_root(both):
    assert (0.9, 1e-7) == (keras.optimizers.RMSprop().rho, keras.optimizers.RMSprop().epsilon)
    defaults = torch.optim.RMSprop([torch.zeros(1)]).defaults
    assert (0.99, 1e-8) == (defaults["alpha"], defaults["eps"])
    theirs = keras_steps(keras.optimizers.RMSprop(rho=0.9, epsilon=0.1), (0.1,), (1.0,))
    other = torch_steps(lambda weights: torch.optim.RMSprop(weights, alpha=0.9, eps=0.1), (0.1,), (1.0,))
    assert 1.0 - 0.1 / np.sqrt(0.1 + 0.1) == pytest.approx(theirs.item(), rel=1e-6)
    assert 1.0 - 0.1 / (np.sqrt(0.1) + 0.1) == pytest.approx(other.item(), rel=1e-6)

    assert_same_training(both, Recipe(optimizer="rmsprop", epsilon=0.1))


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
        model, optimizer, _ = tiny.train(engine, spec, recipe, [0.1])
        old, new = samples.weights(spec, seed=0), engine.read_weights(model)
        state = engine.read_optimizer(optimizer)
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


def test_each_step_takes_the_rate_it_is_handed(both):
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
        tiny.assert_same_arrays(engine.read_weights(one.model), engine.read_weights(two.model))


# Keras 3.15 hands its learning rate to NumPy 2.4 in a way that is deprecated there.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_a_plateau_is_patience_epochs_without_a_lower_loss():
    losses = [1.0] * 6
    assert 3 == _first_drop(losses, _keras_plateau(patience=2))
    assert 4 == _first_drop(losses, _torch_plateau(patience=2))

    assert [0, 0, 1] == [schedule.plateaus(losses[:epoch], patience=2) for epoch in (1, 2, 3)]
    slowly = [1.0 - 1e-5 * epoch for epoch in range(6)]
    assert 3 == _first_drop(slowly, _keras_plateau(patience=2))
    assert 0 == schedule.plateaus(slowly, patience=2)


def test_early_stopping_waits_patience_epochs_for_a_lower_loss():
    callback = keras.callbacks.EarlyStopping(monitor="loss", patience=2)
    model = _compiled()
    callback.set_model(model)
    callback.on_train_begin()
    for epoch in range(3):
        callback.on_epoch_end(epoch, {"loss": 1.0})
    assert (2, True) == (callback.stopped_epoch, model.stop_training)
    assert not hasattr(torch.optim, "EarlyStopping")

    assert [False, False, True] == [schedule.should_stop([1.0] * epochs, patience=2) for epochs in (1, 2, 3)]
    assert not schedule.should_stop([1.0] * 9, patience=0)


def _compiled():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="mse")
    return model


def _keras_plateau(patience):
    model = _compiled()
    callback = keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=patience)
    callback.set_model(model)
    callback.on_train_begin()

    def after(epoch, loss):
        callback.on_epoch_end(epoch, {"loss": loss})
        return float(model.optimizer.learning_rate)

    return after


def _torch_plateau(patience):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=patience)

    def after(epoch, loss):
        scheduler.step(loss)
        return optimizer.param_groups[0]["lr"]

    return after


def _first_drop(losses, after):
    """The epoch, from 1, at whose end the learning rate falls."""
    return next(epoch for epoch, loss in enumerate(losses, start=1) if after(epoch - 1, loss) < 1.0)
