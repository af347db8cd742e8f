"""Layers are mapped by name, by order and shape, or as the user says; ambiguous ones are reported."""

from dataclasses import replace

import numpy as np
import pytest

from diptych.comparison.parity import samples
from diptych.deployment.weight_mapping import map_weights, without
from diptych.engines.contract import Stored
from diptych.errors import ArtifactError, UsageError
from diptych.spec import layers as L
from diptych.spec import zoo
from diptych.spec.zoo import Graph

RESNET = zoo.model("resnet20_b")
CHAIN = zoo.model("cnn")


def make_weights(spec):
    return {name: array.astype(np.float32) for name, array in samples.weights(spec, seed=0).items()}


def layers_of(spec):
    return list(dict.fromkeys(array.name.rpartition(".")[0] for array in spec.arrays))


def store(spec, names=None, *, order=None, **fields):
    """A spec's arrays with other layer names; `names` maps those that change, `order` lists them as defined."""
    arrays = {}
    for path, array in make_weights(spec).items():
        layer, _, role = path.rpartition(".")
        arrays[f"{(names or {}).get(layer, layer)}.{role}"] = array
    sequences = () if order is None else (tuple(order),)
    return Stored({path: arrays[path] for path in sorted(arrays)}, **{"sequences": sequences} | fields)


def assert_mapped(mapped, spec):
    expected = make_weights(spec)
    assert list(expected) == list(mapped.arrays)
    for name, array in expected.items():
        np.testing.assert_array_equal(mapped.arrays[name], array, strict=True)


def alternating(spec):
    """Names whose numbers say nothing about the order: a0x, b0x, a1x, b1x, ..."""
    return {layer: f"{'ab'[index % 2]}{index // 2}x" for index, layer in enumerate(layers_of(spec))}


def random_order(spec, generator):
    """A random order in which every layer follows its inputs."""
    left, done = list(spec.layers), ["input"]
    while left:
        ready = [layer for layer in left if set(layer.inputs) <= set(done)]
        left.remove(layer := ready[generator.integers(len(ready))])
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


def chain(shape, *layers):
    graph = Graph(shape, (0.5,), (0.25,))
    for kind, name, settings in layers:
        graph.add(kind, name, **settings)
    return graph.model("chain")


FLATTEN = (L.Flatten, "flatten", {})
FOUR_OF_ONE_SHAPE = chain((4, 4, 1), FLATTEN, *((L.Dense, f"fc{number}", {"units": 16}) for number in range(1, 5)))


@pytest.mark.parametrize("name", zoo.MODELS)
def test_every_zoo_model_is_mapped_by_name_in_any_order_and_by_definition_order_with_any_names(name):
    spec = zoo.model(name)
    layers, names = layers_of(spec), alternating(spec)
    mapped = map_weights(store(spec), spec, "file")
    assert_mapped(mapped, spec)
    assert (len(layers), 0, 0) == (mapped.by_name, mapped.by_structure, mapped.by_map)
    mapped = map_weights(store(spec, names, order=names.values()), spec, "file")
    assert_mapped(mapped, spec)
    assert len(layers) == mapped.by_structure


@pytest.mark.parametrize(
    "rename",
    [
        "_orig_mod.module.{}".format,
        lambda name: name.replace("shortcut", "downsample").replace(".", "_"),
        lambda name: name.replace("shortcut", "proj"),
    ],
)
def test_shared_prefixes_separators_and_the_word_for_a_shortcut_do_not_change_a_name(rename):
    layers = layers_of(RESNET)
    mapped = map_weights(store(RESNET, {layer: rename(layer) for layer in layers}), RESNET, "file")
    assert_mapped(mapped, RESNET)
    assert len(layers) == mapped.by_name


@pytest.mark.parametrize("has_wrong_order", [True, False])
def test_numbers_in_names_are_the_order_if_the_file_has_none_that_fits(has_wrong_order):
    names = {layer: f"features.{index}" for index, layer in enumerate(layers_of(CHAIN))}
    order = reversed(names.values()) if has_wrong_order else None
    assert_mapped(map_weights(store(CHAIN, names, order=order), CHAIN, "file"), CHAIN)


@pytest.mark.parametrize("names", [("dense", "dense_1", "dense_2", "dense_3"), ("up1", "up2", "up3", "up4")])
def test_an_order_that_only_numbers_tell_is_said(names):
    names = dict(zip(layers_of(FOUR_OF_ONE_SHAPE), names, strict=True))
    mapped = map_weights(store(FOUR_OF_ONE_SHAPE, names), FOUR_OF_ONE_SHAPE, "file")
    assert_mapped(mapped, FOUR_OF_ONE_SHAPE)
    listed = ", ".join(names.values())
    assert (f"not checked: that layers are used in the order of their numbers: {listed}",) == mapped.remarks
    assert () == map_weights(store(FOUR_OF_ONE_SHAPE), FOUR_OF_ONE_SHAPE, "file").remarks


