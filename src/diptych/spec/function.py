"""Compare the functions of two models, whatever the names of their layers.

A layer with its inputs is a term, and equal terms have equal keys. Layers that commute are put in one order (ReLU
before pooling), and those without an effect on predictions are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from hashlib import sha256
from itertools import zip_longest
from typing import Any, TypeAlias

from diptych.spec import layers as L
from diptych.spec.layers import Node, Shape

Network: TypeAlias = Any
"""A spec, or anything else with `layers` and their `shapes`; some layers may be foreign."""
_TITLES = {"relu": "ReLU", "leaky_relu": "LeakyReLU", "gelu": "GELU", "silu": "SiLU"}
_MONOTONE = ("relu", "leaky_relu", "tanh", "sigmoid")
_TRAINING = ("decay", "running_variance", "rate")
_NOT_COMPARED = ("name", "inputs", "initializer", "bias_initializer", *_TRAINING)
_MAP = (0, 0, 0)  # the shape of any map
_KIND = re.compile("pool|conv|norm|dense|flatten|add|concat")


@dataclass(frozen=True)
class Foreign(Node):
    """A layer of a file that specs do not have."""

    text: str


@dataclass(frozen=True, eq=False)
class _Term:
    layer: Node
    inputs: tuple[_Term, ...] = ()
    parts: Sequence[str] = ()
    key: str = ""


def differences(file: Network, model: Network) -> list[str]:
    """Return how the model in a file and another one differ in what they predict, one line for each layer."""
    ours, theirs = _output(file), _output(model)
    sizes = [network.shapes["input"] for network in (file, model)]
    lines = [] if sizes[0] == sizes[1] else [f"the file takes images of {sizes[0]}, the model of {sizes[1]}"]
    return lines if ours.key == theirs.key else [*lines, *_lines([*_listed(ours)], [*_listed(theirs)])]


def training_differences(file: Network, model: Network) -> list[str]:
    """Return what differs only in training, one line for each setting."""
    lines = []
    for name in _TRAINING:
        values = [[getattr(layer, name) for layer in one.layers if hasattr(layer, name)] for one in (file, model)]
        texts = [", ".join(dict.fromkeys(map(str, some))) or "none" for some in values]
        if values[0] != values[1]:
            lines.append(f"differs in training only: {name} {texts[0]} in the file, {texts[1]} in the model")
    return lines


def pairs(file: Network, model: Network) -> dict[str, str]:
    """Return the layer of the model for each layer of a file with the same function."""
    found: dict[str, str] = {}
    todo = [(_output(file), _output(model))]
    while todo:
        ours, theirs = todo.pop()
        if ours.layer.name not in found:
            found[ours.layer.name] = theirs.layer.name
            todo += zip(ours.inputs, theirs.inputs, strict=True)
    return found


def _output(network: Network) -> _Term:
    terms = {"input": _Term(Node("input", ()))}
    for layer in network.layers:
        terms[layer.name] = _term(layer, tuple(map(terms.__getitem__, layer.inputs)), network.shapes[layer.inputs[0]])
    return terms[network.layers[-1].name]


def _term(layer: Node, inputs: tuple[_Term, ...], shape: Shape) -> _Term:
    """Return the term of a layer whose first input has `shape`."""
    first = inputs[0].layer
    if isinstance(layer, L.Dropout) or (isinstance(layer, L.Flatten) and len(shape) == 1):
        return inputs[0]
    is_monotone = isinstance(layer, L.Activation) and layer.function in _MONOTONE and layer.slope >= 0
    if is_monotone and isinstance(first, L.MaxPool | L.Flatten):
        return _term(first, (_term(layer, inputs[0].inputs, shape),), _MAP)
    if isinstance(layer, L.Flatten) and isinstance(first, L.AvgPool) and shape[:2] == (1, 1) and not any(first.padding):
        return _term(L.GlobalAvgPool(first.name, ()), inputs[0].inputs, shape)
    if isinstance(layer, L.Add):
        inputs = tuple(sorted(inputs, key=lambda term: term.key))
    parts = _parts(layer)
    return _Term(layer, inputs, parts, sha256("|".join([*parts, *(term.key for term in inputs)]).encode()).hexdigest())


def _parts(layer: Node) -> list[str]:
    """Return what a layer is, and each setting that its output depends on."""
    match layer:
        case Foreign(text=text):
            return [text]
        case L.Activation(function=function, slope=slope):
            return [_TITLES.get(function, function) + f" {slope:.6g}" * (function == "leaky_relu")]
        case L.Normalize(mean=mean, std=std):
            texts = [f"(pixels/255 - {center:.6g}) / {width:.6g}" for center, width in zip(mean, std, strict=True)]
            return [f"normalization {', '.join(dict.fromkeys(texts))}"]
    settings = {name: value for name, value in asdict(layer).items() if name not in _NOT_COMPARED}
    shown = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in settings.items()}
    return [type(layer).__name__, *(f"{name} {value}" for name, value in shown.items())]


def _listed(output: _Term) -> Iterator[_Term]:
    """Yield every term behind an output once, inputs first."""
    todo, seen = [(output, False)], set[int]()
    while todo:
        term, is_done = todo.pop()
        if is_done:
            yield term
        elif term.inputs and id(term) not in seen:
            seen.add(id(term))
            todo += [(term, True), *((inner, False) for inner in reversed(term.inputs))]


def _lines(file: Sequence[_Term], model: Sequence[_Term]) -> list[str]:
    """Return how two lists of terms differ, aligned by the kinds of their layers."""
    # Other kinds are activations.
    kinds = [[_KIND.findall(term.parts[0].lower())[:1] for term in terms] for terms in (file, model)]
    codes = SequenceMatcher(None, [*map(str, kinds[0])], [*map(str, kinds[1])], autojunk=False).get_opcodes()
    lines = []
    for place, other in (row for _, i, j, k, m in codes for row in zip_longest(range(i, j), range(k, m))):
        mine = [] if place is None else file[place].parts
        theirs = [] if other is None else model[other].parts
        before = f"before layer {(other or 0) + 1}"
        named = before if place is None else f"layer {place + 1} ('{file[place].layer.name}')"
        is_same_kind = mine[:1] == theirs[:1]
        texts = [
            ", ".join(part for part in one if not is_same_kind or part not in both) or "none"
            for one, both in ((mine, theirs), (theirs, mine))
        ]
        if mine != theirs:
            lines.append(f"{named}: the file has {texts[0]}, the model {texts[1]}")
    return lines or ["the layers are the same, but not their connections"]
