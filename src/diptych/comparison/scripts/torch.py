"""A training script as a PyTorch user writes it: `nn.Module`, and a loop of its own."""

from __future__ import annotations

from diptych.comparison.scripts import shared
from diptych.comparison.scripts.shared import Script
from diptych.comparison.scripts.text import code_lines, number, source, tuple_of
from diptych.comparison.scripts.torch_model import model
from diptych.spec import ModelSpec, Recipe
from diptych.spec import layers as L

FILE = "train_torch.py"


def script(spec: ModelSpec, recipe: Recipe) -> Script:
    """The script for a model and its training."""
    recipe = shared.settled(spec, recipe)
    missing = left_out(spec, recipe)
    classes = model(spec)
    body = [*_data(recipe), *_optimizer(spec, recipe), *_training(spec, recipe), *_evaluation(), *_main()]
    head = shared.head(spec, "PyTorch", FILE, missing)
    text = source([[*_imports(head, classes, body), *_constants(recipe)], *classes, *body])
    return Script(
        engine="torch",
        file=FILE,
        source=f'{text}\n\nif __name__ == "__main__":\n    main()\n',
        model_lines=code_lines(source(classes)),
        training_lines=code_lines(source([_constants(recipe), *body])) + 2,
        left_out=tuple(missing),
    )


def left_out(spec: ModelSpec, recipe: Recipe) -> list[str]:
    """What this script does not do though the recipe asks for it."""
    norms = [layer for layer in spec.layers if isinstance(layer, L.BatchNorm)]
    wanted = {
        "float16, which wants torch.autocast and torch.amp.GradScaler": recipe.precision == "float16",
        "bfloat16 where the processor computes in it: wrap the forward pass in "
        "torch.autocast(DEVICE, torch.bfloat16)": recipe.precision == "auto",
        f"Keras's form of {recipe.optimizer}: the update is PyTorch's own": recipe.update_form == "keras",
        "Keras's biased running variance: batch norm follows the unbiased one": any(
            norm.running_variance == "biased" for norm in norms
        ),
    }
    return [*shared.left_out(spec, recipe), *(said for said, holds in wanted.items() if holds)]


def _imports(head: list[str], classes: list[list[str]], body: list[list[str]]) -> list[str]:
    text = source([*classes, *body])
    standard = ["import argparse", *(["import math"] if "math." in text else [])]
    standard += ["from collections import OrderedDict"] if "OrderedDict" in text else []
    functional = ["from torch.nn import functional as F"] if " F." in text or "(F." in text else []
    frameworks = ["import numpy as np", "import torch", "from torch import nn", *functional]
    return [*head, "", *standard, "", *frameworks, ""]


def _constants(recipe: Recipe) -> list[str]:
    return [
        f"EPOCHS = {recipe.epochs}",
        f"BATCH_SIZE = {recipe.batch_size}",
        f"PEAK_RATE = {number(recipe.rate)}" if shared.rate(recipe) else f"LEARNING_RATE = {number(recipe.rate)}",
        'DEVICE = "cuda" if torch.cuda.is_available() else "cpu"',
    ]


def _data(recipe: Recipe) -> list[list[str]]:
    """Batches of tensors, each epoch in a new order."""
    augmentation = shared.augmentation(recipe)
    images = "augment(images[chosen], rng)" if augmentation else "images[chosen]"
    batches = [
        "def batches(images, labels, rng):",
        '    """One epoch in a new order, a batch at a time."""',
        "    order = rng.permutation(len(images))",
        "    for start in range(0, len(images), BATCH_SIZE):",
        "        chosen = order[start : start + BATCH_SIZE]",
        f"        batch = {images}",
        "        yield torch.tensor(batch, device=DEVICE), torch.tensor(labels[chosen], device=DEVICE)",
    ]
    return [*([augmentation] if augmentation else []), batches]


