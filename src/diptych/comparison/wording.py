"""The verdict of a comparison in plain sentences, and numbers as text: shares, differences, bytes, times, p-values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diptych.comparison.statistics import LEVEL, holm

NOTHING = "–"
UNITS = {"share": "points", "nats": "nats"}
"""Units of differences, by the unit of the measure."""
BYTES = ("bytes", "KiB", "MiB", "GiB", "TiB")
Contrast = Mapping[str, Any]
CAUSES = {"threads": "the number of threads", "precision": "the number format"}
OUTCOMES = ("too-few", "different", "undecided", "equivalent")


def verdict(
    names: Sequence[str], contrasts: Sequence[Contrast], pairs: Mapping[str, Any], margin: float
) -> dict[str, Any]:
    """Return a headline, sentences with its numbers, and the outcome in a word; arguments as in `findings`."""
    accuracies = [contrast["measures"][0] for contrast in contrasts]
    # Corrected for their number; 1 for single pairs.
    differences = equivalences = [1.0] * len(contrasts)
    if accuracies[0]["difference"]:
        differences = holm([accuracy["difference"]["p_value"] for accuracy in accuracies])
        equivalences = holm([accuracy["equivalence_p"] for accuracy in accuracies])
    judged = [
        _judge(names, contrast, pairs[str(contrast["second"])], margin, *p_values)
        for contrast, *p_values in zip(contrasts, differences, equivalences, strict=True)
    ]
    outcome, headline, details = judged[0]
    if len(judged) > 1:
        outcome = min((outcome for outcome, _, _ in judged), key=OUTCOMES.index)
        details = [line for _, sentence, lines in judged for line in (sentence, lines[0])]
        details.append(
            f"Each side is compared only with {names[0]}. The verdicts are corrected for {len(contrasts)} comparisons "
            "(Holm); the p-values shown are not."
        )
        means = {names[0]: accuracies[0]["means"][0]}
        means |= {names[contrast["second"]]: contrast["measures"][0]["means"][1] for contrast in contrasts}
        ordered = sorted(means.items(), key=lambda item: -item[1])
        headline = "By mean accuracy: " + ", ".join(f"{name} {mean:.2%}" for name, mean in ordered) + "."
    return {"headline": headline, "details": details, "outcome": outcome}


def _judge(
    names: Sequence[str], contrast: Contrast, pairs: Sequence[Any], margin: float, different_p: float, equal_p: float
) -> tuple[str, str, list[str]]:
    """Return the outcome, its sentence, and the sentences with its numbers."""
    first, second = names[0], names[contrast["second"]]
    accuracy = contrast["measures"][0]
    difference = accuracy["difference"]
    if difference is None:
        return "too-few", *_single(first, second, contrast, pairs[0])
    ahead, behind = (second, first) if difference["mean"] > 0 else (first, second)
    gap, bound, num_pairs = _gap(difference["mean"]), f"{100 * margin:g}", len(pairs)
    outcome = "equivalent" if equal_p < LEVEL else "different" if different_p < LEVEL else "undecided"
    if outcome == "equivalent" and different_p < LEVEL:
        headline = f"Equivalent within {bound} points: {ahead} is {gap} ahead of {behind}, less than the margin."
    else:
        headline = {
            "equivalent": f"Equivalent: the accuracies of {first} and {second} differ by less than {bound} points.",
            "different": f"Different: {ahead} is more accurate than {behind} by {gap}.",
            "undecided": f"Undecided: {num_pairs} pairs of runs show neither a difference in accuracy nor that it is "
            f"below {bound} points.",
        }[outcome]
    significant = sum(pair["mcnemar_p"] < LEVEL for pair in pairs)
    details = [
        f"{second} minus {first}: {_gap(difference['mean'], signs=True)} of accuracy on average over {num_pairs} "
        f"seeds, 95% interval {interval(difference)} points (paired t test, p = {difference['p_value']:.2g}; "
        f"equivalence p = {accuracy['equivalence_p']:.2g}).",
        f"{num_pairs} pairs detect a true difference of {_gap(accuracy['detectable'])} with 80% power.",
        f"{_with_other_images(accuracy)} (95% bootstrap interval).",
        f"McNemar's test finds a difference in {significant} of {num_pairs} pairs; the two models of a pair predict "
        f"the same class for {contrast['agreement']:.2%} of the images.",
    ]
    for measure in contrast["measures"][2:]:  # loss and calibration error, if they differ by more than chance
        mean, p_value = measure["difference"]["mean"], measure["difference"]["p_value"]
        if p_value < LEVEL and mean:
            more = "higher" if mean > 0 else "lower"
            amount = _gap(mean) if measure["unit"] == "share" else f"{abs(mean):.4f} nats"
            details.append(
                f"The {measure['title']} of {second} is {more} than that of {first} by {amount} (p = {p_value:.2g})."
            )
    return outcome, headline, details


def _single(first: str, second: str, contrast: Contrast, pair: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Judge one pair of runs, which says something about these two models but not about the frameworks."""
    accuracy = contrast["measures"][0]
    gap = accuracy["means"][1] - accuracy["means"][0]
    ahead, behind = (second, first) if gap > 0 else (first, second)
    if pair["mcnemar_p"] < LEVEL:
        headline = f"One pair of runs: this {ahead} model is more accurate than the {behind} model by {_gap(gap)}."
    else:
        headline = f"One pair of runs: the accuracies of the two models differ by no more than chance ({_gap(gap)})."
    return headline, [
        f"McNemar's test over the test images: p = {pair['mcnemar_p']:.2g}. {_with_other_images(accuracy)}.",
        f"The two models predict the same class for {contrast['agreement']:.2%} of the test images.",
        "Another seed may change the accuracy by more than this difference; compare at least two pairs.",
    ]


