"""Write the measured results into the README and docs.

`--comparison FOLDER` copies the results of `diptych compare`, `--shipping RUN` those of `diptych benchmark RUN`, and
`--study FOLDER` those of `diptych tune`. The other results are written by `make bench` and the scripts in this folder.

    python benchmarks/results.py [--comparison FOLDER] [--shipping RUN] [--study FOLDER]
"""

import argparse
import json
import re
import shutil
from pathlib import Path
from statistics import mean, stdev

from defaults import tables as budgets

from diptych.artifacts.store import read_json, write_json
from diptych.comparison.defaults import DEFAULTS
from diptych.engines.differences import LEDGER

HERE = Path(__file__).parent
ROOT = HERE.parent
STUDIES = HERE / "tuning.json"
KEPT = ("title", "verdict", "subject", "sides", "pairs", "contrasts", "costs", "conditions", "explained")
SHOWN = ("train_throughput", "predict_throughput", "latency_p50", "import_seconds", "first_step_seconds", "peak_memory")
SURPRISING = (
    "adam-epsilon",
    "norm-momentum",
    "norm-running-variance",
    "sgd-velocity",
    "weight-decay",
    "constant-cast",
)
NAMES = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
LOADERS = {
    "keras": "`image_dataset_from_directory` with prefetch",
    "torch": "`DataLoader` over OpenCV, 2 workers, float32 images",
    "torch uint8": "the same, uint8 images",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparison", type=Path, metavar="FOLDER")
    parser.add_argument("--shipping", type=Path, metavar="RUN")
    parser.add_argument("--study", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    if asked.comparison:
        found = read_json(asked.comparison / "comparison.json")
        write_json(HERE / "comparison.json", {name: found[name] for name in KEPT})
    if asked.shipping:
        shutil.copy(asked.shipping / "export" / "benchmark.json", HERE / "shipping.json")
        shutil.copy(asked.shipping / "export" / "benchmark.png", ROOT / "docs" / "pictures" / "shipping.png")
    if asked.study:
        found = read_json(asked.study / "study.json")
        subject, tested = found["subject"], (found["result"] or {}).get("tuned", {})
        if min(len(tested.get(name, ())) for name in NAMES) < 2:
            parser.error(f"{asked.study} has no finalists that were tested in both frameworks with two seeds or more")
        key = f"{subject['data']}, {subject['model']}, {subject['epochs']} epochs, trials in {subject['engine']}"
        kept = {name: found[name] for name in ("subject", "best_so_far", "result", "changes", "costs")}
        kept["num_trials"] = sum(trial["state"] != "rejected" for trial in found["trials"])
        write_json(STUDIES, studies() | {key: kept})
    for page, blocks in BLOCKS.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        for name, lines in blocks.items():
            text = replaced(text, name, "\n".join(lines()))
        (ROOT / page).write_text(text, encoding="utf-8")


def comparison() -> list[str]:
    found = read_json(HERE / "comparison.json")
    first, second = (side["name"] for side in found["sides"])
    lines = [
        f"| {found['subject']['data']}, {len(found['subject']['seeds'])} seeds | {first} | {second} |",
        "|---|---|---|",
    ]
    for measure in found["contrasts"][0]["measures"]:
        cells = [
            f"{100 * mean:.2f} ± {100 * spread:.2f}%" if measure["unit"] == "share" else f"{mean:.4f} ± {spread:.4f}"
            for mean, spread in zip(measure["means"], measure["deviations"], strict=True)
        ]
        lines.append(f"| {measure['title']} | {cells[0]} | {cells[1]} |")
    for cost in found["costs"]:
        if cost["key"] in SHOWN:
            lines.append(
                f"| {cost['title']} | {' | '.join(amount(value, cost['unit']) for value in cost['medians'])} |"
            )
    conditions = found["conditions"]
    return [
        *lines,
        "",
        f"**{found['verdict']['headline']}** {found['verdict']['details'][0]}",
        "",
        f"`{found['sides'][0]['model']}`, {found['sides'][0]['epochs']} epochs, {conditions['precision']}, "
        f"{conditions['threads']} threads of {conditions['processor']}; "
        "± standard deviation over seeds; costs are medians.",
    ]


def amount(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e6:,.0f} MB"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.2f} {unit}"


def defaults() -> list[str]:
    lines = ["| default | PyTorch | Keras |", "|---|---|---|"]
    for default in DEFAULTS:
        lines.append(f"| {default.title} (`{default.key}`) | {' | '.join(default.values)} |")
    return lines


def speeds() -> list[str]:
    lines = [
        "Training throughput, compared with a plain script in each framework (`make bench`: `fashion_cnn`, Adam, "
        "batch size 64). The default precision is bfloat16 if the processor supports it; the speedup depends on how:",
        "",
        "| processor | | plain script | diptych, float32 | diptych, default precision |",
        "|---|---|---|---|---|",
    ]
    for processor, found in json.loads((HERE / "training.json").read_text()).items():
        speed, ratio = found["images_per_second"], found["ratio_to_plain"]
        for engine, name in NAMES.items():
            cells = []
            for way in ("float32", "auto"):
                ratios = [one[f"{engine} {way}"] / one[f"{engine} plain"] for one in found["rounds"]]
                spread = f"{ratio[f'{engine} {way}']:.2f}×; {min(ratios):.2f}–{max(ratios):.2f}"
                cells.append(f"{speed[f'{engine} {way}']:,.0f} ({spread})")
            lines.append(f"| {processor} | {name} | {speed[f'{engine} plain']:,.0f} | {' | '.join(cells)} |")
    return [
        *lines,
        "",
        "Images per second on 2 threads; medians over rounds. Ratios, with their range, are to the plain script in the "
        "same round.",
    ]


def loading() -> list[str]:
    found = json.loads((HERE / "loading.json").read_text())
    speed, ratio = found["images_per_second"], found["ratio_to_plain"]
    lines = [
        "Loading a folder of JPEGs (500 × 375), with decoding, resizing to 224 × 224, flips and crops, compared with "
        f"the frameworks' own loaders (`benchmarks/loading.py`). diptych loads {speed['streamed']:,.0f} images/s "
        f"streaming and {speed['cached']:,.0f} images/s from its cache:",
        "",
        "| loader | throughput | diptych, streaming | diptych, cached |",
        "|---|---|---|---|",
    ]
    for key, name in LOADERS.items():
        ratios = f"{ratio['streamed'][key]:.2f}× | {ratio['cached'][key]:.0f}×"
        lines.append(f"| {name} | {speed[key]:,.0f} images/s | {ratios} |")
    return [
        *lines,
        "",
        f"{found['processor']}, {found['threads']} threads; throughputs and ratios are medians "
        f"over {len(found['rounds'])} rounds. Decoding alone, on all cores, reaches {speed['floor']:,.0f} images/s.",
    ]


def durability() -> list[str]:
    found = json.loads((HERE / "durability.json").read_text())
    lines = ["| | PyTorch | TensorFlow |", "|---|---|---|"]
    for title, row, cell in (
        ("step time with deterministic kernels, relative to default", "deterministic", lambda r: f"{r['ratio']:.3f}×"),
        ("the same kernels measured twice (noise)", "deterministic", lambda r: f"{r['noise']:.3f}×"),
        ("training time with checkpoints, relative to none", "saving", lambda r: f"{r['ratio']:.3f}×"),
        ("share of time spent saving, from timing each save", "saving", lambda r: f"{r['share_of_saving']:.2%}"),
    ):
        lines.append(f"| {title} | {' | '.join(cell(found['rows'][f'{row} {engine}']) for engine in NAMES)} |")
    processor = found["machine"]["processor"]
    return [*lines, "", f"`{found['model']}`, {found['threads']} threads of {processor}; medians."]


def shipping() -> list[str]:
    found, overhead, peer = (
        json.loads((HERE / f"{name}.json").read_text()) for name in ("shipping", "overhead", "litert_torch")
    )
    lines = [
        f"`{found['model']}`, trained in PyTorch on Fashion-MNIST ({found['trained_accuracy']:.2%}), "
        f"measured with `diptych benchmark RUN` ({found['threads']} threads of {found['machine']['processor']}; "
        "agreement is the share of test images with the same predicted class as the trained model):",
        "",
        "| format | runtime | size | accuracy | agreement | latency of one image (p50) | images/s, batch size 32 |",
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
        f"(`benchmarks/overhead.py`, {len(overhead['rows'])} runtimes).",
        "",
        "The same PyTorch model converted to TFLite (`benchmarks/litert_torch.py`):",
        "",
        "| | conversion | size | latency of one image | largest probability difference |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {row['seconds_to_convert']:.1f} s | {row['bytes'] / 1000:,.0f} kB "
            f"| {1e3 * row['latency']:.3f} ms | {row['worst_difference']:.0e} |"
            for name, row in (("diptych", ours), (f"litert-torch {peer['litert-torch']}", theirs))
        ),
    ]


def studies() -> dict:
    return read_json(STUDIES) if STUDIES.exists() else {}


def tuned() -> list[str]:
    lines = ["| study | | default | tuned | difference |", "|---|---|---|---|---|"]
    notes = []
    for found in studies().values():
        subject, result, costs = found["subject"], found["result"], found["costs"]
        title = f"{subject['data']}, `{subject['model']}`, {subject['epochs']} epochs, {found['num_trials']} trials"
        for engine, name in NAMES.items():
            sides = [result[side][engine] for side in ("default", "tuned")]
            cells = [f"{100 * mean(one):.2f} ± {100 * stdev(one):.2f}%" for one in sides]
            more = 100 * (mean(sides[1]) - mean(sides[0]))
            lines.append(f"| {title} | {name} | {' | '.join(cells)} | {more:+.2f} points |")
        steps = ", ".join(f"{accuracy:.2%} (trial {number})" for number, accuracy in found["best_so_far"])
        changes = ", ".join(f"`{name}` {brief(before)} → {brief(after)}" for name, before, after in found["changes"])
        notes.append(
            f"- {title}: the trials took {costs['seconds'] / 60:.0f} min ({subject['threads']} threads of "
            f"{subject['machine']['processor']}), and pruning saved {costs['share_saved']:.0%} of the epochs. "
            f"Best validation accuracy so far: {steps}. Changed: {changes or 'nothing'}."
        )
    if not notes:
        return ["There are no results yet: run `python benchmarks/results.py --study FOLDER`."]
    about = "Test accuracy, mean and standard deviation of the finalists' fresh seeds:"
    return [about, "", *lines, "", *notes]


def brief(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f"{value}"


def ledger() -> list[str]:
    rows = {row.key: row for row in LEDGER}
    lines = ["| | PyTorch | TensorFlow / Keras | diptych |", "|---|---|---|---|"]
    for row in (rows[key] for key in SURPRISING):
        lines.append(f"| `{row.key}` | {row.torch} | {row.tensorflow} | {row.rule} |")
    return lines


def replaced(text: str, name: str, content: str) -> str:
    pattern = rf"(<!-- {name}[^\n]*-->\n).*?(<!-- end of {name} -->)"
    return re.sub(pattern, lambda match: f"{match[1]}{content}\n{match[2]}", text, flags=re.DOTALL)


BLOCKS = {
    "README.md": {
        "comparison": comparison,
        "speeds": speeds,
        "loading": loading,
        "shipping": shipping,
        "ledger": ledger,
    },
    "docs/training.md": {"budgets": budgets, "durability": durability},
    "docs/tuning.md": {"tuned": tuned},
    "docs/comparing.md": {"defaults": defaults},
}

if __name__ == "__main__":
    main()
