"""Every built-in model, trained for a few steps in either engine, predicts the same in every float format."""

from itertools import islice

import numpy as np
import pytest

from diptych import engines
from diptych.artifacts.store import write_arrays
from diptych.data import datasets
from diptych.data.batches import epoch_batches
from diptych.deployment.card import Card, parity_digest
from diptych.deployment.formats import FORMATS
from diptych.deployment.predictor import Predictor
from diptych.engines.contract import CARD
from diptych.evaluation import softmax
from diptych.processes import num_threads
from diptych.spec import Recipe, zoo
from diptych.spec.init import initial_weights

# Exporters warn about their own calls.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NUM_STEPS = 12
TOLERANCES = {"tflite-fp16": 5e-3}
FLOATS = [form for form in FORMATS.values() if not form.is_quantised and not form.made_of]
FLOATS = [form for form in FLOATS if form.name != "tflite-dynamic"]


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits", image_size=(28, 28), validation_fraction=0.0)


@pytest.fixture(scope="module")
def thousand_nhwc(digits):
    return np.concatenate([digits.test.images, digits.train.images])[:1000]


def briefly_trained(engine, spec, digits):
    """A model after a few steps, and its weights."""
    recipe = Recipe(epochs=1, batch_size=32, flip="none")
    model = engine.build(spec)
    engine.load_weights(model, initial_weights(spec.arrays, 0))
    batches = islice(epoch_batches(digits.train, recipe, num_classes=10, seed=0, epoch=1), NUM_STEPS)
    engine.train_epoch(model, engine.make_optimizer(model, recipe), batches, [1e-3] * NUM_STEPS, seed=0)
    return model, engine.read_weights(model)


def export(writers, form, weights, path, card):
    """Write a format as `diptych export` does, in this process."""
    if form.writers:
        writer, model = writers[form.writers[0]]
        writer.export(model, form.name, path, card, None)
    else:
        write_arrays(path, weights, {"format": "pt", CARD: card})


@pytest.mark.parametrize("name", zoo.MODELS)
def test_every_float_format_of_every_model_predicts_the_same(
    both, engine, engine_name, name, digits, thousand_nhwc, tmp_path
):
    spec = zoo.model(name, digits.image_shape, 10)
    trained, weights = briefly_trained(engine, spec, digits)
    wanted_nk = softmax(engine.predict(trained, thousand_nhwc))
    card = Card("", spec, digits.class_names, "area", "digits", (engine_name,), parity_digest(spec, weights))
    writers = {}
    for writer_name, writer in zip(engines.NAMES, both, strict=True):
        writers[writer_name] = (writer, writer.build(spec))
        writer.load_weights(writers[writer_name][1], weights)

    worst = {}
    for form in FLOATS:
        path = tmp_path / f"model{form.suffix or '_saved'}"
        export(writers, form, weights, path, card.for_format(form.name).to_text())
        for runtime in form.runtimes:
            if runtime == "torch-compiled":
                continue
            predictor = Predictor.load(path, runtime=runtime, threads=num_threads(), trust=True)
            _, found_nk = predictor(thousand_nhwc)
            worst[form.name, runtime] = np.abs(found_nk - wanted_nk).max()
    assert {} == {key: value for key, value in worst.items() if value > TOLERANCES.get(key[0], 1e-5)}