def test_arrays_that_are_no_numbers_are_said():
    stored = store(CHAIN)
    stored.arrays[next(iter(stored.arrays))][:] = np.nan
    assert "arrays contain NaN or infinity: " in map_weights(stored, CHAIN, "file").remarks[0]


def test_no_order_of_definition_misleads():
    for spec in (bottleneck(), RESNET):
        names, num_mapped = alternating(spec), 0
        for seed in range(20):
            order = [names[name] for name in random_order(spec, np.random.default_rng(seed)) if name in names]
            try:
                mapped = map_weights(store(spec, names, order=order), spec, "file")
            except ArtifactError as error:
                assert "is ambiguous" in str(error)
            else:
                assert_mapped(mapped, spec)
                num_mapped += 1
        assert spec is not RESNET or num_mapped > 0


def test_ambiguous_layers_are_an_error_until_one_pair_is_given():
    spec = bottleneck()
    names = alternating(spec)
    stored = store(spec, names, order=names.values())
    with pytest.raises(ArtifactError) as raised:
        map_weights(stored, spec, "file")
    assert str(raised.value) == (
        "Layer 'a1x' of 'file' is ambiguous: choose with --map a1x=block.conv2 or --map a1x=block.shortcut, "
        "and likewise for b1x in the order of use."
    )
    mapped = map_weights(stored, spec, "file", {"a1x": "block.conv2"})
    assert_mapped(mapped, spec)
    assert (0, 4, 1) == (mapped.by_name, mapped.by_structure, mapped.by_map)
    # Even against the order.
    mapped = map_weights(stored, spec, "file", {"b1x": "block.conv2"})
    np.testing.assert_array_equal(make_weights(spec)["block.shortcut.weight"], mapped.arrays["block.conv2.weight"])


def test_an_order_of_each_class_leaves_the_norms_of_two_branches_ambiguous():
    names = alternating(RESNET)
    norms = tuple(names[layer.name] for layer in RESNET.layers if isinstance(layer, L.BatchNorm))
    others = tuple(name for name in names.values() if name not in norms)
    with pytest.raises(ArtifactError, match=r"--map \w+=layer2\.0\.bn1"):
        map_weights(store(RESNET, names, sequences=(norms, others)), RESNET, "file")


@pytest.mark.parametrize("has_order", [True, False])
def test_names_that_contradict_the_order_are_reported(has_order):
    """Counted from 0, where the model counts from 1."""
    names = {f"fc{number}": f"fc{number - 1}" for number in range(1, 5)}
    order = names.values() if has_order else None
    with pytest.raises(ArtifactError, match="their names contradict their order"):
        map_weights(store(FOUR_OF_ONE_SHAPE, names, order=order), FOUR_OF_ONE_SHAPE, "file")


def test_the_last_layer_of_a_shape_is_not_guessed_from_the_names_of_the_others():
    stored = store(FOUR_OF_ONE_SHAPE, {"fc1": "hidden", "fc2": "fc1", "fc3": "fc2", "fc4": "fc3"})
    with pytest.raises(ArtifactError, match=r"'hidden' of 'file' is ambiguous: choose with --map hidden=fc4\."):
        map_weights(stored, FOUR_OF_ONE_SHAPE, "file")


NORM = "weight (16), bias (16), running_mean (16), running_var (16)"


@pytest.mark.parametrize(
    ("source", "target", "fault"),
    [
        ("resnet56", "resnet20", f"unexpected layer 'layer1.3.bn1' ({NORM})."),
        ("resnet20", "resnet56", "layer 'layer1.3.conv1' must have weight (16, 16, 3, 3); the file has no layer left."),
        ("resnet20_b", "resnet20", "unexpected layer 'layer2.0.shortcut.0' (weight (32, 16, 1, 1))."),
    ],
)
def test_another_architecture_names_the_first_layer_that_does_not_fit(source, target, fault):
    with pytest.raises(ArtifactError) as raised:
        map_weights(store(zoo.model(source)), zoo.model(target), "file")
    assert f"Cannot load 'file' into {target}: {fault}" == str(raised.value)


