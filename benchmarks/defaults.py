"""Test accuracy after N epochs, and time to a test accuracy, of the default recipe and of plain scripts.

`ours` is `diptych train DATA --epochs N`, nothing else changed but the model. `plain` is a script as in the tutorials
of Keras and PyTorch (plain_keras_epochs.py, plain_torch_epochs.py): the same network, Adam with its default rate, no
augmentation, batch sizes 32 and 64. Both are tested on the same images. `plain` trains on all others; `ours` holds
out 10% of them for validation, as it does by default.

`plain` is one training of the largest budget, tested after every epoch: nothing in it depends on the budget. The
default recipe does, so `ours` is a training per budget, and its time to a mark is that of the smallest budget of
1, 2, 3, 4, 6, 8, 12, 16, 20 epochs that reaches it. Times are wall clock since the command started; `plain` reads an
.npz, and `ours` has its images cached where they are JPEGs.

Results are merged into `benchmarks/defaults.json` after every training, so this can be run in pieces.

    python benchmarks/defaults.py [--data digits table flowers fashion-mnist cifar10] [--epochs 2 4 8 20] [--seeds 3]
        [--engines torch tensorflow] [--contenders ours plain] [--batch-sizes 32 64] [--no-marks] [--missing]
    python benchmarks/defaults.py --table
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from math import inf
from pathlib import Path
from statistics import mean, median
from typing import Any, TypeAlias

import numpy as np

from diptych.artifacts.store import write_json, write_parts
from diptych.data.datasets import Dataset, load
from diptych.data.preprocess import channel_statistics
from diptych.processes import num_threads
from diptych.spec import layers as L
from diptych.spec import zoo
from diptych.spec.codec import model_to_json
from diptych.training.machine import machine

HERE = Path(__file__).parent
RESULTS = Path(__file__).with_suffix(".json")
ENGINES = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
PLAIN = {"torch": "plain_torch_epochs.py", "tensorflow": "plain_keras_epochs.py"}
FILES = {"cifar10": "cifar10-jpeg.tar.gz", "flowers": "flowers128.tar.gz"}
SIDES = {"cifar10": 32, "flowers": 64}
NETWORKS = {"fashion-mnist": "fashion_cnn", "cifar10": "cifar_sequential"}
DATA = ("digits", "table", "flowers", "fashion-mnist", "cifar10")
MARKS = {"fashion-mnist": (0.90, 0.92), "cifar10": (0.70, 0.80)}
BUDGETS = (2, 4, 8, 20)
SEARCHED = (1, 2, 3, 4, 6, 8, 12, 16, 20)
IDENTITY = ("data", "engine", "contender", "epochs", "seed", "processor")
TABLE_ROWS = 10_000
Known: TypeAlias = dict[tuple[Any, ...], dict[str, Any]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=DATA, default=DATA)
    parser.add_argument("--epochs", nargs="+", type=int, default=BUDGETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=[*ENGINES])
    parser.add_argument("--contenders", nargs="+", choices=("ours", "plain"), default=("ours", "plain"))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=(32, 64), help="of the plain scripts")
    parser.add_argument("--marks", action=argparse.BooleanOptionalAction, default=True, help="also time to accuracy")
    parser.add_argument("--missing", action="store_true", help="run only what defaults.json lacks for this processor")
    parser.add_argument("--table", action="store_true", help="print the results and run nothing")
    args = parser.parse_args()
    if not args.table:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["DIPTYCH_CACHE"] = f"{folder}/cache"
            for name in args.data:
                if name != "digits" and not os.environ.get("DIPTYCH_DATA"):
                    print(f"{name} is skipped: set DIPTYCH_DATA to the folder of {FILES.get(name, 'fashion-mnist/')}.")
                    continue
                measure(prepared(name, Path(folder)), args, Path(folder))
    print("\n".join(tables()))
    return 0


@dataclass(frozen=True)
class Case:
    """A dataset: what `diptych train` is given, and the same images and test split as arrays for the plain scripts."""

    name: str
    arguments: tuple[str, ...]
    network: str
    arrays: Path
    num_train: int
    num_test: int


def prepared(name: str, folder: Path) -> Case:
    """Write the arrays of a dataset, and the model's spec if it is not built in; caches decoded images."""
    data = str(Path(os.environ.get("DIPTYCH_DATA", "")) / FILES[name]) if name in FILES else name
    if name == "table":
        data = str(pixel_table(folder / "table.csv"))
    side = SIDES.get(name)
    dataset = load(data, validation_fraction=0, image_size=(side, side) if side else None)
    arrays, splits = folder / f"{name}.npz", {"train": dataset.train, "test": dataset.test}
    content: dict[str, Any] = {f"x_{part}": np.asarray(split.images) for part, split in splits.items()}
    np.savez(arrays, **content, **{f"y_{part}": split.labels for part, split in splits.items()})
    network = NETWORKS.get(name, "padded_cnn")
    model = network
    if network == "padded_cnn":
        model = str(folder / f"{name}.json")
        write_json(Path(model), model_to_json(padded_cnn(dataset)))
    arguments = (data, "--model", model, *(("--image-size", str(side)) if side else ()))
    return Case(name, arguments, network, arrays, len(dataset.train), len(dataset.test))


