"""OpenMP settings on a quiet and on a busy machine: training speed in PyTorch alone and beside spinning processes.

Each candidate is one process that trains `fashion_cnn` (batch 64, float32) on random images. In every round each trains
for a moment alone and then beside one spinning process for every two cores. Ratios are taken within a round, so that a
machine that slows down slows down everything; the table shows their medians. Writes `benchmarks/busy.json`.

    python benchmarks/busy.py [--rounds 5] [--seconds 1.5] [--engine torch]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from diptych.processes import engine_environment, num_threads
from diptych.training.machine import machine

BATCH_SIZE = 64
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_DYNAMIC", "OMP_NUM_THREADS")
# By name: number of threads (0 is every core) and environment. libgomp spins 300,000 times by default.
CANDIDATES = {
    "one thread": (1, {}),
    "libgomp's default": (0, {}),
    "diptych's environment": (0, None),
    "passive": (0, {"OMP_WAIT_POLICY": "passive"}),
    "spin 100": (0, {"GOMP_SPINCOUNT": "100"}),
    "spin 1000": (0, {"GOMP_SPINCOUNT": "1000"}),
    "spin 3000": (0, {"GOMP_SPINCOUNT": "3000"}),
    "spin 10000": (0, {"GOMP_SPINCOUNT": "10000"}),
    "spin 30000": (0, {"GOMP_SPINCOUNT": "30000"}),
}


def main() -> int:
    if sys.argv[1:2] == ["--serve"]:
        return serve(sys.argv[2], int(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--engine", default="torch")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        trainers = {name: stack.enter_context(trainer(args.engine, *CANDIDATES[name])) for name in CANDIDATES}
        for process in trainers.values():
            speed(process, 0.5)  # imports, allocations
        rounds = []
        for number in range(args.rounds):
            rounds.append(one_round(trainers, args.seconds))
            print(f"round {number + 1} of {args.rounds}", flush=True)
    result = summary(rounds)
    result |= {"processor": machine()["processor"], "cores": num_threads(), "load_before": load, "rounds": rounds}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))
    return 0


def one_round(trainers: dict, seconds: float) -> dict[str, dict[str, float]]:
    quiet = {name: speed(process, seconds) for name, process in trainers.items()}
    with spinning(max(1, num_threads() // 2)):
        busy = {name: speed(process, seconds) for name, process in trainers.items()}
    return {"quiet": quiet, "busy": busy}


@contextmanager
def trainer(engine: str, threads: int, settings: dict[str, str] | None):
    environment = engine_environment(engine)
    if settings is not None:
        environment = {name: value for name, value in environment.items() if name not in VARIABLES} | settings
    command = [sys.executable, __file__, "--serve", engine, str(threads or num_threads())]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        yield process
        process.stdin.close()


@contextmanager
def spinning(count: int):
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def speed(process, seconds: float) -> float:
    """Images per second that a candidate trains."""
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def serve(engine_name: str, threads: int) -> int:
    """Train for as many seconds as each line of standard input says."""
    import numpy as np

    from diptych import engines
    from diptych.data.batches import Batch
    from diptych.spec import Recipe, zoo
    from diptych.spec.init import initial_weights

    engine = engines.get(engine_name)
    engine.configure(threads)
    spec = zoo.model("fashion_cnn", (28, 28, 1))
    model = engine.build(spec)
    weights = initial_weights(spec.arrays, 0)
    engine.load_weights(model, {name: array.astype(np.float32) for name, array in weights.items()})
    optimizer = engine.make_optimizer(model, Recipe(optimizer="adam"))
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (BATCH_SIZE, 28, 28, 1), dtype=np.uint8)
    targets = np.eye(10, dtype=np.float32)[generator.integers(0, 10, BATCH_SIZE)]
    batch = Batch(images, targets, np.ones(BATCH_SIZE, np.float32))
    for line in sys.stdin:
        start, steps = time.perf_counter(), 0
        while time.perf_counter() - start < float(line):
            engine.train_epoch(model, optimizer, [batch] * 4, [1e-4] * 4, seed=0)
            steps += 4
        print(steps * BATCH_SIZE / (time.perf_counter() - start), flush=True)
    return 0


def summary(rounds: list[dict]) -> dict:
    """Medians over rounds: speeds, cost of a quiet machine beside libgomp's default, busy speed beside one thread's."""
    rows = {}
    for name in CANDIDATES:
        rows[name] = {
            "quiet": median(one["quiet"][name] for one in rounds),
            "busy": median(one["busy"][name] for one in rounds),
            "quiet_to_default": median(one["quiet"][name] / one["quiet"]["libgomp's default"] for one in rounds),
            "busy_to_one_thread": median(one["busy"][name] / one["busy"]["one thread"] for one in rounds),
        }
    return {"rows": rows}


def table(result: dict) -> str:
    lines = [f"{'':24}{'quiet':>10}{'busy':>10}{'quiet ÷ default':>18}{'busy ÷ one thread':>20}"]
    for name, row in result["rows"].items():
        good = row["quiet_to_default"] >= 0.97 and row["busy_to_one_thread"] >= 0.5
        lines.append(
            f"{name:24}{row['quiet']:10,.0f}{row['busy']:10,.0f}{row['quiet_to_default']:18.3f}"
            f"{row['busy_to_one_thread']:20.3f}{'   good' if good else ''}"
        )
    machine_line = f"{result['processor']}, {result['cores']} cores; load before: {result['load_before']:.2f}"
    return "\n".join([*lines, f"images/s; good: at least 0.97 and 0.5. {machine_line}"])


if __name__ == "__main__":
    sys.exit(main())
