"""The ledger: where PyTorch and TensorFlow/Keras disagree, what is done here, and the test that proves it."""

from diptych.engines.differences.data import DATA
from diptych.engines.differences.model import MODEL
from diptych.engines.differences.row import Difference
from diptych.engines.differences.training import TRAINING

__all__ = ["LEDGER", "Difference"]

LEDGER: tuple[Difference, ...] = (*MODEL, *TRAINING, *DATA)
