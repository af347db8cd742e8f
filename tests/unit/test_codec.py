"""Specs and recipes survive JSON, and a file that is no sound one is answered with the layer and the fault."""

import json
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import SpecError
from diptych.spec import Recipe
from diptych.spec import layers as L
from diptych.spec.codec import (
    model_from_json,
    model_to_json,
    read_model,
    read_recipe,
    recipe_from_json,
    recipe_to_json,
    write_model,
)
from diptych.spec.zoo import Graph

SOUND = {
    "format": "diptych-model",
    "version": 1,
    "name": "tiny",
    "input_shape": [8, 8, 1],
    "layers": [
        {"type": "Normalize", "name": "normalize", "inputs": ["input"], "mean": [0.5], "std": [0.25]},
        {"type": "Conv", "name": "conv", "inputs": ["normalize"], "filters": 4, "kernel": [3, 3]},
        {"type": "Flatten", "name": "flatten", "inputs": ["conv"]},
        {"type": "Dense", "name": "head", "inputs": ["flatten"], "units": 3},
    ],
}
NORMALIZE, CONV, FLATTEN, HEAD = range(4)
DROPPED = object()

HEADER_FAULTS = {
    "of another version": ({"version": 2}, "Unsupported diptych-model version 2; this diptych reads version 1."),
    "of another format": (
        {"format": "diptych-recipe"},
        'Expected a JSON object with "format": "diptych-model", got \'diptych-recipe\'.',
    ),
    "without a name": ({"name": DROPPED}, "Model spec: 'name' is missing."),
    "with an entry that is unknown": (
        {"inputshape": [8, 8, 1]},
        "Model spec: unknown entry 'inputshape' (did you mean 'input_shape'?).",
    ),
    "with a number for a name": ({"name": 7}, "Model spec, 'name': expected str, got 7."),
    "for flat images": ({"input_shape": [8, 8]}, "Model spec, 'input_shape': expected 3 values, got 2."),
    "for empty images": (
        {"input_shape": [0, 8, 1]},
        "Model 'tiny': input_shape must be at least 1 in each axis, got (0, 8, 1).",
    ),
    "whose layers are no list": ({"layers": {}}, "Model spec: expected a list as 'layers', got {}."),
    "without layers": (
        {"layers": []},
        "Model 'tiny': the first layer must be a Normalize.",
    ),
    "that does not begin with a Normalize": (
        {"layers": SOUND["layers"][1:]},
        "Model 'tiny': the first layer must be a Normalize.",
    ),
    "whose layer is no object": ({"layers": ["Conv"]}, "Layer 0: expected an object with a 'type', got \"Conv\"."),
    "that ends in a map": (
        {"layers": SOUND["layers"][:2]},
        "Layer 'conv': the last layer must output a vector of logits, not (6, 6, 4).",
    ),
}
LAYER_FAULTS = {
    "an unknown type": (CONV, {"type": "Convv"}, "Layer 'conv': unknown type 'Convv' (did you mean 'Conv'?)."),
    "no type": (CONV, {"type": DROPPED}, "Layer 1: expected an object with a 'type', got"),
    "no name": (CONV, {"name": DROPPED}, "Layer '1' (Conv): field 'name' is missing."),
    "a field that is unknown": (
        CONV,
        {"filter": 4},
        "Layer 'conv' (Conv): unknown field 'filter' (did you mean 'filters'?).",
    ),
    "a field left out": (CONV, {"filters": DROPPED}, "Layer 'conv' (Conv): field 'filters' is missing."),
    "a word for a number": (CONV, {"filters": "4"}, "Layer 'conv' (Conv), 'filters': expected int, got \"4\"."),
    "a fraction for a count": (CONV, {"filters": 4.5}, "Layer 'conv' (Conv), 'filters': expected int, got 4.5."),
    "a truth for a number": (CONV, {"filters": True}, "Layer 'conv' (Conv), 'filters': expected int, got true."),
    "a number for a list": (CONV, {"kernel": 3}, "Layer 'conv' (Conv), 'kernel': expected a list, got 3."),
    "a list too short": (CONV, {"kernel": [3]}, "Layer 'conv' (Conv), 'kernel': expected 2 values, got 1."),
    "a choice that is none": (
        CONV,
        {"initializer": "he_norm"},
        "Layer 'conv' (Conv), 'initializer': expected one of he_normal, glorot_uniform, uniform_fan_in, zeros, ones, "
        "got \"he_norm\" (did you mean 'he_normal'?).",
    ),
    "an input that is no list": (
        CONV,
        {"inputs": "normalize"},
        "Layer 'conv' (Conv), 'inputs': expected a list, got \"normalize\".",
    ),
    "an input that is missing": (
        FLATTEN,
        {"inputs": ["cnov"]},
        "Layer 'flatten': its input 'cnov' is not an earlier layer.",
    ),
    "an input that comes after it": (
        FLATTEN,
        {"inputs": ["head"]},
        "Layer 'flatten': its input 'head' is not an earlier layer.",
    ),
    "itself for an input": (
        FLATTEN,
        {"inputs": ["flatten"]},
        "Layer 'flatten': its input 'flatten' is not an earlier layer.",
    ),
    "no input": (FLATTEN, {"inputs": []}, "Layer 'conv': no layer uses its output; remove or connect it."),
    "two inputs where one is wanted": (
        FLATTEN,
        {"inputs": ["conv", "normalize"]},
        "Layer 'flatten' (Flatten): expected exactly one input, got ('conv', 'normalize').",
    ),
    "one input where two are wanted": (
        FLATTEN,
        {"type": "Add"},
        "Layer 'flatten' (Add): expected two or more inputs, got ('conv',).",
    ),
    "inputs of different shapes": (
        FLATTEN,
        {"type": "Add", "inputs": ["conv", "normalize"]},
        "Layer 'flatten' (Add): expected inputs of one shape, got ((6, 6, 4), (8, 8, 1)).",
    ),
    "maps of different sizes to put together": (
        FLATTEN,
        {"type": "Concat", "inputs": ["conv", "normalize"]},
        "Layer 'flatten' (Concat): expected inputs of one height and width, got ((6, 6, 4), (8, 8, 1)).",
    ),
    "a map where a vector is wanted": (
        FLATTEN,
        {"type": "Activation"},
        "Layer 'head' (Dense): expected a vector as input (add a Flatten or GlobalAvgPool before it), got (6, 6, 4).",
    ),
    "a vector where a map is wanted": (
        HEAD,
        {"type": "GlobalAvgPool", "units": DROPPED},
        "Layer 'head' (GlobalAvgPool): expected a (height, width, channels) map as input, got (144,).",
    ),
    "a kernel larger than the image": (
        CONV,
        {"kernel": [9, 3]},
        "Layer 'conv' (Conv): expected an input of at least (9, 3) including padding, got (8, 8).",
    ),
    "a kernel of nothing": (
        CONV,
        {"kernel": [0, 3]},
        "Layer 'conv' (Conv): expected kernel of at least 1, got (0, 3).",
    ),
    "a stride of nothing": (
        CONV,
        {"strides": [0, 1]},
        "Layer 'conv' (Conv): expected strides of at least 1, got (0, 1).",
    ),
    "negative padding": (
        CONV,
        {"padding": [0, 0, -1, 0]},
        "Layer 'conv' (Conv): expected padding of at least 0, got (0, 0, -1, 0).",
    ),
    "groups that do not divide its input": (
        CONV,
        {"groups": 2},
        "Layer 'conv' (Conv): expected groups that divide its 1 input channels, got 2.",
    ),
    "no filters": (CONV, {"filters": 0}, "Layer 'conv' (Conv): expected filters of at least 1, got 0."),
    "no units": (HEAD, {"units": 0}, "Layer 'head' (Dense): expected units of at least 1, got 0."),
    "pooling padded on one side": (
        CONV,
        {"type": "MaxPool", "filters": DROPPED, "strides": [2, 2], "padding": [1, 0, 0, 0]},
        "Layer 'conv' (MaxPool): expected equal padding on opposite sides, at most half the kernel (3, 3), "
        "got (1, 0, 0, 0).",
    ),
    "dropout of everything": (
        FLATTEN,
        {"type": "Dropout", "rate": 1.0},
        "Layer 'flatten' (Dropout): expected rate in [0, 1), got 1.0.",
    ),
    "a norm that divides by nothing": (
        FLATTEN,
        {"type": "BatchNorm", "epsilon": 0.0},
        "Layer 'flatten' (BatchNorm): expected epsilon above 0, got 0.0.",
    ),
    "a deviation of 0": (NORMALIZE, {"std": [0.0]}, "Layer 'normalize' (Normalize): expected std above 0, got (0.0,)."),
    "no deviation": (
        NORMALIZE,
        {"std": []},
        "Layer 'normalize' (Normalize): expected mean and std for 1 channel(s), got (0.5,).",
    ),
    "statistics of three channels for one": (
        NORMALIZE,
        {"mean": [0.5] * 3, "std": [0.25] * 3},
        "Layer 'normalize' (Normalize): expected mean and std for 1 channel(s), got (0.5, 0.5, 0.5).",
    ),
    "a name that is taken": (
        FLATTEN,
        {"name": "conv"},
        "Layer 'conv': names must be unique and consist of letters, digits, '_' and '.'.",
    ),
    "the name of the input": (
        CONV,
        {"name": "input"},
        "Layer 'input': names must be unique and consist of letters, digits, '_' and '.'.",
    ),
    "a name with a space": (
        CONV,
        {"name": "my conv"},
        "Layer 'my conv': names must be unique and consist of letters, digits, '_' and '.'.",
    ),
    "an empty name": (
        CONV,
        {"name": ""},
        "Layer '': names must be unique and consist of letters, digits, '_' and '.'.",
    ),
    "a name inside another layer": (
        HEAD,
        {"name": "conv.head"},
        "Layer 'conv.head': 'conv' is a layer too, so no name can begin with 'conv.'.",
    ),
    "an output that nothing uses": (
        FLATTEN,
        {"inputs": ["normalize"]},
        "Layer 'conv': no layer uses its output; remove or connect it.",
    ),
    "the raw image for an input": (
        FLATTEN,
        {"inputs": ["input"]},
        "Layer 'flatten': the Normalize layer, and no other, must read 'input'.",
    ),
    "a Normalize in the middle": (
        FLATTEN,
        {"type": "Normalize", "mean": [0.5], "std": [0.25]},
        "Layer 'flatten': the Normalize layer, and no other, must read 'input'.",
    ),
}


