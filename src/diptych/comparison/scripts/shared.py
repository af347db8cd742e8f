"""What both scripts share, word for word: the learning rate, the augmentation, and the list of what they leave out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from diptych.comparison.scripts.text import comment, number
from diptych.spec import ModelSpec, Recipe
from diptych.spec import layers as L
from diptych.training.schedule import START_OF_ONE_CYCLE


@dataclass(frozen=True)
class Script:
    """A training script that depends on one framework and NumPy only.

    Attributes:
        engine: torch or tensorflow.
        file: what to call it.
        source: the whole script.
        model_lines: lines of code that say what the model is.
        training_lines: lines of code that train it; imports count to neither.
        left_out: what the recipe asks for and the script does not do, a line each.
    """

    engine: str
    file: str
    source: str
    model_lines: int
    training_lines: int
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Rate:
    """The learning rate as a function: its source and what it takes."""

    takes_epochs: bool
    lines: list[str]

    def call(self, step: str, steps_per_epoch: str, epochs: str) -> str:
        """Source of a call."""
        arguments = [step, steps_per_epoch, epochs] if self.takes_epochs else [step, steps_per_epoch]
        return f"learning_rate({', '.join(arguments)})"


def rate(recipe: Recipe) -> Rate | None:
    """The recipe's learning rate as a function of the step; None where it never changes."""
    warms = recipe.warmup_epochs > 0 and recipe.schedule != "one_cycle"
    final = f"{number(recipe.final_factor)} * PEAK_RATE"
    rise = f"min((step + 1) / ({_whole(recipe.warmup_epochs)} * steps_per_epoch), 1)"
    said = f"A line up over {_epochs(recipe.warmup_epochs)}, then " if warms else ""
    match recipe.schedule:
        case "one_cycle":
            return Rate(True, _one_cycle(recipe, final))
        case "cosine":
            return Rate(True, _cosine(recipe, final, said, rise if warms else ""))
        case "step":
            drops = ", ".join(map(str, sorted(recipe.step_epochs)))
            tail = "," if len(recipe.step_epochs) == 1 else ""
            said = said or "The peak; " if not warms else said
            body = [
                f'    """{said}times {number(recipe.step_factor)} after each of these epochs: {drops}."""',
                f"    drops = sum(step >= epoch * steps_per_epoch for epoch in ({drops}{tail}))",
                *([f"    rise = {rise}"] if warms else []),
                f"    return PEAK_RATE{' * rise' if warms else ''} * {number(recipe.step_factor)}**drops",
            ]
            return Rate(False, ["def learning_rate(step, steps_per_epoch):", *body])
        case _ if warms:
            body = [f'    """{said}constant."""', f"    return PEAK_RATE * {rise}"]
            return Rate(False, ["def learning_rate(step, steps_per_epoch):", *body])
        case _:
            return None


def _one_cycle(recipe: Recipe, final: str) -> list[str]:
    return [
        "def learning_rate(step, steps_per_epoch, epochs):",
        f'    """One cycle: {100 * recipe.rise:g} % of the steps up, the others down, each half a cosine."""',
        "    total = epochs * steps_per_epoch",
        f"    top = {number(recipe.rise)} * total",
        "    if step < top:",
        f"        first, last, progress = PEAK_RATE / {round(1 / START_OF_ONE_CYCLE)}, PEAK_RATE, step / top",
        "    else:",
        f"        first, last, progress = PEAK_RATE, {final}, (step - top) / (total - top)",
        "    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2",
    ]


def _cosine(recipe: Recipe, final: str, said: str, rise: str) -> list[str]:
    falls = "half a cosine down."
    warmup = [
        f"    warmup = {_whole(recipe.warmup_epochs)} * steps_per_epoch",
        "    if step < warmup:",
        "        return PEAK_RATE * min((step + 1) / warmup, 1)",
        "    progress = (step - warmup) / (epochs * steps_per_epoch - warmup)",
    ]
    return [
        "def learning_rate(step, steps_per_epoch, epochs):",
        f'    """{said}{falls if said else falls.capitalize()}"""',
        *(warmup if rise else ["    progress = step / (epochs * steps_per_epoch)"]),
        f"    last = {final}",
        "    return last + (PEAK_RATE - last) * (1 + math.cos(math.pi * progress)) / 2",
    ]


def augmentation(recipe: Recipe) -> list[str]:
    """Flips and crops in NumPy, another for every image; nothing where the recipe asks for neither."""
    flips = {"horizontal": [":, ::-1"], "vertical": ["::-1"], "both": [":, ::-1", "::-1"]}.get(recipe.flip, [])
    said = " and ".join([*(["mirrored"] if flips else []), *(["shifted"] if recipe.crop_padding else [])])
    body = []
    for axis in flips:
        chosen = "chosen" if axis.startswith(":,") else "turned"
        body.append(f"    {chosen} = rng.random(len(images)) < 0.5")
        body.append(f"    images[{chosen}] = images[{chosen}, {axis}]")
    if recipe.crop_padding:
        margin = recipe.crop_padding
        body += [
            "    height, width = images.shape[1:3]",
            f"    images = np.pad(images, ((0, 0), ({margin}, {margin}), ({margin}, {margin}), (0, 0)))",
            f"    corners = rng.integers(0, {2 * margin + 1}, (len(images), 2))",
            "    windows = zip(images, corners)",
            "    return np.stack([image[y : y + height, x : x + width] for image, (y, x) in windows])",
        ]
    elif body:
        body.append("    return images")
    head = ["def augment(images, rng):", f'    """A batch with every image {said} at random."""']
    return [*head, *body] if body else []


