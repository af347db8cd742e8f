"""The verdict of a comparison in plain sentences, with no more than the numbers support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from diptych.comparison import wording
from diptych.comparison.statistics import LEVEL, holm

Contrast = Mapping[str, Any]
Outcome = Literal["too-few", "different", "undecided", "equivalent"]
OUTCOMES: tuple[Outcome, ...] = ("too-few", "different", "undecided", "equivalent")


def verdict(
    names: Sequence[str], contrasts: Sequence[Contrast], pairs: Mapping[str, Any], margin: float
) -> dict[str, Any]:
    """Return a headline, sentences with its numbers, and the outcome in a word.

    Args:
        names: names of the arms.
        contrasts: every further arm compared with the first.
        pairs: the pairs of each contrast, by the further arm's position.
        margin: difference in accuracy that does not matter, as a share.
    """
    judged = [
        _judge(names, contrast, pairs[str(contrast["second"])], margin, *p_values)
        for contrast, p_values in zip(contrasts, _corrected(contrasts), strict=True)
    ]
    if len(judged) == 1:
        outcome, headline, details = judged[0]
        return {"headline": headline, "details": details, "outcome": outcome}
    details = [line for _, headline, lines in judged for line in (headline, lines[0])]
    details.append(
        f"Each arm was compared only with {names[0]}. The verdicts are corrected for {len(contrasts)} comparisons "
        "(Holm); the p-values shown are not."
    )
    outcomes = {outcome for outcome, _, _ in judged}
    outcome = next(outcome for outcome in OUTCOMES if outcome in outcomes)
    return {"headline": _ranking(names, contrasts), "details": details, "outcome": outcome}


def points(share: float, *, signed: bool = False) -> str:
    """Format a difference of shares in percentage points, with four decimals if it is tiny."""
    digits = 2 if abs(share) >= 1e-4 or not share else 4
    text = wording.points(share, digits)
    return f"{text if signed else text.lstrip('+−')} points"


def _corrected(contrasts: Sequence[Contrast]) -> list[tuple[float, float]]:
    """Return the p-values of difference and of equivalence, corrected for their number; 1 for single pairs."""
    accuracies = [contrast["measures"][0] for contrast in contrasts]
    if accuracies[0]["difference"] is None:
        return [(1.0, 1.0)] * len(accuracies)
    differences = holm([accuracy["difference"]["p_value"] for accuracy in accuracies])
    return list(zip(differences, holm([accuracy["equivalence_p"] for accuracy in accuracies]), strict=True))


def _judge(
    names: Sequence[str],
    contrast: Contrast,
    pairs: Sequence[Any],
    margin: float,
    difference_p: float,
    equivalence_p: float,
) -> tuple[Outcome, str, list[str]]:
    """Return the outcome, its sentence, and the sentences with its numbers."""
    first, second = names[0], names[contrast["second"]]
    accuracy = contrast["measures"][0]
    difference = accuracy["difference"]
    if difference is None:
        return "too-few", *_single(first, second, contrast, pairs[0])
    ahead, behind = (second, first) if difference["mean"] > 0 else (first, second)
    bound = f"{100 * margin:g}"
    outcome: Outcome
    if equivalence_p < LEVEL and difference_p < LEVEL:
        outcome = "equivalent"
        headline = (
            f"Equivalent within {bound} points: {ahead} is {points(difference['mean'])} ahead of {behind}, "
            "less than the margin."
        )
    elif equivalence_p < LEVEL:
        outcome = "equivalent"
        headline = f"Equivalent: the accuracies of {first} and {second} differ by less than {bound} points."
    elif difference_p < LEVEL:
        outcome = "different"
        headline = f"Different: {ahead} is more accurate than {behind}, by {points(difference['mean'])}."
    else:
        outcome = "undecided"
        headline = (
            f"Undecided: {difference['num_pairs']} pairs of runs are too few to show a difference in accuracy, or "
            f"that it is below {bound} points."
        )
    interval = (
        f"{second} minus {first}: {points(difference['mean'], signed=True)} of accuracy on average over "
        f"{difference['num_pairs']} seeds, 95% interval {wording.interval(difference)} points (paired t test, "
        f"p = {difference['p_value']:.2g}; equivalence p = {accuracy['equivalence_p']:.2g})."
    )
    different = sum(pair["mcnemar_p"] < LEVEL for pair in pairs)
    return (
        outcome,
        headline,
        [
            interval,
            f"{len(pairs)} pairs detect a true difference of {points(accuracy['detectable'])} four times in five.",
            f"{_with_other_images(accuracy)} (bootstrap).",
            f"McNemar's test finds a difference in {different} of {len(pairs)} pairs; the two models of a pair predict "
            f"the same class for {contrast['agreement']:.2%} of the images.",
            *_other_measures(first, second, contrast),
        ],
    )


def _single(first: str, second: str, contrast: Contrast, pair: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Judge one pair of runs, which says something about these two models but not about the frameworks."""
    accuracy = contrast["measures"][0]
    gap = accuracy["means"][1] - accuracy["means"][0]
    ahead, behind = (second, first) if gap > 0 else (first, second)
    if pair["mcnemar_p"] < LEVEL:
        headline = f"One pair of runs: this {ahead} model is more accurate than the {behind} model, by {points(gap)}."
    else:
        headline = f"One pair of runs: the accuracies of the two models differ by no more than chance ({points(gap)})."
    return headline, [
        f"McNemar's test over the test images: p = {pair['mcnemar_p']:.2g}. {_with_other_images(accuracy)}.",
        f"The two models predict the same class for {contrast['agreement']:.2%} of the test images.",
        "Another seed may change the accuracy by more than this gap: compare at least two pairs.",
    ]


def _with_other_images(accuracy: Any) -> str:
    between = wording.interval(accuracy["image_interval"]).replace(" to ", " and ")
    return f"With other test images the gap would be between {between} points"


def _other_measures(first: str, second: str, contrast: Contrast) -> list[str]:
    """Return a sentence for each loss or calibration error that differs by more than chance."""
    lines = []
    for measure in contrast["measures"][2:]:
        difference = measure["difference"]
        if difference["p_value"] < LEVEL and difference["mean"]:
            more = "higher" if difference["mean"] > 0 else "lower"
            share = measure["unit"] == "share"
            size = points(difference["mean"]) if share else f"{abs(difference['mean']):.4f} nats"
            lines.append(
                f"The {measure['title']} of {second} is {more} than that of {first}, by {size} "
                f"(p = {difference['p_value']:.2g})."
            )
    return lines


def _ranking(names: Sequence[str], contrasts: Sequence[Contrast]) -> str:
    means = {names[0]: contrasts[0]["measures"][0]["means"][0]}
    means |= {names[contrast["second"]]: contrast["measures"][0]["means"][1] for contrast in contrasts}
    ordered = sorted(means.items(), key=lambda item: -item[1])
    return "By mean accuracy: " + ", ".join(f"{name} {mean:.2%}" for name, mean in ordered) + "."
