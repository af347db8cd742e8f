"""Every model of the zoo answers alike in every float format and runtime."""

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
from diptych.spec import Recipe, zoo
from diptych.spec.init import initial_weights

# Exporters warn about their own calls.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NUM_STEPS = 12
FLOATS = [form for form in FORMATS.values() if not form.made_of and form.tolerance < 1]
EVERY_KIND_OF_LAYER = ("cnn", "resnet20")


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits", image_size=(28, 28), validation_fraction=0.0)


def briefly_trained(engine, spec, digits):
    """Weights after a few steps, images, and the model's probabilities for them."""
    recipe = Recipe(epochs=1, batch_size=32, flip="none")
    model = engine.build(spec)
    engine.load_weights(model, initial_weights(spec.arrays, 0))
    batches = islice(epoch_batches(digits.train, recipe, num_classes=10, seed=0, epoch=1), NUM_STEPS)
    engine.train_epoch(model, engine.make_optimizer(model, recipe), batches, [1e-3] * NUM_STEPS, seed=0)
    images_nhwc = np.concatenate([digits.test.images, digits.train.images])[:300]
    return engine.read_weights(model), images_nhwc, softmax(engine.predict(model, images_nhwc))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in EVERY_KIND_OF_LAYER else pytest.mark.long) for name in zoo.MODELS]
)
def test_every_float_format_of_a_model_answers_alike(both, name, digits, tmp_path):
    spec = zoo.model(name, digits.image_shape, 10)
    weights, images_nhwc, expected_nk = briefly_trained(both[0], spec, digits)
    card = Card("", spec, digits.class_names, "area", "digits", ("torch",), parity_digest(spec, weights))
    models = {}
    for writer_name, writer in zip(engines.NAMES, both, strict=True):
        models[writer_name] = (writer, writer.build(spec))
        writer.load_weights(models[writer_name][1], weights)

    worst = {}
    for form in FLOATS:
        path = tmp_path / f"model{form.suffix or '_saved'}"
        text = card.for_format(form.name).to_text()
        if form.writers:
            writer, model = models[form.writers[0]]
            writer.export(model, form.name, path, text, None)
        else:
            write_arrays(path, weights, {"format": "pt", CARD: text})
        for runtime in form.runtimes:
            if runtime != "torch-compiled":
                _, found_nk = Predictor.load(path, runtime=runtime, threads=1, trust=True)(images_nhwc)
                agreement = (found_nk.argmax(1) == expected_nk.argmax(1)).mean()
                difference = np.abs(found_nk - expected_nk).max() / form.tolerance
                worst[form.name, runtime] = difference if agreement >= form.agreement else np.inf
    assert {} == {key: value for key, value in worst.items() if value > 1}