def changed(entries, changes):
    merged = {**entries, **changes}
    return {key: value for key, value in merged.items() if value is not DROPPED}


def refusal(read, data):
    with pytest.raises(SpecError) as caught:
        read(data)
    return str(caught.value)


def test_the_spec_that_the_faults_are_put_into_is_sound():
    assert 4 * 9 + 4 + 144 * 3 + 3 == model_from_json(SOUND).num_parameters


@pytest.mark.parametrize("fault", HEADER_FAULTS)
def test_a_spec_is_refused_and_told_why(fault):
    changes, expected = HEADER_FAULTS[fault]
    assert expected == refusal(model_from_json, changed(SOUND, changes))


@pytest.mark.parametrize("fault", LAYER_FAULTS)
def test_a_layer_is_refused_by_name_and_told_why(fault):
    place, changes, expected = LAYER_FAULTS[fault]
    data = deepcopy(SOUND)
    data["layers"][place] = changed(data["layers"][place], changes)
    found = refusal(model_from_json, data)
    assert expected == found[: len(expected)]
    assert "\n" not in found


@pytest.mark.parametrize("data", [None, 7, "cnn", [SOUND]])
def test_what_is_no_json_object_is_no_spec(data):
    assert refusal(model_from_json, data).startswith('Expected a JSON object with "format": "diptych-model", got')


