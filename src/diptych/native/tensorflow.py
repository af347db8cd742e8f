"""A training script as a Keras user writes it: the model, `compile` and `fit`."""

from __future__ import annotations

from diptych.native import shared
from diptych.native.shared import Script, call, indented, number
from diptych.native.tensorflow_model import AVERAGE_POOL, UNIFORM, build_model
from diptych.spec import ModelSpec, Recipe
from diptych.spec import layers as L

FILE = "train_keras.py"
BATCHES = [
    "class Batches(keras.utils.PyDataset):",
    '    """Batches of augmented images, each epoch in a new order."""',
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
SCHEDULE = [
    "class Schedule(keras.callbacks.Callback):",
    '    """Sets the learning rate before every step."""',
    "",
    "    def on_train_batch_begin(self, batch, logs=None):",
    "        optimizer, params = self.model.optimizer, self.params",
    '        rate = learning_rate(int(optimizer.iterations), params["steps"], params["epochs"])',
    "        optimizer.learning_rate = rate",
]


IMPORTS = {
    "import argparse": "",
    "import math": "math.",
    "": "",
    "import keras": "",
    "import numpy as np": "",
}


def script(spec: ModelSpec, recipe: Recipe) -> Script:
    """Return the script of a model and its training."""
    recipe = shared.reachable(spec, recipe)
    missing = _left_out(spec, recipe)
    build = build_model(spec, recipe)
    text = "\n".join(build)
    rate, augmentation = shared.learning_rate(recipe), shared.augmentation(recipe)
    constants = [*shared.mean_and_std(spec, "np.array({})"), *(UNIFORM if "UNIFORM" in text else [])]
    if recipe.l2:
        half, whole = number(recipe.l2 / 2), number(recipe.l2)
        constants.append(f"L2 = keras.regularizers.L2({half})  # half, because its gradient is {whole} * weight")
    return shared.assemble(
        "tensorflow",
        FILE,
        head=shared.head(spec, "Keras", FILE, missing),
        imports={**IMPORTS, f"from keras import layers{', ops' if 'ops.' in text else ''}": ""},
        settings=shared.constants(recipe),
        constants=constants,
        model=[*([AVERAGE_POOL] if "average_pool" in text else []), build],
        training=[
            *([augmentation, BATCHES] if augmentation else []),
            *([rate, SCHEDULE] if rate else []),
            _optimizer(spec, recipe),
            _main(spec, recipe),
        ],
        left_out=missing,
    )


def _left_out(spec: ModelSpec, recipe: Recipe) -> list[str]:
    forms = {
        "rmsprop": "Keras adds epsilon inside the root",
        "sgd": "Keras keeps the learning rate inside the momentum",
    }
    form = forms.get(recipe.optimizer, "Keras adds epsilon before the bias correction")
    differs = recipe.update_form == "torch" and (recipe.optimizer != "sgd" or recipe.momentum > 0)
    policy = "keras.mixed_precision.set_global_policy"
    he_normal = any(array.initializer == "he_normal" for array in spec.trainable)
    depthwise = any(
        isinstance(one, L.Conv) and one.groups > 1 and one.initializer == "he_normal" for one in spec.layers
    )
    unbiased = any(isinstance(one, L.BatchNorm) and one.running_variance == "unbiased" for one in spec.layers)
    own = {
        f'float16, with {policy}("mixed_float16")': recipe.precision == "float16",
        f'bfloat16 if the processor supports it: {policy}("mixed_bfloat16")': recipe.precision == "auto",
        f"PyTorch's form of {recipe.optimizer}: {form}": differs,
        "a test in float32: Keras also tests in bfloat16": recipe.precision == "bfloat16",
        "PyTorch's unbiased running variance: batch norm keeps the biased one": unbiased,
        "he_normal without truncation: Keras cuts it at two standard deviations": he_normal,
        "he_normal with the fan-in of one group for grouped convolutions": depthwise,
        "the loss without the L2 penalty: Keras adds the penalty to the loss it prints": recipe.l2,
        "the L2 term after the other decay: Keras computes it first": recipe.l2 and recipe.decay,
        "clipping before the L2 term is added: Keras clips the sum": recipe.l2 and recipe.clip_norm,
    }
    return shared.left_out(spec, recipe, own)


def _optimizer(spec: ModelSpec, recipe: Recipe) -> list[str]:
    momentum = number(recipe.momentum) if recipe.momentum else ""
    match recipe.optimizer:
        case "sgd":
            kind = "SGD"
            settings = {"momentum": momentum, "nesterov": "True" if recipe.nesterov and momentum else ""}
        case "adam" | "adamw":
            kind = "AdamW" if recipe.optimizer == "adamw" else "Adam"
            settings = {"beta_1": number(recipe.beta1), "beta_2": number(recipe.beta2)}
            settings["epsilon"] = number(recipe.epsilon)
        case "rmsprop":
            kind = "RMSprop"
            settings = {"rho": number(recipe.rho), "momentum": momentum, "epsilon": number(recipe.epsilon)}
    settings["weight_decay"] = number(recipe.decay) if recipe.decay or recipe.optimizer == "adamw" else ""
    settings["global_clipnorm"] = number(recipe.clip_norm) if recipe.clip_norm else ""
    rate = "PEAK_RATE" if shared.learning_rate(recipe) else "LEARNING_RATE"
    names = {"kernel": "kernel", "bias": "bias", "scale": "gamma", "shift": "beta"}
    roles = {array.role for array in spec.trainable} & set(recipe.no_decay)
    excluded = ", ".join(f'"{name}"' for role, name in names.items() if role in roles)
    optimizer = call(f"keras.optimizers.{kind}", rate, **settings)
    if not recipe.decay or not excluded:
        return ["def make_optimizer():", f"    return {optimizer}"]
    return [
        "def make_optimizer():",
        f"    optimizer = {optimizer}",
        f"    optimizer.exclude_from_weight_decay(var_names=[{excluded}])",
        "    return optimizer",
    ]


def _main(spec: ModelSpec, recipe: Recipe) -> list[str]:
    weights = shared.class_weights(spec, recipe)
    settings = {
        "from_logits": "True",
        "label_smoothing": number(recipe.label_smoothing) if recipe.label_smoothing else "",
        "reduction": '"mean_with_sample_weight"' if weights else "",
    }
    smooth = bool(recipe.label_smoothing)  # which Keras has for one-hot targets only
    kind = "CategoricalCrossentropy" if smooth else "SparseCategoricalCrossentropy"
    targets, tested = "labels", 'data["test_labels"]'
    if smooth:
        targets, tested = "targets", f"keras.utils.to_categorical({tested}, {spec.num_classes})"
    augmented = bool(shared.augmentation(recipe))
    data = [f"Batches(images, {targets})"] if augmented else ["images", targets]
    fit = {
        "batch_size": "" if augmented else "BATCH_SIZE",
        "epochs": "args.epochs",
        "class_weight": "class_weight" if weights else "",
        "callbacks": "[Schedule()]" if shared.learning_rate(recipe) else "",
        "verbose": "2",
    }
    policy = 'keras.mixed_precision.set_global_policy("mixed_bfloat16")'
    body = [
        *shared.read_arguments(),
        *([f"targets = keras.utils.to_categorical(labels, {spec.num_classes})"] if smooth else []),
        *([f"class_weight = dict(enumerate({weights}))"] if weights else []),
        "",
        "keras.utils.set_random_seed(0)",
        *([policy] if recipe.precision == "bfloat16" else []),
        "model = build_model()",
        f"loss = {call(f'keras.losses.{kind}', **settings)}",
        'model.compile(optimizer=make_optimizer(), loss=loss, metrics=["accuracy"])',
        call("model.fit", *data, **fit),
        f'_, accuracy = model.evaluate(data["test_images"], {tested}, verbose=0)',
        'print(f"test accuracy {accuracy:.4f}")',
        'model.save("model.keras")',
    ]
    return ["def main():", *indented(['"""Read the data, train, test, save."""', *body])]