def pixel_table(path: Path) -> Path:
    """Write the first training images of Fashion-MNIST as a CSV of pixels."""
    train = load("fashion-mnist", validation_fraction=0).train
    rows = np.column_stack([train.labels[:TABLE_ROWS], np.asarray(train.images[:TABLE_ROWS]).reshape(TABLE_ROWS, -1)])
    header = ",".join(["label", *(f"pixel{place}" for place in range(rows.shape[1] - 1))])
    np.savetxt(path, rows, fmt="%d", delimiter=",", header=header, comments="")
    return path


def padded_cnn(dataset: Dataset) -> Any:
    """`fashion_cnn` with padded convolutions, so that it fits images of 8 × 8."""
    graph = zoo.Graph(dataset.image_shape, *channel_statistics(dataset.train.images))
    for place, filters in enumerate((32, 64), start=1):
        graph.conv(f"conv{place}", filters, padding=1)
        graph.max_pool(f"pool{place}")
        graph.relu(f"relu{place}")
    graph.add(L.Flatten, "flatten")
    graph.add(L.Dense, "fc1", units=128)
    graph.relu("relu3")
    graph.add(L.Dropout, "dropout", rate=0.5)
    graph.add(L.Dense, "fc2", units=dataset.num_classes)
    return graph.model("padded_cnn")


def measure(case: Case, args: argparse.Namespace, folder: Path) -> None:
    """Run every contender once per seed, so that a slower machine slows down all of them."""
    marks = MARKS.get(case.name, ()) if args.marks else ()
    known = {identity(record): record for record in results()} if args.missing else {}
    plain = [f"plain {size}" for size in args.batch_sizes if "plain" in args.contenders]
    longest = max([*args.epochs, SEARCHED[-1] if marks else 0])
    for seed in range(args.seeds):
        for engine in args.engines:
            for contender in plain:
                train(case, engine, contender, longest, seed, known, folder)
            if "ours" in args.contenders:
                for epochs in args.epochs:
                    train(case, engine, "ours", epochs, seed, known, folder)
                for epochs in SEARCHED if marks else ():
                    if train(case, engine, "ours", epochs, seed, known, folder) >= max(marks):
                        break


def train(case: Case, engine: str, contender: str, epochs: int, seed: int, known: Known, folder: Path) -> float:
    """Run a training, unless it is known, and record it; return its last test accuracy."""
    record: dict[str, Any] = dict(zip(IDENTITY, (case.name, engine, contender, epochs, seed, processor()), strict=True))
    if found := known.get(identity(record)):
        return float(found["accuracies"][-1])
    load_before = os.getloadavg()[0]
    if contender == "ours":
        options = f"--engine {engine} --epochs {epochs} --seed {seed} --json --out {folder / 'runs'}".split()
        lines, times = timed([sys.executable, "-m", "diptych", "train", *case.arguments, *options])
        (run,) = json.loads("".join(lines))
        accuracies, seconds, num_train = [run["metrics"]["accuracy"]], times[-1:], run["split_sizes"]["train"]
        if run["split_sizes"]["test"] != case.num_test:
            raise RuntimeError(f"{case.name}: {run['split_sizes']} is not the split of {case.num_test} test images")
    else:
        script = [sys.executable, str(HERE / PLAIN[engine]), str(case.arrays), case.network]
        lines, times = timed([*script, str(epochs), contender.split()[1], str(seed)])
        accuracies, seconds, num_train = [json.loads(line)["accuracy"] for line in lines], times[:-1], case.num_train
    record |= {"model": case.network, "accuracies": [round(one, 5) for one in accuracies]}
    record |= {"seconds": [round(one, 2) for one in seconds], "num_train": num_train, "num_test": case.num_test}
    known[identity(record)] = record | {"threads": num_threads(), "load": round(load_before, 2)}
    save(known[identity(record)])
    last = f"{accuracies[-1]:.2%} after {seconds[-1]:.1f} s (load before: {load_before:.1f})"
    print(f"{case.name}, {engine}, {contender}, {epochs} epochs, seed {seed}: {last}", flush=True)
    return float(accuracies[-1])


def timed(command: list[str]) -> tuple[list[str], list[float]]:
    """Run a command; return its lines, the seconds until each was printed, and last until it ended."""
    start, lines, seconds = time.perf_counter(), [], []
    with tempfile.TemporaryFile("w+") as log:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
            for line in process.stdout:
                lines.append(line)
                seconds.append(time.perf_counter() - start)
        if process.returncode:
            log.seek(0)
            sys.exit(f"{log.read()}\n{' '.join(command)} failed with exit code {process.returncode}.")
    return lines, [*seconds, time.perf_counter() - start]


