"""The parts that both scripts share: numbers, values as variables, learning rate, augmentation and what is left out."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from diptych.spec import ModelSpec, Recipe
from diptych.spec import layers as L
from diptych.spec.layers import Layer
from diptych.training.schedule import START_OF_ONE_CYCLE

WIDTH = 100
MAIN = ['if __name__ == "__main__":', "    main()"]


@dataclass(frozen=True)
class Script:
    """A training script that needs one framework and NumPy.

    Attributes:
        engine: torch or tensorflow.
        file: suggested file name.
        source: the whole script.
        model_lines: lines of code that define the model.
        training_lines: lines of code that train it; imports belong to neither.
        left_out: settings of the recipe that the script does not follow, as sentences.
    """

    engine: str
    file: str
    source: str
    model_lines: int
    training_lines: int
    left_out: tuple[str, ...]


def assemble(
    engine: str,
    file: str,
    *,
    head: list[str],
    imports: Mapping[str, str],
    settings: list[str],
    constants: list[str],
    model: list[list[str]],
    training: list[list[str]],
    left_out: list[str],
) -> Script:
    """Join the parts of a script.

    `imports` are statements, each with the text that needs it. Empty definitions are skipped.
    """
    training = [block for block in training if block]
    text = "\n".join(line for block in [*model, *training] for line in block)
    needed = [statement for statement, use in imports.items() if use in text]
    blocks = [[*head, *needed, "", *settings, *constants], *model, *training]
    return Script(
        engine=engine,
        file=file,
        source="\n\n\n".join("\n".join(block) for block in [*blocks, MAIN]) + "\n",
        model_lines=_code_lines([constants, *model]),
        training_lines=_code_lines([settings, *training, MAIN]),
        left_out=tuple(left_out),
    )


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
    """Write one assignment for each layer; a variable is reused once its value is no longer needed.

    Args:
        spec: the model.
        write: returns the expression of a layer, given its inputs' variables.

    Returns:
        Assignments, and last a return statement.
    """
    uses = Counter(name for layer in spec.layers for name in layer.inputs)
    variables = {spec.layers[0].inputs[0]: "images"}
    free: list[str] = []
    num_variables = 0
    lines = []
    for layer in spec.layers:
        expression = write(layer, [variables[name] for name in layer.inputs])
        uses.subtract(layer.inputs)
        done = [name for name in dict.fromkeys(layer.inputs) if not uses[name]]
        free = [variables.pop(name) for name in done] + free
        if "images" in free:
            free.remove("images")
        if not free:
            num_variables += 1
            free = ["x" if num_variables == 1 else f"x{num_variables}"]
        variables[layer.name] = free.pop(0)
        lines.append(f"{variables[layer.name]} = {expression}")
    return [*lines[:-1], f"return {lines[-1].partition(' = ')[2]}"]


def docstring(spec: ModelSpec) -> str:
    """Describe a model's input and output."""
    shape = ", ".join(map(str, spec.input_shape))
    return f'"""{spec.name}: uint8 images, (N, {shape}), in; logits, (N, {spec.num_classes}), out."""'


def head(spec: ModelSpec, title: str, file: str, missing: list[str]) -> list[str]:
    """Write the script's docstring, and a comment that lists what is left out."""
    shape = ", ".join(map(str, spec.input_shape))
    comment = [
        line for item in missing for line in textwrap.wrap(item, WIDTH, initial_indent="# - ", subsequent_indent="#   ")
    ]
    return [
        f'"""Train {spec.name} with {title}: python {file} data.npz',
        "",
        f"data.npz holds train_images and test_images, uint8 of shape (N, {shape}), and",
        "train_labels and test_labels, integers of shape (N,).",
        '"""',
        "",
        "# diptych's own training also has, or does differently:",
        *comment,
        "",
    ]


def constants(recipe: Recipe) -> list[str]:
    """Write the numbers of the training."""
    name = "PEAK_RATE" if learning_rate(recipe) else "LEARNING_RATE"
    return [
        f"EPOCHS = {recipe.epochs}",
        f"BATCH_SIZE = {recipe.batch_size}",
        f"{name} = {number(recipe.rate)}",
    ]


def mean_and_std(spec: ModelSpec, array: str) -> list[str]:
    """Write the statistics of the normalization, as numbers if all channels are equal, else as `array`."""
    first = spec.layers[0]
    assert isinstance(first, L.Normalize)
    equal = len(set(first.mean)) == len(set(first.std)) == 1
    values = {"MEAN": first.mean, "STD": first.std}
    return [f"{key} = {number(one[0]) if equal else array.format(numbers(one))}" for key, one in values.items()]


def read_arguments() -> list[str]:
    """Write the command line and the loading of the data."""
    return [
        'parser = argparse.ArgumentParser(description="Train, test and save the model.")',
        'parser.add_argument("data", help="the .npz file with the images and labels")',
        'parser.add_argument("--epochs", type=int, default=EPOCHS)',
        "args = parser.parse_args()",
        "data = np.load(args.data)",
        'images, labels = data["train_images"], data["train_labels"].astype("int64")',
    ]


def indented(lines: Iterable[str], depth: int = 1) -> list[str]:
    """Indent lines."""
    return [f"{'    ' * depth}{line}" if line else "" for line in lines]


