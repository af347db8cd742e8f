"""Native scripts: their models equal the engines', and they train without diptych."""

import os
import re
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tiny
import torch

from diptych.comparison.parity import samples
from diptych.data.batches import Batch, class_weights
from diptych.native import scripts
from diptych.spec import Recipe
from diptych.spec import layers as L
from diptych.spec.zoo import model
from diptych.training.schedule import learning_rates

WITHOUT_DIPTYCH = (
    "import runpy, sys; sys.modules['diptych'] = None; del sys.argv[0]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
RECIPE = Recipe(epochs=3, flip="none", crop_padding=1, label_smoothing=0.05, clip_norm=5.0, class_weights="balanced")


def zoo_model(name):
    return model(name, (24, 24, 3), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


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


SPECS = {
    **{name: zoo_model(name) for name in ("mlp", "cnn", "resnet20")},
    "branching": tiny.branching(),
    "dropouts": tiny.dropouts(),
    "odd": oddly_named(),
}


def defined_by(script):
    """What a script defines; its `main` is not run."""
    names = {"__name__": "script"}
    exec(compile(script.source, script.file, "exec"), names)
    return names


def assert_same_logits(expected, found):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_pytorch_model_loads_our_state_dict_and_predicts_the_same(both, spec):
    ours, images = tiny.loaded(both[0], spec, "float32"), tiny.images(spec, 8)
    net = defined_by(scripts(spec, Recipe())[0])["Net"]()
    net.load_state_dict({name: torch.tensor(array) for name, array in samples.weights(spec, seed=0).items()})
    with torch.no_grad():
        assert_same_logits(both[0].predict(ours, images), net.eval()(torch.tensor(images)).numpy())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own, when it saves
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_keras_model_loads_our_arrays_predicts_the_same_and_can_be_saved(both, spec, tmp_path):
    ours, images = tiny.loaded(both[1], spec, "float32"), tiny.images(spec, 8)
    built = defined_by(scripts(spec, Recipe(l2=1e-4))[1])["build_model"]()
    weighted = [layer for layer in ours.layers if layer.weights]
    assert {layer.name for layer in weighted} == {layer.name for layer in built.layers if layer.weights}
    for layer in weighted:
        built.get_layer(layer.name).set_weights(layer.get_weights())
    assert_same_logits(both[1].predict(ours, images), built(images).numpy())
    built.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(built(images), keras.models.load_model(tmp_path / "model.keras")(images))


@pytest.mark.parametrize("spec", [SPECS["cnn"], SPECS["odd"]], ids=["cnn", "odd"])
def test_initial_weights_follow_the_rules_of_the_spec(spec):
    net, built = (defined_by(script) for script in scripts(spec, Recipe()))
    net, built = net["Net"](), built["build_model"]()
    deviations = {
        "he_normal": lambda array: (2 / array.fan_in) ** 0.5,
        "glorot_uniform": lambda array: (2 / (array.fan_in + array.fan_out)) ** 0.5,
        "uniform_fan_in": lambda array: (1 / array.fan_in / 3) ** 0.5,
        "zeros": lambda array: 0.0,
    }
    for array in spec.trainable:
        if array.role in ("kernel", "bias") and (array.size > 100 or array.initializer == "zeros"):
            drawn = getattr(built.get_layer(spec.owner(array).name), array.role).numpy()
            wanted = pytest.approx(deviations[array.initializer](array), rel=0.2)
            assert (wanted, wanted) == (drawn.std(), net.get_parameter(array.name).detach().numpy().std()), array


def test_keras_layers_of_equal_shape_start_with_different_weights():
    graph = tiny.graph()
    graph.add(L.Flatten, "flatten")
    for name in ("first", "second", "third"):
        graph.add(L.Dense, name, units=6, initializer="uniform_fan_in")
    built = defined_by(scripts(graph.model("equal"), Recipe())[1])["build_model"]()
    assert not np.array_equal(built.get_layer("second").kernel, built.get_layer("third").kernel)


@pytest.mark.parametrize("mode", ["element", "channel", "sample"])
def test_a_script_drops_elements_channels_or_samples_in_training_only(engine_name, mode):
    """Means of channels as logits, of which a share remains."""
    graph = tiny.graph()
    graph.add(L.Dropout, "dropout", rate=0.4, mode=mode)
    graph.add(L.GlobalAvgPool, "pool")
    spec = tiny.with_head(graph)
    images, eye = tiny.images(spec, 256), np.eye(3, dtype=np.float32)
    script = next(script for script in scripts(spec, Recipe()) if script.engine == engine_name)
    if engine_name == "torch":
        net = defined_by(script)["Net"]()
        net.load_state_dict({"head.weight": torch.tensor(eye), "head.bias": torch.zeros(3)})
        trained, tested = (net.train(on)(torch.tensor(images)).detach().numpy() for on in (True, False))
    else:
        built = defined_by(script)["build_model"]()
        built.get_layer("head").set_weights([eye, np.zeros(3)])
        trained, tested = (built(images, training=on).numpy() for on in (True, False))
    means = ((images / 255.0 - tiny.MEAN) / tiny.STD).mean((1, 2))
    np.testing.assert_allclose(tested, means, atol=1e-5)
    shares = 0.6 * trained / tested
    whole = np.isclose(shares, 0.0) | np.isclose(shares, 1.0, rtol=1e-3)
    equal = np.isclose(shares, shares[:, :1], atol=1e-3)
    assert (mode != "element", mode == "sample") == (whole.all(), equal.all())
    if mode != "element":
        assert 0.6 == pytest.approx(shares.mean(), abs=5 * (0.24 / (768 if mode == "channel" else 256)) ** 0.5)


BARE = Recipe(batch_size=32, epochs=6, precision="float32", flip="none", crop_padding=0, class_weights="balanced")
TRAININGS = {
    "adamw": replace(BARE, clip_norm=0.5, label_smoothing=0.2, class_weights=(1.0, 3.0, 0.5)),
    "sgd": replace(BARE, optimizer="sgd", schedule="cosine", warmup_epochs=2.0, l2=0.1, no_decay=("bias",)),
    "rmsprop": replace(BARE, optimizer="rmsprop", schedule="step", step_epochs=(4,), epsilon=1e-3, decoupled_decay=5.0),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("recipe", TRAININGS.values(), ids=TRAININGS)
def test_a_script_trains_to_the_same_weights_as_the_engine(engine_name, engine, recipe, tmp_path, monkeypatch):
    """One batch an epoch, so that its order does not matter."""
    graph = tiny.graph()
    graph.conv("conv", 4, padding=1, use_bias=False)
    graph.add(L.BatchNorm, "norm")
    graph.relu("relu")
    spec = tiny.with_head(graph)
    images, labels = tiny.images(spec, 32), np.arange(32) % 5 % 3
    ours, started = (tiny.loaded(engine, spec, "float32") for _ in range(2))
    recipe = replace(recipe, update_form={"torch": "torch", "tensorflow": "keras"}[engine_name])
    _train(engine, ours, recipe, images, labels)

    script = next(script for script in scripts(spec, recipe) if script.engine == engine_name)
    names = defined_by(script)
    np.savez(tmp_path / "data.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script.file, "data.npz"])
    if engine_name == "torch":
        built = names["Net"]()
        built.load_state_dict(started.state_dict(), strict=True)
        names["Net"] = lambda: built
    else:
        built = names["build_model"]()
        built.set_weights(started.get_weights())
        names["build_model"] = lambda: built
    names["main"]()
    for array in spec.trainable:
        found, expected = (variables(one)[array.name] for one in (built, ours))
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def variables(model):
    """Trainable arrays of a native model by layer and role."""
    if isinstance(model, torch.nn.Module):
        return {name: tensor.detach().numpy() for name, tensor in model.named_parameters()}
    names = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}
    weights = [(layer.name, weight) for layer in model.layers for weight in layer.trainable_variables]
    return {f"{layer}.{names[weight.name]}": weight.numpy() for layer, weight in weights}


def _train(engine, model, recipe, images, labels):
    """Our own training, its batch made as data/batches.py makes it."""
    optimizer = engine.make_optimizer(model, recipe)
    targets = np.eye(3)[labels] * (1 - recipe.label_smoothing) + recipe.label_smoothing / 3
    batch = Batch(images, targets.astype(np.float32), class_weights(recipe, labels, 3)[labels])
    for epoch in range(1, recipe.epochs + 1):
        engine.train_epoch(model, optimizer, [batch], learning_rates(recipe, epoch, 1), seed=0)


def test_a_script_trains_where_diptych_cannot_be_imported(engine_name, tmp_path):
    spec = zoo_model("mlp")
    script = next(script for script in scripts(spec, RECIPE) if script.engine == engine_name)
    (tmp_path / script.file).write_text(script.source, encoding="utf-8")
    labels = np.arange(900) % 10
    images = tiny.images(spec, 900) // 32 + (25 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(tmp_path / "data.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    command = [sys.executable, "-I", "-c", WITHOUT_DIPTYCH, script.file, "data.npz", "--epochs", "3"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr[-2000:]
    epochs = [line for line in done.stdout.splitlines() if "loss" in line and "accuracy" in line]
    assert 3 == len(epochs), done.stdout
    assert 0.3 < float(re.search(r"test accuracy ([\d.]+)", done.stdout)[1])
    if engine_name == "torch":
        saved = torch.load(tmp_path / "model.pt", weights_only=True)
        assert {array.name for array in spec.arrays} == saved.keys()
    else:
        saved = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
        assert (None, 10) == saved.output_shape