def left_out(spec: ModelSpec, recipe: Recipe) -> list[str]:
    """What neither script does though the recipe asks for it."""
    wanted = {
        "the validation split: the script trains on every training image of data.npz": recipe.validation_fraction,
        "the plateau schedule, which watches the validation loss: the rate stays as it is": recipe.schedule
        == "plateau",
        f"early stopping after {recipe.early_stopping} epochs without a lower loss": recipe.early_stopping,
        "keeping the weights of the best validation accuracy: the last ones are saved": recipe.keep_best,
        f"the running average of the weights (decay {recipe.average_decay})": recipe.average_decay,
        "flips: whether a mirrored image keeps its class is for the dataset to say": recipe.flip == "auto",
        f"rotation by up to {number(recipe.rotation)} degrees": recipe.rotation,
        f"changes of brightness by up to {number(recipe.brightness)}": recipe.brightness,
        f"changes of contrast by up to {number(recipe.contrast)}": recipe.contrast,
        f"changes of saturation by up to {number(recipe.saturation)}": recipe.saturation,
        f"cutout ({recipe.cutout} pixels)": recipe.cutout,
        f"mixup (alpha {number(recipe.mixup)})": recipe.mixup,
        f"cutmix (alpha {number(recipe.cutmix)})": recipe.cutmix,
        "float64: the script computes in float32": recipe.precision == "float64",
        "glorot_uniform for grouped convolutions, whose outputs diptych counts by group": any(
            isinstance(layer, L.Conv) and layer.groups > 1 and layer.initializer == "glorot_uniform"
            for layer in spec.layers
        ),
        "biases drawn at random by the kernels' rules: they start at zero": any(
            array.role == "bias" and array.initializer in ("he_normal", "glorot_uniform") for array in spec.arrays
        ),
    }
    drawn = ["first weights", "order"]
    drawn += ["augmentation"] if augmentation(recipe) else []
    drawn += ["dropout"] if any(isinstance(layer, L.Dropout) for layer in spec.layers) else []
    numbers = f"equal random numbers: {', '.join(drawn[:-1])} and {drawn[-1]} are this framework's and NumPy's own"
    return [*(said for said, holds in wanted.items() if holds), numbers]


def head(spec: ModelSpec, title: str, file: str, missing: list[str]) -> list[str]:
    """The docstring, and what is left out as a comment."""
    shape = ", ".join(map(str, spec.input_shape))
    return [
        f'"""Train {spec.name} with {title}: python {file} data.npz',
        "",
        f"data.npz holds train_images and test_images, uint8 of shape (N, {shape}), and",
        "train_labels and test_labels, whole numbers of shape (N,).",
        '"""',
        "",
        *comment(["Left out, though diptych's own training has it:", *(f"- {item}" for item in missing)]),
    ]


def arguments() -> list[str]:
    """The command line, the same for both."""
    return [
        '    parser = argparse.ArgumentParser(description="Train, test and save the model.")',
        '    parser.add_argument("data", help="the .npz file with the images and labels")',
        '    parser.add_argument("--epochs", type=int, default=EPOCHS)',
        "    args = parser.parse_args()",
        "    data = np.load(args.data)",
        '    images, labels = data["train_images"], data["train_labels"].astype("int64")',
    ]


def class_weights(spec: ModelSpec, recipe: Recipe) -> str:
    """Source of the weight of each class; empty where all are alike."""
    if recipe.class_weights == "none":
        return ""
    if recipe.class_weights == "balanced":
        k = spec.num_classes
        return f"len(labels) / ({k} * np.maximum(np.bincount(labels, minlength={k}), 1))"
    return f"[{', '.join(map(number, recipe.class_weights))}]"


def _whole(value: float) -> str:
    return number(int(value)) if value == int(value) else number(value)


def _epochs(value: float) -> str:
    return "the first epoch" if value == 1 else f"{_whole(value)} epochs"


def settled(spec: ModelSpec, recipe: Recipe) -> Recipe:
    """The recipe without a decay that would reach no array."""
    reaches = len(spared(spec, recipe)) < len(spec.trainable)
    return recipe if reaches else replace(recipe, l2=0.0, decoupled_decay=0.0)


def spared(spec: ModelSpec, recipe: Recipe) -> list[str]:
    """The arrays that do not decay."""
    return [array.name for array in spec.trainable if array.role in recipe.no_decay]


def rule_said(spec: ModelSpec, recipe: Recipe) -> str:
    """The update rule in words."""
    name = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}[recipe.optimizer]
    known = {array.role for array in spec.trainable}
    words = {"kernel": "kernels", "bias": "biases", "scale": "the norms' scales", "shift": "the norms' shifts"}
    roles = [role for role in words if role in recipe.no_decay and role in known]
    said = [words[role] for role in roles if role in ("kernel", "bias") or not {"scale", "shift"} <= set(roles)]
    said += ["norms"] if {"scale", "shift"} <= set(roles) else []
    if not said or not (recipe.l2 or recipe.decay):
        return f"{name} with this training's numbers."
    return f"{name}; {' and '.join(said)} do not decay."
