"""What Keras users rely on besides the contract: models, saved models, and weights files in every layout so far."""

import zipfile
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from diptych.comparison.parity import samples
from diptych.data.decode import decode
from diptych.data.preprocess import resize
from diptych.data.readers import arrays
from diptych.deployment.file_types import find_card
from diptych.deployment.transfer import read_weights
from diptych.engines import tensorflow as engine
from diptych.engines.tensorflow import train
from diptych.engines.tensorflow.export import pixels_of
from diptych.errors import ArtifactError
from diptych.evaluation import softmax
from diptych.spec import Recipe, zoo
from diptych.spec import layers as L

SUFFIXES = (".keras", ".h5", ".weights.h5")
pytestmark = pytest.mark.filterwarnings("ignore")  # Keras warns about its own calls


def save(model, path):
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)


def randomized(model):
    """The model with weights of which none are all zeros or ones."""
    generator = np.random.default_rng(0)
    model.set_weights([generator.uniform(0.5, 1.5, array.shape) - array.ndim // 2 for array in model.get_weights()])
    return model


def hand_written_chain():
    """TensorFlow's tutorial CNN, as a tutorial writes it."""
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Rescaling(4 / 255, offset=-2.0),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10),
        ]
    )


def assert_same_logits(spec, path, model):
    assert find_card(path) is None
    images_nhwc = tiny.images(spec, 8)
    built = engine.build(spec)
    engine.load_weights(built, read_weights(path, spec))
    wanted_nk = model.predict(images_nhwc.astype(np.float32), verbose=0)
    found_nk = engine.predict(built, images_nhwc)
    np.testing.assert_allclose(found_nk, wanted_nk, atol=1e-5 * np.abs(wanted_nk).max())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_hand_written_chain_gives_its_own_logits(suffix, tmp_path):
    model = hand_written_chain()
    model.compile("adam", "mse")
    # The file also has the optimizer's arrays.
    model.fit(np.zeros((2, 32, 32, 3)), np.zeros((2, 10)), shuffle=False, verbose=0)
    path = tmp_path / f"model{suffix}"
    save(model, path)
    assert_same_logits(zoo.model("cifar_sequential"), path, model)


def older(path):
    """Rewrite the file as earlier versions of Keras 3 did, without layer names in groups."""
    weights = path.with_name("weights.h5")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    weights.write_bytes(parts["model.weights.h5"])
    with h5py.File(weights, "a") as file:
        file.visititems(lambda _, group: group.attrs.pop("name", None) and None)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (parts | {"model.weights.h5": weights.read_bytes()}).items():
            archive.writestr(name, content)


def test_layers_of_an_earlier_keras_are_named_by_counting(tmp_path):
    path, spec = tmp_path / "model.keras", tiny.branching()
    model = tiny.loaded(engine, spec, "float32")
    engine.export(model, "keras", path, "{}", None)
    older(path)
    tiny.assert_same_arrays(engine.read_weights(model), read_weights(path, spec))


@pytest.mark.parametrize("scope", ["{}", "{}_before_it_was_renamed", "model/{}"])
def test_weights_of_keras_2_are_read_and_those_of_theano_are_refused(scope, tmp_path):
    spec = zoo.model("cifar_sequential")
    model = hand_written_chain()
    weighted = [layer for layer in model.layers if layer.weights]
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["layer_names0"], file.attrs["layer_names1"] = (
            [layer.name.encode() for layer in part] for part in (weighted[:2], weighted[2:])
        )
        for layer in weighted:
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [f"{scope.format(layer.name)}/{role}:0" for role in ("kernel", "bias")]
            for name, array in zip(group.attrs["weight_names"], layer.get_weights(), strict=True):
                group[name] = array
    assert_same_logits(spec, tmp_path / "model.h5", model)
    with h5py.File(tmp_path / "model.h5", "a") as file:
        file.attrs["backend"] = b"theano"
    with pytest.raises(ArtifactError, match="Theano's kernels are turned by 180°"):
        read_weights(tmp_path / "model.h5", spec)


