"""The model of a PyTorch script: `nn.Module` classes whose `state_dict` has the spec's own names."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from diptych.comparison.scripts.blocks import Block, Form, is_row, parameters, parts, sentence, shrinks
from diptych.comparison.scripts.flow import MOST_NESTED, Flow, Step
from diptych.comparison.scripts.text import indented
from diptych.comparison.scripts.torch_layers import called, constants, initialisation, normalised, own, standing
from diptych.spec import ModelSpec
from diptych.spec import layers as L
from diptych.spec.layers import Layer

_MODULE = Form("{module}({x})")


@dataclass(frozen=True)
class Piece:
    """A layer, or layers taken together, in an `__init__` and in a `forward`."""

    value: str
    inputs: tuple[str, ...]
    call: Form
    path: tuple[str, ...] = ()
    definition: Form | None = None
    depth: int = MOST_NESTED
    joint: str = ", "


def model(spec: ModelSpec) -> list[list[str]]:
    """The classes of the model, blocks first."""
    found = _sound(spec, parts(spec, spec.layers[1:]))
    blocks = [part for part in found if isinstance(part, Block) and not is_row(part)]
    names, classes = _classes(spec, blocks)
    pieces = [
        Piece(part.value, (part.source,), _MODULE, tuple(part.prefix.split(".")), Form(names[part.prefix]), depth=0)
        if isinstance(part, Block) and part.prefix in names
        else _piece(spec, part)
        for part in found
    ]
    definitions, result = _scope(pieces, spec.layers[0].name, iter(()))
    shape = ", ".join(map(str, spec.input_shape))
    net = [
        "class Net(nn.Module):",
        f'    """{spec.name}: uint8 images, (N, {shape}), in; logits, (N, {spec.num_classes}), out."""',
        "",
        "    def __init__(self):",
        "        super().__init__()",
        *indented([*constants(spec), *definitions, *initialisation(spec)], 2),
        "",
        "    def forward(self, images):",
        *indented([*normalised(spec), "x = x.permute(0, 3, 1, 2)", *result], 2),
    ]
    return [*classes, net]


def _sound(spec: ModelSpec, found: list[Layer | Block], inside: str = "") -> list[Layer | Block]:
    """Without blocks that Python's or PyTorch's names and modules cannot hold."""
    kept: list[Layer | Block] = []
    for part in found:
        if not isinstance(part, Block):
            kept.append(part)
        elif is_row(part):
            whole = all(standing(layer, spec) for layer in part.layers)
            kept += [part] if whole else part.layers
        else:
            named = all(_is_attribute(part.relative(layer.name).split(".")[0]) for layer in part.layers)
            kept += [part] if named and not inside else part.layers
    return kept


def _classes(spec: ModelSpec, blocks: list[Block]) -> tuple[dict[str, str], list[list[str]]]:
    """How each block is made, by its prefix, and one class for all blocks of a structure."""
    alike: dict[object, list[tuple[Block, list[Piece]]]] = {}
    for block in blocks:
        pieces = [_piece(spec, part, block) for part in _sound(spec, parts(spec, block.layers, block.prefix), "in")]
        alike.setdefault((block.base, shrinks(block, spec), *_structure(block, pieces)), []).append((block, pieces))
    made: dict[str, str] = {}
    classes: dict[str, list[str]] = {}
    for group in alike.values():
        first, pieces = group[0]
        base = "".join(part.capitalize() for part in first.base.split("_"))
        base = f"Down{base}" if shrinks(first, spec) else base
        name = base if base not in classes else f"{base}{sum(other.startswith(base) for other in classes) + 1}"
        found = parameters([[form for piece in pieces for form in _forms(piece)] for _, pieces in group])
        definitions, result = _scope(pieces, first.source, iter(found.slots))
        classes[name] = [
            f"class {name}(nn.Module):",
            f'    """{sentence(first, spec)}"""',
            "",
            f"    def __init__({', '.join(['self', *found.names])}):",
            "        super().__init__()",
            *indented(definitions, 2),
            "",
            "    def forward(self, x):",
            *indented(result, 2),
        ]
        for (block, _), values in zip(group, found.values, strict=True):
            made[block.prefix] = f"{name}({', '.join(map(str, values))})"
    return made, list(classes.values())


def _structure(block: Block, pieces: list[Piece]) -> tuple[object, ...]:
    """Equal for blocks that differ in numbers only."""
    places = {piece.value: place for place, piece in enumerate(pieces)}
    return tuple(
        (
            block.relative(piece.value) if piece.definition else "",
            tuple(places.get(name, -1) for name in piece.inputs),
            *(form.text for form in _forms(piece)),
        )
        for piece in pieces
    )


def _forms(piece: Piece) -> list[Form]:
    return [piece.definition, piece.call] if piece.definition else [piece.call]


def _scope(pieces: list[Piece], source: str, slots: Iterator[str]) -> tuple[list[str], list[str]]:
    """The lines that define the modules, and those that run them."""
    filled: dict[tuple[str, ...], str] = {}
    calls: dict[str, str] = {}
    kept: dict[str, str] = {}
    for piece in pieces:
        for form in _forms(piece):
            numbers = [next(slots, str(value)) for _, value in form.values]
            if form is piece.definition:
                filled[piece.path] = form.filled(numbers)
            else:
                numbers = [_kept(kept, *slot) for slot in zip(form.values, numbers, strict=True)]
                calls[piece.value] = form.filled(numbers, module="{module}", x="{x}")
    rows = {path[0]: run for path in filled if len(path) == 2 and (run := _run(pieces, path[0]))}
    tops = dict.fromkeys(path[0] for path in filled)
    lines = [f"self.{name} = {expression}" for expression, name in kept.items()]
    lines += [_attribute(top, _container(_below(filled, (top,)), filled, (top,), top in rows)) for top in tops]
    steps = []
    for piece in pieces:
        run = rows.get(piece.path[0]) if piece.path else None
        if run is None:
            steps.append(_step(piece, calls[piece.value], _access(filled, piece.path)))
        elif piece is run[-1]:
            whole = Piece(piece.value, run[0].inputs, _MODULE, depth=0)
            steps.append(_step(whole, _MODULE.text, _access(filled, piece.path[:1])))
    flow = Flow(steps, source, nested=True)
    return lines, [*flow.lines, f"return {flow.result}"]


def _kept(kept: dict[str, str], value: tuple[str, int], number: str) -> str:
    """A number as `forward` says it: a parameter, or what follows from one, by way of an attribute."""
    if number.isdigit():
        return number
    if number not in kept:
        kept[number] = f"{value[0]}{len(kept) + 1}" if kept else value[0]
    return f"self.{kept[number]}"


def _step(piece: Piece, call: str, access: str) -> Step:
    def write(*inputs: str) -> str:
        return call.format(module=access, x=piece.joint.join(inputs))

    return Step(piece.value, piece.inputs, write, piece.depth)


def _run(pieces: list[Piece], top: str) -> list[Piece] | None:
    """The pieces under one attribute, where they are all there is between the first and the last of them."""
    places = [place for place, piece in enumerate(pieces) if piece.path and piece.path[0] == top]
    run = pieces[places[0] : places[-1] + 1]
    chained = all(after.inputs == (before.value,) for before, after in pairwise(run))
    used = [name for piece in pieces if piece not in run for name in piece.inputs]
    inner = all(piece.value not in used for piece in run[:-1])
    sound = chained and inner and all(len(piece.path) == 2 and piece.call == _MODULE for piece in run)
    return run if sound and len(run) == len(places) else None


def _below(filled: dict[tuple[str, ...], str], path: tuple[str, ...]) -> list[str]:
    depth = len(path)
    return list(dict.fromkeys(known[depth] for known in filled if known[:depth] == path and len(known) > depth))


def _container(keys: list[str], filled: dict[tuple[str, ...], str], path: tuple[str, ...], runs: bool) -> str:
    """Source of the module at a path: itself, or what holds the modules below it."""
    if not keys:
        return filled[path]
    inner = [_container(_below(filled, (*path, key)), filled, (*path, key), False) for key in keys]
    if keys == [str(place) for place in range(len(keys))]:
        return f"nn.{'Sequential' if runs else 'ModuleList'}({_repeated(inner) if runs else _listed(inner)})"
    entries = ", ".join(f'"{key}": {made}' for key, made in zip(keys, inner, strict=True))
    return f"nn.Sequential(OrderedDict({{{entries}}}))" if runs else f"nn.ModuleDict({{{entries}}})"


def _listed(inner: list[str]) -> str:
    return f"[{', '.join(inner)}]"


def _repeated(inner: list[str]) -> str:
    """Modules one after the other; four or more of the same from the second on as a loop."""
    tail = inner[1:]
    if len(tail) >= 4 and len(set(tail)) == 1:
        return f"{inner[0]}, *({tail[0]} for _ in range({len(tail)}))"
    return ", ".join(inner)


def _attribute(name: str, made: str) -> str:
    return f"self.{name} = {made}" if _is_attribute(name) else f'self.add_module("{name}", {made})'


def _access(filled: dict[tuple[str, ...], str], path: tuple[str, ...]) -> str:
    if not path:
        return ""
    first, *rest = path
    said = f"self.{first}" if _is_attribute(first) else f'self.get_submodule("{first}")'
    for depth, part in enumerate(rest, start=1):
        keys = _below(filled, path[:depth])
        said += f"[{part}]" if keys == [str(place) for place in range(len(keys))] else f'["{part}"]'
    return said


def _is_attribute(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)


def _piece(spec: ModelSpec, part: Layer | Block, inside: Block | None = None) -> Piece:
    if isinstance(part, Block):
        made = [form for layer in part.layers if (form := standing(layer, spec))]
        path = inside.relative(part.prefix) if inside else part.prefix
        return Piece(part.value, (part.source,), _MODULE, tuple(path.split(".")), _sequential(made), depth=0)
    path = inside.relative(part.name) if inside else part.name
    settings = called(part, spec)
    if isinstance(part, L.Conv | L.Dense | L.BatchNorm | L.Dropout):
        return Piece(part.name, part.inputs, settings[0], tuple(path.split(".")), own(part, spec), *settings[1:])
    return Piece(part.name, part.inputs, settings[0], (), None, *settings[1:])


def _sequential(made: Sequence[Form]) -> Form:
    """Modules one after the other, with all their numbers."""
    texts: list[str] = []
    values: list[tuple[str, int]] = []
    for form in made:
        texts.append(form.filled([f"{{{len(values) + place}}}" for place in range(len(form.values))]))
        values += form.values
    return Form(f"nn.Sequential({', '.join(texts)})", tuple(values))
