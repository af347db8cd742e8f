"""Invented comparisons, as `comparison.json` holds them: simulated answers to digits, measured as real ones are."""

from functools import cache

import numpy as np
from scipy import stats
from sklearn.datasets import load_digits

NUM_BINS = 15
MEASURES = [
    ("accuracy", "accuracy", "share", "higher"),
    ("macro_f1", "macro F1", "share", "higher"),
    ("loss", "loss", "nats", "lower"),
    ("calibration_error", "calibration error", "share", "lower"),
]
SIDES = [
    ("PyTorch", "torch"),
    ("TensorFlow", "tensorflow"),
    ("PyTorch, float32", "torch"),
    ("TensorFlow, float32", "tensorflow"),
    ("PyTorch, no augmentation at all", "torch"),
    ("TensorFlow, eager", "tensorflow"),
]
TORCH_SOURCE = '''"""What a PyTorch user writes for digits."""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 32, 3, padding=1)  # same size
        self.head = nn.Linear(32 * 8 * 8, 10)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).flatten(1))


for epoch in range(10):
    print(f"epoch {epoch}: <b>not bold</b> & nothing else, however long a line of source may become on the page")
'''
KERAS_SOURCE = '''"""What a Keras user writes for digits."""

import keras

model = keras.Sequential([
    keras.layers.Conv2D(32, 3, padding="same", activation="relu"),  # same size
    keras.layers.Flatten(),
    keras.layers.Dense(10),
])
'''


def make_comparison(num_sides=2, num_seeds=3, num_classes=10, num_epochs=10, num_images=None, gap=0.0, seed=0):
    """A comparison of `num_sides` sides; the second side is better by about `gap`, in units of its logits."""
    rng = np.random.default_rng(seed)
    labels = _labels(num_classes, num_images, rng)
    probabilities = _answers(labels, num_sides, num_seeds, num_classes, gap, rng)
    measured = [[_measure(one, labels) for one in side] for side in probabilities]
    names = [str(k) if num_classes == 10 else f"class {k}" for k in range(num_classes)]
    return {
        "format": "diptych-comparison",
        "version": 1,
        "created": "2026-11-21T15:30:00+00:00",
        "command": f"diptych compare digits --seeds {num_seeds}",
        "title": "digits, cnn: PyTorch and TensorFlow",
        "kind": "aligned",
        "verdict": {
            "headline": "Equivalent: the two differ by less than 0.5 points."
            if num_seeds > 1
            else "One pair of runs is too few to tell.",
            "details": [
                "The mean difference is +0.07 points, with a 95% interval from −0.21 to +0.35 points over 3 seeds.",
                "Two models of a pair classify 95.2% of the images the same.",
                "3 pairs detect a true difference of 0.31 points four times out of five.",
            ],
            "outcome": "equivalent" if num_seeds > 1 else "too-few",
        },
        "subject": {
            "data": "digits",
            "fingerprint": "5f0b4c7ad1e2f3a4b5c6d7e8f90123456789abcdef0123456789abcdef012345",
            "num_train": 1437,
            "num_test": len(labels),
            "class_names": names,
            "margin": 0.005,
            "seeds": list(range(num_seeds)),
        },
        "sides": [_side(k, num_seeds, num_epochs) for k in range(num_sides)],
        "pairs": {str(j): _pairs(measured[0], measured[j], labels) for j in range(1, num_sides)},
        "contrasts": [_contrast(measured[0], measured[j], labels, j) for j in range(1, num_sides)],
        "curves": [_curves(side, num_epochs, rng) for side in measured],
        "confusion": [_confusion(side, labels, num_classes).tolist() for side in measured],
        "per_class": [_class(name, k, measured, labels) for k, name in enumerate(names)],
        "reliability": [_reliability(side, labels) for side in measured],
        "costs": _costs(num_sides, num_seeds, rng),
        "conditions": {
            "threads": 2,
            "precision": "bfloat16",
            "processor": "Intel Xeon Platinum 8481C",
            "cores": 2,
            "system": "Linux 6.1",
            "python": "3.11.7",
            "versions": {"diptych": "0.1.0", "numpy": "2.4.6", "torch": "2.13.0", "tensorflow": "2.21.0"},
        },
        "explained": _explained(num_seeds) if num_sides == 2 and num_seeds > 1 else None,
        "parity": _parity(),
        "drift": [
            "Dropout: each framework draws its own random masks.",
            "Rounding: bfloat16 keeps 8 significant bits.",
        ],
        "disturbed": [],
        "gallery": _gallery(probabilities, labels, num_seeds),
        "code": {
            "scripts": [
                {"engine": "torch", "file": "train_torch.py", "source": TORCH_SOURCE, **_lines(21, 38)},
                {"engine": "tensorflow", "file": "train_tensorflow.py", "source": KERAS_SOURCE, **_lines(14, 33)},
            ],
            "left_out": ["cutout", "the running average of the weights"],
        },
        "deployment": _deployment(num_sides),
        "differences": _differences(),
        "settings": _settings(),
        "remarks": ["The speeds were measured with 2 threads.", "No image was left out."],
    }


