"""The Python API: each verb of the command line as a function."""

from diptych.api.answers import Prediction, evaluate, predict
from diptych.api.models import build, verify
from diptych.api.trainings import resume, train

__all__ = ["Prediction", "build", "evaluate", "predict", "resume", "train", "verify"]
