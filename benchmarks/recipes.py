"""Measure what each recipe reaches, and write it into the docstrings of spec/recipe.py.

Trains the default model with PyTorch once per seed, on digits and, with $DIPTYCH_DATA, on Fashion-MNIST. Prints each
recipe's sentence, writes `benchmarks/recipes.json` and the lines that begin with `Measured:` in the docstrings.

    python benchmarks/recipes.py [--data digits fashion-mnist] [--recipes default sgd quick] [--seeds 5]
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median, stdev

from diptych.processes import num_threads
from diptych.training.machine import machine

RESULTS = Path(__file__).with_suffix(".json")
SOURCE = Path(__file__).parents[1] / "src" / "diptych" / "spec" / "recipe.py"
NAMES = {"digits": "digits", "fashion-mnist": "Fashion-MNIST"}
WIDTH = 112


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--recipes", nargs="+", default=["default", "sgd", "quick"])
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for data in args.data:
        if data != "digits" and not os.environ.get("DIPTYCH_DATA"):
            print(f"{NAMES[data]} is skipped: set DIPTYCH_DATA to the folder that contains {data}/.")
            continue
        for recipe in args.recipes:
            runs = [train(data, recipe, seed) for seed in range(args.seeds)]
            results.setdefault(recipe, {})[data] = {
                "accuracies": [run["accuracy"] for run in runs],
                "seconds": median(run["seconds"] for run in runs),
                "processor": machine()["processor"],
                "threads": num_threads(),
                "load": os.getloadavg()[0],
            }
            RESULTS.write_text(json.dumps(results, indent=2) + "\n")
            print(f"{recipe}: {sentence({data: results[recipe][data]})}", flush=True)
    SOURCE.write_text(with_results(SOURCE.read_text(encoding="utf-8"), results), encoding="utf-8")
    return 0


def train(data: str, recipe: str, seed: int) -> dict:
    """Accuracy and seconds of one run, including start and evaluation."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "diptych", "train", data, "--recipe", recipe, "--seed", str(seed)]
        start = time.perf_counter()
        done = subprocess.run([*command, "--out", out, "--json"], check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        (run,) = json.loads(done.stdout)
    return {"accuracy": run["metrics"]["accuracy"], "seconds": seconds}


def sentence(results: dict) -> str:
    """The measured result of a recipe on each of its datasets."""
    parts = []
    for data, found in results.items():
        shares = [100 * accuracy for accuracy in found["accuracies"]]
        spread = f" ± {stdev(shares):.2f}" if len(shares) > 1 else ""
        parts.append(
            f"{NAMES[data]} {mean(shares):.2f}{spread}% over {len(shares)} seeds, {found['seconds']:.0f} s a run"
        )
    last = list(results.values())[-1]
    return f"{'; '.join(parts)} (cnn, {last['threads']} threads of {last['processor']})."


def with_results(source: str, results: dict) -> str:
    """The source of spec/recipe.py with the lines that begin with `Measured:` replaced."""
    for recipe, found in results.items():
        lines, line = [], "Measured:"
        for word in sentence(found).split():
            if len(line) + 1 + len(word) > WIDTH:
                lines.append(line)
                line = word
            else:
                line += f" {word}"
        text = "\n    ".join([*lines, line])
        pattern = rf'(def {recipe}\(\) .*?\n    )Measured: .*?(\n    """)'
        source = re.sub(pattern, lambda match, text=text: match[1] + text + match[2], source, count=1, flags=re.DOTALL)
    return source


if __name__ == "__main__":
    sys.exit(main())