def proof(certificate: Mapping[str, Any]) -> str:
    """Return a sentence that says what a parity certificate shows."""
    if certificate["passed"]:
        same = "outputs, gradients and weight updates, up to rounding"
        return f"Proven equal: given the same weights, images and settings, both frameworks compute the same {same}."
    return "Not equal: given the same weights, images and settings, the frameworks compute different numbers."


def attribution(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence on how much of the frameworks' disagreement, the first pair, the other pairs can explain."""
    total, *counts = (pair["num_images"] - pair["num_same"] for pair in pairs)
    most = max(counts)
    reached = [CAUSES[pair["changed"]] for pair, n in zip(pairs[1:], counts, strict=True) if n >= min(most, total)]
    changed = f"when only {' or '.join(reached)} changes"
    if not most:  # more than 4 are more than two standard deviations, as below
        why = (
            "so the frameworks account for the disagreement" if total > 4 else "but so few disagreements may be chance"
        )
        return f"PyTorch agrees with itself on every image {changed}, {why}."
    images = plural(most, "image") if most < total else "at least as many images"
    alone = f"PyTorch disagrees with itself on {images} {changed}, so rounding alone can explain"
    if most >= total:
        return f"{alone} the disagreement of the frameworks."
    # Two standard deviations of a difference of two counts.
    rest = "may be chance" if total - most <= 2 * (total + most) ** 0.5 else "is due to the frameworks"
    return f"{alone} {most} of the {total} disagreements; the rest {rest}."


def _with_other_images(accuracy: Any) -> str:
    between = interval(accuracy["image_interval"]).replace(" to ", " and ")
    return f"With other test images, the difference would be between {between} points"


def _gap(share: float, *, signs: bool = False) -> str:
    """Format a difference of shares in percentage points, with four decimals if it is tiny."""
    text = signed(100 * share, 2 if abs(share) >= 1e-4 or not share else 4)
    return f"{text if signs else text.lstrip('+−')} points"


def percent(share: float | None, digits: int = 2) -> str:
    """Format 0.9312 as 93.12%."""
    return NOTHING if share is None else f"{100 * share:.{digits}f}%"


def signed(number: float, digits: int) -> str:
    """Format a number with its sign, with a true minus; zero has none."""
    text = f"{abs(number):.{digits}f}"
    return text if float(text) == 0 else f"{'+' if number > 0 else '−'}{text}"


def size(value: float | None, unit: str) -> str:
    """Format a measure's value: shares in percent, others with four decimals."""
    return f"{spread(value, unit)}{'%' if unit == 'share' and value is not None else ''}"


def spread(value: float | None, unit: str) -> str:
    """Format a deviation, without sign: shares in points, others with four decimals."""
    return NOTHING if value is None else f"{100 * value:.2f}" if unit == "share" else f"{value:.4f}"


def change(value: float | None, unit: str = "share") -> str:
    """Format a difference, with its sign: of shares in points, 0.001 as +0.10, of others with four decimals."""
    return NOTHING if value is None else signed(100 * value, 2) if unit == "share" else signed(value, 4)


def interval(ends: Mapping[str, Any] | None, unit: str = "share") -> str:
    """Format an interval of differences."""
    return NOTHING if ends is None else f"{change(ends['low'], unit)} to {change(ends['high'], unit)}"


def p_value(value: float | None) -> str:
    """Format a p-value with three decimals, or as <0.001."""
    return NOTHING if value is None else "<0.001" if value < 0.0005 else f"{value:.3f}"


def count(number: float | None) -> str:
    """Format an integer with commas."""
    return NOTHING if number is None else f"{number:,.0f}"


def quantity(value: float | None, unit: str) -> str:
    """Format a cost with its unit: three significant digits, bytes in KiB, MiB, …"""
    if value is None:
        return "not measured"
    while unit in BYTES[:-1] and value >= 1024:
        value, unit = value / 1024, BYTES[BYTES.index(unit) + 1]
    return f"{value:,.0f} {unit}" if value >= 100 or unit == "bytes" else f"{value:#.3g} {unit}"


def quantities(low: float | None, high: float | None, unit: str) -> str:
    """Format the range of a cost."""
    (number, first), (_, second) = texts = [quantity(value, unit).split(" ", 1) for value in (low, high)]
    return " to ".join([number if first == second else " ".join(texts[0]), " ".join(texts[1])])


def ratio(first: float | None, second: float | None) -> str:
    """Format second over first."""
    return NOTHING if not first or second is None else f"{second / first:.2f}×"


def difference(measure: Mapping[str, Any]) -> float:
    """Return second minus first."""
    first, second = measure["means"]
    return float(second - first)


def headed(text: str) -> str:
    """Return `text` with a capital first letter."""
    return text[:1].upper() + text[1:]


def plural(number: int, noun: str) -> str:
    """Format a number and a noun: `1 seed`, `3 seeds`, `2 classes`."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"