def learning_rate(recipe: Recipe) -> list[str]:
    """Write the learning rate as a function of the step; empty if it is constant."""
    warms = recipe.warmup_epochs > 0 and recipe.schedule != "one_cycle"
    warmup = f"{number(recipe.warmup_epochs)} * steps_per_epoch"
    rise = [f"rise = min((step + 1) / ({warmup}), 1)"] if warms else []
    peak = "PEAK_RATE * rise" if warms else "PEAK_RATE"
    last = f"{number(recipe.final_factor)} * PEAK_RATE"
    fall = "return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2"
    match recipe.schedule:
        case "one_cycle":
            body = [
                "total = epochs * steps_per_epoch",
                f"top = {number(recipe.rise)} * total",
                "if step < top:",
                f"    first, last, progress = PEAK_RATE / {round(1 / START_OF_ONE_CYCLE)}, PEAK_RATE, step / top",
                "else:",
                f"    first, last, progress = PEAK_RATE, {last}, (step - top) / (total - top)",
                fall,
            ]
        case "cosine":
            start = [f"warmup = {warmup}", "if step < warmup:", "    return PEAK_RATE * rise"] if warms else []
            progress = "(step - warmup) / (epochs * steps_per_epoch - warmup)" if warms else ""
            progress = progress or "step / (epochs * steps_per_epoch)"
            body = [*rise, *start, f"first, last, progress = PEAK_RATE, {last}, {progress}", fall]
        case "step":
            drops = " + ".join(f"(step >= {epoch} * steps_per_epoch)" for epoch in sorted(recipe.step_epochs)) or "0"
            body = [*rise, f"drops = {drops}", f"return {peak} * {number(recipe.step_factor)}**drops"]
        case _ if warms:
            body = [*rise, f"return {peak}"]
        case _:
            return []
    said = f"{'Linear warm-up, then ' if warms else ''}{recipe.schedule.replace('_', ' ')}"
    heading = f'"""{said[0].upper()}{said[1:]} learning rate."""'
    return ["def learning_rate(step, steps_per_epoch, epochs):", *indented([heading, *body])]


def augmentation(recipe: Recipe) -> list[str]:
    """Write random flips and crops in NumPy; empty if the recipe has neither."""
    axes = {"horizontal": [":, ::-1"], "vertical": ["::-1"], "both": [":, ::-1", "::-1"]}.get(recipe.flip, [])
    margin = recipe.crop_padding
    if not axes and not margin:
        return []
    body = []
    for axis in axes:
        body += ["chosen = rng.random(len(images)) < 0.5", f"images[chosen] = images[chosen, {axis}]"]
    if margin:
        body += [
            "height, width = images.shape[1:3]",
            f"images = np.pad(images, ((0, 0), ({margin}, {margin}), ({margin}, {margin}), (0, 0)))",
            f"corners = rng.integers(0, {2 * margin + 1}, (len(images), 2))",
            "windows = zip(images, corners)",
            "return np.stack([image[y : y + height, x : x + width] for image, (y, x) in windows])",
        ]
    else:
        body.append("return images")
    return ["def augment(images, rng):", *indented(['"""Flip and shift each image at random."""', *body])]


def class_weights(spec: ModelSpec, recipe: Recipe) -> str:
    """Write the weight of each class; empty if all are equal."""
    if recipe.class_weights == "none":
        return ""
    if recipe.class_weights == "balanced":
        k = spec.num_classes
        return f"len(labels) / ({k} * np.maximum(np.bincount(labels, minlength={k}), 1))"
    return numbers(recipe.class_weights)


def reachable(spec: ModelSpec, recipe: Recipe) -> Recipe:
    """Return the recipe without weight decay if no array decays."""
    decays = len(excluded(spec, recipe)) < len(spec.trainable)
    return recipe if decays else replace(recipe, l2=0.0, decoupled_decay=0.0)


def excluded(spec: ModelSpec, recipe: Recipe) -> list[str]:
    """Return the arrays without weight decay."""
    return [array.name for array in spec.trainable if array.role in recipe.no_decay]


RANDOM = ("he_normal", "glorot_uniform")


def left_out(spec: ModelSpec, recipe: Recipe, own: Mapping[str, object]) -> list[str]:
    """List what the script does not do; `own` are one framework's sentences and whether each applies."""
    convolutions = [layer for layer in spec.layers if isinstance(layer, L.Conv)]
    grouped = any(layer.groups > 1 and layer.initializer == "glorot_uniform" for layer in convolutions)
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
        "random initial biases: here they are zero": any(
            array.role == "bias" and array.initializer in RANDOM for array in spec.arrays
        ),
        **own,
    }
    dropout = any(isinstance(layer, L.Dropout) for layer in spec.layers)
    drawn = ["initial weights", "order", *(["augmentation"] if augmentation(recipe) else [])]
    drawn += ["dropout"] if dropout else []
    equal = f"the same random numbers in both frameworks ({', '.join(drawn)})"
    return [*(sentence for sentence, applies in candidates.items() if applies), equal]


def _code_lines(blocks: list[list[str]]) -> int:
    lines = [line.strip() for block in blocks for line in block]
    return sum(bool(line) and not line.startswith(("#", '"""')) for line in lines)
