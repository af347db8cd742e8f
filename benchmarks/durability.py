"""What it costs that no training is lost: deterministic kernels, and checkpoints at the default interval.

Processes take turns, one without deterministic kernels and two with them, a slice of steps each: what those two differ
by is noise. Whole trainings take turns, too, one that saves and one that never does; the share of the time that saving
takes hangs less on what else runs. Fashion-MNIST from $DIPTYCH_DATA where it is there, else digits, many
times over. Prints each ratio of medians (1.05 and 1.02 are wanted), and writes `benchmarks/durability.json`.

    python benchmarks/durability.py [--model fashion_cnn] [--rounds 9] [--seconds 30] [--threads 2]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np

from diptych import engines
from diptych.artifacts.run import Run
from diptych.data import datasets, sources
from diptych.data.datasets import Split
from diptych.data.preprocess import channel_statistics
from diptych.processes import engine_environment, num_threads
from diptych.spec import Recipe, zoo
from diptych.training.machine import machine
from diptych.training.provenance import resolve
from diptych.training.schedule import Saver, Stopping
from diptych.training.trainer import Job, Trainer

HERE = Path(__file__).parent
WANTED = {"deterministic": 1.05, "saving": 1.02}
STEPS, SLICES = 48, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="fashion_cnn")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=30, help="of a whole training")
    parser.add_argument("--threads", type=int, default=num_threads())
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        kind, engine, way = asked.side
        SIDES[kind](engine, way, asked)
        return
    found = {"model": asked.model, "threads": asked.threads, "machine": machine(), "rows": {}}
    for name, measure in (("deterministic", in_slices), ("saving", in_turn)):
        for engine in engines.NAMES:
            row = measure(engine, asked)
            ratio = row["ratio"]
            mark = "" if ratio <= WANTED[name] else f"  (wanted {WANTED[name]})"
            more = "".join(f", {key} {row[key]:.4f}" for key in ("noise", "share_of_saving") if key in row)
            print(f"{name:14} {engine:11} takes {ratio:.4f} times as long{mark}{more}", flush=True)
            found["rows"][f"{name} {engine}"] = row
    (HERE / "durability.json").write_text(json.dumps(found, indent=2) + "\n")


def side(kind: str, engine: str, way: str, asked) -> subprocess.Popen:
    """A process of this file that measures one side."""
    options = ["--model", asked.model, "--seconds", str(asked.seconds), "--threads", str(asked.threads)]
    options += ["--rounds", str(asked.rounds)]
    options += ["--side", kind, engine, way]
    return subprocess.Popen(
        [sys.executable, __file__, *options],
        env=engine_environment(engine),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def in_slices(engine: str, asked) -> dict:
    """Seconds of slices of steps, on, off and on again in turn."""
    times: dict[str, list[float]] = {"on": [], "off": [], "on again": []}
    both = {way: side("deterministic", engine, way, asked) for way in times}
    for place in range(SLICES * asked.rounds):
        for way in both if place % 2 else reversed(both):
            both[way].stdin.write("\n")
            both[way].stdin.flush()
            seconds = float(both[way].stdout.readline())
            if place:
                times[way].append(seconds)
    for process in both.values():
        process.communicate()
    ratio = median(on / off for on, off in zip(times["on"], times["off"], strict=True))
    noise = median(again / on for again, on in zip(times["on again"], times["on"], strict=True))
    return {
        "ratio": ratio,
        "noise": noise,
        "seconds": {way: median(values) for way, values in times.items()},
        "steps": STEPS,
    }


def in_turn(engine: str, asked) -> dict:
    """Seconds of whole trainings, with and without saving in turn."""
    rows = {"on": [], "off": []}
    for place in range(asked.rounds):
        for way in rows if place % 2 else reversed(rows):
            rows[way].append(json.loads(side("saving", engine, way, asked).communicate()[0]))
    seconds = {way: [row["seconds"] / row["steps"] for row in side] for way, side in rows.items()}
    return {
        "ratio": median(seconds["on"]) / median(seconds["off"]),
        "share_of_saving": median(row["saving"] / row["seconds"] for row in rows["on"]),
        "saves": median(row["saves"] for row in rows["on"]),
        "seconds": median(row["seconds"] for row in rows["on"]),
    }


def trainer_of(engine_name: str, way: str, asked, epochs: int = 10_000) -> Trainer:
    """A training that has not begun; `way` off: without deterministic kernels."""
    engine = engines.get(engine_name)
    if way == "off" and engine_name == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism = lambda: None
    engine.configure(asked.threads)
    if way == "off" and engine_name == "torch":
        import torch

        torch.use_deterministic_algorithms(False)
    recipe = Recipe(epochs=epochs)
    dataset = data(max(54_000, SLICES * asked.rounds * STEPS * recipe.batch))
    mean, std = channel_statistics(dataset.train.images)
    spec = zoo.model(asked.model, dataset.image_shape, dataset.num_classes, mean, std)
    return Trainer(engine, Job(spec, resolve(recipe, dataset, engine.runtime()["device"]), dataset))


def data(num_images: int) -> datasets.Dataset:
    """So many images to train on, or more; few to validate on, for that is not what is measured."""
    name = "fashion-mnist" if sources.at_hand("fashion-mnist") else "digits"
    whole = datasets.load(name, image_size=(28, 28))
    times = -(-num_images // len(whole.train))
    images, labels = np.asarray(whole.train.images), whole.train.labels
    train = Split(np.concatenate([images] * times), np.concatenate([labels] * times), np.arange(len(labels) * times))
    few = whole.validation.take(np.arange(min(len(whole.validation), 64)))
    return datasets.Dataset(whole.name, whole.class_names, train, few, few, whole.mirror)


def slices(engine: str, way: str, asked) -> None:
    """Take a slice of steps whenever a line comes, and say how long it took."""
    trainer = trainer_of(engine, way, asked)
    batches = trainer.batches()
    for until in count(STEPS, STEPS):
        if not sys.stdin.readline():
            return
        if until > trainer.num_steps:
            raise SystemExit("too many rounds for one epoch")
        start = time.perf_counter()
        trainer.train(batches, until)
        print(time.perf_counter() - start, flush=True)


class Timed(Saver):
    """A saver that knows how long it saved, and that may be told never to."""

    saving, saves, saves_at_all = 0.0, 0, True

    def is_due(self) -> bool:
        return self.saves_at_all and super().is_due()

    def save(self, state) -> None:
        if self.saves_at_all:
            self.timed(super().save)(state)
            self.saves += 1

    def timed(self, function):
        def call(*arguments):
            start = time.perf_counter()
            answer = function(*arguments)
            self.saving += time.perf_counter() - start
            return answer

        return call


class Enough(Exception):  # noqa: N818
    pass


def training(engine: str, way: str, asked) -> None:
    """Train for some seconds, after some steps that are not counted."""
    trainer = trainer_of(engine, "on", asked)
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        run = Run(Path(folder))
        batches = trainer.batches()
        trainer.train(batches, STEPS)
        batches.close()
        saver = Timed(run, None, 2)
        trainer.state = saver.timed(trainer.state)
        saver.saves_at_all = way == "on"
        start, first = time.perf_counter(), trainer.totals.steps

        def notify(kind: str, fields: dict) -> None:
            if kind == "step" and time.perf_counter() - start > asked.seconds:
                raise Enough(fields["step"] - first + (fields["epoch"] - 1) * trainer.num_steps)

        try:
            trainer.fit(run, saver, notify, stopping=Stopping())
        except Enough as enough:
            (steps,) = enough.args
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "steps": steps, "saving": saver.saving, "saves": saver.saves}))


SIDES = {"deterministic": slices, "saving": training}

if __name__ == "__main__":
    main()
