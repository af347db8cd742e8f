"""The model in a Keras file is used as it is, compared with a named one, or refused by the names of its layers."""

import json
import re

import keras
import numpy as np
import pytest
import tiny
from keras import layers as K

from diptych.artifacts.store import read_arrays, write_arrays
from diptych.deployment.file_types import find_card
from diptych.deployment.options import CardOptions
from diptych.deployment.transfer import read_weights, transfer
from diptych.engines import tensorflow as engine
from diptych.engines.contract import Stored
from diptych.engines.keras_graph import KerasGraph
from diptych.engines.session import Session
from diptych.errors import ArtifactError, SpecError, UsageError
from diptych.spec import layers as L
from diptych.spec import zoo

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras warns about its own calls


@pytest.fixture(scope="module")
def workers():
    session = Session("tensorflow", threads=1)
    return {"tensorflow": session, "torch": session}


def randomized(model):
    generator = np.random.default_rng(0)
    model.set_weights(
        [generator.uniform(0.2, 1.0, array.shape) - 0.6 * (array.ndim > 1) for array in model.get_weights()]
    )
    return model


def saved(tmp_path, layers, suffix=".keras", shape=(12, 12, 3)):
    """A file with a model of these layers, or of a function from its input to its output."""
    if callable(layers):
        images = keras.Input(shape)
        model = keras.Model(images, layers(images))
    else:
        model = keras.Sequential([keras.Input(shape), *layers])
    randomized(model).save(tmp_path / f"model{suffix}")
    return tmp_path / f"model{suffix}"


def residual(images):
    start = K.Conv2D(8, 3, 2, padding="same", use_bias=False, name="stem-conv")(images)
    side = K.Conv2D(8, 1, name="side.1-a")(start)
    main = K.ReLU()(K.BatchNormalization(epsilon=1e-2, momentum=0.9)(K.DepthwiseConv2D(3, padding="same")(start)))
    both = K.Concatenate()([K.Add()([side, main]), start])
    return K.Dense(4, activation="softmax")(K.GlobalAveragePooling2D()(both))


def nested(images):
    inner = keras.Input((12, 12, 3))
    base = keras.Model(inner, K.MaxPooling2D()(K.Conv2D(6, 3, activation="tanh")(inner)), name="base")
    return K.Dense(4)(K.Dropout(0.2)(K.Flatten()(base(K.Rescaling(1 / 127.5, -1.0)(images)))))


def shared(images):
    conv = K.Conv2D(3, 3, padding="same")
    return K.Dense(4)(K.Flatten()(conv(conv(images))))


def resnet_stem(images):
    maps = K.ReLU()(K.Conv2D(4, 7, 2)(K.ZeroPadding2D(3)(images)))
    return K.Dense(4)(K.Flatten()(K.AveragePooling2D(3)(K.MaxPooling2D(3, 2)(K.ZeroPadding2D(1)(maps)))))


def branches(images):
    """Layers of one name in two models, in another order than they are numbered in files, and in a third model."""

    def branch(name):
        layers = [K.Conv2D(4, 3, padding="same", name="conv"), K.DepthwiseConv2D(3, name="deep")]
        return keras.Sequential([*layers, K.BatchNormalization(name="norm")], name=name)

    first, second, inner = branch("first"), branch("second"), keras.Input((8, 8, 4))
    outer = keras.Model(inner, branch("third")(inner), name="outer")
    return K.Dense(4)(K.GlobalAveragePooling2D()(outer(first(second(K.Conv2D(4, 1)(images))))))


def of_raw_and_scaled(kind, *places):
    def build(images):
        values = [images, K.Rescaling(1 / 255)(images), K.Rescaling(1 / 127.5, -1.0)(images)]
        return K.Dense(4)(K.Flatten()(kind()([values[place] for place in places])))

    return build


@keras.saving.register_keras_serializable(package="mine")
class ReLU(K.Layer):
    """Another function under a name of Keras."""

    def call(self, values):
        return values * values


@keras.saving.register_keras_serializable(package="mine")
class RandomScale(ReLU):
    """A random layer by its name only."""


