"""A shipped file against the model it came from: probabilities, agreement, accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from diptych.artifacts.run import Predictions
from diptych.data.datasets import Split
from diptych.data.images import Images
from diptych.deployment.calibration import stratified
from diptych.deployment.formats import Format
from diptych.errors import ArtifactError, DataError
from diptych.evaluation.metrics import evaluate_logits, softmax

NUM_GOLDEN = 1000


@dataclass(frozen=True, eq=False)
class Reference:
    """What the trained model said of the test set, and which of its images are golden."""

    images: Images
    """uint8, (N, H, W, C); they may be more than memory holds."""
    labels_n: np.ndarray
    logits_nk: np.ndarray
    golden_g: np.ndarray
    """Places of the golden images, stratified by class."""
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, test: Split, predictions: Predictions, class_names: tuple[str, ...]) -> Reference:
        """From a run's test split and its predictions.

        Raises:
            ArtifactError: the predictions are of another test set.
        """
        if not np.array_equal(test.labels, predictions.labels_n):
            raise ArtifactError("The run's predictions are not of this test set; train a new run.")
        if not len(test):
            raise DataError("The test split is empty, so there is nothing to verify with.")
        golden_g = stratified(test.labels, NUM_GOLDEN)
        return cls(test.images, test.labels, predictions.logits_nk, golden_g, class_names)

    @cached_property
    def probabilities_nk(self) -> np.ndarray:
        """What the trained model gave each class."""
        return softmax(self.logits_nk)

    @property
    def accuracy(self) -> float:
        """Share of test images that the trained model gets right."""
        return float(np.mean(self.logits_nk.argmax(1) == self.labels_n))


@dataclass(frozen=True)
class Verdict:
    """How a shipped file compares with the trained model."""

    worst_difference: float
    """Of a probability, over the golden images."""
    agreement: float
    """Share of test images that get the same class."""
    accuracy: float
    """On the test set; of the shipped file."""
    fault: str | None
    """Why it is not what was trained; None where it passed."""


def judge(form: Format, reference: Reference, probabilities_nk: np.ndarray) -> Verdict:
    """Compare what a file of format `form` says of the test images with what the trained model said."""
    wanted_nk = reference.probabilities_nk
    if probabilities_nk.shape != wanted_nk.shape or not np.isfinite(probabilities_nk).all():
        shape_fault = f"its probabilities have shape {probabilities_nk.shape}, wanted finite ones of {wanted_nk.shape}"
        return Verdict(float("inf"), 0.0, 0.0, shape_fault)
    worst = float(np.abs(probabilities_nk - wanted_nk)[reference.golden_g].max())
    classes_n = probabilities_nk.argmax(1)
    same_n = classes_n == wanted_nk.argmax(1)
    agreement = float(np.mean(same_n))
    fault: str | None = None
    if worst > form.tolerance:
        fault = f"a probability differs by {worst:.2g}, at most {form.tolerance:g} was wanted"
    elif (~same_n).sum() > max(1, (1 - form.agreement) * len(same_n)):  # one image is no share of a small test set
        fault = f"{agreement:.2%} of the images get the trained model's class, at least {form.agreement:.1%} was wanted"
    return Verdict(worst, agreement, float(np.mean(classes_n == reference.labels_n)), fault)


def class_changes(reference: Reference, logits_nk: np.ndarray) -> list[dict[str, Any]]:
    """Accuracy of each class, of the trained model and of the shipped file."""
    trained, shipped = (
        evaluate_logits(logits, reference.labels_n, reference.class_names)["per_class"]
        for logits in (reference.logits_nk, logits_nk)
    )
    return [
        {"class": was["name"], "trained": was["recall"], "shipped": now["recall"]}
        for was, now in zip(trained, shipped, strict=True)
    ]