@pytest.mark.parametrize("read", [read_model, read_recipe])
def test_a_file_that_is_not_json_is_named_with_the_place(tmp_path, read):
    path = tmp_path / "spec.json"
    path.write_text("{'format': 1}")
    assert refusal(read, path).startswith(f"'{path}' is not JSON: Expecting property name")


@pytest.mark.parametrize("read", [read_model, read_recipe])
def test_a_file_that_is_not_text_is_not_json(tmp_path, read):
    path = tmp_path / "spec.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert refusal(read, path).startswith(f"'{path}' is not JSON")


@pytest.mark.parametrize("read", [read_model, read_recipe])
def test_a_file_that_is_not_there_is_named(tmp_path, read):
    path = tmp_path / "absent.json"
    assert f"Cannot read '{path}': No such file or directory." == refusal(read, path)


def test_a_fault_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({**SOUND, "version": 2}))
    assert refusal(read_model, path).startswith(f"'{path}': Unsupported diptych-model version 2")


def test_a_written_spec_is_read_back(tmp_path):
    spec = model_from_json(SOUND)
    write_model(spec, tmp_path / "spec.json")
    assert spec == read_model(tmp_path / "spec.json")


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ({"optimiser": "sgd"}, "Recipe: unknown field 'optimiser' (did you mean 'optimizer'?)."),
        (
            {"optimizer": "rmsprob"},
            "Recipe, 'optimizer': expected one of sgd, adam, adamw, rmsprop, got \"rmsprob\" "
            "(did you mean 'rmsprop'?).",
        ),
        ({"epochs": 2.5}, "Recipe, 'epochs': expected int, got 2.5."),
        ({"epochs": 0}, "Recipe, 'epochs': expected an integer of at least 1, got 0."),
        ({"nesterov": 1}, "Recipe, 'nesterov': expected bool, got 1."),
        ({"learning_rate": "fast"}, "Recipe, 'learning_rate': expected float, got \"fast\"."),
        ({"step_epochs": [1, 2.5]}, "Recipe, 'step_epochs': expected int, got 2.5."),
        ({"version": 9}, "Unsupported diptych-recipe version 9; this diptych reads version 1."),
    ],
)
def test_a_recipe_is_refused_by_field(entries, expected):
    assert expected == refusal(recipe_from_json, {"format": "diptych-recipe", "version": 1, **entries})


