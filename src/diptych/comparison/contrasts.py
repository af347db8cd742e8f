"""Two arms compared: every measure with its uncertainty, every pair of runs, and the images they disagree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from diptych.comparison import statistics
from diptych.comparison.runs import Arm, FinishedRun
from diptych.comparison.statistics import Interval

MAX_DISAGREEMENTS = 48
MAX_MISTAKES = 24


@dataclass(frozen=True)
class Measure:
    """A metric of the test set."""

    name: str
    title: str
    unit: Literal["share", "nats"]
    better: Literal["higher", "lower"]


MEASURES = (
    Measure("accuracy", "accuracy", "share", "higher"),
    Measure("macro_f1", "macro F1", "share", "higher"),
    Measure("loss", "loss", "nats", "lower"),
    Measure("calibration_error", "calibration error", "share", "lower"),
)


def pairs(first: Arm, second: Arm) -> list[dict[str, Any]]:
    """Return each pair of runs, as the report shows it."""
    return [_pair(*runs) for runs in zip(first.runs, second.runs, strict=True)]


def contrast(first: Arm, second: Arm, place: int, margin: float) -> dict[str, Any]:
    """Return every measure of two arms, as second minus first; `place` is the second arm's among all arms."""
    correct_sn = [np.stack([run.correct_n for run in arm.runs]) for arm in (first, second)]
    intervals = {"accuracy": statistics.image_interval(*correct_sn)}
    intervals |= statistics.image_intervals(first, second)
    return {
        "second": place,
        "agreement": float(np.mean([pair["agreement"] for pair in pairs(first, second)])),
        "measures": [_measured(measure, first, second, margin, intervals[measure.name]) for measure in MEASURES],
    }


def gallery(arms: Sequence[Arm]) -> dict[str, Any]:
    """Return the images on which the first two arms disagree most, and the mistakes that all arms share."""
    first, second = arms[:2]
    both = list(zip(first.runs, second.runs, strict=True))
    differ_sn = np.stack([one.predicted_n != other.predicted_n for one, other in both])
    count_n = differ_sn.sum(axis=0)
    # Total variation of each image's two distributions.
    distance_sn = np.stack([0.5 * np.abs(a.probabilities_nk - b.probabilities_nk).sum(axis=1) for a, b in both])
    distance_sn[~differ_sn] = 0.0
    order = sorted(np.flatnonzero(count_n), key=lambda i: (-count_n[i], -distance_sn[:, i].max(), i))
    return {
        "num_images": int(differ_sn.shape[1]),
        "num_disagreements": len(order),
        "disagreements": [
            _disagreement(both[distance_sn[:, i].argmax()], int(i), int(count_n[i])) for i in order[:MAX_DISAGREEMENTS]
        ],
        **_shared_mistakes(arms),
    }


def gallery_ids(gallery: dict[str, Any]) -> list[int]:
    """Return every test image in a gallery."""
    return sorted({case["id"] for kind in ("disagreements", "shared_mistakes") for case in gallery[kind]})


def _pair(first: FinishedRun, second: FinishedRun) -> dict[str, Any]:
    values = {measure.name: [first.value(measure.name), second.value(measure.name)] for measure in MEASURES}
    return {
        "seed": first.seed if first.seed == second.seed else None,
        **values,
        "agreement": float(np.mean(first.predicted_n == second.predicted_n)),
        "only_first_right": int((first.correct_n & ~second.correct_n).sum()),
        "only_second_right": int((~first.correct_n & second.correct_n).sum()),
        "mcnemar_p": statistics.mcnemar(first.correct_n, second.correct_n),
    }


def _measured(measure: Measure, first: Arm, second: Arm, margin: float, images: Interval) -> dict[str, Any]:
    values = [[run.value(measure.name) for run in arm.runs] for arm in (first, second)]
    several, is_judged = len(first.runs) > 1, measure.name == "accuracy"
    difference = equivalence_p = detectable = None
    if several:
        difference = statistics.paired_difference(
            values[0], values[1], 1 / len(first.first.labels_n) if is_judged else 0.0
        )
    if difference and is_judged:
        equivalence_p = statistics.equivalence(difference, margin)
        detectable = statistics.detectable_mean(difference.deviation, difference.num_pairs)
    return {
        **asdict(measure),
        "means": [float(np.mean(value)) for value in values],
        "deviations": [float(np.std(value, ddof=1)) for value in values] if several else None,
        "difference": asdict(difference) if difference else None,
        "image_interval": dict(zip(("low", "high"), images, strict=True)),
        "equivalence_p": equivalence_p,
        "detectable": detectable,
    }


def _disagreement(runs: tuple[FinishedRun, FinishedRun], image: int, count: int) -> dict[str, Any]:
    predicted = [int(run.predicted_n[image]) for run in runs]
    return {
        "id": image,
        "label": int(runs[0].labels_n[image]),
        "predicted": predicted,
        "probabilities": [float(run.probabilities_nk[image, k]) for run, k in zip(runs, predicted, strict=True)],
        "seed": runs[0].seed if runs[0].seed == runs[1].seed else None,
        "num_pairs": count,
    }


def _shared_mistakes(arms: Sequence[Arm]) -> dict[str, Any]:
    """Return images that every run assigns to the same wrong class: often a wrong label."""
    runs = [run for arm in arms for run in arm.runs]
    predicted_rn = np.stack([run.predicted_n for run in runs])
    labels_n, classes = runs[0].labels_n, predicted_rn[0]
    images = np.flatnonzero((predicted_rn == classes).all(axis=0) & (classes != labels_n))
    means = [np.mean([run.probabilities_nk for run in arm.runs], axis=0) for arm in arms[:2]]
    confidence = np.minimum(*(mean[images, classes[images]] for mean in means))
    order = images[np.argsort(-confidence, kind="stable")]
    return {
        "num_shared": len(order),
        "shared_mistakes": [
            {
                "id": int(i),
                "label": int(labels_n[i]),
                "predicted": [int(classes[i])] * 2,
                "probabilities": [float(mean[i, classes[i]]) for mean in means],
            }
            for i in order[:MAX_MISTAKES]
        ],
    }
