"""What a Keras user relies on, besides the contract."""

import keras
import numpy as np
import pytest
import tiny

from diptych.spec import zoo


@pytest.mark.parametrize("name", ["mlp", "cifar_sequential", "fashion_cnn", "cnn"])
def test_a_chain_of_the_zoo_is_a_keras_sequential(configured, name):
    spec = zoo.model(name, input_shape=(28, 28, 1))
    model = configured["tensorflow"].build(spec)
    assert isinstance(model, keras.Sequential)
    found = [layer.name for layer in model.layers if layer.name in spec.shapes]
    assert [layer.name for layer in spec.layers] == found


def test_a_graph_is_a_functional_model_with_the_layers_names(configured):
    spec = tiny.branching()
    model = configured["tensorflow"].build(spec)
    assert isinstance(model, keras.Model)
    assert not isinstance(model, keras.Sequential)
    assert {layer.name for layer in spec.layers} <= {layer.name for layer in model.layers}


def test_plain_keras_trains_the_model(configured):
    spec = tiny.conv_net()
    model = configured["tensorflow"].build(spec)
    model.compile(
        optimizer=keras.optimizers.SGD(0.1), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    labels = np.arange(8) % tiny.NUM_CLASSES
    losses = model.fit(tiny.images(spec, 8), labels, epochs=20, shuffle=False, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
