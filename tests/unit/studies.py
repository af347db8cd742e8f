"""Studies of invented trials: what `study.json` holds, for a random search whose accuracies follow a formula."""

import math
from copy import deepcopy
from functools import cache

import numpy as np

SPACE = [
    ("optimizer", ["adamw", "adam", "sgd", "rmsprop"], "The optimizer."),
    ("learning_rate", (3e-4, 3e-2, "log"), "The peak learning rate."),
    ("decoupled_decay", (1e-3, 0.3, "log"), "Weight decay that does not depend on the gradient."),
    ("batch_size", (32, 256, "int log"), "Images per step."),
    ("schedule", ["one_cycle", "cosine", "constant"], "The learning-rate schedule."),
    ("augmentation", ["none", "flip", "flip and crop", "flip, crop, cutout"], "How training images are changed."),
    ("label_smoothing", (0.0, 0.2, ""), "The fraction of each target that is spread over all classes."),
    ("ema_decay", [None, 0.99, 0.999], "The decay of the average of the weights."),
    ("dropout", (0.0, 0.5, ""), "The share of features that are dropped."),
    ("width", (16, 64, "int log"), "Filters of the first block."),
    ("depth", (2, 4, "int"), "Blocks of convolutions."),
    ("momentum", (0.8, 0.99, ""), "The momentum of SGD."),
]
DEFAULTS = ["adamw", 2e-3, 0.05, 64, "one_cycle", "flip and crop", 0.0, None, 0.25, 32, 3]
EPOCHS = 10


def make_study(num_trials=40, with_latency=False):
    """A finished study of `num_trials` trials, the first of them with the default recipe."""
    return deepcopy(_made(num_trials, with_latency))


@cache
def _made(num_trials, with_latency):
    rng = np.random.default_rng(4)
    space = [_parameter(*entry) for entry in SPACE]
    trials = [_trial(number, space, rng, with_latency) for number in range(num_trials)]
    finished = [trial for trial in trials if trial["state"] == "finished"]
    best = max(finished, key=lambda trial: trial["accuracy"])
    best_so_far = []
    for trial in finished:
        if not best_so_far or trial["accuracy"] > best_so_far[-1][1]:
            best_so_far.append([trial["number"], trial["accuracy"]])
    shares = np.sort(rng.dirichlet(np.full(len(space), 0.6)))[::-1]
    order = ["learning_rate", *(entry["name"] for entry in space if entry["name"] != "learning_rate")]
    epochs = sum(trial["epochs"] for trial in trials)
    whole = EPOCHS * sum(trial["state"] in {"finished", "pruned"} for trial in trials)
    finalists = sorted(finished, key=lambda trial: -trial["accuracy"])[:3]
    return {
        "version": 1,
        "title": f"Fashion-MNIST, cnn: {num_trials} trial{'s' * (num_trials > 1)}",
        "command": f"diptych tune fashion-mnist --trials {num_trials}",
        "subject": {
            **{"data": "fashion-mnist", "num_classes": 10, "num_train": 54_000, "num_validation": 6_000},
            **{"num_test": 10_000, "model": "cnn", "engine": "torch", "threads": 2, "epochs": EPOCHS, "seed": 0},
            "machine": {"processor": "abacus", "cores": 2, "system": "Linux 6", "python": "3.12.1"},
        },
        "space": space,
        "trials": trials,
        "best": best["number"],
        "importance": [[name, float(share)] for name, share in zip(order, shares, strict=True)],
        "best_so_far": best_so_far,
        "finalists": [
            {
                "trial": trial["number"],
                "validation": {"mean": trial["accuracy"] - 0.0011, "std": 0.0012, "n": 6},
                "runs": [f"finalists/{trial['number']:04}-{engine}" for engine in ("torch", "tensorflow")],
            }
            for trial in finalists
        ],
        "result": _result(best["number"], rng),
        "changes": [
            [name, value, best["params"][name]]
            for name, value in trials[0]["params"].items()
            if name in best["params"] and best["params"][name] != value
        ],
        "costs": {
            **{"seconds": 3_725.4, "training_seconds": 3_390.2, "overhead": 0.0899, "epochs": epochs},
            **{"epochs_saved": whole - epochs, "share_saved": (whole - epochs) / whole},
        },
        "remarks": ["Trial 12 was resumed after 3 epochs.", "The latency of trials was not measured."],
    }


def _result(chosen, rng):
    def side(mean):
        engines = {engine: list(mean + rng.normal(0, 0.001, 3)) for engine in ("torch", "tensorflow")}
        values = [value for several in engines.values() for value in several]
        return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)), "n": 6, **engines}

    tuned, default = side(0.9391), side(0.9310)
    means = f"tuned {100 * tuned['mean']:.1f} ± 0.1%, default {100 * default['mean']:.1f} ± 0.1%"
    return {
        "tuned": tuned,
        "default": default,
        "difference": {"mean": tuned["mean"] - default["mean"], "low": 0.0067, "high": 0.0094},
        "engines_p": 0.6213,
        "sentence": f"{means}, PyTorch and TensorFlow alike (p = 0.62)",
        "chosen": chosen,
    }


def _parameter(name, values, meaning):
    if isinstance(values, list):
        return {"name": name, "kind": "choice", "choices": values, "meaning": meaning}
    low, high, kind = values
    numbers = {"low": low, "high": high, "log": "log" in kind}
    return {"name": name, "kind": "int" if "int" in kind else "float", **numbers, "meaning": meaning}


