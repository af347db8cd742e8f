"""Writes what was measured into the README: results on Fashion-MNIST with a picture, speeds, shipping, ledger rows.

With `--train`, first trains what is not yet in `runs/readme` (an hour on two cores; a broken-off call goes on where it
was) and writes its results; without, those stay as they are. With `--shipping RUN`, takes over what
`diptych benchmark RUN` found. `make bench` and the other scripts here measure the rest; this copies them.

    DIPTYCH_DATA=... python benchmarks/results.py [--train] [--shipping RUN]
"""

import argparse
import json
import re
import shutil
from pathlib import Path

from matplotlib.figure import Figure

import diptych
from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.engines.differences import LEDGER
from diptych.reports.charts import ENGINE_COLOURS

HERE = Path(__file__).parent
ROOT = HERE.parent
OUT = ROOT / "runs" / "readme"
TRAININGS = (("cnn", "default"), ("fashion_cnn", "sgd"))
SURPRISING = (
    "adam-epsilon",
    "norm-momentum",
    "norm-running-variance",
    "sgd-velocity",
    "weight-decay",
    "constant-cast",
)
NAMES = {"torch": "PyTorch", "tensorflow": "TensorFlow"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--shipping", type=Path, metavar="RUN")
    asked = parser.parse_args()
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    if asked.shipping:
        shutil.copy(asked.shipping / "export" / "benchmark.json", HERE / "shipping.json")
        shutil.copy(asked.shipping / "export" / "benchmark.png", ROOT / "docs" / "pictures" / "shipping.png")
    if asked.train:
        runs = {key: trained(*key) for key in TRAININGS}
        picture(ROOT / "docs" / "pictures" / "curves.png", runs["cnn", "default"])
        text = replaced(text, "results", "\n".join(results(runs)))
    text = replaced(text, "speeds", "\n".join(speeds()))
    text = replaced(text, "shipping", "\n".join(shipping()))
    text = replaced(text, "ledger", "\n".join(ledger()))
    (ROOT / "README.md").write_text(text, encoding="utf-8")


def trained(model: str, recipe: str) -> tuple[Run, Run]:
    folder = OUT / f"{model}-{recipe}"
    found = sorted(folder.glob("*/manifest.json"), key=lambda path: "tensorflow" in path.parent.name)
    if len(found) == 2:
        return Run.open(found[0].parent), Run.open(found[1].parent)
    return diptych.train("fashion-mnist", engine="both", model=model, recipe=recipe, out=folder)


def results(runs: dict[tuple[str, str], tuple[Run, Run]]) -> list[str]:
    lines = [
        "| Fashion-MNIST, 10 epochs | engine | test accuracy | test loss | macro F1 |",
        "|---|---|---|---|---|",
    ]
    for (model, recipe), pair in runs.items():
        for run in pair:
            metrics, record = run.read_metrics(), run.read_record()
            lines.append(
                f"| `{model}`, recipe `{recipe}`, {record['recipe']['precision']} | {NAMES[record['engine']]} "
                f"| {metrics['accuracy']:.2%} | {metrics['loss']:.4f} | {metrics['macro']['f1']:.4f} |"
            )
    record = next(iter(runs.values()))[0].read_record()
    return [*lines, "", f"Seed 0, {record['machine']['processor']}, {record['engines'][0]['threads']} threads."]


def speeds() -> list[str]:
    found = json.loads((ROOT / "benchmarks" / "training.json").read_text())
    lines = [
        "Training throughput beside the plain script of each framework (`make bench`: `fashion_cnn`, Adam, batch 64):",
        "",
        "| | plain script | diptych, float32 | diptych, default precision |",
        "|---|---|---|---|",
    ]
    for engine, name in NAMES.items():
        speed, ratio = found["images_per_second"], found["ratio_to_plain"]
        cells = [
            f"{speed[f'{engine} {way}']:,.0f} images/s ({ratio[f'{engine} {way}']:.2f}×)" for way in ("float32", "auto")
        ]
        lines.append(f"| {name} | {speed[f'{engine} plain']:,.0f} images/s | {' | '.join(cells)} |")
    return [*lines, "", f"{found['processor']}, {found['threads']} threads; medians of {len(found['rounds'])} rounds."]


def shipping() -> list[str]:
    found, overhead, peer = (
        json.loads((HERE / f"{name}.json").read_text()) for name in ("shipping", "overhead", "litert_torch")
    )
    lines = [
        f"`{found['model']}`, trained in PyTorch on Fashion-MNIST ({found['trained_accuracy']:.2%}), "
        f"as `diptych benchmark RUN` measures it ({found['threads']} threads of {found['machine']['processor']}):",
        "",
        "| format | runtime | size | accuracy | same class | one image, median | images/s, batches of 32 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        lines.append(
            f"| `{row['form']}` | {row['title']} | {row['num_bytes'] / 1000:,.0f} kB | {row['accuracy']:.2%} "
            f"| {row['agreement']:.2%} | {1e3 * row['latency_p50']:.3f} ms | {row['images_per_second']:,.0f} |"
        )
    ratios = {batch: [row[batch]["ratio"] for row in overhead["rows"].values()] for batch in ("1", "32")}
    ours, theirs = peer["rows"]["diptych"], peer["rows"]["litert-torch"]
    return [
        *lines,
        "",
        f"diptych's predictor takes {min(ratios['1']):.2f} to {max(ratios['1']):.2f} times as long as the bare runtime "
        f"for one image and {min(ratios['32']):.2f} to {max(ratios['32']):.2f} times for 32 "
        f"(`benchmarks/overhead.py`, {len(overhead['rows'])} runtimes). The same PyTorch model to TFLite: "
        f"{ours['seconds_to_convert']:.1f} s, {ours['bytes'] / 1000:,.0f} kB, {1e3 * ours['latency']:.3f} ms, worst "
        f"difference of a probability {ours['worst_difference']:.0e}; by litert-torch {peer['litert-torch']} "
        f"{theirs['seconds_to_convert']:.1f} s, {theirs['bytes'] / 1000:,.0f} kB, {1e3 * theirs['latency']:.3f} ms, "
        f"{theirs['worst_difference']:.0e} (`benchmarks/litert_torch.py`).",
    ]


def ledger() -> list[str]:
    rows = {row.key: row for row in LEDGER}
    lines = ["| | PyTorch | TensorFlow / Keras | here |", "|---|---|---|---|"]
    for row in (rows[key] for key in SURPRISING):
        lines.append(f"| `{row.key}` | {row.torch} | {row.tensorflow} | {row.rule} |")
    return lines


def picture(path: Path, runs: tuple[Run, Run]) -> None:
    figure = Figure(figsize=(10, 4), layout="constrained", dpi=150)
    axes = figure.subplots(1, 2)
    for run, style in zip(runs, ("-", "--"), strict=True):
        epochs = read_events(run.events_path, "epoch")
        engine = run.read_record()["engine"]
        for axis, field in zip(axes, ("validation_loss", "validation_accuracy"), strict=True):
            numbers = [epoch["epoch"] for epoch in epochs]
            axis.plot(
                numbers,
                [epoch[field] for epoch in epochs],
                style,
                marker="o",
                color=ENGINE_COLOURS[engine],
                label=NAMES[engine],
            )
    for axis, title in zip(axes, ("validation loss", "validation accuracy"), strict=True):
        axis.set_title(title, loc="left")
        axis.set_xlabel("epoch")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#dddddd")
        axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def replaced(text: str, name: str, content: str) -> str:
    pattern = rf"(<!-- {name}[^\n]*-->\n).*?(<!-- end of {name} -->)"
    return re.sub(pattern, lambda match: f"{match[1]}{content}\n{match[2]}", text, flags=re.DOTALL)


if __name__ == "__main__":
    main()
