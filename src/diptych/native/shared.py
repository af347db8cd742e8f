"""What both frameworks' code shares: values as text, lines that fit, comments of the ledger, and what is left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from textwrap import wrap
from typing import Any

import jinja2

from diptych.engines.differences import LEDGER
from diptych.spec import Layer, ModelSpec, Recipe
from diptych.spec import layers as L

WIDTH = 88
_NOTHING = "\0"
RANDOM = ("he_normal", "glorot_uniform")
ROWS = {row.key: row for row in LEDGER}


@dataclass(frozen=True)
class Unit:
    """Layers that the code applies in one statement; most often a single layer."""

    layers: tuple[Layer, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The layers that it reads."""
        return self.layers[0].inputs

    @property
    def name(self) -> str:
        """The layer that others read."""
        return self.layers[-1].name


def number(value: float) -> str:
    """Write a number with up to seven digits, the precision of float32."""
    return str(value) if isinstance(value, int) else repr(float(f"{value:.7g}")).replace("e-0", "e-")


def numbers(values: Iterable[float]) -> str:
    """Write a list of numbers."""
    return f"[{', '.join(map(number, values))}]"


def pair(values: tuple[int, int]) -> str:
    """Write a height and a width, as one number if they are equal."""
    height, width = values
    return str(height) if height == width else f"({height}, {width})"


def text(value: str) -> str:
    """Write a string, in double quotes unless single ones need fewer backslashes."""
    literal, doubles = repr(value), value.count('"')
    if literal[0] == '"' or doubles > value.count("'"):
        return literal
    return '"' + literal[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'


def plain(value: str) -> str:
    """Return a name as it may be part of a docstring, a comment or Markdown."""
    return re.sub(r"[^\w .,:;/()+&'%=@~-]|%(?=%)", "_", value) or "_"


def call(function: str, /, *arguments: str, **settings: str) -> str:
    """Write a function call; settings that are empty are omitted."""
    return f"{function}({', '.join([*arguments, *(f'{key}={value}' for key, value in settings.items() if value)])})"


def fitted(code: str, indent: int = 0) -> str:
    """Indent a statement; if it is too long, write each part of its longest brackets on a line of its own."""
    line = " " * indent + code
    groups = [] if len(line) <= WIDTH else [*_brackets(code)]
    if not groups:
        return line
    start, end, commas = max(groups, key=lambda group: group[1] - group[0])
    bounds = [start, *commas, end]
    parts = [code[first + 1 : last].strip() for first, last in pairwise(bounds)]
    inside = "".join(f"{fitted(f'{part},', indent + 4)}\n" for part in parts if part)
    return f"{' ' * indent}{code[: start + 1]}\n{inside}{' ' * indent}{code[end:]}"


def _brackets(code: str) -> Iterator[tuple[int, int, list[int]]]:
    """Yield the start, the end and the commas of each outermost pair of brackets with content."""
    depth, quote, start, commas, place = 0, "", 0, list[int](), 0
    while place < len(code):
        sign = code[place]
        if quote:
            place += sign == "\\"
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "([{":
            depth += 1
            start, commas = (place, []) if depth == 1 else (start, commas)
        elif sign == "," and depth == 1:
            commas.append(place)
        elif sign in ")]}":
            depth -= 1
            if not depth and place > start + 1:
                yield start, place, commas
        place += 1


class Notes:
    """Comments in the words of the ledger, each once in a file."""

    def __init__(self) -> None:
        self.seen = set[str]()

    def __call__(self, *keys: str, indent: int = 0) -> str:
        """Return the comments of those keys that are new, each ended by a line break."""
        new = [key for key in dict.fromkeys(keys) if key not in self.seen]
        self.seen.update(new)
        texts = (f"{key}. PyTorch: {ROWS[key].torch} Keras: {ROWS[key].tensorflow}" for key in new)
        lines = (line for one in texts for line in wrap(one.replace("`", ""), WIDTH - indent - 2))
        return "".join(f"{' ' * indent}# {line}\n" for line in lines)


def _lines(block: str) -> str:
    """Return a block of lines for a line of a template, which disappears if the block is empty."""
    return block.removesuffix("\n") or _NOTHING


def keys_of(layer: Layer, spec: ModelSpec) -> list[str]:
    """Return the rows of the ledger that a layer is an example of."""
    keys: dict[str, object] = {
        "image-layout": isinstance(layer, L.Normalize),
        "conv-kernel-axes": isinstance(layer, L.Conv),
        "same-padding": isinstance(layer, L.Conv) and any(layer.padding),
        "max-pool-padding": isinstance(layer, L.MaxPool) and any(layer.padding),
        "avg-pool-padding": isinstance(layer, L.AvgPool) and any(layer.padding),
        "dense-kernel-axes": isinstance(layer, L.Dense),
        "flatten-order": isinstance(layer, L.Flatten) and len(spec.input_shapes(layer)[0]) == 3,
        "norm-epsilon": isinstance(layer, L.BatchNorm),
        "norm-momentum": isinstance(layer, L.BatchNorm),
        "norm-running-variance": isinstance(layer, L.BatchNorm),
        "leaky-relu": layer == L.Activation(layer.name, layer.inputs, "leaky_relu", getattr(layer, "slope", 0.0)),
        "gelu": isinstance(layer, L.Activation) and layer.function == "gelu",
        "dropout-stream": isinstance(layer, L.Dropout),
    }
    return [key for key, applies in keys.items() if applies]


def statements(
    units: Sequence[Unit], write: Callable[[Unit, Sequence[str]], Sequence[str]], result: str
) -> list[list[str]]:
    """Write the assignments of each unit; variables are reused when free.

    `write` returns the expressions of a unit, given its inputs' variables; those before the last are assigned to `y`.
    `result` is the statement with the last expression, such as `return {}`.
    """
    last_use = {name: unit for unit in units for name in unit.inputs}
    variables = {"input": "images"}
    free: list[str] = []
    lines = []
    for unit in units:
        *before, expression = write(unit, [variables[name] for name in unit.inputs])
        done = [name for name in dict.fromkeys(unit.inputs) if last_use[name] is unit and name != "input"]
        free = [variables[name] for name in done] + free
        if not free:
            num_variables = len(set(variables.values()))
            free = ["x" if num_variables == 1 else f"x{num_variables}"]
        variables[unit.name] = free.pop(0)
        assigned = result.format(expression) if unit is units[-1] else f"{variables[unit.name]} = {expression}"
        lines.append([*(f"y = {one}" for one in before), assigned])
    return lines


def optimizer_keys(recipe: Recipe) -> list[str]:
    """Return the rows of the ledger on the optimizer of a recipe."""
    has_velocity = recipe.momentum > 0 and recipe.optimizer in ("sgd", "rmsprop")
    key = {"sgd": "", "rmsprop": "rmsprop-epsilon"}.get(recipe.optimizer, "adam-epsilon")
    return [*filter(None, [key]), *["sgd-velocity"] * has_velocity]


def render(template: str, **context: Any) -> str:
    """Render a template of this package; a comment or block that is empty leaves no line."""
    notes = Notes()
    context["note"] = lambda keys, indent=0: _lines(notes(*filter(None, keys.split(", ")), indent=indent))
    return _environment().get_template(f"{template}.j2").render(**context).replace(f"{_NOTHING}\n", "")


def _source(name: str) -> str:
    """Return a template: `{# if X #}` ends a line that is written if X is true, `{# note KEY #}` one below a note."""
    template = resources.files("diptych.native").joinpath("templates", name).read_text(encoding="utf-8")
    return re.sub(r"^(.*?) *\{#(?: note ([\w, -]+?))?(?: if (.*))? #\}$", _line, template, flags=re.MULTILINE)


def _line(found: re.Match[str]) -> str:
    code, keys, condition = found.groups()
    if keys:
        fits = re.search(r"fitted\((\d+)\)", code)
        indent = int(fits[1]) if fits else len(code) - len(code.lstrip())
        code = f"{{{{ note('{keys}', indent={indent}) }}}}\n{code}"
    return f"{{% if {condition} %}}\n{code}\n{{% endif %}}" if condition else code


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.FunctionLoader(_source)
    spacing = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, **spacing)  # type: ignore[arg-type]
    environment.filters |= {"number": number, "numbers": numbers, "text": text, "plain": plain, "fitted": fitted}
    environment.filters["lines"] = _lines
    return environment