def test_fields_that_a_recipe_leaves_out_keep_their_defaults():
    data = {"format": "diptych-recipe", "version": 1, "epochs": 3, "learning_rate": 1}
    assert Recipe(epochs=3, learning_rate=1.0) == recipe_from_json(data)


def test_a_whole_number_may_stand_for_a_float_and_becomes_one():
    recipe = recipe_from_json({"format": "diptych-recipe", "version": 1, "l2": 1})
    assert isinstance(recipe.l2, float)


# Without subnormals: PyTorch, in the same process, may have had the processor flush them.
SHARES = st.floats(0.0, 1.0, exclude_max=True, allow_subnormal=False)
POSITIVE = st.floats(1e-9, 1e3, allow_subnormal=False)


@st.composite
def models(draw):
    """A graph of random layers that fits together, closed by a Dense."""
    channels = draw(st.sampled_from([1, 3]))
    statistics = [tuple(draw(st.lists(POSITIVE, min_size=channels, max_size=channels))) for _ in range(2)]
    graph = Graph((draw(st.integers(1, 12)), draw(st.integers(1, 12)), channels), *statistics)
    for place in range(draw(st.integers(0, 8))):
        add = draw(st.sampled_from([_conv, _norm, _activation, _pool, _dropout, _add, _concat, _pad]))
        add(draw, graph, f"layer{place}")
    graph.add(draw(st.sampled_from([L.Flatten, L.GlobalAvgPool])), "vector")
    graph.add(L.Dense, "head", units=draw(st.integers(1, 5)), use_bias=draw(st.booleans()))
    return graph.model(draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]*", fullmatch=True)))


def _conv(draw, graph, name):
    padding = tuple(draw(st.integers(1, 2)) for _ in range(4))
    graph.add(L.Conv, name, filters=draw(st.integers(1, 4)), kernel=(3, 2), padding=padding)


def _norm(draw, graph, name):
    graph.add(L.BatchNorm, name, decay=draw(SHARES), epsilon=draw(POSITIVE))


def _activation(draw, graph, name):
    function = draw(st.sampled_from(["relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid"]))
    graph.add(L.Activation, name, function=function, slope=draw(SHARES))


def _pool(draw, graph, name):
    graph.add(draw(st.sampled_from([L.MaxPool, L.AvgPool])), name, kernel=(3, 3), strides=(1, 2), padding=(1,) * 4)


def _dropout(draw, graph, name):
    graph.add(L.Dropout, name, rate=draw(SHARES))


def _add(_draw, graph, name):
    graph.add(L.Add, name, inputs=(graph.last, graph.last))


def _concat(_draw, graph, name):
    graph.add(L.Concat, name, inputs=(graph.last, graph.last))


def _pad(draw, graph, name):
    graph.add(L.PadChannels, name, before=draw(st.integers(0, 2)), after=draw(st.integers(0, 2)))


@settings(deadline=None, max_examples=60)
@given(models())
def test_every_model_comes_back_from_json_as_it_was(spec):
    found = model_from_json(json.loads(json.dumps(model_to_json(spec))))
    assert spec == found
    assert spec.arrays == found.arrays


RECIPES = st.builds(
    Recipe,
    epochs=st.integers(1, 1000),
    batch_size=st.integers(1, 4096),
    precision=st.sampled_from(["auto", "float32", "bfloat16", "float16", "float64"]),
    optimizer=st.sampled_from(["sgd", "adam", "adamw", "rmsprop"]),
    learning_rate=st.none() | POSITIVE,
    momentum=SHARES,
    nesterov=st.booleans(),
    decoupled_decay=st.none() | POSITIVE,
    no_decay=st.sets(st.sampled_from(["kernel", "bias", "scale", "shift"])).map(tuple),
    average_decay=SHARES,
    schedule=st.sampled_from(["constant", "step", "cosine", "one_cycle"]),
    step_epochs=st.lists(st.integers(1, 300)).map(tuple),
    label_smoothing=SHARES,
    class_weights=st.sampled_from(["none", "balanced"]) | st.lists(POSITIVE, min_size=2).map(tuple),
    flip=st.sampled_from(["auto", "none", "horizontal", "vertical", "both"]),
    cutout=st.integers(0, 16),
    validation_fraction=SHARES,
)


@settings(deadline=None, max_examples=60)
@given(RECIPES)
def test_every_recipe_comes_back_from_json_as_it_was(recipe):
    assert recipe == recipe_from_json(json.loads(json.dumps(recipe_to_json(recipe))))
