"""The parts of both scripts: numbers as text, layers as statements, and what a script leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from diptych.spec import Layer, ModelSpec, Recipe
from diptych.spec import layers as L
from diptych.training.schedule import START_OF_ONE_CYCLE

FLIPS = {"horizontal": [":, ::-1"], "vertical": ["::-1"], "both": [":, ::-1", "::-1"]}
RANDOM = ("he_normal", "glorot_uniform")


@dataclass(frozen=True)
class Script:
    """A training script that needs one framework and NumPy."""

    engine: str
    file: str
    source: str
    left_out: tuple[str, ...]
    """Settings of the recipe that the script does not follow, as sentences."""

    @property
    def model_lines(self) -> int:
        """Number of lines of code that define the model."""
        model = ("class Net", "def build_model", "def average_pool")
        return sum(_code_lines(block) for block in self.source.split("\n\n\n") if block.startswith(model))

    @property
    def training_lines(self) -> int:
        """Number of other lines of code, without imports."""
        code = self.source.split('"""', 2)[2]
        imports = sum(line.startswith(("import ", "from ")) for line in code.splitlines())
        return _code_lines(code) - imports - self.model_lines


def number(value: float) -> str:
    """Write a number with up to seven digits, the precision of float32."""
    return str(value) if isinstance(value, int) else repr(float(f"{value:.7g}")).replace("e-0", "e-")


def pair(values: tuple[int, int]) -> str:
    """Write a height and a width, as one number if they are equal."""
    height, width = values
    return str(height) if height == width else f"({height}, {width})"


def numbers(values: Iterable[float]) -> str:
    """Write a list of numbers."""
    return f"[{', '.join(map(number, values))}]"


def call(function: str, /, *arguments: str, **settings: str) -> str:
    """Write a function call; settings that are empty are omitted."""
    return f"{function}({', '.join([*arguments, *(f'{key}={value}' for key, value in settings.items() if value)])})"


def statements(spec: ModelSpec, write: Callable[[Layer, Sequence[str]], str]) -> list[str]:
    """Write one assignment for each layer and a return statement; variables are reused when free.

    `write` returns the expression of a layer, given its inputs' variables.
    """
    last_use = {name: layer for layer in spec.layers for name in layer.inputs}
    variables = {"input": "images"}
    free: list[str] = []
    lines = []
    for layer in spec.layers:
        expression = write(layer, [variables[name] for name in layer.inputs])
        done = [name for name in dict.fromkeys(layer.inputs) if last_use[name] is layer and name != "input"]
        free = [variables[name] for name in done] + free
        if not free:
            num_variables = len(set(variables.values()))
            free = ["x" if num_variables == 1 else f"x{num_variables}"]
        variables[layer.name] = free.pop(0)
        lines.append(f"{variables[layer.name]} = {expression}")
    return [*lines[:-1], f"return {lines[-1].partition(' = ')[2]}"]


def render(
    engine: str, file: str, array: str, spec: ModelSpec, recipe: Recipe, left_out: Sequence[str], **context: Any
) -> Script:
    """Render a script from the template of its name; `array` is the framework's way to write an array."""
    normalize = spec.layers[0]
    assert isinstance(normalize, L.Normalize)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("diptych.native"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = number
    weights = "" if isinstance(recipe.class_weights, str) else numbers(recipe.class_weights)
    if recipe.class_weights == "balanced":
        k = spec.num_classes
        weights = f"len(labels) / ({k} * np.maximum(np.bincount(labels, minlength={k}), 1))"
    shape = ", ".join(map(str, spec.input_shape))
    source = environment.get_template(f"{file}.j2").render(
        spec=spec,
        recipe=recipe,
        left_out=left_out,
        docstring=f"{spec.name}: uint8 images, (N, {shape}), in; logits, (N, {spec.num_classes}), out.",
        changes=recipe.schedule not in ("constant", "plateau") or recipe.warmup_epochs > 0,
        mean=array.format(numbers(normalize.mean)),
        std=array.format(numbers(normalize.std)),
        start_divisor=round(1 / START_OF_ONE_CYCLE),
        augments=augments(recipe),
        flips=FLIPS.get(recipe.flip, []),
        weights=weights,
        **context,
    )
    return Script(engine, file, source, tuple(left_out))


def augments(recipe: Recipe) -> bool:
    """Whether the script flips or shifts images."""
    return recipe.flip in FLIPS or recipe.crop_padding > 0


def left_out(spec: ModelSpec, recipe: Recipe, own: Mapping[str, object]) -> list[str]:
    """List what the script does not do; `own` are one framework's sentences and whether each applies."""
    convolutions = [layer for layer in spec.layers if isinstance(layer, L.Conv)]
    grouped = any(layer.groups > 1 and layer.initializer == "glorot_uniform" for layer in convolutions)
    biased = any(array.role == "bias" and array.initializer in RANDOM for array in spec.arrays)
    dropout = any(isinstance(layer, L.Dropout) for layer in spec.layers)
    drawn = {"initial weights": True, "order": True, "augmentation": augments(recipe), "dropout": dropout}
    random = ", ".join(name for name, applies in drawn.items() if applies)
    candidates: dict[str, object] = {
        "a validation split: this script trains on every training image": recipe.validation_fraction,
        "the plateau schedule: here the learning rate does not drop": recipe.schedule == "plateau",
        f"early stopping after {recipe.early_stopping} epochs without a lower loss": recipe.early_stopping,
        "the weights of the best validation accuracy: this script keeps the last ones": recipe.keep_best,
        f"a running average of the weights (decay {recipe.average_decay})": recipe.average_decay,
        "flips, if the dataset's classes allow them": recipe.flip == "auto",
        f"rotation by up to {number(recipe.rotation)} degrees": recipe.rotation,
        f"brightness changes of up to {number(recipe.brightness)}": recipe.brightness,
        f"contrast changes of up to {number(recipe.contrast)}": recipe.contrast,
        f"saturation changes of up to {number(recipe.saturation)}": recipe.saturation,
        f"cutout ({recipe.cutout} pixels)": recipe.cutout,
        f"mixup (alpha {number(recipe.mixup)})": recipe.mixup,
        f"cutmix (alpha {number(recipe.cutmix)})": recipe.cutmix,
        "float64: this script computes in float32": recipe.precision == "float64",
        "glorot_uniform with the outputs of one group for grouped convolutions": grouped,
        "random initial biases: here they are zero": biased,
        **own,
        f"the same random numbers in both frameworks ({random})": True,
    }
    return [sentence for sentence, applies in candidates.items() if applies]


def _code_lines(source: str) -> int:
    lines = [line.strip() for line in source.splitlines()]
    return sum(bool(line) and not line.startswith(("#", '"""')) for line in lines)
