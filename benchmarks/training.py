"""Training throughput of diptych and of a plain script for each framework, on the same model, batch size and data.

Model `fashion_cnn`, Adam, no augmentation, Fashion-MNIST from $DIPTYCH_DATA. Each run is a process of its own; each
round runs every contender once, so that a slower machine slows down all of them; the first epoch is not counted.
Prints the median ratio over rounds and writes `benchmarks/training.json`, one entry per processor: how fast the
default precision, bfloat16, is depends on the processor's instructions for it.

    python benchmarks/training.py [--rounds 5] [--epochs 4]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from diptych.processes import num_threads
from diptych.spec import zoo
from diptych.training.machine import machine

BATCH_SIZE = 64
HERE = Path(__file__).parent
ENGINES = ("torch", "tensorflow")
PLAIN = {"torch": "plain_torch.py", "tensorflow": "plain_keras.py"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    data = os.environ.get("DIPTYCH_DATA")
    folder = Path(data or ".") / "fashion-mnist"
    if not data or not folder.is_dir():
        print("make bench needs Fashion-MNIST: set DIPTYCH_DATA to the folder that contains fashion-mnist/.")
        return 2
    load = os.getloadavg()[0]
    rounds = []
    for number in range(args.rounds):
        rounds.append(one_round(folder, args.epochs, backwards=number % 2 == 1))
        print(f"round {number + 1}: " + "  ".join(f"{k} {v:,.0f}" for k, v in rounds[-1].items()), flush=True)
    result = {**summary(rounds), "load_before": load}
    path = HERE / "training.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**found, processor(): result}, indent=2) + "\n")
    print(table(result))
    return 0


def one_round(folder: Path, epochs: int, backwards: bool) -> dict[str, float]:
    """Images per second of each contender; every second round runs in reverse order."""
    contenders = [(engine, way) for engine in ENGINES for way in ("plain", "float32", "auto")]
    found = {}
    for engine, way in reversed(contenders) if backwards else contenders:
        speeds = plain(engine, folder, epochs) if way == "plain" else ours(engine, way, folder, epochs)
        found[f"{engine} {way}"] = median(speeds[1:])
    found["convolution GFLOP/s"] = ceiling()
    return found


def plain(engine: str, folder: Path, epochs: int) -> list[float]:
    command = [sys.executable, str(HERE / PLAIN[engine]), str(folder), str(epochs), str(BATCH_SIZE)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def ours(engine: str, precision: str, folder: Path, epochs: int) -> list[float]:
    settings = f"--epochs {epochs} --batch-size {BATCH_SIZE} --precision {precision} --optimizer adam".split()
    settings += "--learning-rate 0.001 --schedule constant --flip none --crop-padding 0 --validation-fraction 0".split()
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "diptych", "train", "fashion-mnist", "--model", "fashion_cnn"]
        command += ["--engine", engine, "--data-dir", str(folder.parent), "--out", out, *settings]
        subprocess.run(command, check=True, capture_output=True)
        events = next(Path(out).glob("*/events.jsonl")).read_text().splitlines()
    records = [json.loads(line) for line in events]
    return [record["images_per_second"] for record in records if record["kind"] == "epoch"]


def processor() -> str:
    """Name of the processor and its fastest instructions for bfloat16."""
    path = Path("/proc/cpuinfo")
    flags = set(path.read_text().split()) if path.exists() else set()
    kinds = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "bf16": "BF16"}
    fastest = next((name for flag, name in kinds.items() if flag in flags), "no instructions for bfloat16")
    return f"{machine()['processor']}, {fastest}"


def ceiling() -> float:
    """Float32 GFLOP/s of a large matrix product in NumPy."""
    size = 2048
    left, right = (np.random.default_rng(seed).random((size, size), np.float32) for seed in (0, 1))
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        left @ right
        best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e9)
    return best


def summary(rounds: list[dict[str, float]]) -> dict:
    """Medians, ratios to the plain script within each round, and the speed at NumPy's GFLOP/s."""
    flops = 3 * zoo.model("fashion_cnn", (28, 28, 1)).flops
    medians = {name: median(one[name] for one in rounds) for name in rounds[0]}
    ratios = {
        f"{engine} {way}": median(one[f"{engine} {way}"] / one[f"{engine} plain"] for one in rounds)
        for engine in ENGINES
        for way in ("float32", "auto")
    }
    floor = medians["convolution GFLOP/s"] * 1e9 / flops
    return {
        "images_per_second": medians,
        "ratio_to_plain": ratios,
        "floor_images_per_second": floor,
        "threads": num_threads(),
        "rounds": rounds,
    }


def table(result: dict) -> str:
    speeds, ratios, floor = result["images_per_second"], result["ratio_to_plain"], result["floor_images_per_second"]
    lines = ["", f"{'':24}{'images/s':>10}{'× plain':>10}{'of the float32 floor':>22}"]
    for name in (f"{engine} {way}" for engine in ENGINES for way in ("plain", "float32", "auto")):
        ratio = f"{ratios[name]:.2f}" if name in ratios else ""
        lines.append(f"{name:24}{speeds[name]:10,.0f}{ratio:>10}{speeds[name] / floor:22.0%}")
    return "\n".join(
        [*lines, f"floor: {floor:,.0f} images/s (training FLOPs of the model over NumPy's float32 GFLOP/s)"]
    )


if __name__ == "__main__":
    sys.exit(main())
