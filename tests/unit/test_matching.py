"""Which stored layer is which: by name, by structure, as told; and where that is open, it is said."""

from zlib import crc32

import numpy as np
import pytest

from diptych.comparison.parity import samples
from diptych.deployment.matching import match
from diptych.engines.contract import Stored
from diptych.errors import ArtifactError, UsageError
from diptych.spec import layers as L
from diptych.spec import zoo
from diptych.spec.zoo import Graph

RESNET = zoo.model("resnet20_b")
CHAIN = zoo.model("cnn")


def drawn(spec):
    return {name: array.astype(np.float32) for name, array in samples.weights(spec, seed=0).items()}


def layers_of(spec):
    return list(dict.fromkeys(array.name.rpartition(".")[0] for array in spec.arrays))


def stored(spec, names=None, *, shuffled=False, **known):
    """A spec's arrays under other names of layers; `names` maps those that change."""
    arrays = {}
    for path, array in drawn(spec).items():
        layer, _, role = path.rpartition(".")
        arrays[f"{(names or {}).get(layer, layer)}.{role}"] = array
    paths = sorted(arrays) if shuffled else list(arrays)
    return Stored({path: arrays[path] for path in paths}, **known)


def in_order(names):
    """What a state dict knows: every layer, in the order of its definition."""
    return {"sequences": (tuple(names),)}


def assert_found(found, spec):
    wanted = drawn(spec)
    assert list(wanted) == list(found.arrays)
    for name, array in wanted.items():
        np.testing.assert_array_equal(found.arrays[name], array, strict=True)


def numbered(spec):
    """Names that say nothing, not even by their numbers: a1, b1, a2, b2, and so on."""
    return {layer: f"{'ab'[place % 2]}{place // 2}x" for place, layer in enumerate(layers_of(spec))}


def spelt(spec):
    """Names without any number."""
    return {
        layer: "".join("abcdefghij"[int(digit)] for digit in f"{crc32(layer.encode()):010}")
        for layer in layers_of(spec)
    }


def defined(spec, generator):
    """Every layer after what it reads, in an order that is otherwise chance."""
    left = list(spec.layers)
    done = ["input"]
    while left:
        ready = [layer for layer in left if set(layer.inputs) <= set(done)]
        layer = ready[generator.integers(len(ready))]
        left.remove(layer)
        done.append(layer.name)
    return done


def bottleneck():
    """A block whose last convolution has the shape of its shortcut."""
    graph = Graph((8, 8, 3), (0.5,) * 3, (0.25,) * 3)
    start = graph.conv("conv1", 8, kernel=1)
    graph.conv("block.conv1", 8, padding=1)
    last = graph.conv("block.conv2", 16, kernel=1)
    shortcut = graph.conv("block.shortcut", 16, kernel=1)
    graph.layers[-1] = L.Conv("block.shortcut", (start,), filters=16, kernel=(1, 1))
    graph.add(L.Add, "add", inputs=(last, shortcut))
    graph.add(L.GlobalAvgPool, "pool")
    graph.add(L.Dense, "head", units=3)
    return graph.model("bottleneck")


@pytest.mark.parametrize("name", zoo.MODELS)
def test_canonical_names_win_whatever_the_order(name):
    spec = zoo.model(name)
    found = match(stored(spec, shuffled=True), spec, "file")
    assert_found(found, spec)
    assert (len(layers_of(spec)), 0, 0) == (found.by_name, found.by_structure, found.by_map)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module."])
def test_a_prefix_that_every_layer_has_is_overlooked(prefix):
    names = {layer: f"{prefix}{layer}" for layer in layers_of(RESNET)}
    assert_found(match(stored(RESNET, names, shuffled=True), RESNET, "file"), RESNET)


@pytest.mark.parametrize("word", ["downsample", "skip", "proj"])
def test_another_word_for_a_shortcut_is_the_same_name(word):
    names = {layer: layer.replace("shortcut", word).replace(".", "_") for layer in layers_of(RESNET)}
    found = match(stored(RESNET, names, shuffled=True), RESNET, "file")
    assert_found(found, RESNET)
    assert len(layers_of(RESNET)) == found.by_name


@pytest.mark.parametrize("name", zoo.MODELS)
def test_the_order_of_definition_decides_where_names_say_nothing(name):
    spec = zoo.model(name)
    names = numbered(spec)
    found = match(stored(spec, names, **in_order(names.values())), spec, "file")
    assert_found(found, spec)
    assert len(layers_of(spec)) == found.by_structure


