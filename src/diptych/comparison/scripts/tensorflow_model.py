"""The model of a Keras script, with the spec's own names: a `Sequential` for a chain, else a functional model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from diptych.comparison.scripts.blocks import Block, Form, is_row, parameters, parts, sentence, shrinks
from diptych.comparison.scripts.flow import Flow, Step
from diptych.comparison.scripts.tensorflow_layers import Applied, Style, rescaling
from diptych.comparison.scripts.text import indented
from diptych.spec import ModelSpec, Recipe
from diptych.spec.layers import Layer

LEAST_REPEATED = 3
_CALL = re.compile(r'(.*name=)"(.*\.)(\d+)"\)')
_AVERAGE_POOL = '''\
def average_pool(x, size, strides, margins):
    """Mean over what each window covers of the map; the margins do not count."""
    sums = ops.average_pool(ops.pad(x, margins), size, strides)
    return sums / ops.average_pool(ops.pad(ops.ones_like(x), margins), size, strides)'''


@dataclass(frozen=True)
class Piece:
    """A layer, or a whole block, as a call."""

    value: str
    inputs: tuple[str, ...]
    call: Form
    takes: str
    name: str = ""


def model(spec: ModelSpec, recipe: Recipe) -> tuple[list[str], list[list[str]]]:
    """The constants of the model, and its functions, blocks first."""
    style = Style(spec, recipe)
    constants, first = rescaling(spec, recipe)
    applied = [one for layer in spec.layers[1:] for one in style.applied(layer)]
    constants += style.constants()
    constants = ["", *constants] if constants else []
    if spec.is_chain and all(one.takes == "({x})" for one in applied):
        return constants, [_sequential(spec, style, first)]
    found = [part for part in parts(spec, spec.layers[1:]) if not isinstance(part, Block) or not is_row(part)]
    return constants, [*_helpers(applied), *_functional(spec, style, first, found)]


def _sequential(spec: ModelSpec, style: Style, first: str) -> list[str]:
    lines = []
    for layer in spec.layers[1:]:
        *before, last = style.applied(layer)
        lines += [f"{one.form.filled(name='')}," for one in before]
        lines.append(f"{_tidy(last.form.filled(name=_quoted(layer.name)))},")
    shape = ", ".join(map(str, spec.input_shape))
    return [
        "def build_model():",
        f'    """{_said(spec)}"""',
        "    return keras.Sequential(",
        "        [",
        *indented([f'keras.Input(({shape}), dtype="uint8"),', f"{first},", *lines], 3),
        "        ],",
        f'        name="{spec.name}",',
        "    )",
    ]


def _functional(spec: ModelSpec, style: Style, first: str, found: list[Layer | Block]) -> list[list[str]]:
    names, functions = _functions(spec, style, [part for part in found if isinstance(part, Block)])
    pieces = []
    for part in found:
        if isinstance(part, Block):
            pieces.append(Piece(part.value, (part.source,), Form(names[part.prefix]), ""))
        else:
            pieces += _pieces(style, part, _quoted(part.name))
    lines, result = _scope(pieces, spec.layers[0].name, iter(()))
    shape = ", ".join(map(str, spec.input_shape))
    build = [
        "def build_model():",
        f'    """{_said(spec)}"""',
        f'    images = keras.Input(({shape}), dtype="uint8")',
        f"    x = {first}(images)",
        *indented(_looped(lines)),
        f"    logits = {result}",
        f'    return keras.Model(images, logits, name="{spec.name}")',
    ]
    return [*functions, build]


def _functions(spec: ModelSpec, style: Style, blocks: list[Block]) -> tuple[dict[str, str], list[list[str]]]:
    """How each block is called, by its prefix, and one function for all blocks of a structure."""
    alike: dict[object, list[tuple[Block, list[Piece]]]] = {}
    for block in blocks:
        pieces = [piece for layer in block.layers for piece in _pieces(style, layer, _within(block, layer))]
        alike.setdefault((block.base, shrinks(block, spec), *_structure(pieces)), []).append((block, pieces))
    called: dict[str, str] = {}
    functions: dict[str, list[str]] = {}
    for group in alike.values():
        first, pieces = group[0]
        base = f"down_{first.base}".lower() if shrinks(first, spec) else first.base.lower()
        name = base if base not in functions else f"{base}{sum(other.startswith(base) for other in functions) + 1}"
        found = parameters([[piece.call for piece in pieces] for _, pieces in group])
        lines, result = _scope(pieces, first.source, iter(found.slots))
        functions[name] = [
            f"def {name}({', '.join(['x', *found.names, 'name'])}):",
            f'    """{sentence(first, spec)}"""',
            *indented([*lines, f"return {result}"]),
        ]
        for (block, _), values in zip(group, found.values, strict=True):
            numbers = "".join(f", {value}" for value in values)
            called[block.prefix] = f'{name}({{x}}{numbers}, name="{block.prefix}")'
    return called, list(functions.values())


def _structure(pieces: list[Piece]) -> tuple[object, ...]:
    """Equal for blocks that differ in numbers only."""
    places = {piece.value: place for place, piece in enumerate(pieces)}
    return tuple(
        (piece.name, piece.call.text, piece.takes, tuple(places.get(name, -1) for name in piece.inputs))
        for piece in pieces
    )


def _scope(pieces: list[Piece], source: str, slots: Iterator[str]) -> tuple[list[str], str]:
    """The lines that compute every value but the last, and the last."""
    steps = []
    for piece in pieces:
        numbers = [next(slots, str(value)) for _, value in piece.call.values]
        call = _tidy(piece.call.filled(numbers, name="{name}", x="{x}") + piece.takes)
        steps.append(_step(piece, call))
    flow = Flow(steps, source, nested=False)
    return flow.lines, flow.result


def _step(piece: Piece, call: str) -> Step:
    def write(*inputs: str) -> str:
        return _tidy(call.replace("{name}", piece.name).replace("{x}", ", ".join(inputs)))

    return Step(piece.value, piece.inputs, write, depth=0)


def _pieces(style: Style, layer: Layer, name: str) -> list[Piece]:
    *before, last = style.applied(layer)
    inputs, found = layer.inputs, []
    for place, one in enumerate(before):
        value = f"{layer.name}/{place}"
        found.append(Piece(value, inputs, one.form, one.takes))
        inputs = (value,)
    return [*found, Piece(layer.name, inputs, last.form, last.takes, name)]


def _helpers(applied: list[Applied]) -> list[list[str]]:
    return [_AVERAGE_POOL.splitlines()] if any("average_pool" in one.form.text for one in applied) else []


def _looped(lines: list[str]) -> list[str]:
    """Calls that differ in nothing but the number that ends their name, as a loop."""
    found = []
    for _, group in groupby(lines, key=lambda line: _CALL.sub(r"\1\2", line)):
        run = list(group)
        numbers = [int(match[3]) for line in run if (match := _CALL.fullmatch(line))]
        if len(numbers) < LEAST_REPEATED or numbers != list(range(numbers[0], numbers[0] + len(run))):
            found += run
            continue
        bounds = f"{numbers[0]}, {numbers[-1] + 1}" if numbers[0] else str(len(run))
        repeated = _CALL.sub(r'\1f"\2{index}")', run[0])
        found += [f"for index in range({bounds}):", f"    {repeated}"]
    return found


def _said(spec: ModelSpec) -> str:
    shape = ", ".join(map(str, spec.input_shape))
    return f"{spec.name}: uint8 images, (N, {shape}), in; logits, (N, {spec.num_classes}), out."


def _within(block: Block, layer: Layer) -> str:
    return f', name=f"{{name}}.{block.relative(layer.name)}"' if block.owns(layer) else ""


def _quoted(name: str) -> str:
    return f', name="{name}"'


def _tidy(call: str) -> str:
    return call.replace("(, ", "(")