CONV, HEAD = K.Conv2D, (lambda: [K.Flatten(), K.Dense(4)])
MODELS = {
    "activations": lambda: [
        K.Rescaling([0.01, 0.02, 0.03], [0.1, 0.0, -0.5]),
        *(
            CONV(5, 3, activation=name, padding="same")
            for name in ("relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid")
        ),
        CONV(5, 2, activation=K.LeakyReLU(negative_slope=0.3)),
        K.ReLU(negative_slope=0.1),
        K.AveragePooling2D(3, 2, padding="same"),
        *HEAD(),
    ],
    "augmented": lambda: [K.RandomFlip(), K.Rescaling(1 / 255), K.GaussianNoise(0.1), *HEAD(), K.Softmax()],
    "normalization": lambda: [K.Normalization(mean=[100.0, 110.0, 120.0], variance=[60.0**2, 9.0, 1.0]), *HEAD()],
    "adapted": lambda: [K.Normalization(), *HEAD()],
    "same and strides": lambda: [K.Rescaling(1 / 255), CONV(6, 4, 3, padding="same", groups=3), *HEAD()],
    "residual": lambda: residual,
    "nested": lambda: nested,
    "branches": lambda: branches,
    "resnet_stem": lambda: resnet_stem,
    "norms": lambda: [
        K.Rescaling(1 / 255),
        CONV(4, 3),
        K.BatchNormalization(scale=False),
        K.BatchNormalization(center=False),
        K.BatchNormalization(scale=False, center=False),
        *HEAD(),
    ],
    "two dense": lambda: [K.Flatten(), K.Dense(12, activation="relu"), K.BatchNormalization(), K.Dense(4)],
}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", MODELS)
def test_without_a_named_model_the_files_own_gives_its_logits(name, suffix, workers, tmp_path):
    path = saved(tmp_path, MODELS[name](), suffix)
    model = keras.models.load_model(path, compile=False)
    done = transfer(path, tmp_path / "new.safetensors", workers=workers)
    spec = find_card(tmp_path / "new.safetensors").spec
    images_nhwc = tiny.images(spec, 8)
    built = engine.build(spec)
    engine.load_weights(built, read_weights(tmp_path / "new.safetensors", spec))
    wanted_nk, found_nk = model.predict(images_nhwc.astype(np.float32), verbose=0), engine.predict(built, images_nhwc)
    if "softmax" in str(done.remarks):
        found_nk = np.exp(found_nk - found_nk.max(1, keepdims=True))
        found_nk /= found_nk.sum(1, keepdims=True)
    np.testing.assert_allclose(found_nk, wanted_nk, atol=2e-5 * np.abs(wanted_nk).max())


def tutorial(scale=4 / 255, offset=-2.0, *, activation="relu", pool=K.MaxPooling2D, **settings):
    """TensorFlow's tutorial CNN, which is cifar_sequential, or one like it."""
    maps = [K.Rescaling(scale, offset)] if scale else []
    for place, filters in enumerate((32, 64, 64)):
        maps += [pool(2)] if place else []
        maps += [CONV(filters, 3, activation=activation, **settings)]
    return [*maps, K.Flatten(), K.Dense(64, activation=activation), K.Dense(10)]


def normed(epsilon, momentum=0.9):
    graph = zoo.Graph((12, 12, 3), (0.5,) * 3, (0.25,) * 3)
    graph.conv("conv", 4)
    graph.add(L.BatchNorm, "norm", epsilon=epsilon, decay=momentum)
    graph.relu("relu")
    graph.add(L.GlobalAvgPool, "pool")
    graph.add(L.Dense, "head", units=3)
    return graph.model("normed")


def normed_layers(*added, padding="valid", **settings):
    return [
        K.Rescaling(4 / 255, -2.0), CONV(4, 3, padding=padding), K.BatchNormalization(**settings), K.ReLU(), *added,
        K.GlobalAveragePooling2D(), K.Dense(3),
    ]  # fmt: skip


CIFAR, NORMED = zoo.model("cifar_sequential"), normed(1e-5)


def misordered():
    return [CONV(4, 3), K.ReLU(), K.BatchNormalization(epsilon=1e-5), K.GlobalAveragePooling2D(), K.Dense(3)]


