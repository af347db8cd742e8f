"""Native projects: their models equal the engines', and they train as the engines do."""

from dataclasses import replace

import keras
import numpy as np
import odd_specs
import pytest
import random_specs
import tensorflow as tf
import tiny
import torch
from native_projects import defined_by, keras_model, modules, torch_net

from diptych.data import datasets
from diptych.data.batches import Batch, class_weights, epoch_batches
from diptych.native import torch as pytorch
from diptych.native.projects import project
from diptych.spec import Recipe, zoo
from diptych.spec import layers as L
from diptych.spec.init import initial_weights
from diptych.training.schedule import learning_rates

BARE = Recipe(epochs=1, batch_size=64, precision="float32", flip="none", crop_padding=0)
SHORT = 12
RANDOM = [pytest.param(seed, marks=[pytest.mark.long] * (seed >= SHORT)) for seed in range(200)]
ODD = [
    pytest.param(spec, id=spec.name, marks=[pytest.mark.long] * (place % 4 > 0))
    for place, spec in enumerate(odd_specs.odd_specs())
]


def zoo_model(name, shape=(24, 24, 3)):
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    return zoo.model(name, shape, mean=mean[: shape[2]], std=std[: shape[2]])


def without_dropout(spec):
    layers = (replace(layer, rate=0.0) if isinstance(layer, L.Dropout) else layer for layer in spec.layers)
    return replace(spec, layers=tuple(layers))


def oddly_named():
    """Names that start with a number, are a keyword, or share a prefix with other layers."""
    graph = tiny.graph((12, 12, 3))
    graph.conv("features.2", 4, padding=1)
    graph.relu("features.3")
    graph.conv("features.5", 4, padding=1)
    graph.conv("class.0.conv", 6, padding=1, use_bias=False)
    graph.add(L.BatchNorm, "class.0.norm", decay=0.99, epsilon=1e-3)
    graph.max_pool("between")
    graph.conv("class.1.conv", 6, padding=1, use_bias=False)
    start = graph.add(L.BatchNorm, "class.1.norm")
    graph.conv("stem.inner.0.conv", 6, padding=1)
    graph.add(L.Activation, "stem.inner.0.act", function="leaky_relu", slope=0.2)
    graph.conv("stem.conv", 6, padding=1)
    graph.add(L.Concat, "joined", inputs=(start, graph.layers[-1].name, start))
    graph.add(L.Flatten, "flatten")
    graph.add(L.Dense, "7", units=5, initializer="uniform_fan_in", bias_initializer="uniform_fan_in")
    graph.add(L.Activation, "tanh", function="tanh")
    graph.add(L.Dense, "mean", units=3, initializer="glorot_uniform")
    return graph.model("odd")


def assert_equal_models(both, spec, recipe=BARE):
    """Both native models return the engines' float32 logits."""
    images = tiny.images(spec, 8)
    ours = tiny.loaded(both[1], spec, "float32")
    expected = both[1].predict(ours, images)
    net = torch_net(project(spec, recipe, "torch"), spec)
    with torch.no_grad():
        first = net.eval()(torch.tensor(images.transpose(0, 3, 1, 2).copy())).numpy()
    second = keras_model(project(spec, recipe, "tensorflow"), ours)(images.astype(np.float32)).numpy()
    tolerance = {"rtol": 2e-5, "atol": 2e-5 * max(1.0, np.abs(expected).max())}
    np.testing.assert_allclose(both[0].predict(tiny.loaded(both[0], spec, "float32"), images), first, **tolerance)
    np.testing.assert_allclose(expected, second, **tolerance)


@pytest.mark.parametrize(
    "spec",
    [*map(zoo_model, ("mlp", "cnn", "resnet20", "resnet20_b")), tiny.branching(), tiny.dropouts(), oddly_named()],
    ids=lambda spec: spec.name,
)
def test_native_models_return_the_engines_logits(both, spec):
    assert_equal_models(both, spec, replace(BARE, l2=1e-4))


@pytest.mark.parametrize("seed", RANDOM)
def test_native_models_of_random_specs_return_the_engines_logits(both, seed):
    assert_equal_models(both, random_specs.random_spec(seed))


@pytest.mark.parametrize("spec", ODD)
def test_native_models_of_odd_specs_return_the_engines_logits(both, spec):
    assert_equal_models(both, spec)


MODELS = [
    pytest.param(name, marks=[pytest.mark.long] * (name not in ("mlp", "fashion_cnn", "resnet20")))
    for name in zoo.MODELS
]


@pytest.fixture(scope="module")
def digits():
    """The digits at the size of each model: two models are too deep for 8 × 8."""
    sizes = {8: datasets.load("digits"), 20: datasets.load("digits", image_size=(20, 20))}
    return {name: sizes[20 if name in ("cifar_sequential", "fashion_cnn") else 8] for name in zoo.MODELS}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@pytest.mark.parametrize("model", MODELS)