def test_an_order_that_the_shapes_contradict_is_no_evidence():
    layers = layers_of(CHAIN)
    names = {layer: f"net.{place}" for place, layer in enumerate(layers)}
    backwards = in_order(reversed(names.values()))
    assert_found(match(stored(CHAIN, names, **backwards), CHAIN, "file"), CHAIN)


def test_numbers_in_names_are_an_order_where_the_file_keeps_none():
    names = {layer: f"features.{place}" for place, layer in enumerate(layers_of(CHAIN))}
    assert_found(match(stored(CHAIN, names, shuffled=True), CHAIN, "file"), CHAIN)


def test_layers_of_one_shape_without_order_are_reported():
    spec = zoo.model("resnet20")
    with pytest.raises(ArtifactError, match="Cannot tell which layer of 'file' is") as told:
        match(stored(spec, spelt(spec), shuffled=True), spec, "file")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("seed", range(20))
def test_no_order_of_definition_misleads(seed):
    """Whatever the order, as long as nothing is defined before what it reads: found as it is, or reported."""
    for spec in (bottleneck(), RESNET):
        names = spelt(spec)
        order = [names[name] for name in defined(spec, np.random.default_rng(seed)) if name in names]
        try:
            found = match(stored(spec, names, shuffled=True, **in_order(order)), spec, "file")
        except ArtifactError as error:
            assert "Cannot tell which layer" in str(error)
        else:
            assert_found(found, spec)


def test_a_shortcut_of_the_last_convolutions_shape_is_reported_though_there_is_an_order():
    spec = bottleneck()
    names = numbered(spec)
    with pytest.raises(ArtifactError) as told:
        match(stored(spec, names, **in_order(names.values())), spec, "file")
    assert str(told.value) == (
        "Cannot tell which layer of 'file' is 'block.conv2': 'a1x' and 'b1x' fit alike. "
        "Say which with --map a1x=block.conv2 or --map b1x=block.conv2."
    )


def test_a_word_for_the_shortcut_tells_it_from_the_last_convolution():
    spec = bottleneck()
    names = numbered(spec) | {"block.shortcut": "down_sample.downsample"}
    assert_found(match(stored(spec, names, shuffled=True), spec, "file"), spec)


def test_one_pair_that_is_told_settles_the_other():
    spec = bottleneck()
    names = numbered(spec)
    found = match(stored(spec, names, **in_order(names.values())), spec, "file", {"a1x": "block.conv2"})
    assert_found(found, spec)
    assert (0, 4, 1) == (found.by_name, found.by_structure, found.by_map)


def test_what_is_told_is_done_even_against_the_order():
    spec = bottleneck()
    names = numbered(spec)
    found = match(stored(spec, names, **in_order(names.values())), spec, "file", {"b1x": "block.conv2"})
    np.testing.assert_array_equal(drawn(spec)["block.shortcut.weight"], found.arrays["block.conv2.weight"])


def test_a_graph_tells_a_shortcut_by_what_it_reads():
    names = numbered(RESNET)
    graph = {
        names.get(layer.name, layer.name): [names.get(one, one) for one in layer.inputs] for layer in RESNET.layers
    }
    found = match(stored(RESNET, names, shuffled=True, inputs=graph), RESNET, "file")
    assert_found(found, RESNET)


def test_an_order_by_class_leaves_norms_of_two_branches_open():
    names = numbered(RESNET)
    norms = tuple(names[layer.name] for layer in RESNET.layers if isinstance(layer, L.BatchNorm))
    others = tuple(name for name in names.values() if name not in norms)
    with pytest.raises(ArtifactError, match=r"is 'layer2\.0\.(bn|shortcut)"):
        match(stored(RESNET, names, shuffled=True, sequences=(norms, others)), RESNET, "file")


def test_names_that_contradict_the_order_are_reported():
    graph = Graph((4, 4, 1), (0.5,), (0.25,))
    graph.add(L.Flatten, "flatten")
    for place in range(1, 5):
        graph.add(L.Dense, f"fc{place}", units=16)
    spec = graph.model("counted_from_one")
    names = {f"fc{place}": f"fc{place - 1}" for place in range(1, 5)}
    with pytest.raises(ArtifactError, match="its names say one thing, their order another"):
        match(stored(spec, names, **in_order(names.values())), spec, "file")


def test_another_number_of_classes_names_the_layer():
    with pytest.raises(ArtifactError) as told:
        match(stored(zoo.model("resnet20", num_classes=100)), zoo.model("resnet20"), "file")
    assert str(told.value) == (
        "Cannot load 'file' into resnet20: layer 'linear' wants weight (10, 64), bias (10); "
        "'linear' has weight (100, 64), bias (100). Was it trained for 100 classes?"
    )


