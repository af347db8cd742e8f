"""A comparison as Markdown: the verdict, the measures, the pairs and the costs, with the page's numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from diptych.comparison import wording
from diptych.reports.figures import pair_name


def markdown(comparison: Mapping[str, Any]) -> str:
    """The comparison's numbers as Markdown text.

    Args:
        comparison: what `comparison.json` holds.
    """
    names = [side["name"] for side in comparison["sides"]]
    verdict = comparison["verdict"]
    parts = [
        f"# {escaped(comparison['title'])}",
        f"**{escaped(verdict['headline'])}**",
        "\n".join(f"- {escaped(sentence)}" for sentence in verdict["details"]),
        f"Differences within ±{wording.spread(comparison['subject']['margin'], 'share')} points count as equal.",
    ]
    for contrast in comparison["contrasts"]:
        second = contrast["second"]
        heading = f"{names[second]} minus {names[0]}"
        parts += [f"## Measures: {escaped(heading)}", measures(contrast, names)]
        pairs = comparison["pairs"].get(str(second), [])
        if pairs:
            heading = f"{names[0]} and {names[second]}"
            parts += [f"## Pairs: {escaped(heading)}", pairs_table(pairs, (names[0], names[second]))]
    if comparison["costs"]:
        parts += ["## Costs", costs(comparison["costs"], names)]
    if comparison["remarks"]:
        parts += ["## Remarks", "\n".join(f"- {escaped(remark)}" for remark in comparison["remarks"])]
    return "\n\n".join(part for part in [*parts, f"`{comparison['command']}`"] if part) + "\n"


def measures(contrast: Mapping[str, Any], names: Sequence[str]) -> str:
    """One contrast's measures; in points where a measure is a share."""
    heads = [
        *("measure", names[0], names[contrast["second"]]),
        *("difference", "95% over seeds", "p", "95% over test images", "equivalence p", "detectable"),
    ]
    return table(heads, (_measure(measure) for measure in contrast["measures"]))


def _measure(measure: Mapping[str, Any]) -> list[str]:
    unit, found = measure["unit"], measure["difference"]
    deviations = measure["deviations"] or [None, None]
    sizes = [
        wording.size(mean, unit) + ("" if deviation is None else f" ± {wording.spread(deviation, unit)}")
        for mean, deviation in zip(measure["means"], deviations, strict=True)
    ]
    return [
        measure["title"],
        *sizes,
        wording.change(wording.difference(measure), unit),
        wording.interval(found, unit),
        wording.p_value(found["p_value"] if found else None),
        wording.interval(measure["image_interval"], unit),
        wording.p_value(measure["equivalence_p"]),
        wording.spread(measure["detectable"], unit),
    ]


PAIRED = {"accuracy": "share", "macro_f1": "share", "loss": "nats", "calibration_error": "share"}


def pairs_table(pairs: Sequence[Mapping[str, Any]], names: tuple[str, str]) -> str:
    """One contrast, pair by pair; a cell holds the first side's value and the second's."""
    keys = ["accuracy", "macro F1", "loss", "calibration error"]
    right = [f"only {name} right" for name in names]
    return table(["pair", *keys, "agreement", *right, "McNemar p"], (_pair(pair, k) for k, pair in enumerate(pairs)))


def _pair(pair: Mapping[str, Any], place: int) -> list[str]:
    values = [" / ".join(wording.size(value, unit) for value in pair[key]) for key, unit in PAIRED.items()]
    right = [wording.count(pair[f"only_{which}_right"]) for which in ("first", "second")]
    agreement, p_value = wording.percent(pair["agreement"]), wording.p_value(pair["mcnemar_p"])
    return [pair_name(pair, place), *values, agreement, *right, p_value]


def costs(found: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Each cost's median, with the smallest and the largest measurement."""
    return table(["cost", *names, "how it was measured"], (_cost(cost) for cost in found))


def _cost(cost: Mapping[str, Any]) -> list[str]:
    cells = []
    for median, low, high in zip(cost["medians"], cost["low"], cost["high"], strict=True):
        spread = "" if low is None or low == high else f" ({wording.quantities(low, high, cost['unit'])})"
        cells.append(wording.quantity(median, cost["unit"]) + spread)
    return [f"{cost['title']} ({cost['better']} is better)", *cells, cost["note"]]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(escaped(cell) for cell in line)} |" for line in lines)


def escaped(text: str) -> str:
    """Text that neither ends a cell nor starts a tag."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