def test_the_first_epoch_on_digits_has_the_engines_loss(engine_name, engine, model, digits, tmp_path, monkeypatch):
    """From the same weights, on the same batches; dropout has rate 0, because masks differ."""
    monkeypatch.chdir(tmp_path)  # for its logs
    data = digits[model]
    spec = without_dropout(zoo.model(model, data.image_shape, 10, (0.3,), (0.37,)))
    form = {"torch": "torch", "tensorflow": "keras"}[engine_name]
    # At a higher rate, one unit in the last place of the initial weights changes a ResNet's loss by more than 1e-4.
    rate = 3e-5 if model.startswith("resnet") else 3e-4
    recipe = replace(BARE, update_form=form, batch_size=128, learning_rate=rate)
    batches = list(epoch_batches(data.train, recipe, num_classes=10, seed=0, epoch=1, workers=0))
    ours, weights = engine.build(spec, "float32"), initial_weights(spec.arrays, 0)
    engine.load_weights(ours, weights)
    code = project(spec, recipe, engine_name)
    model = torch_net(code, spec, weights) if engine_name == "torch" else keras_model(code, ours)
    rates = learning_rates(recipe, 1, len(batches))
    totals = engine.train_epoch(ours, engine.make_optimizer(ours, recipe), batches, rates, seed=0)
    pairs = [(batch.images, batch.targets.argmax(1)) for batch in batches]
    assert totals.loss / totals.weight == pytest.approx(_first_loss(code, model, pairs), abs=1e-4)


def _first_loss(code, model, pairs):
    """The loss of the first epoch of a project's own training."""
    with modules(code) as made:
        train = made["train"].__dict__
        if code.engine == "torch":
            data = [
                (torch.tensor(images.transpose(0, 3, 1, 2).copy()), torch.tensor(labels)) for images, labels in pairs
            ]
            return train["train_epoch"](model, train["make_optimizer"](model), data, 1, 1)[0]
        return train["fit"](model, _dataset(pairs), _dataset(pairs[:1]), 1)["loss"][0]


def _dataset(pairs):
    """Batches as a `tf.data.Dataset` whose length is known."""
    shapes = [tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in pairs[0]]
    batches = tf.data.Dataset.from_generator(lambda: iter(pairs), output_signature=tuple(shapes))
    return batches.apply(tf.data.experimental.assert_cardinality(len(pairs)))


