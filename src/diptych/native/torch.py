"""A training script as a PyTorch user writes it: the model and a training loop."""

from __future__ import annotations

from diptych.native import shared
from diptych.native.shared import Script, call, indented, number
from diptych.native.torch_model import model
from diptych.spec import ModelSpec, Recipe
from diptych.spec import layers as L

FILE = "train_torch.py"


IMPORTS = {
    "import argparse": "",
    "import math": "math.",
    "": "",
    "import numpy as np": "",
    "import torch": "",
    "from torch import nn": "",
    "from torch.nn import functional as F": "F.",
}


def script(spec: ModelSpec, recipe: Recipe) -> Script:
    """Return the script of a model and its training."""
    recipe = shared.reachable(spec, recipe)
    missing = _left_out(spec, recipe)
    return shared.assemble(
        "torch",
        FILE,
        head=shared.head(spec, "PyTorch", FILE, missing),
        imports=IMPORTS,
        settings=[*shared.constants(recipe), 'DEVICE = "cuda" if torch.cuda.is_available() else "cpu"'],
        constants=shared.mean_and_std(spec, "torch.tensor({}, device=DEVICE)"),
        model=[model(spec)],
        training=[
            shared.augmentation(recipe),
            _batches(recipe),
            shared.learning_rate(recipe),
            _optimizer(spec, recipe),
            _training(spec, recipe),
            EVALUATE,
            MAIN,
        ],
        left_out=missing,
    )


def _left_out(spec: ModelSpec, recipe: Recipe) -> list[str]:
    biased = any(isinstance(layer, L.BatchNorm) and layer.running_variance == "biased" for layer in spec.layers)
    own = {
        "float16, with torch.autocast and torch.amp.GradScaler": recipe.precision == "float16",
        "bfloat16 if the processor supports it: torch.autocast(DEVICE, torch.bfloat16)": recipe.precision == "auto",
        f"Keras's form of {recipe.optimizer}: the update is PyTorch's own": recipe.update_form == "keras",
        "Keras's biased running variance: batch norm keeps the unbiased one": biased,
    }
    return shared.left_out(spec, recipe, own)


def _batches(recipe: Recipe) -> list[str]:
    images = "augment(images[chosen], rng)" if shared.augmentation(recipe) else "images[chosen]"
    return [
        "def batches(images, labels, rng):",
        '    """One epoch in a random order, batch by batch."""',
        "    order = rng.permutation(len(images))",
        "    for start in range(0, len(images), BATCH_SIZE):",
        "        chosen = order[start : start + BATCH_SIZE]",
        f"        batch = {images}",
        "        yield torch.tensor(batch, device=DEVICE), torch.tensor(labels[chosen], device=DEVICE)",
    ]


def _is_adamw(recipe: Recipe) -> bool:
    return recipe.optimizer in ("adam", "adamw") and not recipe.l2 and (recipe.decay > 0 or recipe.optimizer == "adamw")


def _optimizer(spec: ModelSpec, recipe: Recipe) -> list[str]:
    """Write the optimizer: AdamW decays apart from the gradient, the other rules as a part of it."""
    adamw = _is_adamw(recipe)
    decay = recipe.decay if adamw else recipe.l2
    momentum = number(recipe.momentum) if recipe.momentum else ""
    settings = {"lr": "PEAK_RATE" if shared.learning_rate(recipe) else "LEARNING_RATE"}
    match recipe.optimizer:
        case "sgd":
            name = "SGD"
            settings |= {"momentum": momentum, "nesterov": "True" if recipe.nesterov and momentum else ""}
        case "adam" | "adamw":
            name = "AdamW" if adamw else "Adam"
            settings |= {"betas": f"({number(recipe.beta1)}, {number(recipe.beta2)})", "eps": number(recipe.epsilon)}
        case "rmsprop":
            name = "RMSprop"
            settings |= {"alpha": number(recipe.rho), "eps": number(recipe.epsilon), "momentum": momentum}
    excluded = shared.excluded(spec, recipe)
    lines = ["def make_optimizer(net):"]
    if excluded and recipe.decay + recipe.l2 > 0:
        vectors = set(excluded) == {array.name for array in spec.trainable if len(array.shape) == 1}
        test = "parameter.ndim == 1" if vectors else "name in names"
        items = "parameter in net.parameters()" if vectors else "name, parameter in net.named_parameters()"
        lines += [] if vectors else indented(["names = {", *(f'    "{name}",' for name in excluded), "}"])
        rest = '{"params": others, "weight_decay": 0.0}'
        lines += [
            "    decayed, others = [], []",
            f"    for {items}:",
            f"        (others if {test} else decayed).append(parameter)",
            f'    groups = [{{"params": decayed, "weight_decay": {number(decay)}}}, {rest}]',
        ]
        parameters = "groups"
    else:
        parameters = "net.parameters()"
        settings["weight_decay"] = number(decay) if decay or adamw else ""
    return [*lines, f"    return {call(f'torch.optim.{name}', parameters, **settings)}"]


