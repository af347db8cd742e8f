"""What Keras users rely on besides the contract."""

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from diptych.comparison.parity import samples
from diptych.data.decode import decode
from diptych.data.preprocess import resize
from diptych.engines.tensorflow import train
from diptych.engines.tensorflow.export import pixels_of
from diptych.evaluation import softmax
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
    tiny.assert_same_arrays(one.weights(), many.weights())


def encoded(suffix, image_hwc):
    return cv2.imencode(suffix, image_hwc)[1].tobytes()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(28, 28), (40, 50), (20, 33), (100, 17), (12, 12)])
@pytest.mark.parametrize(("suffix", "stored"), [(".png", 3), (".jpg", 3), (".png", 4)], ids=["png", "jpg", "alpha"])
def test_a_saved_model_decodes_files_as_diptych_does(suffix, stored, size, channels):
    rough_hwc = np.random.default_rng(0).integers(0, 256, (9, 9, stored), dtype=np.uint8)
    content = encoded(suffix, cv2.resize(rough_hwc, size[::-1], interpolation=cv2.INTER_CUBIC))
    wanted_hwc = resize(decode(content, "picture", channels), (28, 28)).astype(int)
    is_exact = (suffix, size, channels) == (".png", (28, 28), 3)
    assert np.abs(wanted_hwc - pixels_of(content, (28, 28, channels)).numpy()).max() <= (not is_exact)


def test_a_saved_model_accepts_encoded_files(configured, tmp_path):
    engine = configured["tensorflow"]
    model = tiny.loaded(engine, tiny.conv_net(), "float32")
    images_nhwc = tiny.images(model.spec, 3)
    engine.export(model, "saved-model", tmp_path / "cnn", "{}", None)
    files = [encoded(".png", np.ascontiguousarray(image[..., ::-1])) for image in images_nhwc]
    answer = tf.saved_model.load(str(tmp_path / "cnn" / "1")).signatures["serving_bytes"](bytes=tf.constant(files))
    wanted_nk = softmax(engine.predict(model, images_nhwc))
    np.testing.assert_allclose(answer["probabilities"].numpy(), wanted_nk, atol=1e-5)