@pytest.mark.parametrize(
    ("layer_map", "fault"),
    [
        ({"conv1": "relu"}, "--map conv1=relu: no layer 'relu' has weights."),
        ({"conv1": "linear"}, "--map conv1=linear: their shapes differ."),
        (
            {"layer1.0.conv1": "layer1.0.conv2", "layer1.0.conv2": "layer1.0.conv2"},
            "--map layer1.0.conv1=layer1.0.conv2: 'layer1.0.conv2' is mapped more than once.",
        ),
    ],
)
def test_an_impossible_map_is_an_error(layer_map, fault):
    with pytest.raises(UsageError) as raised:
        map_weights(store(RESNET), RESNET, "file", layer_map)
    assert fault == str(raised.value)


def test_lost_digits_are_counted():
    spec = zoo.model("mlp", (4, 4, 1))
    arrays = {name: array.astype(np.float64) for name, array in make_weights(spec).items()}
    arrays["fc1.weight"] = arrays["fc1.weight"] + 1e-12
    arrays["fc2.bias"] = arrays["fc2.bias"].astype(np.float16)
    mapped = map_weights(Stored(arrays), spec, "file")
    assert ("float64 → float32: 5 arrays, 1 lost digits", "float16 → float32: 1 arrays, 0 lost digits") == mapped.casts
    assert {np.dtype(np.float32)} == {array.dtype for array in mapped.arrays.values()}


def test_a_name_with_terminal_commands_is_an_error():
    with pytest.raises(ArtifactError, match=r"'\\x1b\[2J\.weight'"):
        Stored({"\x1b[2J.weight": np.zeros(3, np.float32)})


def flattened(*after, channels=4):
    """A model that flattens a map of 2 × 3 pixels, with more layers after it."""
    convolution = (L.Conv, "conv", {"filters": channels, "kernel": (1, 1)})
    return chain((2, 3, 1), convolution, FLATTEN, *after, (L.Dense, "head", {"units": 2}))


def in_file_order(array):
    """The last axis of an array in height, width, channel order."""
    return array.reshape(*array.shape[:-1], 4, 2, 3).transpose(*range(array.ndim - 1), -2, -1, -3).reshape(array.shape)


def test_weights_after_a_flatten_are_reordered():
    spec = flattened((L.BatchNorm, "norm", {}), (L.Dropout, "dropout", {}))
    arrays = make_weights(spec)
    theirs = {
        name: in_file_order(array) if name[:4] in ("norm", "head") and array.shape[-1] == 24 else array
        for name, array in arrays.items()
    }
    for stored in (Stored(theirs, permutes=()), Stored(arrays), Stored(arrays, permutes=("flatten.permute",))):
        assert_mapped(map_weights(stored, spec, "file"), spec)


def test_a_map_of_one_channel_has_only_one_order():
    spec = flattened((L.PadChannels, "pad", {"before": 1, "after": 0}), channels=1)
    assert_mapped(map_weights(Stored(make_weights(spec), permutes=()), spec, "file"), spec)


@pytest.mark.parametrize(
    ("after", "permutes", "layer"),
    [((), ("permute_1",), "head"), (((L.PadChannels, "pad", {"before": 1, "after": 0}),), (), "pad")],
)
def test_an_unknown_order_after_a_flatten_is_an_error(after, permutes, layer):
    spec = flattened(*after)
    with pytest.raises(ArtifactError, match=f"the order of the elements of 'flatten' is unknown at '{layer}'"):
        map_weights(Stored(make_weights(spec), permutes=permutes), spec, "file")


def test_arrays_that_match_a_pattern_are_left_out():
    spec = zoo.model("mlp", (4, 4, 1))
    loss = {"module.criterion.weight": np.ones((3, 3)), "module.criterion.center": np.ones(3), "scale": np.ones(())}
    stored = store(spec, {layer: f"module.{layer}" for layer in layers_of(spec)})
    stored = replace(stored, arrays=stored.arrays | loss)
    with pytest.raises(ArtifactError, match=r"If the model does without it: --ignore 'criterion', --ignore 'scale'\."):
        map_weights(stored, spec, "file")
    for patterns in (("criterion.*", "scale"), ("criterion", "sc?le"), ("module.criterion.*", "scale")):
        left = without(stored, patterns, "file")
        assert_mapped(map_weights(left, spec, "file"), spec)
        assert (
            f"--ignore '{patterns[0]}': 2 arrays (module.criterion.weight, module.criterion.center)" in left.remarks[0]
        )
    with pytest.raises(UsageError, match=r"--ignore 'criterium' matches no array"):
        without(stored, ("criterium",), "file")
