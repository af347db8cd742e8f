"""The main job in a minute: a small CNN on scikit-learn's digits, trained in both frameworks and proved equal."""

import sys
import time

from rich.console import Console

import diptych
from diptych.cli.tables import runs_table
from diptych.training import job

console = Console()
start = time.perf_counter()
console.print("Training one small CNN on 1,797 images of digits, natively in PyTorch and in TensorFlow ...")
runs = diptych.train("digits", engine="both", model="cnn", epochs=10)

console.print("Proving that the two are the same model: forward, gradients and steps, in float64 ...")
spec = job.spec_of(runs[0].read_record())
certificate = diptych.verify(spec, optimizers=("adamw",), precisions=("float64",), steps=10, digits_epochs=0)

table = runs_table(runs)
table.title = "One spec, two native engines"
console.print(table)
console.print(f"parity: {certificate.verdict}")
console.print(f"pictures: {' and '.join(str(run.plots_dir) for run in runs)}")
console.print(f"{time.perf_counter() - start:.0f} s in all")
sys.exit(0 if certificate.passed else 1)
