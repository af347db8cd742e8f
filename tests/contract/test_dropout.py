"""Dropout in each engine is the NumPy reference in `engines.masks`, in every format, order and step of a training."""

import numpy as np
import pytest
import tiny

from diptych.comparison.parity import samples
from diptych.engines import masks
from diptych.spec import Recipe
from diptych.spec import layers as L

FROZEN = Recipe(optimizer="sgd", momentum=0.0)
# 1 / (1 - rate), rounded to 53, 24, 8 and 11 bits.
FACTORS = {"float64": 1 / 0.7, "float32": float(np.float32(1 / 0.7)), "bfloat16": 183 / 128, "float16": 1463 / 1024}
MAP, VECTOR = (6, 5, 4), (120,)
PLACES = {
    **{f"{mode} of a map": ("normalize", MAP, mode) for mode in ("element", "channel", "sample")},
    **{f"{mode} of a vector": ("flatten", VECTOR, mode) for mode in ("element", "sample")},
    "element of a vector after another layer": ("tanh", VECTOR, "element"),
}


@pytest.fixture(params=PLACES)
def place(request):
    return PLACES[request.param]


def dropping(source, mode):
    """A model with dropout behind one of its layers."""
    model = tiny.Graph(MAP, (0.5,) * 4, (0.25,) * 4)
    for kind, settings in ((L.Flatten, {}), (L.Activation, {"function": "tanh"}), (None, {})):
        if source == model.layers[-1].name:
            model.add(L.Dropout, "dropout", rate=0.3, mode=mode)
        if kind:
            model.add(kind, settings.get("function", "flatten"), **settings)
    return tiny.with_head(model)


@pytest.mark.parametrize("precision", FACTORS)
def test_masks_are_those_of_the_reference_in_every_number_format(engine, place, precision):
    source, shape, mode = place
    spec = dropping(source, mode)
    model, ones = tiny.loaded(engine, spec, precision), np.ones((50, *shape))
    for step in (0, 1, 2**31 + 5, 2**32 - 1):
        expected = FACTORS[precision] * masks.keep(spec.layer("dropout"), shape, 50, 0, step) * ones
        found = engine.layer_alone(model, "dropout", {source: ones}, ones, training=True, step=step)
        np.testing.assert_array_equal(expected, found["output"])
        np.testing.assert_array_equal(expected, found[f"input/{source}"])
    found = engine.layer_alone(model, "dropout", {source: ones}, ones, training=False)
    np.testing.assert_array_equal(ones, found["output"])


def losses(spec, batches, seed):
    """Loss of each step of a training that changes nothing, by the definition."""
    weights, layer = samples.weights(spec, seed=0), spec.layer("dropout")
    for step, batch in enumerate(batches):
        values = (batch.images / 255.0 - 0.5) / 0.25
        for one in spec.layers[1:-1]:
            if isinstance(one, L.Dropout):
                values = values * masks.keep(layer, values.shape[1:], len(values), seed, step) / (1.0 - layer.rate)
            elif isinstance(one, L.Flatten):
                values = values.transpose(0, 3, 1, 2).reshape(len(values), -1)
            else:
                values = np.tanh(values)
        logits_nk = values @ weights["head.weight"].T + weights["head.bias"]
        log_probabilities_nk = logits_nk - np.log(np.exp(logits_nk).sum(1, keepdims=True))
        yield -(batch.weights * (batch.targets * log_probabilities_nk).sum(1)).sum()


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_every_step_of_a_training_has_the_masks_of_its_number(engine, place, seed):
    """One by one, in TensorFlow's groups of 16, and after a restart at step 7."""
    source, _, mode = place
    spec = dropping(source, mode)
    batches = samples.batches(spec, 21, batch_size=6, seed=0)
    expected = [*losses(spec, batches, seed)]
    model = tiny.loaded(engine, spec)
    optimizer = engine.make_optimizer(model, FROZEN)
    for first, last in [*((step, step + 1) for step in range(21)), (0, 21), (7, 21), (3, 4)]:
        engine.load_optimizer(optimizer, {"step": np.array(first)})
        if hasattr(optimizer, "steps_per_call"):
            optimizer.steps_per_call = 16
        rates = [0.0] * (last - first)
        found = engine.train_epoch(model, optimizer, batches[first:last], rates, seed)
        assert sum(expected[first:last]) == pytest.approx(found.loss, rel=1e-12), (first, last)
    assert sum(expected) != pytest.approx(sum(losses(spec, batches, seed + 1)), rel=1e-6)


def test_inspections_have_the_masks_of_seed_0_and_step_0_after_a_training_too(engine):
    spec = tiny.dropouts()
    model = tiny.loaded(engine, spec)
    batches = samples.batches(spec, 3, batch_size=6, seed=0)
    loss, slopes = engine.gradients(model, batches[0])
    outputs = engine.layer_outputs(model, batches[0].images, training=True)
    engine.train_epoch(model, engine.make_optimizer(model, FROZEN), batches, [0.0] * 3, 5)
    again, slopes_again = engine.gradients(model, batches[0])
    assert loss == again
    tiny.assert_same_arrays(slopes, slopes_again)
    tiny.assert_same_arrays(outputs, engine.layer_outputs(model, batches[0].images, training=True))
    for layer in spec.layers:
        if isinstance(layer, L.Dropout):
            before = outputs[layer.inputs[0]]
            kept = masks.keep(layer, before.shape[1:], len(before), 0, 0)
            np.testing.assert_allclose(outputs[layer.name], before * kept / (1.0 - layer.rate), rtol=1e-14)


def test_a_rate_of_0_changes_nothing(engine):
    outputs = [
        engine.layer_outputs(tiny.loaded(engine, spec), tiny.images(spec, 4), training=True)["head"]
        for spec in (tiny.dropouts(0.0), tiny.dropouts(0.4))
    ]
    still = engine.layer_outputs(tiny.loaded(engine, tiny.dropouts()), tiny.images(tiny.dropouts(), 4), training=False)
    np.testing.assert_array_equal(outputs[0], still["head"])
    assert not np.array_equal(outputs[1], still["head"])
