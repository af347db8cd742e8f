"""Which layers of a model a person would write once, as a block with parameters: found by their names' prefixes."""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from diptych.spec import ModelSpec
from diptych.spec import layers as L
from diptych.spec.layers import Layer

WEIGHTED = L.Conv | L.Dense | L.BatchNorm
_TAKEN = {"layers", "ops", "keras", "np", "net", "math", "main", "partial", "conv", "norm", "dense", "x", "name"}
_WORDS: dict[type, str] = {
    L.Conv: "convolution",
    L.BatchNorm: "batch norm",
    L.MaxPool: "max pooling",
    L.AvgPool: "average pooling",
    L.GlobalAvgPool: "global average pooling",
}


@dataclass(frozen=True)
class Block:
    """Layers that follow each other under one prefix, with one value going in and one coming out."""

    prefix: str
    layers: tuple[Layer, ...]
    source: str

    @property
    def value(self) -> str:
        """What comes out."""
        return self.layers[-1].name

    @property
    def base(self) -> str:
        """What to call blocks like this one: `stem` for stem, `block` for layer1.0."""
        last = self.prefix.rpartition(".")[2].rstrip("0123456789_")
        return f"{last}_block" if keyword.iskeyword(last) or last in _TAKEN else last or "block"

    def owns(self, layer: Layer) -> bool:
        """Whether the layer is called by this block's prefix; others only happen to lie between such."""
        return layer.name.startswith(f"{self.prefix}.")

    def relative(self, name: str) -> str:
        """A name as seen from inside."""
        return name.removeprefix(f"{self.prefix}.")


@dataclass(frozen=True)
class Form:
    """A piece of source with gaps.

    Attributes:
        text: source with `{0}`, `{1}` … where numbers go that may differ from block to block.
        values: each number's usual name and value.
    """

    text: str
    values: tuple[tuple[str, int], ...] = ()

    def filled(self, numbers: Sequence[str] | None = None, **rest: str) -> str:
        """The source with its own numbers, or with others in their place."""
        return self.text.format(*(numbers or [str(value) for _, value in self.values]), **rest)


@dataclass(frozen=True)
class Parameters:
    """What sets blocks of one structure apart: names, and each block's values; `slots` is what stands in each gap."""

    names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    slots: tuple[str, ...]


def parts(spec: ModelSpec, layers: Sequence[Layer], inside: str = "") -> list[Layer | Block]:
    """The layers in order, with those that make a block taken together.

    Args:
        spec: the model.
        layers: all of its layers, or those of one block.
        inside: the prefix of that block; within a block only chains like `shortcut.0`, `shortcut.1` are taken together.
    """
    found: list[Layer | Block] = []
    blocks = {block.layers[0].name: block for block in _blocks(spec, layers, inside)}
    covered: set[str] = set()
    for layer in layers:
        if layer.name in blocks:
            found.append(blocks[layer.name])
            covered.update(member.name for member in blocks[layer.name].layers)
        elif layer.name not in covered:
            found.append(layer)
    return found


def is_row(block: Block) -> bool:
    """Whether a block is no more than numbered layers one after the other: `shortcut.0`, `shortcut.1`."""
    numbered = [block.relative(layer.name) for layer in block.layers] == [str(i) for i in range(len(block.layers))]
    return numbered and all(after.inputs == (before.name,) for before, after in pairwise(block.layers))