def make_pictures(comparison):
    """Digits for the images of the gallery."""
    images = _digits().images
    entries = comparison["gallery"]["disagreements"] + comparison["gallery"]["shared_mistakes"]
    return {
        entry["id"]: (images[entry["id"] % len(images)] * 255 / 16).astype(np.uint8)[..., None] for entry in entries
    }


@cache
def _digits():
    return load_digits()


def _labels(num_classes, num_images, rng):
    if num_classes == 10 and num_images is None:
        return _digits().target[:900]
    return rng.integers(0, num_classes, num_images or 40 * num_classes)


def _answers(labels, num_sides, num_seeds, num_classes, gap, rng):
    """Probabilities, [side][seed] (N, C): what is hard about an image is shared, the rest is each run's own."""
    true = np.eye(num_classes)[labels]
    near = np.eye(num_classes)[(labels * 7 + 3) % num_classes]
    hard = rng.normal(0, 1.4, (len(labels), num_classes))
    sides = []
    for j in range(num_sides):
        runs = []
        for _ in range(num_seeds):
            own = rng.normal(0, 0.5, (len(labels), num_classes))
            logits = (5.6 + (gap if j == 1 else 0) - 0.6 * max(j - 1, 0)) * true + 1.5 * near + hard + own
            exponents = np.exp(1.3 * (logits - logits.max(axis=1, keepdims=True)))
            runs.append(exponents / exponents.sum(axis=1, keepdims=True))
        sides.append(runs)
    return sides


def _measure(probabilities, labels):
    said, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = said == labels
    f1 = _f1(said, labels, probabilities.shape[1])
    place = np.minimum((sure * NUM_BINS).astype(int), NUM_BINS - 1)
    gaps = [abs(right[place == k].sum() - sure[place == k].sum()) for k in range(NUM_BINS)]
    return {
        "said": said,
        "sure": sure,
        "right": right,
        "f1": f1,
        "accuracy": float(right.mean()),
        "macro_f1": float(f1.mean()),
        "loss": float(-np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean()),
        "calibration_error": float(np.sum(gaps) / len(labels)),
    }


def _f1(said, labels, num_classes):
    both = np.bincount(labels[said == labels], minlength=num_classes)
    sums = np.bincount(said, minlength=num_classes) + np.bincount(labels, minlength=num_classes)
    return 2 * both / np.maximum(sums, 1)


def _side(index, num_seeds, num_epochs):
    name, engine = SIDES[index]
    return {
        "name": name,
        "engine": engine,
        "model": "cnn",
        "num_parameters": 34_826,
        "flops": 1_234_567,
        "runs": [f"runs/digits-cnn-{engine}-{index}-seed{seed}" for seed in range(num_seeds)],
        "epochs": num_epochs,
        "compile": "eager" if engine == "torch" else "tf.function",
    }


def _pairs(first, second, labels):
    return [
        {
            "seed": seed,
            **{key: [a[key], b[key]] for key, *_ in MEASURES},
            "agreement": float((a["said"] == b["said"]).mean()),
            "only_first_right": int((a["right"] & ~b["right"]).sum()),
            "only_second_right": int((~a["right"] & b["right"]).sum()),
            "mcnemar_p": 0.0312 + 0.3 * seed,
        }
        for seed, (a, b) in enumerate(zip(first, second, strict=True))
    ]


def _contrast(first, second, labels, j):
    agreement = float(np.mean([(a["said"] == b["said"]).mean() for a, b in zip(first, second, strict=True)]))
    measures = [_contrasted(first, second, *measure) for measure in MEASURES]
    return {"second": j, "agreement": agreement, "measures": measures}


def _contrasted(first, second, name, title, unit, better):
    values = np.array([[run[name] for run in side] for side in (first, second)])
    apart, many = values[1] - values[0], len(first) > 1
    deviation = float(apart.std(ddof=1)) if many else 0.0
    reach = float(stats.t.ppf(0.975, len(first) - 1)) * deviation / len(first) ** 0.5 if many else 0.0
    mean = float(apart.mean())
    difference = {
        "num_pairs": len(first),
        "mean": mean,
        "deviation": deviation,
        "low": mean - reach,
        "high": mean + reach,
        "p_value": 0.412,
    }
    of_accuracy = name == "accuracy"
    return {
        "name": name,
        "title": title,
        "unit": unit,
        "better": better,
        "means": values.mean(axis=1).tolist(),
        "deviations": values.std(axis=1, ddof=1).tolist() if many else None,
        "difference": difference if many else None,
        "image_interval": {"low": mean - 0.0061, "high": mean + 0.0058} if of_accuracy else None,
        "equivalence_p": 0.0213 if of_accuracy and many else None,
        "detectable": 0.0031 if of_accuracy and many else None,
    }