def _optimizer(spec: ModelSpec, recipe: Recipe) -> list[list[str]]:
    """The learning rate where it changes, and the update rule."""
    rate = shared.rate(recipe)
    decay, rule = _decay(recipe), _rule(recipe)
    lines = ["def make_optimizer(net):", f'    """{shared.rule_said(spec, recipe)}"""']
    parameters = "net.parameters()"
    spared = shared.spared(spec, recipe)
    if (decay or _by_hand(recipe)) and spared:
        lines += _split(spec, recipe, spared)
        parameters = "groups"
    elif decay:
        rule = f"{rule}, weight_decay={number(decay)}"
    elif rule.startswith("torch.optim.AdamW"):
        rule = f"{rule}, weight_decay=0.0"
    first = "PEAK_RATE" if rate else "LEARNING_RATE"
    lines.append(f"    return {rule.replace('(', f'({parameters}, lr={first}', 1)})")
    return [*([rate.lines] if rate else []), lines]


def _decay(recipe: Recipe) -> float:
    """What the rule itself decays by: AdamW apart from the gradient, the others as a part of it."""
    return recipe.decay if _is_adamw(recipe) else recipe.l2


def _is_adamw(recipe: Recipe) -> bool:
    return recipe.optimizer in ("adam", "adamw") and not recipe.l2 and (recipe.decay > 0 or recipe.optimizer == "adamw")


def _by_hand(recipe: Recipe) -> bool:
    """Whether the decay apart from the gradient is for the loop to do."""
    return recipe.decay > 0 and not _is_adamw(recipe)


def _rule(recipe: Recipe) -> str:
    match recipe.optimizer:
        case "sgd":
            nesterov = ", nesterov=True" if recipe.nesterov and recipe.momentum else ""
            momentum = f", momentum={number(recipe.momentum)}" if recipe.momentum else ""
            return f"torch.optim.SGD({momentum}{nesterov}"
        case "adam" | "adamw":
            betas = f"betas=({number(recipe.beta1)}, {number(recipe.beta2)})"
            name = "AdamW" if _is_adamw(recipe) else "Adam"
            return f"torch.optim.{name}(, {betas}, eps={number(recipe.epsilon)}"
        case "rmsprop":
            momentum = f", momentum={number(recipe.momentum)}" if recipe.momentum else ""
            return f"torch.optim.RMSprop(, alpha={number(recipe.rho)}, eps={number(recipe.epsilon)}{momentum}"


def _split(spec: ModelSpec, recipe: Recipe, spared: list[str]) -> list[str]:
    """Parameters in two groups, of which one decays."""
    vectors = {array.name for array in spec.trainable if len(array.shape) == 1}
    if vectors == set(spared):
        lines = [
            "    decayed = [parameter for parameter in net.parameters() if parameter.ndim > 1]",
            "    spared = [parameter for parameter in net.parameters() if parameter.ndim == 1]",
        ]
    else:
        names = tuple_of([f'"{name}"' for name in spared])
        lines = [
            f"    names = {names}",
            "    decayed = [parameter for name, parameter in net.named_parameters() if name not in names]",
            "    spared = [parameter for name, parameter in net.named_parameters() if name in names]",
        ]
    decay = f', "weight_decay": {number(_decay(recipe))}' if _decay(recipe) else ""
    none = ', "weight_decay": 0.0' if _decay(recipe) else ""
    return [*lines, f'    groups = [{{"params": decayed{decay}}}, {{"params": spared{none}}}]']


