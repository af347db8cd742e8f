"""The Python API: each verb of the command line as a function."""

from diptych.api.answers import Prediction, evaluate, predict
from diptych.api.checks import check_data
from diptych.api.comparisons import compare, compare_runs
from diptych.api.deployments import benchmark, describe, export
from diptych.api.models import build, transfer, verify
from diptych.api.trainings import replay, resume, train

__all__ = [
    "Prediction",
    "benchmark",
    "build",
    "check_data",
    "compare",
    "compare_runs",
    "describe",
    "evaluate",
    "export",
    "predict",
    "replay",
    "resume",
    "train",
    "transfer",
    "verify",
]
