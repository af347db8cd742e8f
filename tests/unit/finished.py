"""Finished runs without a training: run directories whose answers are drawn by NumPy."""

import json

import msgspec
import numpy as np

from diptych.artifacts.events import append_event
from diptych.artifacts.record import RunRecord
from diptych.artifacts.run import Predictions, Run
from diptych.artifacts.store import write_json
from diptych.evaluation import evaluate_logits
from diptych.spec import Recipe, zoo
from diptych.spec.codec import model_to_json, recipe_to_json

NUM_IMAGES, CLASSES = 200, ("apple", "pear", "plum")
# cost.json, as versions before 0.2 wrote it.
COST = {
    "import_seconds": 1.0,
    "first_step_seconds": 2.0,
    "train_throughput": [90.0, 100.0, 110.0],
    "predict_throughput": [500.0],
    "latency_p50": 0.001,
    "latency_p95": 0.002,
    "peak_memory": 10**9,
}


def labels():
    return np.arange(NUM_IMAGES) % len(CLASSES)


def logits(share_right, seed):
    """Answers of which about this share is right."""
    generator = np.random.default_rng(seed)
    answers_n = (labels() + (generator.random(NUM_IMAGES) >= share_right)) % len(CLASSES)
    logits_nk = generator.normal(0, 0.3, (NUM_IMAGES, len(CLASSES))).astype(np.float32)
    logits_nk[np.arange(NUM_IMAGES), answers_n] += 3
    return logits_nk


def record_of(engine="torch", **entries):
    """A run's record; entries as in `run.json`."""
    content = {
        "format": "diptych-run",
        "version": 1,
        "status": "finished",
        "engine": engine,
        "seed": 0,
        "data": {"data": "fruit", "name": "fruit", "fingerprint": "f", "test_fingerprint": "t"},
        "class_names": CLASSES,
        "split_sizes": {"train": 100, "validation": 20, "test": NUM_IMAGES},
        "preprocessing": {"height": 8, "width": 8, "channels": 1, "resize": "area"},
        "spec": model_to_json(zoo.model("mlp", (8, 8, 1), len(CLASSES), (0.5,), (0.25,))),
        "recipe": recipe_to_json(Recipe()),
        "machine": {"processor": "abacus", "cores": 1, "system": "none", "python": "3.11"},
        "versions": {engine: "1.0"},
        "engines": [{"engine": engine, "threads": 1}],
        **entries,
    }
    return msgspec.convert(content, RunRecord)


def amend(run, **entries):
    """Change entries of `run.json`, which need not be valid then."""
    run.record_path.write_text(json.dumps({**json.loads(run.record_path.read_text()), **entries}))


def finished(parent, name, *, engine="torch", seed=0, model="mlp", logits_nk=None, record=None, **changes):
    """A run directory with all that a comparison reads."""
    logits_nk = logits(0.9, seed + 100 * (engine == "torch")) if logits_nk is None else logits_nk
    labels_n = changes.pop("labels_n", labels())
    entries = {
        "engine": engine,
        "seed": seed,
        "spec": model_to_json(zoo.model(model, (8, 8, 1), len(CLASSES), (0.5,), (0.25,))),
        "recipe": recipe_to_json(Recipe(epochs=2, precision="float32", flip="none", **changes)),
    }
    run = Run.create(parent, name, record_of(**entries | (record or {})))
    for epoch in (1, 2):
        append_event(run.events_path, "epoch", epoch_of(epoch))
    write_json(run.metrics_path, evaluate_logits(logits_nk, labels_n, CLASSES))
    run.write_predictions(Predictions(logits_nk, labels_n, np.arange(len(labels_n))))
    run.seal()
    return run


def epoch_of(epoch):
    return {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "train_accuracy": 0.8 - 0.2 / epoch,
        "validation_loss": 1.1 / epoch,
        "validation_accuracy": 0.75 - 0.2 / epoch,
        "learning_rate": 0.1,
        "images_per_second": 1000.0 * epoch,
        "seconds": 2.0,
    }