def _training(spec: ModelSpec, recipe: Recipe) -> list[str]:
    before = ["optimizer = make_optimizer(net)", "rng = np.random.default_rng(0)"]
    weights = shared.class_weights(spec, recipe)
    if weights:
        before.append(f"class_weights = torch.tensor({weights}, dtype=torch.float32, device=DEVICE)")
    step = []
    if shared.learning_rate(recipe):
        before += ["steps_per_epoch = math.ceil(len(images) / BATCH_SIZE)", "step = 0"]
        step = [
            "for group in optimizer.param_groups:",
            '    group["lr"] = learning_rate(step, steps_per_epoch, epochs)',
            "step += 1",
        ]
    clip = [f"nn.utils.clip_grad_norm_(net.parameters(), {number(recipe.clip_norm)})"] if recipe.clip_norm else []
    decay = [
        "with torch.no_grad():",
        '    for parameter in optimizer.param_groups[0]["params"]:',
        f'        parameter *= 1 - optimizer.param_groups[0]["lr"] * {number(recipe.decay)}',
    ]
    loop = [
        *step,
        "optimizer.zero_grad()",
        *_forward(recipe, bool(weights)),
        "loss.backward()",
        *clip,
        *(decay if recipe.decay and not _is_adamw(recipe) else []),
        "optimizer.step()",
        "loss_sum += loss.detach() * len(batch_labels)",
        "correct += (logits.argmax(1) == batch_labels).sum()",
    ]
    return [
        "def train(net, images, labels, epochs):",
        '    """Train, and print the loss and the accuracy of every epoch."""',
        *indented(before),
        "    for epoch in range(1, epochs + 1):",
        "        net.train()",
        "        loss_sum = correct = 0",
        "        for batch_images, batch_labels in batches(images, labels, rng):",
        *indented(loop, 3),
        "        loss, accuracy = loss_sum / len(images), correct / len(images)",
        '        print(f"epoch {epoch}  loss {loss:.4f}  accuracy {accuracy:.4f}")',
    ]


def _forward(recipe: Recipe, weighted: bool) -> list[str]:
    smoothing = f", label_smoothing={number(recipe.label_smoothing)}" if recipe.label_smoothing else ""
    lines = ["logits = net(batch_images)"]
    if weighted and smoothing:  # PyTorch weights the smoothed share by its own classes, not by the image's class.
        lines += [
            f'losses = F.cross_entropy(logits, batch_labels{smoothing}, reduction="none")',
            "weights = class_weights[batch_labels]",
            "loss = (losses * weights).sum() / weights.sum()",
        ]
    else:
        weight = ", weight=class_weights" if weighted else ""
        lines.append(f"loss = F.cross_entropy(logits, batch_labels{weight}{smoothing})")
    if recipe.precision == "bfloat16":
        return ["with torch.autocast(DEVICE, torch.bfloat16):", *indented(lines)]
    return lines


EVALUATE = [
    "@torch.inference_mode()",
    "def evaluate(net, images, labels):",
    '    """Return the accuracy."""',
    "    net.eval()",
    "    batches = torch.from_numpy(images).split(1000)",
    "    predictions = [net(batch.to(DEVICE)).argmax(1).cpu() for batch in batches]",
    "    return (torch.cat(predictions).numpy() == labels).mean()",
]
MAIN = [
    "def main():",
    '    """Read the data, train, test, save."""',
    *indented(shared.read_arguments()),
    "",
    "    torch.manual_seed(0)",
    "    net = Net().to(DEVICE)",
    "    train(net, images, labels, args.epochs)",
    '    accuracy = evaluate(net, data["test_images"], data["test_labels"])',
    '    print(f"test accuracy {accuracy:.4f}")',
    '    torch.save(net.state_dict(), "model.pt")',
]
