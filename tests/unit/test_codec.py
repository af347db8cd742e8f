"""Specs and recipes survive JSON, and an invalid one is rejected with the layer, the field and the value."""

import json
from functools import partial
from typing import get_args

import pytest
from commands import GOLDEN, golden
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import SpecError
from diptych.spec import Recipe, codec
from diptych.spec import layers as L
from diptych.spec.codec import model_from_json, model_to_json, recipe_from_json, recipe_to_json
from diptych.spec.zoo import Graph

MODEL = {
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
RECIPE = {"format": "diptych-recipe", "version": 1}
# Pairs of lines: what is changed in MODEL, in one of its layers or in RECIPE (null removes a field); the error.
CASES = (GOLDEN / "spec_errors.txt").read_text(encoding="utf-8").splitlines()[::2]


def error(read, data):
    with pytest.raises(SpecError) as caught:
        read(data)
    return str(caught.value)


def changed(entries, changes):
    return {key: value for key, value in {**entries, **changes}.items() if value is not None}


def error_of(case):
    where, changes = case[: case.index("{") - 1], json.loads(case[case.index("{") :])
    if where == "recipe":
        return error(recipe_from_json, changed(RECIPE, changes))
    if where == "model":
        return error(model_from_json, changed(MODEL, changes))
    layers, place = [*MODEL["layers"]], int(where.removeprefix("layer "))
    layers[place] = changed(layers[place], changes)
    return error(model_from_json, {**MODEL, "layers": layers})


def test_every_error_is_one_known_line():
    assert 4 * 9 + 4 + 144 * 3 + 3 == model_from_json(MODEL).num_parameters  # unchanged, it is valid
    text = "".join(f"{case}\n    {error_of(case)}\n" for case in CASES)
    assert golden("spec_errors.txt", text) == text


@pytest.mark.parametrize("convert", [model_from_json, recipe_from_json])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{'format': 1}", "'{}' is not JSON: Expecting property name"),
        (b"\xff\xfe\x00", "'{}' is not JSON"),
        (None, "Cannot read '{}': No such file or directory."),
        (b'{"format": "diptych-x"}', "'{}': Expected a JSON object with "),
        (b"[7]", "'{}': Expected a JSON object with "),
    ],
    ids=["not JSON", "not text", "missing", "another format", "a list"],
)
def test_an_error_of_a_file_names_the_file(tmp_path, convert, content, expected):
    path = tmp_path / "spec.json"
    if content is not None:
        path.write_bytes(content)
    assert error(partial(codec.read, convert=convert), path).startswith(expected.format(path))


def test_missing_fields_of_a_recipe_take_their_defaults_and_integers_become_floats():
    recipe = recipe_from_json({**RECIPE, "epochs": 3, "learning_rate": 1})
    assert Recipe(epochs=3, learning_rate=1.0) == recipe
    assert isinstance(recipe.learning_rate, float)


# Without subnormals: PyTorch, in the same process, may have had the processor flush them.
SHARES = st.floats(0.0, 1.0, exclude_max=True, allow_subnormal=False)
POSITIVE = st.floats(1e-9, 1e3, allow_subnormal=False)


LAYERS = {
    L.Conv: {"filters": st.integers(1, 4), "kernel": st.just((3, 2)), "padding": st.tuples(*[st.integers(1, 2)] * 4)},
    L.BatchNorm: {"decay": SHARES, "epsilon": POSITIVE},
    L.Activation: {"function": st.sampled_from(get_args(L.Function)), "slope": SHARES},
    L.MaxPool: {"kernel": st.just((3, 3)), "strides": st.just((1, 2)), "padding": st.just((1,) * 4)},
    L.AvgPool: {"kernel": st.just((3, 3)), "strides": st.just((1, 2)), "padding": st.just((1,) * 4)},
    L.Dropout: {"rate": SHARES},
    L.Add: {},
    L.Concat: {},
    L.PadChannels: {"before": st.integers(0, 2), "after": st.integers(0, 2)},
}


@st.composite
def models(draw):
    """A valid graph of random layers that ends in a Dense."""
    channels = draw(st.sampled_from([1, 3]))
    statistics = [tuple(draw(st.lists(POSITIVE, min_size=channels, max_size=channels))) for _ in range(2)]
    graph = Graph((draw(st.integers(1, 12)), draw(st.integers(1, 12)), channels), *statistics)
    for place in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from(list(LAYERS)))
        inputs = (graph.layers[-1].name,) * (2 if kind in (L.Add, L.Concat) else 1)
        graph.add(kind, f"layer{place}", inputs=inputs, **{name: draw(value) for name, value in LAYERS[kind].items()})
    graph.add(draw(st.sampled_from([L.Flatten, L.GlobalAvgPool])), "vector")
    graph.add(L.Dense, "head", units=draw(st.integers(1, 5)), use_bias=draw(st.booleans()))
    return graph.model(draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]*", fullmatch=True)))


@settings(deadline=None, max_examples=30)
@given(models())
def test_every_model_survives_json(spec):
    found = model_from_json(json.loads(json.dumps(model_to_json(spec))))
    assert spec == found
    assert spec.arrays == found.arrays


# One field of each type.
RECIPES = st.builds(
    Recipe,
    optimizer=st.sampled_from(["sgd", "adam", "adamw", "rmsprop"]),
    learning_rate=st.none() | POSITIVE,
    nesterov=st.booleans(),
    no_decay=st.sets(st.sampled_from(["kernel", "bias", "scale", "shift"])).map(tuple),
    step_epochs=st.lists(st.integers(1, 300)).map(tuple),
    class_weights=st.sampled_from(["none", "balanced"]) | st.lists(POSITIVE, min_size=2).map(tuple),
    cutout=st.integers(0, 16),
    validation_fraction=SHARES,
)


@settings(deadline=None, max_examples=30)
@given(RECIPES)
def test_every_recipe_survives_json(recipe):
    assert recipe == recipe_from_json(json.loads(json.dumps(recipe_to_json(recipe))))
