"""The contract of each engine: weights, predictions, gradients, outputs of layers, training and its state."""

from dataclasses import replace

import numpy as np
import pytest
import tiny

from diptych.comparison.parity import samples
from diptych.engines.contract import NO_STEPS, optimizer_arrays
from diptych.errors import ArtifactError
from diptych.spec import Recipe

SPECS = {"linear": tiny.linear, "conv_net": tiny.conv_net, "branching": tiny.branching}
LOGITS = {"float64": "float64", "float32": "float32", "bfloat16": "float32", "float16": "float32"}
RATES = (0.05, 0.04, 0.03, 0.02, 0.01, 0.02)
RECIPES = {
    "sgd": Recipe(optimizer="sgd", average_decay=0.9, precision="float32"),
    "adam": Recipe(optimizer="adam", average_decay=0.9, clip_norm=1.0, precision="bfloat16"),
    "rmsprop": Recipe(optimizer="rmsprop", average_decay=0.9, precision="float64"),
    "sgd, keras": Recipe(optimizer="sgd", update_form="keras", average_decay=0.9, precision="float64"),
    "rmsprop, keras": Recipe(optimizer="rmsprop", update_form="keras", average_decay=0.9, precision="float32"),
    "float16": Recipe(optimizer="sgd", average_decay=0.9, precision="float16"),
}


@pytest.fixture(params=SPECS)
def spec(request):
    return SPECS[request.param]()


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_weights_are_read_bit_for_bit_in_the_specs_order_and_as_copies(engine, spec, precision):
    model = engine.build(spec, precision)
    arrays = {name: array.astype(precision) for name, array in samples.weights(spec, seed=0).items()}
    engine.load_weights(model, arrays)
    found = engine.read_weights(model)
    engine.read_weights(model)["head.bias"][:] = 7.0  # a copy
    assert {np.dtype(precision)} == {array.dtype for array in found.values()}
    assert [array.name for array in spec.arrays] == list(found)
    tiny.assert_same_arrays(arrays, found)
    tiny.assert_same_arrays(arrays, engine.read_weights(model))


def test_weights_of_other_names_or_shapes_are_rejected_by_name(engine):
    spec = tiny.linear()
    model = tiny.loaded(engine, spec)
    arrays = samples.weights(spec, seed=1)
    bias = arrays.pop("head.bias")
    with pytest.raises(ArtifactError, match=r"Missing: head\.bias\. Unexpected: stranger\.weight\."):
        engine.load_weights(model, {**arrays, "stranger.weight": bias})
    with pytest.raises(ArtifactError, match=r"'head\.bias' has shape \(5,\), expected \(3,\)"):
        engine.load_weights(model, {**arrays, "head.bias": np.zeros(5)})
    tiny.assert_same_arrays(samples.weights(spec, seed=0), engine.read_weights(model))


@pytest.mark.parametrize("precision", LOGITS)
def test_logits_and_weights_have_the_precisions_number_format(engine, precision):
    spec = tiny.conv_net()
    model = tiny.loaded(engine, spec, precision)
    logits_nk = engine.predict(model, tiny.images(spec, 4))
    assert ((4, tiny.NUM_CLASSES), LOGITS[precision]) == (logits_nk.shape, logits_nk.dtype)
    assert {np.dtype(LOGITS[precision])} == {array.dtype for array in engine.read_weights(model).values()}
    exact_nk = engine.predict(tiny.loaded(engine, spec), tiny.images(spec, 4))
    np.testing.assert_allclose(logits_nk, exact_nk, atol=0.1)


def test_predictions_do_not_depend_on_the_batch_size(engine, spec):
    images_nhwc = tiny.images(spec, 300)
    model = tiny.loaded(engine, spec)
    parts = [engine.predict(model, part) for part in (images_nhwc[:7], images_nhwc[7:8], images_nhwc[8:])]
    np.testing.assert_allclose(np.concatenate(parts), engine.predict(model, images_nhwc), rtol=1e-12, atol=1e-13)


def test_images_may_be_read_only_views(engine):
    spec = tiny.linear()
    model = tiny.loaded(engine, spec)
    images_nhwc = tiny.images(spec, 6)
    expected = engine.predict(model, images_nhwc[::-2].copy())
    images_nhwc.flags.writeable = False
    np.testing.assert_allclose(engine.predict(model, images_nhwc[::-2]), expected, rtol=1e-12)


def test_gradients_are_those_of_the_definition_and_ignore_samples_of_weight_zero(engine):
    spec = tiny.linear()
    model = tiny.loaded(engine, spec)
    (batch,) = samples.batches(spec, 1, 6, seed=0)
    loss, found = engine.gradients(model, batch)
    expected_loss, expected = tiny.linear_gradients(samples.weights(spec, seed=0), batch)
    assert expected_loss == pytest.approx(loss, rel=1e-12)
    tiny.assert_same_arrays(expected, found, rtol=1e-11, atol=1e-14)

    loss, found = engine.gradients(model, replace(batch, weights=np.float32([*batch.weights[:4], 0.0, 0.0])))
    few = replace(batch, images=batch.images[:4], targets=batch.targets[:4], weights=batch.weights[:4])
    expected_loss, expected = engine.gradients(model, few)
    assert expected_loss == pytest.approx(loss, rel=1e-12)
    tiny.assert_same_arrays(expected, found, rtol=1e-11, atol=1e-14)


def test_gradients_reach_exactly_the_trainable_arrays(engine, spec):
    (batch,) = samples.batches(spec, 1, 6, seed=0)
    _, found = engine.gradients(tiny.loaded(engine, spec), batch)
    expected = [(array.name, array.shape) for array in spec.trainable]
    assert expected == [(name, array.shape) for name, array in found.items()]
    assert all(np.abs(array).max() > 0.0 for array in found.values())


def test_inspecting_a_model_changes_no_weight(engine, spec):
    model = tiny.loaded(engine, spec)
    (batch,) = samples.batches(spec, 1, 6, seed=0)
    engine.gradients(model, batch)
    engine.layer_outputs(model, batch.images, training=True)
    engine.layer_outputs(model, batch.images, training=False)
    engine.predict(model, batch.images)
    tiny.assert_same_arrays(samples.weights(spec, seed=0), engine.read_weights(model))


def test_every_layers_output_has_the_specs_shape_and_the_last_is_the_logits(engine, spec):
    model = tiny.loaded(engine, spec)
    images_nhwc = tiny.images(spec, 4)
    outputs = engine.layer_outputs(model, images_nhwc, training=False)
    expected = {layer.name: (4, *spec.shapes[layer.name]) for layer in spec.layers}
    assert expected == {name: output.shape for name, output in outputs.items()}
    np.testing.assert_allclose(outputs["head"], engine.predict(model, images_nhwc), rtol=1e-12, atol=1e-13)


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