OTHERS = {  # layers, the target's spec, and what differs
    "elu": (tutorial(activation="elu"), CIFAR, r"layer 3 \('\w+'\): the file has ELU, the model ReLU"),
    "average": (tutorial(pool=K.AveragePooling2D), CIFAR, "the file has AvgPool, .*, the model MaxPool"),
    "rescaling": (tutorial(1 / 255, 0.0), CIFAR, r"\(pixels/255 - 0\) / 1, the model .*\(pixels/255 - 0.5\) / 0.25"),
    "padding": (
        normed_layers(padding="same", epsilon=1e-5),
        NORMED,
        r"has padding \(1, 1, 1, 1\), the model padding \(0,",
    ),
    "epsilon": (normed_layers(momentum=0.9), NORMED, "the file has epsilon 0.001, the model epsilon 1e-05"),
    "relu6": (normed_layers(K.ReLU(6.0), epsilon=1e-5), NORMED, "the file has ReLU max_value 6.0, the model none"),
    "lambda": (normed_layers(K.Lambda(lambda maps: -maps), epsilon=1e-5), NORMED, "has Lambda, the model none"),
    "order": (
        [K.Rescaling(4 / 255, -2.0), *misordered()],
        NORMED,
        "the file has BatchNorm, epsilon 1e-05, the model none",
    ),
    "leaky": (tutorial(activation="leaky_relu"), CIFAR, "the file has LeakyReLU 0.2, the model ReLU"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_named_model_that_the_file_contradicts_is_refused_and_recorded_if_forced(name, workers, tmp_path):
    layers, spec, fault = OTHERS[name]
    path, target = saved(tmp_path, layers, shape=spec.input_shape), tmp_path / "new.safetensors"
    with pytest.raises(ArtifactError, match=fault) as raised:
        transfer(path, target, spec=spec, workers=workers)
    assert "\n" not in str(raised.value) and not target.exists()
    done = transfer(path, target, spec=spec, workers=workers, force=True)
    assert done.remarks == find_card(target).remarks
    assert any(line.startswith("differs: ") for line in done.remarks)
    assert "logits" in done.remarks[-1] or "ELU" in fault or "Lambda" in fault or "max_value" in fault


def test_the_same_model_with_other_names_is_mapped_by_its_graph(workers, tmp_path):
    """Also where layers of one shape are used in another order than they are numbered."""
    path = saved(tmp_path, tutorial(), shape=(32, 32, 3))
    done = transfer(path, tmp_path / "new.safetensors", spec=CIFAR, workers=workers)
    assert (0, 5) == (done.by_name, done.by_structure)
    assert "logits on 16 sample images: at most 0 from" in done.remarks[-1]
    last, first = (CONV(3, 3, padding="same", name=f"conv{place}") for place in (1, 2))
    path = saved(
        tmp_path, [K.Rescaling(4 / 255, -2.0), first, last, K.GlobalAveragePooling2D(), K.Dense(3)], shape=(8, 8, 3)
    )
    graph = zoo.Graph((8, 8, 3), (0.5,) * 3, (0.25,) * 3)
    for place in (1, 2):
        graph.conv(f"conv{place}", 3, padding=1)
    graph.add(L.GlobalAvgPool, "pool")
    graph.add(L.Dense, "head", units=3)
    spec = graph.model("two")
    transfer(path, tmp_path / "two.safetensors", spec=spec, workers=workers)
    found = read_weights(tmp_path / "two.safetensors", spec)["conv1.weight"]
    np.testing.assert_array_equal(first.kernel.numpy().transpose(3, 2, 0, 1), found)
    with pytest.raises(ArtifactError, match="mapped otherwise than in the file"):
        transfer(
            path, tmp_path / "three.keras", spec=spec, workers=workers, layer_map={"conv1": "conv1", "conv2": "conv2"}
        )


def test_weights_that_changed_since_their_card_was_written_are_said(workers, tmp_path):
    path = saved(tmp_path, tutorial(), shape=(32, 32, 3))
    transfer(path, tmp_path / "new.safetensors", workers=workers)
    arrays, metadata = read_arrays(tmp_path / "new.safetensors")
    arrays = {name: array + 1 for name, array in arrays.items()}
    write_arrays(tmp_path / "changed.safetensors", arrays, metadata)
    changed = "warning: the weights have changed since the file's card was written"
    for name, expected in (("new", False), ("changed", True)):
        done = transfer(tmp_path / f"{name}.safetensors", tmp_path / f"{name}.keras", workers=workers)
        assert expected == (changed in done.remarks)


def test_what_differs_only_in_training_is_said(workers, tmp_path):
    path = saved(tmp_path, normed_layers(epsilon=1e-5, momentum=0.99))
    done = transfer(path, tmp_path / "new.keras", spec=NORMED, workers=workers)
    assert "differs in training only: decay 0.99 in the file, 0.9 in the model" in done.remarks


def test_a_file_that_does_not_scale_its_images_says_so(workers, tmp_path):
    path = saved(tmp_path, tutorial(None), shape=(32, 32, 3))
    done = transfer(path, tmp_path / "own.keras", workers=workers)
    assert (1 / 255, 0.0) == (pytest.approx(done.std[0]), done.mean[0])
    assert "so the model takes pixels from 0 to 255 as they are" in done.remarks[0]
    stated = CardOptions(mean=(0.5,), std=(0.25,))
    done = transfer(path, tmp_path / "stated.keras", described=stated, workers=workers)
    assert ("not checked: the file does not scale its images",) == done.remarks
    done = transfer(path, tmp_path / "named.keras", spec=CIFAR, workers=workers)
    assert "not checked: the file does not scale its images, so the model scales them by itself" in done.remarks


@pytest.mark.parametrize(("flatten", "order"), [("channels_last", None), ("channels_first", (1, 2, 0))])
def test_channels_first_are_flattened_in_the_files_order(flatten, order, workers, tmp_path):
    layers = [K.Rescaling(1 / 255), CONV(5, 3, strides=2, data_format="channels_first"), K.Flatten(flatten), K.Dense(4)]
    path = saved(tmp_path, layers, shape=(3, 9, 7))
    transfer(path, tmp_path / "new.keras", workers=workers)
    spec = find_card(tmp_path / "new.keras").spec
    assert (9, 7, 3) == spec.input_shape
    kernel = layers[-1].kernel.numpy().T
    if order:
        shape = spec.shapes[spec.layers[1].name]
        kernel = kernel.reshape(-1, *shape).transpose(0, 3, 1, 2).reshape(4, -1)
    np.testing.assert_array_equal(kernel, read_weights(tmp_path / "new.keras", spec)[f"{layers[-1].name}.weight"])


def first(layer):
    """A layer between convolutions with channels first."""
    return [CONV(5, 3, data_format="channels_first"), layer, CONV(4, 3, data_format="channels_first"), *HEAD()]


@pytest.mark.parametrize(
    ("expected", "layers"),
    [
        ("element", [CONV(4, 3), K.Dropout(0.1), *HEAD()]),
        ("element", [CONV(4, 3), K.Dropout(0.1, noise_shape=(None, None, None, None)), *HEAD()]),
        ("channel", [CONV(4, 3), K.SpatialDropout2D(0.1), *HEAD()]),
        ("channel", [CONV(4, 3), K.Dropout(0.1, noise_shape=(None, 1, 1, None)), *HEAD()]),
        ("channel", first(K.SpatialDropout2D(0.1, data_format="channels_first"))),
        ("channel", first(K.Dropout(0.1, noise_shape=(None, None, 1, 1)))),
        ("sample", [CONV(4, 3), K.Dropout(0.1, noise_shape=(None, 1, 1, 1)), *HEAD()]),
        ("sample", first(K.Dropout(0.1, noise_shape=(None, 1, 1, 1)))),
        ("sample", [K.Flatten(), K.Dropout(0.1, noise_shape=(None, 1)), K.Dense(4)]),
    ],
)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_what_a_dropout_drops_is_read_from_its_noise_shape(expected, layers, suffix, workers, tmp_path):
    is_first = "channels_first" in str([layer.get_config() for layer in layers])
    path = saved(tmp_path, layers, suffix, (3, 12, 12) if is_first else (12, 12, 3))
    transfer(path, tmp_path / "new.safetensors", workers=workers)
    spec = find_card(tmp_path / "new.safetensors").spec
    assert [(0.1, expected)] == [(one.rate, one.mode) for one in spec.layers if isinstance(one, L.Dropout)]


FOREIGN = {  # layers, and how the one that specs do not have is called
    "elu": ([CONV(4, 3, activation="elu"), *HEAD()], "ELU"),
    "lambda": ([K.Lambda(lambda maps: maps + 1), *HEAD()], "Lambda"),
    "separable": ([K.SeparableConv2D(4, 3), *HEAD()], "SeparableConv2D"),
    "dilated": ([CONV(4, 3, dilation_rate=2), *HEAD()], "Conv2D"),
    "convolution after pooling": ([K.GlobalAveragePooling2D(keepdims=True), CONV(4, 1, padding="same")], "Conv2D"),
    "binary": ([K.Flatten(), K.Dense(1, activation="sigmoid")], "sigmoid as output"),
    "zeros before an average": ([K.ZeroPadding2D(), K.AveragePooling2D(2), *HEAD()], "AveragePooling2D"),
    "scaled later": ([CONV(4, 3), K.Rescaling(0.5), *HEAD()], "Rescaling"),
    "uneven": ([K.MaxPooling2D(5, 4, padding="same"), *HEAD()], r"MaxPooling2D \(expected equal padding"),
    "shared": (shared, "used twice"),
    "dropout": (lambda images: K.Dense(4)(K.Dropout(0.5)(K.Flatten()(images), training=True)), "with training=True"),
    "dropout of rows": (
        [K.Dropout(0.5, noise_shape=(None, None, 1, 1)), *HEAD()],
        r"Dropout \(noise_shape \[None, None, 1",
    ),
    "same for all": ([K.Dropout(0.5, noise_shape=(1, 12, 12, 3)), *HEAD()], r"Dropout \(noise_shape \[1, 12"),
    "dropout of columns": ([K.Permute((3, 1, 2)), K.SpatialDropout2D(0.1), *HEAD()], "SpatialDropout2D"),
    "raw and scaled": (of_raw_and_scaled(K.Concatenate, 1, 0), "Concatenate"),
    "two scales": (of_raw_and_scaled(K.Add, 1, 2), "Rescaling"),
    "scaled after padding": ([K.ZeroPadding2D(), K.Rescaling(1 / 255, -0.5), CONV(4, 3), *HEAD()], "Rescaling"),
    "rows normalized": ([K.Normalization(axis=1, mean=[0.0] * 12, variance=[1.0] * 12), *HEAD()], "Normalization"),
    "own relu": ([ReLU(), *HEAD()], "mine>ReLU"),
    "own random": ([RandomScale(), *HEAD()], "mine>RandomScale"),
    "function": ([CONV(4, 3, activation=lambda maps: 2 * maps), *HEAD()], "a Python function"),
    "crop": ([K.RandomCrop(8, 8), *HEAD()], "RandomCrop"),
    "two outputs": (lambda images: [K.Dense(4)(K.Flatten()(images)) for _ in range(2)], "several inputs or outputs"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_layers_that_specs_do_not_have_are_named(name, workers, tmp_path):
    layers, fault = FOREIGN[name]
    path = saved(tmp_path, layers)
    with pytest.raises(UsageError, match=f"has layers that specs do not have: .*{fault}") as raised:
        transfer(path, tmp_path / "new.keras", workers=workers)
    assert "\n" not in str(raised.value)


class Sequential(keras.Sequential):
    """Another function of the same layers."""

    def call(self, inputs, training=None, mask=None):
        return -super().call(inputs)


def test_a_subclass_of_a_model_is_not_taken_for_its_layers(workers, tmp_path):
    Sequential([keras.Input((8, 8, 3)), *HEAD()]).save(tmp_path / "model.keras")
    with pytest.raises(UsageError, match="contains no model spec"):
        transfer(tmp_path / "model.keras", tmp_path / "new.keras", workers=workers)


@pytest.mark.parametrize("change", ['"inbound_nodes": 7', '"layers": {}', '"filters": -1', '"class_name": null'])
def test_a_damaged_configuration_is_one_line(change, tmp_path):
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, K.Dense(2)(K.Flatten()(CONV(2, 3)(images))))
    key = change.partition(":")[0]
    text = re.sub(rf"{key}: (\[[^\]]*\]|[^,}}]*)", change, json.dumps(json.loads(model.to_json())))
    try:
        config = json.loads(text)
    except ValueError:
        config = {"class_name": "Functional", "config": {key.strip('"'): None}}
    with pytest.raises((ArtifactError, SpecError)) as raised:
        KerasGraph(Stored({}, config=config), None, (8, 8), "file")
    assert "\n" not in str(raised.value)