def _drawn(parameter, rng):
    if parameter["kind"] == "choice":
        return parameter["choices"][rng.integers(len(parameter["choices"]))]
    low, high = parameter["low"], parameter["high"]
    value = low * (high / low) ** rng.random() if parameter["log"] else low + (high - low) * rng.random()
    return round(value) if parameter["kind"] == "int" else float(value)


def _trial(number, space, rng, with_latency):
    params = {parameter["name"]: _drawn(parameter, rng) for parameter in space}
    if number == 0:
        params = dict(zip(params, DEFAULTS, strict=False))
    elif params["optimizer"] != "sgd":
        del params["momentum"]
    rate, width, depth = (params[name] for name in ("learning_rate", "width", "depth"))
    size = width * width * 9 * depth * 12
    final = (
        0.941 - 0.03 * math.log10(rate / 2e-3) ** 2 + 0.006 * math.log2(width / 32) - 0.02 * params["label_smoothing"]
    )
    final -= 0.004 * (params["augmentation"] == "none") + abs(rng.normal(0, 0.004))
    curve = [[e, float(final - 0.16 * math.exp(-e / 2.2) + rng.normal(0, 0.0015))] for e in range(1, EPOCHS + 1)]
    state, note, epochs = "finished", "default recipe" if number == 0 else "", EPOCHS
    if number and number % 13 == 11:
        state, note, epochs = "failed", "The loss is infinite at step 412.", 2
    elif number and number % 17 == 9:
        state, note, epochs, size = "rejected", "1,327,104 parameters; --max-params is 1,000,000.", 0, 1_327_104
    elif number > 4 and final < 0.93 and rng.random() < 0.8:
        state, epochs = "pruned", int(rng.choice([1, 3], p=[0.7, 0.3]))
    has_accuracy = state in {"finished", "pruned"}
    return {
        **{"number": number, "state": state, "note": note, "params": params},
        "accuracy": curve[epochs - 1][1] if has_accuracy else None,
        **{"epochs": epochs, "of_epochs": EPOCHS, "seconds": round(epochs * (4 + size / 2e5), 2)},
        **{"num_parameters": size + 10 * width, "flops": size * 90},
        "latency_ms": 0.2 + size / 1.3e6 + rng.random() / 20 if with_latency and state == "finished" else None,
        **{"curve": curve[:epochs], "run": f"trials/{number:04}"},
    }


LONG = "learning_rate_of_the_second_block_of_convolutions_after_the_warmup"


def long_names():
    study = make_study()
    for parameter in study["space"][:3]:
        old, parameter["name"] = parameter["name"], f"{parameter['name']}_{LONG}"
        for trial in study["trials"]:
            trial["params"] = {f"{name}_{LONG}" if name == old else name: v for name, v in trial["params"].items()}
        study["importance"] = [[f"{n}_{LONG}" if n == old else n, share] for n, share in study["importance"]]
        study["changes"] = [[f"{n}_{LONG}" if n == old else n, *values] for n, *values in study["changes"]]
    study["space"][4]["choices"] = [f"{choice}_with_a_long_name" for choice in study["space"][4]["choices"]]
    for trial in study["trials"]:
        trial["params"]["schedule"] += "_with_a_long_name"
        trial["note"] += " word" * 60 if trial["state"] == "failed" else ""
    study["title"] = f"Fashion-MNIST: {LONG}"
    return study


def unfinished(num_trials):
    """A study that was stopped before any trial had finished."""
    study = make_study(max(num_trials, 1))
    study["trials"] = study["trials"][:num_trials]
    for trial in study["trials"]:
        trial |= {"state": "failed", "accuracy": None, "curve": [], "note": "The loss is infinite at step 1."}
    none = {"best": None, "importance": [], "best_so_far": [], "finalists": [], "result": None, "changes": []}
    return study | none | {"costs": {**study["costs"], "share_saved": 0.0}}


def without_result():
    return make_study(12) | {"result": None, "finalists": [], "importance": [], "changes": []}


def default_chosen():
    study = make_study()
    study["result"] |= {"chosen": "default", "engines_p": None}
    study["result"]["difference"] = {"mean": 0.0, "low": None, "high": None}
    return study | {"changes": []}


def one_framework():
    """A study whose finalists were trained with one seed, in one framework."""
    study = make_study(12)
    for side in (study["result"]["tuned"], study["result"]["default"]):
        side |= {"std": None, "n": 1, "torch": side["torch"][:1]}
        del side["tensorflow"]
    study["result"] |= {"difference": None, "engines_p": None}
    study["finalists"][0] |= {"trial": "default", "validation": {"mean": 0.93, "std": None, "n": 1}}
    study["costs"] |= {"overhead": None, "share_saved": None}
    study["subject"]["machine"]["cores"] = None
    return study


STUDIES = {
    "study": make_study,
    "study with latency": lambda: make_study(40, with_latency=True),
    "study of one trial": lambda: make_study(1),
    "study without trials": lambda: unfinished(0),
    "study of failures": lambda: unfinished(5),
    "study without result": without_result,
    "study that chose the default": default_chosen,
    "study in one framework": one_framework,
    "study of 200 trials": lambda: make_study(200),
    "study with long names": long_names,
}