@pytest.mark.parametrize(
    ("source", "target", "fault"),
    [
        ("resnet56", "resnet20", "'layer1.3.conv1', with weight (16, 16, 3, 3), is a layer too many."),
        ("resnet20", "resnet56", "layer 'layer1.3.conv1' wants weight (16, 16, 3, 3); the file holds no other layer"),
        ("resnet20_b", "resnet20", "'layer2.0.shortcut.0', with weight (32, 16, 1, 1), is a layer too many."),
        ("mlp", "cifar_sequential", "layer 'conv1' wants weight (32, 3, 3, 3), bias (32); the file holds no other"),
        ("cifar_sequential", "mlp", "layer 'fc1' wants weight (256, 3072), bias (256); 'fc1' has weight (64, 1024)"),
    ],
)
def test_another_architecture_names_the_first_layer_that_does_not_fit(source, target, fault):
    with pytest.raises(ArtifactError) as told:
        match(stored(zoo.model(source)), zoo.model(target), "file")
    assert str(told.value).startswith(f"Cannot load 'file' into {target}: {fault}")


@pytest.mark.parametrize(
    ("layer_map", "fault"),
    [
        ({"conv9": "conv1"}, "--map conv9=conv1: no layer 'conv9' has weights (did you mean 'conv1'?)."),
        ({"conv1": "relu"}, "--map conv1=relu: no layer 'relu' has weights."),
        ({"conv1": "linear"}, "--map conv1=linear: these cannot be one layer; their shapes differ."),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(layer_map, fault):
    with pytest.raises(UsageError) as told:
        match(stored(RESNET), RESNET, "file", layer_map)
    assert str(told.value) == fault


def test_a_conversion_that_loses_digits_is_said():
    spec = zoo.model("mlp", (4, 4, 1))
    arrays = {name: array.astype(np.float64) for name, array in drawn(spec).items()}
    arrays["fc1.weight"] = arrays["fc1.weight"] + 1e-12
    arrays["fc2.bias"] = arrays["fc2.bias"].astype(np.float16)
    found = match(Stored(arrays), spec, "file")
    assert ("float64 → float32: 5 arrays, 1 lost digits", "float16 → float32: 1 arrays, 0 lost digits") == found.casts
    assert {np.dtype(np.float32)} == {array.dtype for array in found.arrays.values()}


def test_a_name_that_a_terminal_would_obey_is_refused():
    with pytest.raises(ArtifactError, match=r"in which '\\x1b\[2J\.weight' is the name"):
        Stored({"\x1b[2J.weight": np.zeros(3, np.float32)})


def flattened(*behind):
    """A model that flattens a map of 2 × 3 pixels and 4 channels, with more layers behind."""
    graph = Graph((2, 3, 1), (0.5,), (0.25,))
    graph.conv("conv", 4, kernel=1)
    graph.add(L.Flatten, "flatten")
    for kind, name, settings in behind:
        graph.add(kind, name, **settings)
    graph.add(L.Dense, "head", units=2)
    return graph.model("flattened")


def as_rows(spec, array):
    """What a file of height, width, channel order has of an array whose last axis is in canonical order."""
    assert (2, 3, 4) == spec.shapes["conv"]
    return array.reshape(*array.shape[:-1], 4, 2, 3).transpose(*range(array.ndim - 1), -2, -1, -3).reshape(array.shape)


def test_rows_behind_a_flatten_come_into_canonical_order():
    spec = flattened((L.BatchNorm, "norm", {}), (L.Dropout, "dropout", {}))
    arrays = drawn(spec)
    seen = {
        name: as_rows(spec, array) if name[:4] in ("norm", "head") and array.shape[-1] == 24 else array
        for name, array in arrays.items()
    }
    assert_found(match(Stored(seen, permutes=()), spec, "file"), spec)
    assert_found(match(Stored(arrays), spec, "file"), spec)
    assert_found(match(Stored(arrays, permutes=("flatten.permute",)), spec, "file"), spec)


def test_axes_that_a_foreign_layer_reorders_are_not_guessed():
    spec = flattened()
    with pytest.raises(ArtifactError, match="its layer 'permute_1' reorders axes"):
        match(Stored(drawn(spec), permutes=("permute_1",)), spec, "file")


def test_elements_that_are_mixed_behind_a_flatten_are_not_followed():
    spec = flattened((L.PadChannels, "pad", {"before": 1, "after": 0}))
    with pytest.raises(ArtifactError, match="'pad' mixes what 'flatten' gives"):
        match(Stored(drawn(spec), permutes=()), spec, "file")
