"""Comparisons of invented runs: the findings on simulated predictions of digits."""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
from finished import COST, epoch_of, record_of
from msgspec import convert
from sklearn.datasets import load_digits

from diptych.artifacts.run import Run
from diptych.comparison import defaults, statistics
from diptych.comparison.findings import findings
from diptych.comparison.parity.certificate import Certificate, Rung
from diptych.comparison.runs import Arm, Cost, Epoch, FinishedRun, Shipped
from diptych.spec import Recipe, zoo
from diptych.spec.codec import model_to_json, recipe_to_json

DIGITS = load_digits()
SIDES = [
    ("PyTorch", "torch"),
    ("TensorFlow", "tensorflow"),
    ("PyTorch, float32", "torch"),
    ("TensorFlow, float32", "tensorflow"),
    ("PyTorch, no augmentation at all", "torch"),
    ("TensorFlow, eager", "tensorflow"),
]
RUNGS = (
    Rung("weights round trip", "float64", 0.0, 0.0, 0.0, "torch/stem.conv.weight"),
    Rung("gradients", "float64", 1e-9, 8.1e-15, 2.0e-16, "stem.conv.weight"),
    Rung("50 steps of adamw", "float32", None, 3.4e-4, 1.2e-4, "head.weight"),
    Rung("training on digits", "float64", 0.0, 0.0, 0.0, "predictions", equal=360, total=360),
)
# TensorFlow's own file is missing, so its size was not measured.
SHIPPED = {
    "torch": {
        "state-dict": Shipped("ok", 140_432),
        "onnx": Shipped("ok", 147_876),
        "tflite-int8": Shipped("impossible", None, "PyTorch writes no TFLite"),
        "torch-export": Shipped("failed", 160_001, "agreement 97.1%"),
    },
    "tensorflow": {"onnx": Shipped("ok", 151_020), "tflite-int8": Shipped("ok", 45_112)},
}


def make_comparison(num_sides=2, num_seeds=3, num_classes=10, num_epochs=10, num_images=None, gap=0.0):
    """A comparison of `num_sides` sides; the second side is better by about `gap`, in units of its logits."""
    return deepcopy(_made(num_sides, num_seeds, num_classes, num_epochs, num_images, gap))


def make_pictures(comparison):
    """Digits for the images of the gallery."""
    images = DIGITS.images
    entries = comparison["gallery"]["disagreements"] + comparison["gallery"]["shared_mistakes"]
    return {
        entry["id"]: (images[entry["id"] % len(images)] * 255 / 16).astype(np.uint8)[..., None] for entry in entries
    }