ONE_BATCH = replace(BARE, batch_size=32, epochs=6, class_weights="balanced")
TRAININGS = {
    "adamw": replace(ONE_BATCH, clip_norm=0.5, label_smoothing=0.2, class_weights=(1.0, 3.0, 0.5)),
    "sgd": replace(ONE_BATCH, optimizer="sgd", schedule="cosine", warmup_epochs=2.0, l2=0.1, no_decay=("bias",)),
    "rmsprop": replace(
        ONE_BATCH, optimizer="rmsprop", schedule="step", step_epochs=(4,), epsilon=1e-3, decoupled_decay=5.0
    ),
    "plateau": replace(ONE_BATCH, optimizer="adam", schedule="plateau", plateau_patience=1, warmup_epochs=2.0),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@pytest.mark.parametrize("recipe", TRAININGS.values(), ids=TRAININGS)
def test_a_project_trains_to_the_engines_weights(engine_name, engine, recipe, tmp_path, monkeypatch):
    """One batch an epoch, so that its order does not matter; the validation split is the training split."""
    graph = tiny.graph()
    graph.conv("conv", 4, padding=1, use_bias=False)
    graph.add(L.BatchNorm, "norm")
    graph.relu("relu")
    spec = tiny.with_head(graph)
    images, labels = tiny.images(spec, 32), np.arange(32) % 5 % 3
    ours, started = (tiny.loaded(engine, spec, "float32") for _ in range(2))
    recipe = replace(recipe, update_form={"torch": "torch", "tensorflow": "keras"}[engine_name])
    losses = _train(engine, ours, recipe, images, labels)

    code = project(spec, recipe, engine_name)
    built = torch_net(code, spec) if engine_name == "torch" else keras_model(code, started)
    monkeypatch.chdir(tmp_path)  # for its logs
    weights = class_weights(recipe, labels, 3)
    with modules(code) as made:
        batches = made["data"].make_batches(images, labels, 32)
        found = made["train"].fit(built, batches, batches, recipe.epochs, weights)["loss"]
    for name, array in variables(ours).items():
        np.testing.assert_allclose(variables(built)[name], array, rtol=1e-3, atol=1e-5, err_msg=name)
    if engine_name == "torch":  # Keras adds the penalty
        assert losses == pytest.approx(found, rel=1e-4)
    assert list((tmp_path / "logs").rglob("events*"))


def variables(model):
    """Trainable arrays of a native model, in order."""
    if isinstance(model, torch.nn.Module):
        arrays = [tensor.detach().numpy() for tensor in model.parameters()]
    else:
        arrays = [weight.numpy() for layer in model.layers for weight in layer.trainable_variables]
    return dict(enumerate(arrays))


def _train(engine, model, recipe, images, labels):
    """Our own training, its batch made as data/batches.py makes it; return the losses."""
    optimizer = engine.make_optimizer(model, recipe)
    targets = np.eye(3)[labels] * (1 - recipe.label_smoothing) + recipe.label_smoothing / 3
    batch = Batch(images, targets.astype(np.float32), class_weights(recipe, labels, 3)[labels])
    losses, validation = [], []
    for epoch in range(1, recipe.epochs + 1):
        totals = engine.train_epoch(model, optimizer, [batch], learning_rates(recipe, epoch, 1, validation), seed=0)
        losses.append(totals.loss / totals.weight)
        logits = engine.predict(model, images).astype(np.float64)
        shifted = logits - logits.max(1, keepdims=True)
        validation.append(float((np.log(np.exp(shifted).sum(1)) - shifted[np.arange(32), labels]).mean()))
    return losses


@pytest.mark.parametrize("spec", [zoo_model("cnn"), oddly_named()], ids=["cnn", "odd"])
def test_initial_weights_follow_the_rules_of_the_spec(spec):
    net, built = (defined_by(project(spec, BARE, engine)) for engine in ("torch", "tensorflow"))
    net, built, places = net["Net"](), built["build_model"](), pytorch.paths(spec)
    weighted = iter([layer for layer in built.layers if layer.weights])
    named = {layer.name: layer for layer in built.layers}
    owners = {layer.name: next(weighted) for layer in spec.layers if isinstance(layer, L.Conv | L.Dense | L.BatchNorm)}
    owners = {name: named.get(name, layer) for name, layer in owners.items()}
    deviations = {
        "he_normal": lambda array: (2 / array.fan_in) ** 0.5,
        "glorot_uniform": lambda array: (2 / (array.fan_in + array.fan_out)) ** 0.5,
        "uniform_fan_in": lambda array: (1 / array.fan_in / 3) ** 0.5,
        "zeros": lambda array: 0.0,
    }
    for array in spec.trainable:
        if array.role in ("kernel", "bias") and (array.size > 100 or array.initializer == "zeros"):
            owner = spec.owner(array).name
            drawn = getattr(owners[owner], array.role).numpy()
            other = net.get_parameter(f"{places[owner]}.{array.name.rpartition('.')[2]}").detach().numpy()
            wanted = pytest.approx(deviations[array.initializer](array), rel=0.2)
            assert (wanted, wanted) == (drawn.std(), other.std()), array


def test_keras_layers_of_equal_shape_start_with_different_weights():
    graph = tiny.graph()
    graph.add(L.Flatten, "flatten")
    for name in ("first", "second", "third"):
        graph.add(L.Dense, name, units=6, initializer="uniform_fan_in")
    built = defined_by(project(graph.model("equal"), BARE, "tensorflow"))["build_model"]()
    second, third = [layer for layer in built.layers if layer.weights][1:]
    assert not np.array_equal(second.kernel, third.kernel)


@pytest.mark.parametrize("mode", ["element", "channel", "sample"])
def test_a_project_drops_elements_channels_or_samples_in_training_only(engine_name, mode):
    """Means of channels as logits, of which a share remains."""
    graph = tiny.graph()
    graph.add(L.Dropout, "dropout", rate=0.4, mode=mode)
    graph.add(L.GlobalAvgPool, "pool")
    spec = tiny.with_head(graph)
    images, eye = tiny.images(spec, 256), np.eye(3, dtype=np.float32)
    code = project(spec, BARE, engine_name)
    if engine_name == "torch":
        net = torch_net(code, spec, {"head.weight": eye, "head.bias": np.zeros(3)})
        given = torch.tensor(images.transpose(0, 3, 1, 2).copy())
        trained, tested = (net.train(on)(given).detach().numpy() for on in (True, False))
    else:
        built = defined_by(code)["build_model"]()
        built.layers[-1].set_weights([eye, np.zeros(3)])
        trained, tested = (built(images.astype(np.float32), training=on).numpy() for on in (True, False))
    means = ((images / 255.0 - tiny.MEAN) / tiny.STD).mean((1, 2))
    np.testing.assert_allclose(tested, means, atol=1e-5)
    shares = 0.6 * trained / tested
    whole = np.isclose(shares, 0.0) | np.isclose(shares, 1.0, rtol=1e-3)
    equal = np.isclose(shares, shares[:, :1], atol=1e-3)
    assert (mode != "element", mode == "sample") == (whole.all(), equal.all())
    if mode != "element":
        assert 0.6 == pytest.approx(shares.mean(), abs=5 * (0.24 / (768 if mode == "channel" else 256)) ** 0.5)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own, when it saves
@pytest.mark.parametrize("spec", [zoo_model("resnet20"), tiny.branching(), oddly_named()], ids=lambda spec: spec.name)
def test_a_keras_model_can_be_saved_and_loaded_without_its_code(both, spec, tmp_path):
    built = keras_model(project(spec, BARE, "tensorflow"), tiny.loaded(both[1], spec, "float32"))
    images = tiny.images(spec, 4).astype(np.float32)
    built.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(built(images), keras.models.load_model(tmp_path / "model.keras")(images))
