"""What Keras users rely on besides the contract."""

import keras
import pytest
import tiny

from diptych.comparison.parity import samples
from diptych.engines.tensorflow import train
from diptych.spec import Recipe, zoo


@pytest.mark.parametrize("name", ["mlp", "cifar_sequential", "fashion_cnn", "cnn", "resnet20"])
def test_a_chain_is_a_keras_sequential_and_a_graph_a_functional_model(configured, name):
    spec = zoo.model(name, input_shape=(28, 28, 1))
    model = configured["tensorflow"].build(spec)
    assert isinstance(model, keras.Model)
    assert isinstance(model, keras.Sequential) == (name != "resnet20")
    found = [layer.name for layer in model.layers if layer.name in spec.shapes]
    assert sorted(layer.name for layer in spec.layers) == sorted(found)


def test_the_number_of_steps_per_call_depends_on_their_time_and_changes_no_bit(configured, monkeypatch):
    spec, engine = tiny.conv_net(), configured["tensorflow"]
    batches = samples.batches(spec, 40, 4, seed=0)
    found = []
    for seconds, steps in ((1e-9, 1), (1e9, 16)):
        monkeypatch.setattr(train, "SECONDS_PER_CALL", seconds)
        trained = tiny.train(engine, spec, Recipe(), [0.02] * 40, batches=batches, precision="float32")
        assert steps == trained.optimizer.steps_per_call
        found.append(trained)
    one, many = found
    assert one.totals == many.totals
    tiny.assert_same_arrays(engine.read_weights(one.model), engine.read_weights(many.model))