def parameters(forms: Sequence[Sequence[Form]]) -> Parameters:
    """The parameters of blocks of one structure, from the forms of each one's layers."""
    rows = [[value for form in block for _, value in form.values] for block in forms]
    roles = [role for form in forms[0] for role, _ in form.values]
    columns = list(zip(*rows, strict=True))
    if columns and {"in_channels", "out_channels"} <= {role for role, column in zip(roles, columns, strict=True)}:
        same = columns[roles.index("in_channels")] == columns[roles.index("out_channels")]
        roles = ["channels" if same and role in ("in_channels", "out_channels") else role for role in roles]
    named: dict[tuple[int, ...], str] = {}
    slots = []
    for role, column in zip(roles, columns, strict=True):
        if len(set(column)) == 1 and column not in named:
            slots.append(str(column[0]))
            continue
        if column not in named and not (derived := _derived(column, named)):
            taken = sum(name.rstrip("0123456789") == role for name in named.values())
            named[column] = f"{role}{taken + 1}" if taken else role
        slots.append(named.get(column) or derived)
    values = tuple(tuple(column[place] for column in named) for place in range(len(forms)))
    return Parameters(tuple(named.values()), values, tuple(slots))


def sentence(block: Block, spec: ModelSpec) -> str:
    """What a block is, in a few words."""
    smaller = " that shrinks the map" if shrinks(block, spec) else ""
    if any(isinstance(layer, L.Add) for layer in block.layers):
        return f"A residual block{smaller}."
    if len(block.layers) > 6 or any(isinstance(layer, L.Concat) for layer in block.layers):
        return f"A block of {len(block.layers)} layers{smaller}."
    said = ", ".join(_WORDS.get(type(layer), type(layer).__name__.lower()) for layer in block.layers)
    return f"{said[0].upper()}{said[1:]}."


def shrinks(block: Block, spec: ModelSpec) -> bool:
    """Whether the map that comes out is smaller than the one that goes in."""
    before, after = spec.shapes[block.source], spec.shapes[block.value]
    return len(before) == len(after) == 3 and before[0] > after[0]


def _blocks(spec: ModelSpec, layers: Sequence[Layer], inside: str) -> list[Block]:
    prefixes = [_prefix(layer.name, inside) for layer in layers if isinstance(layer, WEIGHTED)]
    unique = list(dict.fromkeys(prefix for prefix in prefixes if prefix))
    alone = [prefix for prefix in unique if not any(other.startswith(f"{prefix}.") for other in unique)]
    found = [_block(spec, layers, prefix, set(unique) - {prefix}) for prefix in alone]
    return [block for block in found if block and (is_row(block) or not inside)]


def _prefix(name: str, inside: str) -> str:
    """The name up to its first number, or all but its last part: `layer1.0` of layer1.0.conv1, `stem` of stem.conv."""
    path = name.removeprefix(f"{inside}.").split(".")[:-1] if inside else name.split(".")[:-1]
    numbers = [place for place, part in enumerate(path) if part.isdigit()]
    path = path[: numbers[0] + 1] if numbers else path
    return ".".join([inside, *path] if inside and path else path)


def _block(spec: ModelSpec, layers: Sequence[Layer], prefix: str, others: set[str]) -> Block | None:
    own = [place for place, layer in enumerate(layers) if layer.name.startswith(f"{prefix}.")]
    run = tuple(layers[own[0] : own[-1] + 1])
    names = {layer.name for layer in run}
    strangers = [layer for layer in run if not layer.name.startswith(f"{prefix}.")]
    if any(isinstance(one, WEIGHTED) or any(one.name.startswith(f"{o}.") for o in others) for one in strangers):
        return None
    sources = {name for layer in run for name in layer.inputs} - names
    seen = {name for layer in spec.layers if layer.name not in names for name in layer.inputs} & names
    only_last = seen <= {run[-1].name} and len(run) > 1
    return Block(prefix, run, sources.pop()) if only_last and len(sources) == 1 else None


def _derived(column: tuple[int, ...], named: dict[tuple[int, ...], str]) -> str:
    """A number that follows from the parameters before it, such as half of one of them."""
    for known, name in named.items():
        for share in (2, 4):
            if tuple(value * share for value in column) == known:
                return f"{name} // {share}"
    for (first, small), (second, large) in product(named.items(), repeat=2):
        if tuple(2 * value for value in column) == tuple(b - a for a, b in zip(first, second, strict=True)):
            return f"({large} - {small}) // 2"
    return ""
