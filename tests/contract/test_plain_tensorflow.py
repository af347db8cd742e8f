"""What Keras users do with a built model: save, load without diptych, copy, freeze, checkpoint and train."""

import copy
import pickle
import subprocess
import sys
from functools import partial

import keras
import numpy as np
import pytest
import tiny

import diptych
from diptych.engines import tensorflow as engine
from diptych.spec import layers as L
from diptych.spec import zoo

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras warns about its own calls
# Loads each file, predicts, and trains a step with the norms frozen, in a process that cannot import diptych.
LOAD = """
import sys; sys.modules["diptych"] = None
import keras, numpy as np
images = np.load("images.npy")
for path in sys.argv[1:]:
    model = keras.models.load_model(path)
    np.testing.assert_allclose(np.load(path + ".npy"), model.predict(images, verbose=0), atol=1e-4, err_msg=path)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    if path in ("cnn.keras", "resnet20.h5"):
        model.fit(images, np.arange(len(images)), verbose=0)
"""


def test_built_models_load_and_train_in_keras_without_diptych(tmp_path):
    shape = (20, 20, 3)
    files, images_nhwc = [], np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images_nhwc)
    for name in zoo.MODELS:
        model = diptych.build(name, "tensorflow", input_shape=shape)
        logits_nk = model.predict(images_nhwc, verbose=0)
        for suffix in ("keras", "h5"):
            files.append(f"{name}.{suffix}")
            model.save(tmp_path / files[-1])
            np.save(tmp_path / f"{files[-1]}.npy", logits_nk)
    command = [sys.executable, "-c", LOAD, *files]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr[-2000:]


@pytest.mark.parametrize("precision", ["float32", "float64", "float16"])
@pytest.mark.parametrize("function", ["leaky_relu", "gelu", "silu"])
def test_a_built_model_with_any_activation_is_saved_with_keras_layers(function, precision, tmp_path):
    spec = tiny.one_layer(L.Activation, function=function)
    model = diptych.build(spec, "tensorflow", precision=precision)
    model.save(tmp_path / "model.keras")
    found = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(*(one.predict(tiny.images(spec, 3), verbose=0) for one in (model, found)))


WAYS = {
    "clone_model": keras.models.clone_model,
    "get_config": lambda model: type(model).from_config(model.get_config()),
    "to_json": lambda model: keras.models.model_from_json(model.to_json()),
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [tiny.conv_net, tiny.dropouts, tiny.branching])
def test_a_built_model_passes_through_kerass_own_tools(make, way):
    model, images_nhwc = diptych.build(make(), "tensorflow"), tiny.images(make(), 4)
    found = WAYS[way](model)
    found.set_weights(model.get_weights())
    assert {"keras"} == {type(layer).__module__.partition(".")[0] for layer in (found, *found.layers)}
    np.testing.assert_array_equal(*(one.predict(images_nhwc, verbose=0) for one in (model, found)))


DROPOUTS = {  # the shape of each dropout's input, and whether it drops whole samples and channels
    "map": ((64, 5, 5, 6), (False, False)),
    "vector": ((64, 150), (False, True)),
    "channels": ((64, 5, 5, 6), (False, True)),
    "path": ((64, 5, 5, 6), (True, True)),
    "samples": ((64, 150), (True, True)),
}


@pytest.mark.parametrize("name", DROPOUTS)
def test_a_built_model_has_kerass_own_dropout(name):
    shape, whole = DROPOUTS[name]
    dropout, ones = diptych.build(tiny.dropouts(), "tensorflow").get_layer(name), np.ones(shape, np.float32)
    dropped = np.array(dropout(ones, training=True))
    assert keras.layers.Dropout is type(dropout)
    assert {0.0, np.float32(1 / 0.6)} == set(np.unique(dropped))
    samples, channels = dropped.reshape(64, -1), dropped.reshape(64, -1, shape[-1])
    assert whole == ((samples == samples[:, :1]).all(), (channels == channels[:, :1]).all())
    np.testing.assert_array_equal(ones, dropout(ones, training=False))


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_frozen_norms_keep_their_statistics_and_checkpoints_are_read_back(suffix, tmp_path):
    spec, path = tiny.conv_net(), tmp_path / f"best{suffix}"
    model, images_nhwc = diptych.build(spec, "tensorflow"), tiny.images(spec, 6)
    saver = keras.callbacks.ModelCheckpoint(path, save_weights_only=suffix != ".keras")
    statistics = []
    for trainable in (True, False):
        model.get_layer("stem.norm").trainable = trainable
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(images_nhwc, np.arange(6) % 3, verbose=0, callbacks=[saver], shuffle=False)
        statistics.append(engine.read_weights(model)["stem.norm.running_mean"])
    assert statistics[0].any()
    np.testing.assert_array_equal(*statistics)
    found = diptych.build(spec, "tensorflow", seed=1)
    if suffix == ".keras":
        found = keras.models.load_model(path)
    else:
        found.load_weights(path)
    np.testing.assert_array_equal(*(one.predict(images_nhwc, verbose=0) for one in (model, found)))


@pytest.mark.parametrize("make", [tiny.conv_net, tiny.branching])
@pytest.mark.parametrize("call", [partial(keras.Model.fit, shuffle=False), keras.Model.evaluate])
def test_floats_are_refused_in_training_too(make, call):
    model = diptych.build(make(), "tensorflow")
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="expected dtype=uint8, found dtype=float32"):
        call(model, np.float32(tiny.images(make(), 4)) / 255, np.zeros((4, 3)))