def _curves(side, num_epochs, rng):
    epochs = np.arange(1, num_epochs + 1)

    def falling(run, offset):
        return (run["loss"] + offset + 1.6 * np.exp(-epochs / 2.2) + rng.normal(0, 0.015, num_epochs)).tolist()

    def rising(run, offset):
        values = run["accuracy"] - offset - 0.4 * np.exp(-epochs / 1.8) + rng.normal(0, 0.004, num_epochs)
        return np.minimum(values, 1.0).tolist()

    return {
        "epochs": epochs.tolist(),
        "train_loss": [falling(run, -0.02) for run in side],
        "train_accuracy": [rising(run, -0.01) for run in side],
        "validation_loss": [falling(run, 0.03) for run in side],
        "validation_accuracy": [rising(run, 0.0) for run in side],
    }


def _confusion(side, labels, num_classes):
    matrix = np.zeros((num_classes, num_classes), int)
    for run in side:
        np.add.at(matrix, (labels, run["said"]), 1)
    return matrix


def _class(name, k, measured, labels):
    seeds = [[float(run["f1"][k]) for run in side] for side in measured]
    return {
        "name": name,
        "support": int((labels == k).sum()),
        "f1": [float(np.mean(runs)) for runs in seeds],
        "f1_seeds": seeds,
    }


def _reliability(side, labels):
    sure = np.concatenate([run["sure"] for run in side])
    right = np.concatenate([run["right"] for run in side])
    place = np.minimum((sure * NUM_BINS).astype(int), NUM_BINS - 1)
    counts = np.bincount(place, minlength=NUM_BINS)
    some = np.maximum(counts, 1)
    return {
        "edges": np.linspace(0, 1, NUM_BINS + 1).tolist(),
        "counts": counts.tolist(),
        "confidence": (np.bincount(place, sure, NUM_BINS) / some).tolist(),
        "accuracy": (np.bincount(place, right, NUM_BINS) / some).tolist(),
        "expected_calibration_error": float(np.mean([run["calibration_error"] for run in side])),
    }


def _costs(num_sides, num_seeds, rng):
    table = [
        (
            "train_throughput",
            "training throughput",
            "images/s",
            "higher",
            12_300.0,
            "median over epochs, first left out",
        ),
        ("step_time", "time of a training step", "ms", "lower", 5.21, "batches of 64, warm-up left out"),
        ("first_step", "first step", "s", "lower", 1.83, "from the start of the process to the end of the step"),
        ("train_seconds", "training", "s", "lower", 31.4, "without loading the data"),
        ("memory", "peak memory", "bytes", "lower", 6.1e8, "largest resident set of the process"),
        ("latency", "latency of one image, 95th percentile", "ms", "lower", 0.412, "median of 1,000 calls"),
    ]
    return [_cost(*row, num_sides, num_seeds, rng) for row in table]


def _cost(key, title, unit, better, size, note, num_sides, num_seeds, rng):
    values = [(size * (1 + 0.35 * j) * rng.uniform(0.93, 1.07, num_seeds)).tolist() for j in range(num_sides)]
    if key == "latency":
        values[-1] = []
    return {
        "key": key,
        "title": title,
        "unit": unit,
        "better": better,
        "values": values,
        "medians": [float(np.median(one)) if one else None for one in values],
        "low": [min(one) if one else None for one in values],
        "high": [max(one) if one else None for one in values],
        "note": note,
    }


def _effect(mean, reach, p_value=0.2):
    return {"mean": mean, "low": mean - reach, "high": mean + reach, "p_value": p_value}


def _explained(num_seeds):
    rows = [
        ("norm-momentum", "running averages of batch norm", ["0.9", "0.99"], -0.0021, -0.0183, 0.004),
        ("initial-weights", "initial weights", ["Kaiming uniform", "Glorot uniform"], 0.0006, -0.0011, 0.003),
        ("epsilon", "epsilon of Adam", ["1e-8", "1e-7"], 0.0, -0.0004, 0.0015),
        ("decay", "weight decay of AdamW", ["0.01", "0.004"], -0.0032, -0.0058, 0.0042),
    ]
    return {
        "aligned": {"mean": 0.0007, "low": -0.0021, "high": 0.0035},
        "native": {"mean": -0.0242, "low": -0.0291, "high": -0.0193},
        "defaults": [
            {
                "key": key,
                "title": title,
                "values": values,
                "effects": [_effect(first, reach), _effect(second, reach, 0.0123)],
                "gap": _effect(second - first, 1.3 * reach, 0.0456),
            }
            for key, title, values, first, second, reach in rows
        ],
        "sum": float(sum(second - first for *_, first, second, _ in rows)),
    }


