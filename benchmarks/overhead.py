"""What diptych's predictor costs on top of the bare runtime: both in one process, a tenth of a second each in turn.

The bare side is the runtime's own calls and nothing else, on an instance of its own, giving the same two arrays. Takes
files that `diptych export RUN --to all` wrote, prints the ratio of median latencies at batch 1 and 32 for each runtime
(1.05 and 1.02 are wanted) and writes `benchmarks/overhead.json`.

    python benchmarks/overhead.py runs/NAME/export [--seconds 4]
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from diptych.deployment.file_types import open_artifact
from diptych.deployment.formats import FORMATS
from diptych.deployment.predictor import Predictor
from diptych.processes import engine_environment, num_threads
from diptych.training.machine import machine

HERE = Path(__file__).parent
WANTED = {1: 1.05, 32: 1.02}
SUBJECTS = ("safetensors torch", "safetensors tensorflow", "torchscript torchscript", "torch-export torch-export")
SUBJECTS += ("onnx onnxruntime", "keras keras", "saved-model saved-model", "tflite litert", "tflite-int8 litert")
SUBJECTS += ("openvino openvino",)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.subject:
        form, runtime = asked.subject.split()
        print(json.dumps(measured(asked.folder, form, runtime, asked.seconds)))
        return 0
    rows = {}
    print(f"{'format, runtime':28} {'batch':>5} {'bare':>10} {'diptych':>10}  ratio")
    for subject in SUBJECTS:
        command = [sys.executable, __file__, str(asked.folder), "--seconds", str(asked.seconds), "--subject", subject]
        finished = subprocess.run(command, env=engine_environment(), check=True, capture_output=True, text=True)
        rows[subject] = json.loads(finished.stdout.splitlines()[-1])
        for batch, row in rows[subject].items():
            mark = "" if row["ratio"] <= WANTED[int(batch)] else f"  (wanted {WANTED[int(batch)]})"
            bare, ours = (f"{1e6 * row[side]:8,.0f} µs" for side in ("bare", "diptych"))
            print(f"{subject:28} {batch:>5} {bare} {ours}  {row['ratio']:.3f}{mark}", flush=True)
    model = next(asked.folder.glob("*.onnx")).name.partition(".")[0]
    result = {"model": model, "threads": num_threads(), "machine": machine(), "rows": rows}
    (HERE / "overhead.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0


def measured(folder: Path, form: str, runtime: str, seconds: float) -> dict[str, dict[str, float]]:
    """Median seconds of a bare call and of the predictor's, and the median of their ratio over slices of the time."""
    model = next(folder.glob("*.onnx")).name.partition(".")[0]
    path = folder / f"{model}{FORMATS[form].suffix}"
    predictor = Predictor.of(open_artifact(path), runtime=runtime)
    bare = BARE[runtime](predictor)
    found = {}
    for batch in WANTED:
        shape = (batch, *predictor.artifact.card.spec.input_shape)
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        for one, other in zip(bare(images), predictor(images), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
        in_turn(bare, predictor, images, seconds / 5)
        found[str(batch)] = in_turn(bare, predictor, images, seconds)
    return found


def in_turn(bare, predictor, images, seconds: float) -> dict[str, float]:
    """Slices of a tenth of a second, so that neither side computes while the other's threads still wait for work."""
    medians: dict[str, list[float]] = {"bare": [], "diptych": []}
    sides = {"bare": bare, "diptych": predictor}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(medians["bare"]) < 10:
        for side in reversed(sides) if len(medians["bare"]) % 2 else sides:
            medians[side].append(slice_of(sides[side], images))
    pairs = zip(medians["bare"], medians["diptych"], strict=True)
    ratio = median(ours / plain for plain, ours in pairs)
    return {"bare": median(medians["bare"]), "diptych": median(medians["diptych"]), "ratio": ratio}


def slice_of(call, images) -> float:
    """Median seconds of a call, after one that is not counted."""
    call(images)
    times = []
    end = time.perf_counter() + 0.1
    while not times or time.perf_counter() < end:
        started = time.perf_counter()
        call(images)
        times.append(time.perf_counter() - started)
    return median(times)


def torch_network(predictor):
    import torch

    from diptych import engines
    from diptych.deployment.transfer import read_weights

    engine = engines.get("torch")
    model = engine.build(predictor.artifact.card.spec).eval()
    engine.load_weights(model, read_weights(predictor.artifact.path, predictor.artifact.card.spec))

    def call(images):
        with torch.inference_mode():
            logits = model(torch.from_numpy(images))
            return logits.numpy(), logits.softmax(1).numpy()

    return call


def tensorflow_function(predictor):
    import tensorflow as tf

    from diptych import engines
    from diptych.deployment.transfer import read_weights

    engine = engines.get("tensorflow")
    model = engine.build(predictor.artifact.card.spec)
    engine.load_weights(model, read_weights(predictor.artifact.path, predictor.artifact.card.spec))

    @tf.function(autograph=False)
    def run(images):
        logits = model(images, training=False)
        return logits, tf.nn.softmax(logits)

    return lambda images: [value.numpy() for value in run(tf.constant(images))]


def torch_file(load):
    def prepared(predictor):
        import torch

        model = load(torch, predictor.artifact.path)

        def call(images):
            with torch.inference_mode():
                answer = model(torch.from_numpy(images))
                return answer["logits"].numpy(), answer["probabilities"].numpy()

        return call

    return prepared


def onnx_session(predictor):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads()
    session = onnxruntime.InferenceSession(predictor.artifact.path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits", "probabilities"], {"images": images})


def keras_function(predictor):
    import keras
    import tensorflow as tf

    model = keras.models.load_model(predictor.artifact.path)
    run = tf.function(lambda images: model(images, training=False), autograph=False)

    def call(images):
        answer = run(tf.constant(images))
        return answer["logits"].numpy(), answer["probabilities"].numpy()

    return call


def signature(predictor):
    import tensorflow as tf

    module = tf.saved_model.load(str(predictor.artifact.path / "1"))

    def call(images):
        answer = module.signatures["serving_default"](images=tf.constant(images))
        return answer["logits"].numpy(), answer["probabilities"].numpy()

    return call


def interpreter(predictor):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(predictor.artifact.path), num_threads=num_threads())
    source = runner.get_input_details()[0]["index"]
    outputs = runner.get_signature_runner().get_output_details()
    logits, probabilities = outputs["logits"]["index"], outputs["probabilities"]["index"]
    ready = None

    def call(images):
        nonlocal ready
        if ready != len(images):
            runner.resize_tensor_input(source, images.shape)
            runner.allocate_tensors()
            ready = len(images)
        runner.set_tensor(source, images)
        runner.invoke()
        return runner.get_tensor(logits), runner.get_tensor(probabilities)

    return call


def openvino_model(predictor):
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    settings["INFERENCE_NUM_THREADS"] = num_threads()
    model = openvino.Core().compile_model(predictor.artifact.path / "model.xml", "CPU", settings)

    def call(images):
        answer = model(images)
        return answer["logits"], answer["probabilities"]

    return call


BARE = {
    "torch": torch_network,
    "tensorflow": tensorflow_function,
    "torchscript": torch_file(lambda torch, path: torch.jit.load(path)),
    "torch-export": torch_file(lambda torch, path: torch.export.load(path).module()),
    "onnxruntime": onnx_session,
    "keras": keras_function,
    "saved-model": signature,
    "litert": interpreter,
    "openvino": openvino_model,
}
assert set(BARE) <= {name for form in FORMATS.values() for name in form.runtimes}


if __name__ == "__main__":
    sys.exit(main())
