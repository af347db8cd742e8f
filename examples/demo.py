"""The first minute: one small CNN on digits, trained in PyTorch and in TensorFlow, proved to be the same model."""

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from statistics import median

from rich.console import Console
from rich.table import Table

import diptych
from diptych.artifacts.events import read_events
from diptych.artifacts.store import read_arrays
from diptych.comparison.parity.certificate import Rung, differences
from diptych.options import EngineName
from diptych.spec import zoo
from diptych.spec.layers import Conv

TITLES: dict[EngineName, str] = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
EPOCHS = 8

console = Console(highlight=False, soft_wrap=True)
start = time.perf_counter()


def step(text: str) -> None:
    """Print the seconds so far and the step that starts now."""
    console.print(f"[dim]{time.perf_counter() - start:4.0f} s[/]  {text}")


def model() -> diptych.ModelSpec:
    """The default CNN with half the channels."""
    layers = zoo.model("cnn", (8, 8, 1), num_classes=10).layers
    narrow = (replace(one, filters=one.filters // 2) if isinstance(one, Conv) else one for one in layers)
    return diptych.ModelSpec("small_cnn", (8, 8, 1), tuple(narrow))


def same_results(runs: Mapping[EngineName, diptych.Run]) -> Rung:
    """Compare the weights of both runs, and the classes that they predict for the test images."""
    ours, theirs = (
        {**read_arrays(run.model_path)[0], "classes": run.read_predictions().logits_nk.argmax(1)}
        for run in runs.values()
    )
    tolerances = dict.fromkeys(ours, 1e-9) | {"classes": 0.0}
    equal, total = int((ours["classes"] == theirs["classes"]).sum()), len(ours["classes"])
    apart = differences(theirs, ours)
    return Rung.judged("the two runs", "float64", tolerances, apart, equal=equal, total=total)


def results(runs: Mapping[EngineName, diptych.Run], seconds: Mapping[EngineName, float]) -> Table:
    """Accuracy and loss on the test images, training speed and total time of each run."""
    table = Table("", "accuracy", "loss", "images/s", "seconds")
    for engine, run in runs.items():
        metrics = run.read_metrics()
        speed = median(epoch["images_per_second"] for epoch in read_events(run.events_path, "epoch"))
        row = f"{metrics['accuracy']:.2%}", f"{metrics['loss']:.4f}", f"{speed:,.0f}", f"{seconds[engine]:.0f}"
        table.add_row(TITLES[engine], *row)
    return table


console.print(
    f"One small CNN, 1,797 images of digits, {EPOCHS} epochs in float64, the same weights, batches and dropout masks."
)
spec, runs, seconds = model(), {}, {}
for engine, title in TITLES.items():
    step(f"training in {title}")
    begin = time.perf_counter()
    runs[engine] = diptych.train("digits", engine=engine, model=spec, precision="float64", epochs=EPOCHS)
    seconds[engine] = time.perf_counter() - begin
step("comparing the two models layer by layer and step by step")
certificate = diptych.verify(spec, optimizers=("adamw",), precisions=("float64",), digits_epochs=0)
not_tested = certificate.not_tested[1:]  # without training this model
certificate = replace(certificate, rungs=(*certificate.rungs, same_results(runs)), not_tested=not_tested)
report = diptych.compare_runs(list(runs.values()), parity=certificate)
step("done")

console.print(results(runs, seconds))
console.print(f"[bold]{certificate.summary}[/]")
console.print(
    "Speeds are for float64. In float32 or bfloat16, rounding differences grow and the two runs drift apart; "
    "`diptych compare` measures how far, and compares this with PyTorch alone.\n"
)
print(f"report: {report.report_path}")
for run in runs.values():
    print(f"plots:  {run.plots_dir}")
folder = runs["torch"].directory
print(f"""
Try next:
  diptych evaluate {folder} --engine tensorflow
  diptych export {folder} --to torchscript keras
  diptych compare digits --seeds 3""")
sys.exit(0 if certificate.passed else 1)
