"""The first minute: one small CNN on digits, trained in PyTorch and in TensorFlow, proved to be the same model."""

import sys
import time
from dataclasses import replace
from statistics import median

from rich.console import Console
from rich.table import Table

import diptych
from diptych.artifacts.events import read_events
from diptych.spec import zoo
from diptych.spec.layers import Dropout

TITLES = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
EPOCHS = 10

console = Console(highlight=False, soft_wrap=True)
start = time.perf_counter()


def step(text: str) -> None:
    """Print what starts now, after how many seconds."""
    console.print(f"[dim]{time.perf_counter() - start:4.0f} s[/]  {text}")


def model() -> diptych.ModelSpec:
    """A small CNN without dropout: each framework draws its own dropout masks, and equal models would train apart."""
    cnn = zoo.model("cnn", (8, 8, 1), num_classes=10)
    layers = (replace(layer, rate=0.0) if isinstance(layer, Dropout) else layer for layer in cnn.layers)
    return replace(cnn, layers=tuple(layers))


def results(runs: dict[str, diptych.Run], seconds: dict[str, float]) -> Table:
    """Accuracy and loss on the test images, training speed and total time of each run."""
    table = Table("", "accuracy", "loss", "images/s", "seconds")
    for engine, run in runs.items():
        metrics = run.read_metrics()
        speed = median(epoch["images_per_second"] for epoch in read_events(run.events_path, "epoch"))
        row = f"{metrics['accuracy']:.2%}", f"{metrics['loss']:.4f}", f"{speed:,.0f}", f"{seconds[engine]:.0f}"
        table.add_row(TITLES[engine], *row)
    return table


console.print(f"One small CNN, 1,797 images of digits, {EPOCHS} epochs in float32, the same weights and batches.")
spec, runs, seconds = model(), {}, {}
for engine, title in TITLES.items():
    step(f"training in {title}")
    begin = time.perf_counter()
    runs[engine] = diptych.train("digits", engine=engine, model=spec, precision="float32", epochs=EPOCHS)
    seconds[engine] = time.perf_counter() - begin
step("comparing the two models in float64, layer by layer and step by step")
certificate = diptych.verify(spec, optimizers=("adamw",), precisions=("float64",), digits_epochs=1)
report = diptych.compare_runs(list(runs.values()), parity=certificate)
step("done")

console.print(results(runs, seconds))
console.print(f"[bold]{certificate.summary}[/]")
console.print("The two runs differ because float32 rounding grows from step to step; in float64 it stays negligible.\n")
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
