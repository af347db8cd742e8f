"""Which test images are worth looking at: where two sides differ, and where all of them are wrong alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diptych.comparison.sides import Side

MOST_DISAGREEMENTS = 48
MOST_MISTAKES = 24


def gallery(sides: Sequence[Side]) -> dict[str, Any]:
    """The first two sides' disagreements, and every side's shared mistakes, most telling first."""
    first, second = sides[:2]
    differ_sn = np.stack(
        [one.predicted_n != two.predicted_n for one, two in zip(first.answers, second.answers, strict=True)]
    )
    count_n = differ_sn.sum(axis=0)
    apart_sn = np.stack([_apart(one, two) for one, two in _probabilities(first, second)])
    apart_sn[~differ_sn] = 0.0
    order = sorted(np.flatnonzero(count_n), key=lambda i: (-count_n[i], -apart_sn[:, i].max(), i))
    return {
        "num_images": int(differ_sn.shape[1]),
        "num_disagreements": len(order),
        "disagreements": [
            _case(first, second, int(i), int(apart_sn[:, i].argmax()), int(count_n[i]))
            for i in order[:MOST_DISAGREEMENTS]
        ],
        **_shared(sides),
    }


def ids(found: dict[str, Any]) -> list[int]:
    """Every test image in a gallery."""
    return sorted({case["id"] for kind in ("disagreements", "shared_mistakes") for case in found[kind]})


def _probabilities(first: Side, second: Side) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (one.probabilities_nk, two.probabilities_nk) for one, two in zip(first.answers, second.answers, strict=True)
    ]


def _apart(one_nk: np.ndarray, two_nk: np.ndarray) -> np.ndarray:
    """Total variation of each image's two distributions, (N,)."""
    apart_n: np.ndarray = 0.5 * np.abs(one_nk - two_nk).sum(axis=1)
    return apart_n


def _case(first: Side, second: Side, image: int, pair: int, count: int) -> dict[str, Any]:
    answers = [side.answers[pair] for side in (first, second)]
    predicted = [int(answer.predicted_n[image]) for answer in answers]
    return {
        "id": image,
        "label": int(answers[0].labels_n[image]),
        "predicted": predicted,
        "probabilities": [
            float(answer.probabilities_nk[image, k]) for answer, k in zip(answers, predicted, strict=True)
        ],
        "seed": answers[0].seed if answers[0].seed == answers[1].seed else None,
        "num_pairs": count,
    }


def _shared(sides: Sequence[Side]) -> dict[str, Any]:
    """Images that every run of every side takes for the same wrong class: often an error of the label."""
    answers = [answer for side in sides for answer in side.answers]
    predicted_rn = np.stack([answer.predicted_n for answer in answers])
    labels_n = answers[0].labels_n
    alike_n = (predicted_rn == predicted_rn[0]).all(axis=0) & (predicted_rn[0] != labels_n)
    means = [np.mean([answer.probabilities_nk for answer in side.answers], axis=0) for side in sides[:2]]
    images = np.flatnonzero(alike_n)
    classes = predicted_rn[0]
    sure = np.minimum(*(mean[images, classes[images]] for mean in means))
    order = images[np.argsort(-sure, kind="stable")]
    return {
        "num_shared": len(order),
        "shared_mistakes": [
            {
                "id": int(i),
                "label": int(labels_n[i]),
                "predicted": [int(classes[i])] * 2,
                "probabilities": [float(mean[i, classes[i]]) for mean in means],
            }
            for i in order[:MOST_MISTAKES]
        ],
    }