def _parity():
    rungs = [
        ("weights, there and back", "float64", 0.0, 0.0, 0.0, "", "pass"),
        ("forward pass in evaluation", "float64", 1e-9, 3.2e-16, 4.4e-16, "logits", "pass"),
        ("gradients", "float64", 1e-9, 8.1e-15, 2.0e-16, "stem.conv.weight", "pass"),
        ("50 steps of adamw", "float32", None, 3.4e-4, 1.2e-4, "head.weight", "seen"),
    ]
    keys = ("name", "precision", "tolerance", "relative", "absolute", "worst", "status")
    return {
        "format": "diptych-certificate",
        "version": 1,
        "passed": True,
        "verdict": "The same model in PyTorch and in TensorFlow: all 3 judged comparisons hold, in float64 to 8e-15.",
        "summary": "The same model: same predictions on 360 of 360 test images; "
        "float64 difference 5e-15 after 50 steps.",
        "same_predictions": 360,
        "num_predictions": 360,
        "float64_difference": 5e-15,
        "steps": 50,
        "spec_digest": "c0ffee" * 10 + "abcd",
        "rungs": [{**dict(zip(keys, rung, strict=True)), "departs_at": None, "note": ""} for rung in rungs],
    }


def _gallery(probabilities, labels, num_seeds):
    said = np.array([[run.argmax(axis=1) for run in side] for side in probabilities[:2]])
    apart = (said[0] != said[1]).sum(axis=0)
    differing = np.flatnonzero(apart)
    order = differing[np.argsort(-apart[differing], kind="stable")][:48]
    alike = (said == said[0, 0]).all(axis=(0, 1)) & (said[0, 0] != labels)
    shared = np.flatnonzero(alike)

    def entry(image, seed):
        runs = [side[seed][image] for side in probabilities[:2]]
        return {
            "id": int(image),
            "label": int(labels[image]),
            "predicted": [int(run.argmax()) for run in runs],
            "probabilities": [float(run.max()) for run in runs],
        }

    return {
        "num_disagreements": len(differing),
        "num_images": len(labels),
        "disagreements": [
            {**entry(image, seed), "seed": seed, "num_pairs": int(apart[image])}
            for image in order
            for seed in [int(np.argmax(said[0, :, image] != said[1, :, image]))]
        ],
        "num_shared": len(shared),
        "shared_mistakes": [entry(image, 0) for image in shared[:24]],
    }


def _lines(model, training):
    return {"model_lines": model, "training_lines": training}


def _deployment(num_sides):
    others = num_sides - 2
    rows = [
        ("safetensors", "weights alone", ["ok", "ok"], [None, None], [140_432, 140_432]),
        ("onnx", "ONNX, opset 18", ["ok", "ok"], [None, None], [147_876, 151_020]),
        (
            "tflite-int8",
            "TFLite, 8-bit integers",
            ["impossible", "ok"],
            ["PyTorch writes no TFLite", None],
            [None, 45_112],
        ),
        (
            "torch-export",
            "an exported program",
            ["failed", "not written by this framework"],
            ["agreement 97.1%", None],
            [160_001, None],
        ),
    ]
    return [
        {
            "format": form,
            "summary": summary,
            "status": status + ["unverified"] * others,
            "reason": reason + [None] * others,
            "num_bytes": num_bytes + [None] * others,
        }
        for form, summary, status, reason, num_bytes in rows
    ]


def _differences():
    return [
        {
            "key": "image-layout",
            "torch": "Maps are (N, C, H, W).",
            "tensorflow": "Maps are (N, H, W, C).",
            "rule": "Images are (N, H, W, C); a transposed view, never a copy, reaches PyTorch.",
        },
        {
            "key": "flatten-order",
            "torch": "Channel, height, width.",
            "tensorflow": "Height, width, channel.",
            "rule": "PyTorch's outside; the rows of a Dense kernel after a Flatten follow Keras's order inside.",
        },
    ]


def _settings():
    layers = [
        {"type": "Normalize", "mean": [0.3], "std": [0.4]},
        {"type": "Conv2D", "name": "stem.conv", "filters": 32, "kernel": 3, "padding": 1},
        {"type": "Flatten"},
        {"type": "Dense", "name": "head", "units": 10},
    ]
    return {
        "spec": {"format": "diptych-model", "version": 1, "name": "cnn", "input_shape": [8, 8, 1], "layers": layers},
        "recipe": {"epochs": 10, "batch_size": 64, "optimizer": "adamw", "learning_rate": None, "no_decay": ["bias"]},
        "other": {"TensorFlow": {"compile": "tf.function"}},
    }