def _training(spec: ModelSpec, recipe: Recipe) -> list[list[str]]:
    """The loop."""
    rate = shared.rate(recipe)
    weights = shared.class_weights(spec, recipe)
    before = ["optimizer = make_optimizer(net)", "rng = np.random.default_rng(0)"]
    if weights:
        dtype = ", dtype=torch.float32" if recipe.class_weights == "balanced" else ""
        before.append(f"class_weights = torch.tensor({weights}{dtype}, device=DEVICE)")
    step = []
    if rate:
        before += ["steps_per_epoch = math.ceil(len(images) / BATCH_SIZE)", "step = 0"]
        step = [
            "for group in optimizer.param_groups:",
            f'    group["lr"] = {rate.call("step", "steps_per_epoch", "epochs")}',
            "step += 1",
        ]
    clip = [f"nn.utils.clip_grad_norm_(net.parameters(), {number(recipe.clip_norm)})"] if recipe.clip_norm else []
    loop = [
        *step,
        "optimizer.zero_grad()",
        *_forward(recipe, bool(weights)),
        "loss.backward()",
        *clip,
        *_decay_by_hand(recipe, bool(shared.spared(spec, recipe))),
        "optimizer.step()",
        "loss_sum += loss.detach() * len(batch_labels)",
        "correct += (logits.argmax(1) == batch_labels).sum()",
    ]
    return [
        [
            "def train(net, images, labels, epochs):",
            '    """Train, and print loss and accuracy of every epoch."""',
            *(f"    {line}" for line in before),
            "    for epoch in range(1, epochs + 1):",
            "        net.train()",
            "        loss_sum = correct = 0",
            "        for batch_images, batch_labels in batches(images, labels, rng):",
            *(f"            {line}" for line in loop),
            "        loss, accuracy = loss_sum / len(images), correct / len(images)",
            '        print(f"epoch {epoch}  loss {loss:.4f}  accuracy {accuracy:.4f}")',
        ]
    ]


def _forward(recipe: Recipe, weighted: bool) -> list[str]:
    """Logits and loss of a batch."""
    smoothing = f", label_smoothing={number(recipe.label_smoothing)}" if recipe.label_smoothing else ""
    loss = [f"loss = F.cross_entropy(logits, batch_labels{smoothing})"]
    if weighted and not recipe.label_smoothing:
        loss = ["loss = F.cross_entropy(logits, batch_labels, weight=class_weights)"]
    elif weighted:  # PyTorch's own mixture weighs the evenly spread share by its classes, not by the image's
        loss = [
            f'losses = F.cross_entropy(logits, batch_labels{smoothing}, reduction="none")',
            "weights = class_weights[batch_labels]",
            "loss = (losses * weights).sum() / weights.sum()",
        ]
    if recipe.precision != "bfloat16":
        return ["logits = net(batch_images)", *loss]
    lines = ["logits = net(batch_images)", *loss]
    return ["with torch.autocast(DEVICE, torch.bfloat16):", *(f"    {line}" for line in lines)]


def _decay_by_hand(recipe: Recipe, grouped: bool) -> list[str]:
    if not _by_hand(recipe):
        return []
    return [
        "with torch.no_grad():",
        '    for parameter in optimizer.param_groups[0]["params"]:',
        f'        parameter *= 1 - optimizer.param_groups[0]["lr"] * {number(recipe.decay)}',
    ]


def _evaluation() -> list[list[str]]:
    return [
        [
            "@torch.inference_mode()",
            "def evaluate(net, images, labels):",
            '    """Accuracy on images that the training has not seen."""',
            "    net.eval()",
            "    batches = torch.from_numpy(images).split(1000)",
            "    predictions = [net(batch.to(DEVICE)).argmax(1).cpu() for batch in batches]",
            "    return (torch.cat(predictions).numpy() == labels).mean()",
        ]
    ]


def _main() -> list[list[str]]:
    return [
        [
            "def main():",
            '    """Read the data, train, test, save."""',
            *shared.arguments(),
            "",
            "    torch.manual_seed(0)",
            "    net = Net().to(DEVICE)",
            "    train(net, images, labels, args.epochs)",
            '    accuracy = evaluate(net, data["test_images"], data["test_labels"])',
            '    print(f"test accuracy {accuracy:.4f}")',
            '    torch.save(net.state_dict(), "model.pt")',
        ]
    ]