def left_out(spec: ModelSpec, recipe: Recipe, own: Mapping[str, object]) -> tuple[str, ...]:
    """List what the code does not do; `own` are one framework's sentences and whether each applies."""
    convolutions = [layer for layer in spec.layers if isinstance(layer, L.Conv)]
    grouped = any(layer.groups > 1 and layer.initializer == "glorot_uniform" for layer in convolutions)
    biased = any(array.role == "bias" and array.initializer in RANDOM for array in spec.arrays)
    mixes = recipe.mixup or recipe.cutmix
    drawn = {
        "initial weights": True,
        "held-out splits": True,
        "order": True,
        "augmentation": augments(recipe),
        "dropout": any(isinstance(layer, L.Dropout) for layer in spec.layers),
    }
    random = ", ".join(name for name, applies in drawn.items() if applies)
    candidates: dict[str, object] = {
        "bfloat16 where the processor supports it (precision auto): this code computes in float32": recipe.precision
        == "auto",
        f"{recipe.precision}: this code computes in float32": recipe.precision in ("float16", "float64"),
        "flips, if the dataset's classes allow them": recipe.flip == "auto",
        "mixtures with any training image: here both images are of one batch": mixes,
        "a choice between mixup and cutmix for each image: here it is made for each batch": recipe.mixup
        and recipe.cutmix,
        "class weights of both images of a mixture": mixes and recipe.class_weights != "none",
        "glorot_uniform with the outputs of one group for grouped convolutions": grouped,
        "random initial biases: here they are zero": biased,
        **own,
        f"the same random numbers in both frameworks ({random})": True,
    }
    return tuple(sentence for sentence, applies in candidates.items() if applies)


def augments(recipe: Recipe) -> bool:
    """Whether training images are changed at random."""
    geometry = recipe.flip in ("horizontal", "vertical", "both") or recipe.crop_padding or recipe.rotation
    color = recipe.brightness or recipe.contrast or recipe.saturation
    return bool(geometry or color or recipe.cutout or recipe.mixup or recipe.cutmix)


def code_lines(source: str) -> int:
    """Count the lines of code without imports, comments, docstrings and blank lines."""
    code = re.sub(r'"""[^"]*"""', "", source)
    lines = [line.strip() for line in code.splitlines()]
    return sum(bool(line) and not line.startswith(("#", "import ", "from ")) for line in lines)
