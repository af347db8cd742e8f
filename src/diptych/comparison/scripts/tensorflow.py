"""A training script as a Keras user writes it: `Sequential` or `Model`, `compile` and `fit`."""

from __future__ import annotations

from diptych.comparison.scripts import shared
from diptych.comparison.scripts.shared import Script
from diptych.comparison.scripts.tensorflow_model import model
from diptych.comparison.scripts.text import code_lines, number, source
from diptych.spec import ModelSpec, Recipe
from diptych.spec import layers as L

FILE = "train_keras.py"


def script(spec: ModelSpec, recipe: Recipe) -> Script:
    """The script for a model and its training."""
    recipe = shared.settled(spec, recipe)
    missing = left_out(spec, recipe)
    constants, functions = model(spec, recipe)
    body = [*_data(recipe), *_optimizer(spec, recipe), *_training(recipe), *_main(spec, recipe)]
    head = shared.head(spec, "Keras", FILE, missing)
    text = source([[*_imports(head, constants, functions, body), *_constants(recipe), *constants], *functions, *body])
    return Script(
        engine="tensorflow",
        file=FILE,
        source=f'{text}\n\nif __name__ == "__main__":\n    main()\n',
        model_lines=code_lines(source([constants, *functions])),
        training_lines=code_lines(source([_constants(recipe), *body])) + 2,
        left_out=tuple(missing),
    )


def left_out(spec: ModelSpec, recipe: Recipe) -> list[str]:
    """What this script does not do though the recipe asks for it."""
    norms = [layer for layer in spec.layers if isinstance(layer, L.BatchNorm)]
    rules = {array.initializer for array in spec.trainable}
    form = "Keras adds epsilon before it corrects the bias"
    form = "Keras adds epsilon inside the root" if recipe.optimizer == "rmsprop" else form
    form = "Keras keeps the learning rate inside the momentum" if recipe.optimizer == "sgd" else form
    differs = recipe.update_form == "torch" and (recipe.optimizer != "sgd" or recipe.momentum > 0)
    wanted = {
        'float16, which wants keras.mixed_precision.set_global_policy("mixed_float16")': recipe.precision == "float16",
        "bfloat16 where the processor computes in it: begin main with "
        'keras.mixed_precision.set_global_policy("mixed_bfloat16")': recipe.precision == "auto",
        f"PyTorch's form of {recipe.optimizer}: {form}": differs,
        "a test in float32: Keras computes it in bfloat16 too": recipe.precision == "bfloat16",
        "PyTorch's unbiased running variance: batch norm follows the biased one": any(
            norm.running_variance == "unbiased" for norm in norms
        ),
        "he_normal as drawn by PyTorch and diptych: Keras's is cut at two deviations": "he_normal" in rules,
        "he_normal for depthwise convolutions, of which Keras takes all channels for inputs": any(
            isinstance(layer, L.Conv) and layer.initializer == "he_normal" and layer.groups > 1 for layer in spec.layers
        ),
        "a loss without the L2 penalty: Keras adds it to what it prints": recipe.l2,
        "the L2 term of a weight that has decayed: Keras takes it before the other decay": recipe.l2 and recipe.decay,
        "clipping before the L2 term joins the gradient: Keras clips the sum": recipe.l2 and recipe.clip_norm,
    }
    return [*shared.left_out(spec, recipe), *(said for said, holds in wanted.items() if holds)]


def _imports(head: list[str], constants: list[str], functions: list[list[str]], body: list[list[str]]) -> list[str]:
    text = source([constants, *functions, *body])
    standard = ["import argparse", *(["import math"] if "math." in text else [])]
    standard += ["from functools import partial"] if "partial(" in text else []
    names = [name for name in ("layers", "ops") if f"{name}." in text]
    frameworks = ["import keras", "import numpy as np", f"from keras import {', '.join(names)}"]
    return [*head, "", *standard, "", *frameworks, ""]


def _constants(recipe: Recipe) -> list[str]:
    return [
        f"EPOCHS = {recipe.epochs}",
        f"BATCH_SIZE = {recipe.batch_size}",
        f"PEAK_RATE = {number(recipe.rate)}" if shared.rate(recipe) else f"LEARNING_RATE = {number(recipe.rate)}",
    ]


def _data(recipe: Recipe) -> list[list[str]]:
    """Batches that are not the images as they are, each epoch in a new order; else `fit` does it all."""
    augmentation = shared.augmentation(recipe)
    batches = [
        "class Batches(keras.utils.PyDataset):",
        '    """Each epoch in a new order, a batch at a time."""',
        "",
        "    def __init__(self, images, labels):",
        "        super().__init__()",
        "        self.images, self.labels = images, labels",
        "        self.rng = np.random.default_rng(0)",
        "        self.on_epoch_end()",
        "",
        "    def __len__(self):",
        "        return math.ceil(len(self.images) / BATCH_SIZE)",
        "",
        "    def __getitem__(self, index):",
        "        chosen = self.order[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]",
        "        return augment(self.images[chosen], self.rng), self.labels[chosen]",
        "",
        "    def on_epoch_end(self):",
        "        self.order = self.rng.permutation(len(self.images))",
    ]
    return [augmentation, batches] if augmentation else []