class Subclassed(keras.Model):
    """Layers as attributes, as in PyTorch."""

    def __init__(self):
        super().__init__()
        self.conv1 = keras.layers.Conv2D(4, 3, padding="same", use_bias=False)
        self.norms = [keras.layers.BatchNormalization(), keras.layers.BatchNormalization()]
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.head = keras.layers.Dense(3)

    def call(self, images):
        return self.head(self.pool(self.norms[1](self.norms[0](self.conv1(images)))))


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_layers_that_are_attributes_are_found(suffix, tmp_path):
    graph = tiny.graph()
    graph.conv("conv1", 4, padding=1, use_bias=False)
    for place in range(2):
        graph.add(L.BatchNorm, f"norm{place}")
    graph.add(L.GlobalAvgPool, "pool")
    spec = tiny.with_head(graph)
    model = Subclassed()
    model(np.zeros((1, 8, 8, 3), np.float32))
    save(randomized(model), tmp_path / f"model{suffix}")
    found = read_weights(tmp_path / f"model{suffix}", spec)
    np.testing.assert_array_equal(model.norms[1].gamma.numpy(), found["norm1.weight"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_depthwise_convolution_is_read_in_canonical_axes(suffix, tmp_path):
    spec = tiny.one_layer(L.Conv, filters=6, kernel=(3, 3), groups=3)
    stock = keras.layers
    layers = [stock.DepthwiseConv2D(3, depth_multiplier=2), stock.Flatten(), stock.Dense(3)]
    model = randomized(keras.Sequential([keras.Input((8, 8, 3)), stock.Rescaling(1 / 255), *layers]))
    save(model, tmp_path / f"model{suffix}")
    found = read_weights(tmp_path / f"model{suffix}", spec)
    wanted = model.layers[1].kernel.numpy()
    np.testing.assert_array_equal(wanted[:, :, 2, 1], found["layer.weight"][5, 0])


def test_bfloat16_is_read_to_the_bit(tmp_path):
    spec = tiny.linear()
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3, dtype="bfloat16")])
    save(randomized(model), tmp_path / "model.weights.h5")
    found = read_weights(tmp_path / "model.weights.h5", spec)
    np.testing.assert_array_equal(np.float32(model.layers[-1].bias.numpy()), found["head.bias"])


def test_a_global_heap_that_hdf5_would_read_forever_is_an_error(tmp_path):
    path = tmp_path / "model.weights.h5"
    save(hand_written_chain(), path)
    content = bytearray(path.read_bytes())
    start = content.index(b"GCOL") + 16 + 8
    content[start : start + 8] = (2**64 - 16).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"the global heap at byte \d+ is damaged"):
        read_weights(path, tiny.linear())


@pytest.mark.parametrize("name", ["mlp", "cifar_sequential", "fashion_cnn", "cnn", "resnet20"])
def test_a_chain_is_a_keras_sequential_and_a_graph_a_functional_model(name):
    spec = zoo.model(name, input_shape=(28, 28, 1))
    model = engine.build(spec)
    assert isinstance(model, keras.Model)
    assert isinstance(model, keras.Sequential) == (name != "resnet20")
    found = [layer.name for layer in model.layers if layer.name in spec.shapes]
    assert sorted(layer.name for layer in spec.layers) == sorted(found)


def test_the_number_of_steps_per_call_depends_on_their_time_and_changes_no_bit(monkeypatch):
    spec = tiny.conv_net()
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


def test_a_saved_model_accepts_encoded_files(tmp_path):
    model = tiny.loaded(engine, tiny.conv_net(), "float32")
    images_nhwc = tiny.images(model.spec, 3)
    engine.export(model, "saved-model", tmp_path / "cnn", "{}", None)
    files = [encoded(".png", np.ascontiguousarray(image[..., ::-1])) for image in images_nhwc]
    answer = tf.saved_model.load(str(tmp_path / "cnn" / "1")).signatures["serving_bytes"](bytes=tf.constant(files))
    wanted_nk = softmax(engine.predict(model, images_nhwc))
    np.testing.assert_allclose(answer["probabilities"].numpy(), wanted_nk, atol=1e-5)


@pytest.mark.parametrize(("module", "file"), [("cifar10", arrays.PYTHON), ("cifar100", arrays.FINE)])
def test_keras_has_the_same_digests_of_cifar(module, file):
    assert file.archive.sha256 in (Path(keras.__file__).parent / "src" / "datasets" / f"{module}.py").read_text()


def test_plain_keras_trains_the_model():
    spec = tiny.conv_net()
    model, loss = engine.build(spec), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss)
    settings = {"epochs": 20, "shuffle": False, "verbose": 0}
    losses = model.fit(tiny.images(spec, 8), np.arange(8) % tiny.NUM_CLASSES, **settings).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
