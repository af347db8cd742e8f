"""The same trained PyTorch model to TensorFlow Lite: by litert-torch, which converts the graph, and by diptych.

litert-torch gets the model as a `torch.export` file, in an environment of its own (made on the first call; its pins are
not ours). Then both files answer the same images in one interpreter process, in turn. Prints and writes
`benchmarks/litert_torch.json`: time to convert, size, latency of one image, worst difference from the trained model.

    python benchmarks/litert_torch.py runs/NAME [--python other/bin/python] [--images 1000]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from diptych.artifacts.run import Run
from diptych.deployment.export import TrainedModel
from diptych.engines.session import session
from diptych.processes import engine_environment, num_threads
from diptych.training.machine import machine

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parent / ".venv-litert-torch"
CONVERT = """
import json, sys, time
import litert_torch, torch
source, target, *shape = sys.argv[1:]
model = torch.export.load(source).module()
images = torch.zeros((1, *map(int, shape)), dtype=torch.uint8)
started = time.perf_counter()
litert_torch.convert(model, (images,)).export(target)
print(json.dumps({"seconds": time.perf_counter() - started, "version": litert_torch.__version__}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--python", type=Path, help="of an environment that has litert-torch")
    parser.add_argument("--images", type=int, default=1000)
    asked = parser.parse_args()
    trained = TrainedModel.of(Run.open(asked.run))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        seconds = {"diptych": by_diptych(trained, folder)}
        told = by_litert_torch(asked.python or made(), folder, trained.card.spec.input_shape)
        seconds["litert-torch"] = told["seconds"]
        paths = {"diptych": folder / "diptych.tflite", "litert-torch": folder / "litert-torch.tflite"}
        rows = measured(paths, trained, asked.images)
        for name, path in paths.items():
            rows[name] |= {"bytes": path.stat().st_size, "seconds_to_convert": seconds[name]}
    for name, row in rows.items():
        print(
            f"{name:14} converted in {row['seconds_to_convert']:5.1f} s   {row['bytes'] / 1000:8,.1f} kB   "
            f"{1e6 * row['latency']:7,.0f} µs an image   worst difference {row['worst_difference']:.1e}"
        )
    result = {"model": trained.card.spec.name, "litert-torch": told["version"], "threads": num_threads(), "rows": rows}
    (HERE / "litert_torch.json").write_text(json.dumps({**result, "machine": machine()}, indent=2) + "\n")
    return 0


def by_diptych(trained: TrainedModel, folder: Path) -> float:
    """Seconds of the TensorFlow twin's export, once its framework is imported; leaves PyTorch's file as well."""
    card = trained.card.for_format("tflite").to_text()
    seconds = {}
    for engine, form, name in (("torch", "torch-export", "model.pt2"), ("tensorflow", "tflite", "diptych.tflite")):
        with session(engine, num_threads()) as worker:
            worker.build(trained.card.spec, "float32")
            worker.load_weights(trained.weights)
            started = time.perf_counter()
            worker.export(form, folder / name, card, None)
            seconds[form] = time.perf_counter() - started
    return seconds["tflite"]


def by_litert_torch(python: Path, folder: Path, shape: tuple[int, int, int]) -> dict:
    """What its process says: seconds, once it is imported, and its version."""
    command = [python, "-c", CONVERT, folder / "model.pt2", folder / "litert-torch.tflite", *map(str, shape)]
    finished = subprocess.run(command, env=engine_environment(), check=True, capture_output=True, text=True)
    return json.loads(finished.stdout.splitlines()[-1])


def made() -> Path:
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        print(f"Setting up {ENVIRONMENT} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
        for packages in (["torch"], ["torchvision", "litert-torch"]):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (ENVIRONMENT / "ready").touch()
    return python


def measured(paths: dict[str, Path], trained: TrainedModel, num_images: int) -> dict[str, dict[str, float]]:
    """Latency of one image, median, and the worst difference of a probability over so many test images."""
    from ai_edge_litert.interpreter import Interpreter

    reference = trained.reference
    calls = {name: classifier(Interpreter(str(path), num_threads=num_threads())) for name, path in paths.items()}
    times: dict[str, list[float]] = {name: [] for name in paths}
    worst = dict.fromkeys(paths, 0.0)
    for place in range(num_images):
        image_nhwc = reference.images[place : place + 1]
        for name in reversed(paths) if place % 2 else paths:
            started = time.perf_counter()
            outputs = calls[name](image_nhwc)
            times[name].append(time.perf_counter() - started)
            # litert-torch numbers the outputs; the probabilities are the ones that sum to 1.
            found = min(outputs, key=lambda output: abs(output.sum() - 1) + (output < 0).any())
            worst[name] = max(worst[name], float(np.abs(found - reference.probabilities_nk[place]).max()))
    return {name: {"latency": median(times[name]), "worst_difference": worst[name]} for name in paths}


def classifier(runner):
    (source,) = runner.get_input_details()
    runner.allocate_tensors()
    targets = [output["index"] for output in runner.get_output_details()]

    def call(image_nhwc):
        runner.set_tensor(source["index"], image_nhwc)
        runner.invoke()
        return [runner.get_tensor(target) for target in targets]

    return call


if __name__ == "__main__":
    sys.exit(main())