def _optimizer(spec: ModelSpec, recipe: Recipe) -> list[list[str]]:
    """The learning rate where it changes, and the update rule."""
    rate = shared.rate(recipe)
    decay = [f"weight_decay={number(recipe.decay)}"] if recipe.decay or recipe.optimizer == "adamw" else []
    clip = [f"global_clipnorm={number(recipe.clip_norm)}"] if recipe.clip_norm else []
    name, settings = _rule(recipe)
    arguments = ", ".join(["PEAK_RATE" if rate else "LEARNING_RATE", *settings, *decay, *clip])
    made = f"keras.optimizers.{name}({arguments})"
    spared = _spared(spec, recipe) if recipe.decay else []
    lines = ["def make_optimizer():", f'    """{shared.rule_said(spec, recipe)}"""']
    if spared:
        names = ", ".join(f'"{name}"' for name in spared)
        lines += [
            f"    optimizer = {made}",
            f"    optimizer.exclude_from_weight_decay(var_names=[{names}])",
            "    return optimizer",
        ]
    else:
        lines.append(f"    return {made}")
    return [*([rate.lines] if rate else []), lines]


def _spared(spec: ModelSpec, recipe: Recipe) -> list[str]:
    """What Keras calls the variables that do not decay."""
    names = {"kernel": "kernel", "bias": "bias", "scale": "gamma", "shift": "beta"}
    roles = {array.role for array in spec.trainable}
    return [name for role, name in names.items() if role in recipe.no_decay and role in roles]


def _rule(recipe: Recipe) -> tuple[str, list[str]]:
    epsilon = f"epsilon={number(recipe.epsilon)}"
    momentum = [f"momentum={number(recipe.momentum)}"] if recipe.momentum else []
    match recipe.optimizer:
        case "sgd":
            return "SGD", [*momentum, *(["nesterov=True"] if recipe.nesterov and recipe.momentum else [])]
        case "adam" | "adamw":
            betas = [f"beta_1={number(recipe.beta1)}", f"beta_2={number(recipe.beta2)}"]
            return "AdamW" if recipe.optimizer == "adamw" else "Adam", [*betas, epsilon]
        case "rmsprop":
            return "RMSprop", [f"rho={number(recipe.rho)}", *momentum, epsilon]


def _training(recipe: Recipe) -> list[list[str]]:
    """The callback that `fit` needs where the learning rate changes."""
    rate = shared.rate(recipe)
    if rate is None:
        return []
    return [
        [
            "class Schedule(keras.callbacks.Callback):",
            '    """Sets the learning rate before every step."""',
            "",
            "    def on_train_batch_begin(self, batch, logs=None):",
            "        optimizer = self.model.optimizer",
            '        steps_per_epoch, epochs = self.params["steps"], self.params["epochs"]'
            if rate.takes_epochs
            else '        steps_per_epoch = self.params["steps"]',
            "        step = int(optimizer.iterations)",
            f"        optimizer.learning_rate = {rate.call('step', 'steps_per_epoch', 'epochs')}",
        ]
    ]


def _main(spec: ModelSpec, recipe: Recipe) -> list[list[str]]:
    weights = shared.class_weights(spec, recipe)
    smoothing = f", label_smoothing={number(recipe.label_smoothing)}" if recipe.label_smoothing else ""
    reduction = ', reduction="mean_with_sample_weight"' if weights else ""
    kind = "CategoricalCrossentropy" if smoothing else "SparseCategoricalCrossentropy"
    targets = f"keras.utils.to_categorical(labels, {spec.num_classes})" if smoothing else "labels"
    augmented = bool(shared.augmentation(recipe))
    options = ["Batches(images, targets)" if smoothing else "Batches(images, labels)"] if augmented else []
    options = options or ["images", "targets" if smoothing else "labels", "batch_size=BATCH_SIZE"]
    options.append("epochs=args.epochs")
    options += ["class_weight=class_weight"] if weights else []
    options += ["callbacks=[Schedule()]"] if shared.rate(recipe) else []
    policy = '    keras.mixed_precision.set_global_policy("mixed_bfloat16")'
    tested = (
        f'keras.utils.to_categorical(data["test_labels"], {spec.num_classes})' if smoothing else 'data["test_labels"]'
    )
    return [
        [
            "def main():",
            '    """Read the data, train, test, save."""',
            *shared.arguments(),
            *([f"    targets = {targets}"] if smoothing else []),
            *([f"    class_weight = dict(enumerate({weights}))"] if weights else []),
            "",
            "    keras.utils.set_random_seed(0)",
            *([policy] if recipe.precision == "bfloat16" else []),
            "    model = build_model()",
            "    model.compile(",
            "        optimizer=make_optimizer(),",
            f"        loss=keras.losses.{kind}(from_logits=True{smoothing}{reduction}),",
            '        metrics=["accuracy"],',
            "    )",
            f"    model.fit({', '.join([*options, 'verbose=2'])})",
            f'    _, accuracy = model.evaluate(data["test_images"], {tested}, verbose=0)',
            '    print(f"test accuracy {accuracy:.4f}")',
            '    model.save("model.keras")',
        ]
    ]
