"""The contract of each engine on training: epochs, their totals, dropout, and resuming from a state."""

from dataclasses import replace

import numpy as np
import pytest
import tiny

from diptych.comparison.parity import samples
from diptych.engines.contract import NO_STEPS, optimizer_arrays
from diptych.errors import ArtifactError
from diptych.spec import Recipe
from diptych.spec import layers as L

RATES = (0.05, 0.04, 0.03, 0.02, 0.01, 0.02)
RECIPES = {
    "sgd": Recipe(optimizer="sgd", average_decay=0.9, precision="float32"),
    "adam": Recipe(optimizer="adam", average_decay=0.9, clip_norm=1.0, precision="bfloat16"),
    "rmsprop": Recipe(optimizer="rmsprop", average_decay=0.9, precision="float64"),
    "sgd, keras": Recipe(optimizer="sgd", update_form="keras", average_decay=0.9, precision="float64"),
    "rmsprop, keras": Recipe(optimizer="rmsprop", update_form="keras", average_decay=0.9, precision="float32"),
    "float16": Recipe(optimizer="sgd", average_decay=0.9, precision="float16"),
}


@pytest.fixture(params=RECIPES)
def recipe(request):
    return RECIPES[request.param]


def test_a_training_cut_anywhere_gives_the_same_bits(engine, recipe):
    spec, rates = tiny.conv_net(), np.linspace(0.01, 0.05, 20).tolist()
    batches = [*samples.batches(spec, 19, 4, seed=0), *samples.batches(spec, 1, 3, seed=1)]
    whole = tiny.train(engine, spec, recipe, rates, batches=batches, precision=recipe.precision, seed=5)
    totals, model = NO_STEPS, tiny.loaded(engine, spec, recipe.precision)
    optimizer = engine.make_optimizer(model, recipe)
    for step in range(20):
        if step == 7:  # as after a crash, only NumPy arrays remain
            weights, state = engine.read_weights(model), engine.read_optimizer(optimizer)
            model = engine.build(spec, recipe.precision)
            engine.load_weights(model, weights)
            optimizer = engine.make_optimizer(model, recipe)
            engine.load_optimizer(optimizer, state)
        totals = engine.train_epoch(model, optimizer, batches[step : step + 1], rates[step : step + 1], 5, totals)
    assert whole.totals == totals
    tiny.assert_same_arrays(whole.weights(), engine.read_weights(model))
    tiny.assert_same_arrays(whole.state(), engine.read_optimizer(optimizer))


def test_an_optimizers_state_has_canonical_names_and_begins_at_nothing(engine, recipe):
    spec = tiny.conv_net()
    model = tiny.loaded(engine, spec, recipe.precision)
    state = engine.read_optimizer(engine.make_optimizer(model, recipe))
    expected = {array.name: array.shape for array in optimizer_arrays(spec, recipe)}
    assert expected == {name: array.shape for name, array in state.items()}
    averages = {name: state.pop(f"average/{name}") for name in engine.read_weights(model)}
    tiny.assert_same_arrays(engine.read_weights(model), averages)
    state.pop("loss_scale", None)
    assert not any(array.any() for array in state.values())


def test_a_state_of_another_rule_is_rejected_by_name(engine):
    spec = tiny.linear()
    model = tiny.loaded(engine, spec)
    adam, sgd = (engine.make_optimizer(model, Recipe(optimizer=rule)) for rule in ("adam", "sgd"))
    with pytest.raises(ArtifactError, match=r"Missing: momentum/head\.weight.* Unexpected: first_moment/head\.weight"):
        engine.load_optimizer(sgd, engine.read_optimizer(adam))


def dropped(engine, seed, steps, first=0):
    """Loss of `steps` training steps that change nothing, from step `first` on, on the same images every time."""
    spec = tiny.one_layer(L.Dropout, rate=0.5)
    model = tiny.loaded(engine, spec)
    optimizer = engine.make_optimizer(model, Recipe(optimizer="sgd", momentum=0.0))
    engine.load_optimizer(optimizer, {"step": np.array(first)})
    batches = samples.batches(spec, 1, 6, seed=0) * steps
    engine.predict(model, batches[0].images)
    return engine.train_epoch(model, optimizer, batches, [0.0] * steps, seed).loss


def test_dropouts_masks_follow_from_seed_and_step(engine):
    third = dropped(engine, seed=1, steps=1, first=2)
    assert third == pytest.approx(dropped(engine, seed=1, steps=3) - dropped(engine, seed=1, steps=2), rel=1e-10)
    assert third != pytest.approx(dropped(engine, seed=1, steps=1, first=3), rel=1e-3)
    assert third != pytest.approx(dropped(engine, seed=2, steps=1, first=2), rel=1e-3)


def test_two_dropouts_in_one_model_have_masks_of_their_own(engine):
    model = tiny.graph()
    model.add(L.Dropout, "first", rate=0.5)
    model.add(L.Dropout, "second", inputs=("normalize",), rate=0.5)
    model.add(L.Concat, "both", inputs=("first", "second"))
    spec = tiny.with_head(model)
    outputs = engine.layer_outputs(tiny.loaded(engine, spec), tiny.images(spec, 2), training=True)
    assert not np.array_equal(outputs["first"], outputs["second"])


@pytest.mark.parametrize("broken", [1, 3, 6])
def test_an_epoch_ends_with_the_first_loss_that_is_not_finite(engine, broken):
    spec = tiny.linear()
    batches = samples.batches(spec, 6, 6, seed=0)
    batches[broken - 1] = replace(batches[broken - 1], weights=np.full(6, np.inf, np.float32))
    found = tiny.train(engine, spec, Recipe(), RATES, batches=batches)
    assert (True, broken, 6 * broken) == (found.totals.diverged, found.totals.steps, found.totals.count)
    assert broken == found.state()["step"]


def test_batches_beyond_the_rates_are_not_used(engine):
    spec = tiny.linear()
    batches = samples.batches(spec, 3, 6, seed=0)
    two = tiny.train(engine, spec, Recipe(), RATES[:2], batches=iter(batches))
    assert (12, 2) == (two.totals.count, two.state()["step"])
