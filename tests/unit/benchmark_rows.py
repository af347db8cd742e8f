"""Invented rows of a benchmark."""

from pathlib import Path

from diptych.deployment.benchmark import Benchmark, Row
from diptych.deployment.formats import FORMATS
from diptych.deployment.predictor import Speed


def make_speed(latency=1e-3, rate=1000.0):
    return Speed(0.5, latency, 1.2 * latency, rate, 100_000_000)


def make_row(form, *, runtime=None, status="ok", reason=None, latency=1e-3, rate=1000.0, **fields):
    """A row that passed, unless told otherwise."""
    known = {
        "path": Path("export") / form,
        "num_bytes": 1000,
        "accuracy": 0.9,
        "agreement": 1.0,
        "worst_difference": 1e-7,
        "speeds": (make_speed(latency, rate),),
    }
    return Row(form, status, reason, runtime=runtime or FORMATS[form].runtimes[0], **known | fields)


def make_benchmark(*rows):
    return Benchmark("cnn", "0" * 64, 0.9, "2025-01-01T00:00:00+00:00", {"processor": "an abacus"}, 2, 1.0, rows)
