"""Compare an exported file with the trained model, and write the golden image for an application's own check."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from diptych.artifacts.run import Predictions
from diptych.artifacts.store import atomic_write, write_json
from diptych.data.datasets import Split
from diptych.data.images import Images
from diptych.deployment.card import Card
from diptych.deployment.formats import FORMATS
from diptych.deployment.quantization import stratified
from diptych.engines.contract import INPUT, OUTPUTS
from diptych.errors import ArtifactError
from diptych.evaluation import evaluate_logits, softmax

NUM_GOLDEN = 1000
Status = Literal["ok", "failed", "impossible", "absent", "unverified", "unrunnable"]
E = TypeVar("E", bound="Exported")


@dataclass(frozen=True, eq=False)
class Reference:
    """The test set, the trained model's predictions for it, and the golden images among it."""

    images: Images
    """uint8, (N, H, W, C); possibly larger than memory."""
    labels_n: np.ndarray
    logits_nk: np.ndarray
    golden_g: np.ndarray
    """Indices of the golden images, stratified by class."""
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, test: Split, predictions: Predictions, class_names: tuple[str, ...]) -> Reference:
        """Build the reference from a run's test split and predictions; raise if they do not belong together."""
        if not np.array_equal(test.labels, predictions.labels_n):
            raise ArtifactError("The run's predictions are for a different test set; train a new run.")
        golden_g = stratified(test.labels, NUM_GOLDEN)
        return cls(test.images, test.labels, predictions.logits_nk, golden_g, class_names)

    @cached_property
    def probabilities_nk(self) -> np.ndarray:
        """The trained model's probabilities."""
        return softmax(self.logits_nk)

    @property
    def accuracy(self) -> float | None:
        """The trained model's accuracy; None if the images have no labels."""
        return self.accuracy_of(self.logits_nk.argmax(1))

    def accuracy_of(self, classes_n: np.ndarray) -> float | None:
        """Share of images that get their label; None if they have none, which is label -1."""
        return None if self.labels_n[0] < 0 else float(np.mean(classes_n == self.labels_n))


@dataclass(frozen=True)
class Exported:
    """The result of exporting to one format."""

    form: str
    status: Status
    """ok; failed verification (the file is in `failed/`); could not be written; a package is not installed;
    written but not verified; could not be run."""
    reason: str | None = None
    path: Path | None = None
    writer: str | None = None
    num_bytes: int | None = None
    worst_difference: float | None = None
    """Largest difference of a probability from the trained model's, on the golden images."""
    tolerance: float | None = None
    agreement: float | None = None
    """Share of test images that get the trained model's class."""
    accuracy: float | None = None
    """On the test set; None if it has no labels, as for the trained model."""
    trained_accuracy: float | None = None
    classes: list[dict[str, Any]] | None = None
    """For an integer format: the accuracy of each class, trained and exported."""
    layers: list[dict[str, Any]] | None = None
    """For an integer format that lost over a point of accuracy: the layers, largest loss of precision first."""

    @property
    def drop(self) -> float:
        """Accuracy lost, 0 to 1."""
        return 0.0 if self.accuracy is None or self.trained_accuracy is None else self.trained_accuracy - self.accuracy

    def to_json(self) -> dict[str, Any]:
        """Return the entry for `export.json`."""
        return {key: value for key, value in asdict(self).items() if value is not None} | {"drop": self.drop}


def judge(exported: E, reference: Reference, probabilities_nk: np.ndarray) -> E:
    """Compare a file's probabilities for the test images with the trained model's, by the limits of its format."""
    form, expected_nk, reason = FORMATS[exported.form], reference.probabilities_nk, None
    found: dict[str, Any] = {"worst_difference": float("inf"), "agreement": 0.0, "accuracy": 0.0}
    if probabilities_nk.shape != expected_nk.shape or not np.isfinite(probabilities_nk).all():
        reason = f"its probabilities have shape {probabilities_nk.shape}, expected finite ones of {expected_nk.shape}"
    else:
        worst = float(np.abs(probabilities_nk - expected_nk)[reference.golden_g].max())
        classes_n = probabilities_nk.argmax(1)
        same_n = classes_n == expected_nk.argmax(1)
        agreement, accuracy = float(np.mean(same_n)), reference.accuracy_of(classes_n)
        found = {"worst_difference": worst, "agreement": agreement, "accuracy": accuracy}
        if worst > form.tolerance:
            reason = f"a probability differs by {worst:.2g}; at most {form.tolerance:g} is allowed"
        elif (~same_n).sum() > max(1, (1 - form.agreement) * len(same_n)):  # in a small test set, one image may differ
            share = f"{agreement:.2%} of the images get the trained model's class"
            reason = f"{share}; at least {form.agreement:.1%} is required"
    found |= {"tolerance": form.tolerance, "trained_accuracy": reference.accuracy}
    return replace(exported, status="failed" if reason else "ok", reason=reason, **found)


def class_changes(reference: Reference, logits_nk: np.ndarray) -> list[dict[str, Any]]:
    """Return the accuracy of each class, of the trained model and of the exported file."""
    labels_n, names = reference.labels_n, reference.class_names
    both = (evaluate_logits(one, labels_n, names)["per_class"] for one in (reference.logits_nk, logits_nk))
    rows = zip(*both, strict=True)
    return [{"class": one["name"], "trained": one["recall"], "shipped": other["recall"]} for one, other in rows]


def write_golden(folder: Path, card: Card, reference: Reference) -> None:
    """Write an image of the model's input size, `golden.png`, and the trained model's prediction, `golden.json`."""
    from PIL import Image

    # The most certain correct answer.
    golden_g = reference.golden_g
    is_right_g = reference.logits_nk[golden_g].argmax(1) == reference.labels_n[golden_g]
    index = int(golden_g[np.argmax(reference.probabilities_nk[golden_g].max(1) * (0.5 + is_right_g))])
    image_hwc, probabilities_k = reference.images[index], reference.probabilities_nk[index]
    with atomic_write(folder / "golden.png") as file:
        Image.fromarray(image_hwc[..., 0] if image_hwc.shape[-1] == 1 else image_hwc).save(file, "png")
    answer = {
        "image": "golden.png",
        "input": {"name": INPUT, "dtype": "uint8", "shape": [1, *image_hwc.shape]},
        "parity": card.parity,
        "class": card.class_names[int(probabilities_k.argmax())],
        OUTPUTS[0]: reference.logits_nk[index],
        OUTPUTS[1]: probabilities_k,
        "class_names": card.class_names,
        "tolerance_of_probabilities": {form.name: form.tolerance for form in FORMATS.values()},
    }
    write_json(folder / "golden.json", answer)