def processor() -> str:
    return str(machine()["processor"])


def identity(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record[name] for name in IDENTITY)


def results() -> list[dict[str, Any]]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def save(record: dict[str, Any]) -> None:
    """Replace the record of the same training, or add it."""
    merged = {identity(one): one for one in (*results(), record)}
    lines = ",\n".join(json.dumps(merged[key]) for key in sorted(merged))
    write_parts(RESULTS, f"[\n{lines}\n]\n".encode())


def accuracy_after(records: list[dict[str, Any]], epochs: int) -> list[float]:
    """A contender's test accuracy after `epochs`, per seed."""
    if records[0]["contender"] == "ours":
        return [one["accuracies"][-1] for one in records if one["epochs"] == epochs]
    longest = {one["seed"]: one for one in sorted(records, key=lambda one: one["epochs"])}
    return [one["accuracies"][epochs - 1] for one in longest.values() if one["epochs"] >= epochs]


def seconds_to(records: list[dict[str, Any]], mark: float) -> list[tuple[float, float]]:
    """Seconds and epochs to a test accuracy, per seed; infinite if not reached, left out if not measured."""
    found = []
    for seed in sorted({one["seed"] for one in records}):
        mine = {one["epochs"]: one for one in records if one["seed"] == seed}
        if records[0]["contender"] == "ours":
            budgets = takewhile(mine.__contains__, SEARCHED)
            tries = [(mine[epochs]["accuracies"][-1], mine[epochs]["seconds"][-1], epochs) for epochs in budgets]
        else:
            longest = mine[max(mine)]
            tries = list(zip(longest["accuracies"], longest["seconds"], range(1, max(mine) + 1), strict=True))
        reached = next(((seconds, epochs) for accuracy, seconds, epochs in tries if accuracy >= mark), None)
        if reached or (tries and tries[-1][2] >= SEARCHED[-1]):
            found.append(reached or (inf, inf))
    return found


def tables() -> list[str]:
    """Markdown: accuracy by budget, and time to each mark, per processor."""
    if not (records := results()):
        return ["There are no results yet: run `python benchmarks/defaults.py`."]
    lines = []
    for name in sorted({one["processor"] for one in records}):
        mine = [one for one in records if one["processor"] == name]
        seeds = 1 + max(one["seed"] for one in mine)
        lines += ["", f"{name}, {mine[0]['threads']} threads, up to {seeds} seeds:"]
        lines += ["", *accuracy_table(mine), "", *time_table(mine)]
    return lines[1:]


def groups(records: list[dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, list[dict[str, Any]]]]]:
    """Each dataset and engine, with its records by contender."""
    for data in DATA:
        for engine in ENGINES:
            mine = [one for one in records if (one["data"], one["engine"]) == (data, engine)]
            contenders = sorted({one["contender"] for one in mine})
            if mine:
                yield data, engine, {who: [one for one in mine if one["contender"] == who] for who in contenders}


def title(contender: str) -> str:
    return "diptych" if contender == "ours" else f"plain, batch size {contender.split()[1]}"


def accuracy_table(records: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"| test accuracy, mean | | | {' | '.join(f'{epochs} epochs' for epochs in BUDGETS)} |",
        "|---|---|---|" + "---|" * len(BUDGETS),
    ]
    for data, engine, by_contender in groups(records):
        for contender, mine in by_contender.items():
            found = [accuracy_after(mine, epochs) for epochs in BUDGETS]
            cells = " | ".join(f"{mean(one):.2%}" if one else "" for one in found)
            lines.append(f"| {data} (`{mine[0]['model']}`) | {ENGINES[engine]} | {title(contender)} | {cells} |")
    return lines


def time_table(records: list[dict[str, Any]]) -> list[str]:
    lines = ["| time to accuracy, median | | | seconds | epochs | of diptych's |", "|---|---|---|---|---|---|"]
    for data, engine, by_contender in groups(records):
        for mark in MARKS.get(data, ()):
            found = {who: seconds_to(mine, mark) for who, mine in by_contender.items()}
            medians = {who: median(one[0] for one in times) for who, times in found.items() if times}
            for who, seconds in medians.items():
                row = f"| {data}, {mark:.0%} | {ENGINES[engine]} | {title(who)} "
                ratio = f"{seconds / medians['ours']:.2f}×" if medians.get("ours", inf) < inf > seconds else ""
                epochs = median(one[1] for one in found[who])
                reached = f"| {seconds:.1f} | {epochs:g} | {ratio} |"
                lines.append(row + (reached if seconds < inf else f"| not reached | {SEARCHED[-1]} | |"))
    return lines if len(lines) > 2 else []


if __name__ == "__main__":
    sys.exit(main())