@cache
@patch.object(statistics, "NUM_RESAMPLES", 100)
def _made(num_sides, num_seeds, num_classes, num_epochs, num_images, gap):
    rng = np.random.default_rng(0)
    is_digits = num_classes == 10 and num_images is None
    labels = DIGITS.target[:900] if is_digits else rng.integers(0, num_classes, num_images or 40 * num_classes)
    names = tuple(str(k) if num_classes == 10 else f"class {k}" for k in range(num_classes))
    setup = zoo.model("cnn", (8, 8, 1), num_classes, (0.3,), (0.4,)), Recipe(epochs=num_epochs, precision="bfloat16")
    true, near = np.eye(num_classes)[labels], np.eye(num_classes)[(labels * 7 + 3) % num_classes]
    hard = rng.normal(0, 1.4, true.shape)  # all runs find the same images hard
    arms = []
    for place, (name, engine) in enumerate(SIDES[:num_sides]):
        ease = 5.6 + (gap if place == 1 else 0) - 0.6 * max(place - 1, 0)
        drawn = [ease * true + 1.5 * near + hard + rng.normal(0, 0.5, true.shape) for _ in range(num_seeds)]
        runs = [_run(setup, engine, seed, 1.3 * drawn[seed], labels, names, rng) for seed in range(num_seeds)]
        arms.append(Arm(name, tuple(runs)))
    near_by = [1.3 * (ease * true + 1.5 * near + hard + rng.normal(0, 0.5, true.shape)) for _ in range(2)]
    finer = setup[0], replace(setup[1], precision="float32")
    yardsticks = {
        "threads": _run(setup, "torch", 0, near_by[0], labels, names, rng, engines=[{"engine": "torch", "threads": 2}]),
        "precision": _run(finer, "torch", 0, near_by[1], labels, names, rng),
    }
    is_explained = num_sides == 2 and num_seeds > 1
    content = findings(
        arms,
        kind="aligned",
        title="digits, cnn: PyTorch and TensorFlow",
        command=f"diptych compare digits --seeds {num_seeds}",
        margin=0.005,
        explained=_explained(setup, num_seeds, rng) if is_explained else None,
        parity=Certificate(
            "cnn", (8, 8, 1), 1, "c0ffee" * 10, 0, 50, None, ("GPUs",), (), {}, "abacus", "now", RUNGS
        ).to_json(),
        yardsticks=yardsticks,
        remarks=["The speeds were measured with 2 threads.", "No image was left out."],
    )
    content["verdict"] |= {"outcome": "equivalent", "headline": "Equivalent: the two differ by less than 0.5 points."}
    if num_seeds == 1:
        content["verdict"] |= {"outcome": "too-few", "headline": "One pair of runs is too few to tell."}
    return content


def _run(setup, engine, seed, logits, labels, names, rng, **entries):
    """A finished run without a folder."""
    spec, recipe = setup
    record = record_of(
        engine=engine,
        seed=seed,
        class_names=names,
        split_sizes={"train": 1437, "validation": 0, "test": len(labels)},
        spec=model_to_json(spec),
        recipe=recipe_to_json(recipe),
        **entries,
    )
    run = FinishedRun(Run(Path(f"runs/digits-cnn-{engine}-s{seed}")), record, logits.astype(np.float32), labels)
    epochs = [
        epoch_of(number) | {"train_loss": rng.uniform(0.9, 1.1) / number, "seconds": rng.uniform(2.5, 3.5)}
        for number in range(1, recipe.epochs + 1)
    ]
    measured = {name: [float(rng.uniform(1e4, 1.5e4))] for name in ("train_throughput", "predict_throughput")}
    # Instead of reading the run's files.
    vars(run).update(epochs=convert(epochs, list[Epoch]), cost=convert(COST | measured, Cost), shipped=SHIPPED[engine])
    return run


def _explained(setup, num_seeds, rng):
    arms = ("aligned", "native", *(default.key for default in defaults.of(setup)))
    measured = {arm: {engine: rng.normal(0.95, 0.01, num_seeds) for engine in ("torch", "tensorflow")} for arm in arms}
    return defaults.explain(measured, setup, 1e-3)


LONG = "a class with a name that is longer than anybody would like it to be"
LONG_WORD = "Pneumonoultramicroscopicsilicovolcanoconiosis"


def long_names():
    comparison = make_comparison(num_classes=12, num_images=400, num_seeds=2)
    names = [LONG, LONG_WORD, *comparison["subject"]["class_names"][2:]]
    comparison["subject"]["class_names"] = names
    for entry, name in zip(comparison["per_class"], names, strict=True):
        entry["name"] = name
    comparison["sides"][0]["name"] = "PyTorch with a long name, compiled, on a machine far away"
    comparison["sides"][1]["name"] = LONG_WORD
    return comparison


SHAPES = {
    "two": make_comparison,
    "one": lambda: make_comparison(num_seeds=1, num_epochs=1),
    "three": lambda: make_comparison(num_sides=3, gap=0.5),
    "six": lambda: make_comparison(num_sides=6, num_seeds=2),
    "binary": lambda: make_comparison(num_classes=2, num_images=300),
    "hundred": lambda: make_comparison(num_classes=100),
    "long": long_names,
}
