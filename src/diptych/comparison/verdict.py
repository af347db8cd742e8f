"""What the numbers of a comparison support, in plain sentences, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diptych.comparison import wording
from diptych.comparison.statistics import LEVEL, holm

Contrast = Mapping[str, Any]


def verdict(names: Sequence[str], contrasts: Sequence[Contrast], pairs: Mapping[str, Any], margin: float) -> Any:
    """One sentence, a few that carry its numbers, and the outcome in a word.

    Args:
        names: of the sides.
        contrasts: of every further side with the first.
        pairs: of each contrast, by the further side's place.
        margin: the difference in accuracy that would not matter, as a share.
    """
    corrected = _corrected(contrasts)
    told = [
        _told(names, contrast, pairs[str(contrast["second"])], margin, *ps)
        for contrast, ps in zip(contrasts, corrected, strict=True)
    ]
    outcomes = {outcome for outcome, _, _ in told}
    details = [line for _, _, lines in told for line in lines]
    if len(told) == 1:
        outcome, headline, _ = told[0]
        return {"headline": headline, "details": details, "outcome": outcome}
    details = [line for _, headline, lines in told for line in (headline, lines[0])]
    details.append(
        f"Each was compared with {names[0]} on its own, not with the others; what counts as different or equivalent "
        f"is corrected for {len(contrasts)} comparisons (Holm), the p values as told are not."
    )
    outcome = next(word for word in ("too-few", "different", "undecided", "equivalent") if word in outcomes)
    return {"headline": _ranking(names, contrasts), "details": details, "outcome": outcome}


def points(share: float, *, signed: bool = False) -> str:
    """A difference of shares in percentage points, as exact as it is small."""
    digits = 2 if abs(share) >= 1e-4 or not share else 4
    text = wording.points(share, digits)
    return f"{text if signed else text.lstrip('+−')} points"


def span(interval: Mapping[str, float]) -> str:
    """An interval of shares in percentage points."""
    return f"{wording.interval(interval)} points"


def _corrected(contrasts: Sequence[Contrast]) -> list[tuple[float, float]]:
    """P values of a difference and of equivalence, corrected for their number; 1 for a single pair."""
    accuracies = [contrast["measures"][0] for contrast in contrasts]
    if accuracies[0]["difference"] is None:
        return [(1.0, 1.0)] * len(accuracies)
    differences = holm([accuracy["difference"]["p_value"] for accuracy in accuracies])
    return list(zip(differences, holm([accuracy["equivalence_p"] for accuracy in accuracies]), strict=True))


def _told(
    names: Sequence[str],
    contrast: Contrast,
    pairs: Sequence[Any],
    margin: float,
    difference_p: float,
    equivalence_p: float,
) -> tuple[str, str, list[str]]:
    """The outcome, its sentence, and those that carry it."""
    first, second = names[0], names[contrast["second"]]
    accuracy = contrast["measures"][0]
    found = accuracy["difference"]
    if found is None:
        return _single(first, second, accuracy, pairs[0], contrast["agreement"])
    ahead, behind = (second, first) if found["mean"] > 0 else (first, second)
    others = _other_measures(first, second, contrast)
    bound = f"{100 * margin:g}"
    if equivalence_p < LEVEL:
        outcome = "equivalent"
        headline = f"Equivalent in accuracy: {first} and {second} differ by less than {bound} points."
        if difference_p < LEVEL:
            headline = (
                f"Equivalent within {bound} points: {ahead} is ahead of {behind} by {points(found['mean'])}, "
                "which the margin allows."
            )
    elif difference_p < LEVEL:
        outcome = "different"
        headline = f"Different: {ahead} is more accurate than {behind}, by {points(found['mean'])}."
    else:
        outcome = "undecided"
        headline = (
            f"Undecided: {found['num_pairs']} pairs show neither a difference in accuracy nor "
            f"that it is below {bound} points."
        )
    return outcome, headline, [_interval(accuracy, second, first), *_evidence(contrast, accuracy, pairs), *others]


def _single(
    first: str, second: str, accuracy: Any, pair: Mapping[str, Any], agreement: float
) -> tuple[str, str, list[str]]:
    """One pair tells of these two models, never of the frameworks or recipes behind them."""
    gap = accuracy["means"][1] - accuracy["means"][0]
    better = pair["mcnemar_p"] < LEVEL
    ahead, behind = (second, first) if gap > 0 else (first, second)
    headline = (
        f"One pair of runs: this model of {ahead} is more accurate than that of {behind}, by {points(gap)}."
        if better
        else f"One pair of runs: these two models' accuracies do not differ by more than chance ({points(gap)} apart)."
    )
    interval = accuracy["image_interval"]
    return (
        "too-few",
        headline,
        [
            f"McNemar's test over the test images gives p = {pair['mcnemar_p']:.2g}; with other test images the gap "
            f"would lie between {span(interval).replace(' to ', ' and ')}.",
            f"The two give the same class to {agreement:.2%} of the test images.",
            "Another seed may change more than this gap: how a training varies takes at least two pairs to see.",
        ],
    )


def _interval(accuracy: Any, second: str, first: str) -> str:
    found = accuracy["difference"]
    return (
        f"{second} minus {first}: {points(found['mean'], signed=True)} of accuracy on average over "
        f"{found['num_pairs']} seeds, 95% interval {span(found)} (paired t, p = {found['p_value']:.2g}; "
        f"equivalence p = {accuracy['equivalence_p']:.2g})."
    )


def _evidence(contrast: Contrast, accuracy: Any, pairs: Sequence[Any]) -> list[str]:
    images = accuracy["image_interval"]
    significant = sum(pair["mcnemar_p"] < LEVEL for pair in pairs)
    return [
        f"{len(pairs)} pairs can see a true difference of {points(accuracy['detectable'])} four times in five.",
        f"With other test images the gap would lie between {span(images).replace(' to ', ' and ')} (bootstrap).",
        f"McNemar's test tells {significant} of {len(pairs)} pairs apart; two models of a pair give the same class to "
        f"{contrast['agreement']:.2%} of the images.",
    ]


def _other_measures(first: str, second: str, contrast: Contrast) -> list[str]:
    """Losses and calibration that differ by more than chance, whatever the accuracies do."""
    lines = []
    for measure in contrast["measures"][2:]:
        found = measure["difference"]
        if found["p_value"] < LEVEL and found["mean"]:
            more = "higher" if found["mean"] > 0 else "lower"
            size = points(found["mean"]) if measure["unit"] == "share" else f"{abs(found['mean']):.4f} nats"
            lines.append(
                f"The {measure['title']} of {second} is {more} than that of {first}, by {size} "
                f"(p = {found['p_value']:.2g})."
            )
    return lines


def _ranking(names: Sequence[str], contrasts: Sequence[Contrast]) -> str:
    means = {names[0]: contrasts[0]["measures"][0]["means"][0]}
    means |= {names[contrast["second"]]: contrast["measures"][0]["means"][1] for contrast in contrasts}
    ordered = sorted(means.items(), key=lambda item: -item[1])
    return "By mean accuracy: " + ", ".join(f"{name} {mean:.2%}" for name, mean in ordered) + "."
