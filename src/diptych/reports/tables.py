"""A comparison as Markdown, with the numbers of the HTML report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from diptych.comparison import wording
from diptych.reports.figures import pair_name

PAIRED = {"accuracy": "share", "macro_f1": "share", "loss": "nats", "calibration_error": "share"}


RESULT_HEADS = ("", "accuracy", "loss", "images/s", "seconds")


def results(comparison: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of results: a row for each side, speed and time as known and only of a quiet machine."""
    medians = {cost["key"]: cost["medians"] for cost in comparison["costs"] if not comparison["disturbed"]}
    rows = []
    for index, side in enumerate(comparison["sides"]):
        which = min(index, 1)
        accuracy, _, loss, *_ = comparison["contrasts"][max(index - 1, 0)]["measures"]
        share = wording.percent(accuracy["means"][which])
        if accuracy["deviations"]:
            share += f" ± {wording.spread(accuracy['deviations'][which], 'share')}"
        speed, seconds = (
            medians[key][index] if key in medians else None for key in ("train_throughput", "train_seconds")
        )
        duration = wording.NOTHING if seconds is None else f"{seconds:,.1f}"
        rows.append([side["name"], share, wording.size(loss["means"][which], "nats"), wording.count(speed), duration])
    return rows


def markdown(comparison: Mapping[str, Any]) -> str:
    """Return the content of `comparison.json` as Markdown."""
    names = [side["name"] for side in comparison["sides"]]
    verdict, parity = comparison["verdict"], comparison["parity"]
    parts = [
        f"# {escaped(comparison['title'])}",
        table(RESULT_HEADS, results(comparison)),
        *(f"Speed and time are left out. {escaped(sentence)}" for sentence in comparison["disturbed"]),
        escaped(parity["summary"]) if parity else "",
        "\n".join(f"- {escaped(reason)}" for reason in comparison["drift"]),
        f"**{escaped(verdict['headline'])}**",
        "\n".join(f"- {escaped(sentence)}" for sentence in verdict["details"]),
        f"Differences within ±{wording.spread(comparison['subject']['margin'], 'share')} points count as equal.",
    ]
    for contrast in comparison["contrasts"]:
        second = contrast["second"]
        parts += [f"## Measures: {escaped(f'{names[second]} minus {names[0]}')}", measures(contrast, names)]
        if pairs := comparison["pairs"].get(str(second), []):
            heading = f"## Pairs: {escaped(f'{names[0]} and {names[second]}')}"
            parts += [heading, pairs_table(pairs, (names[0], names[second]))]
    if comparison["costs"]:
        heads = ["cost", *names, "how it was measured"]
        parts += ["## Costs", table(heads, (_cost(cost) for cost in comparison["costs"]))]
    if comparison["remarks"]:
        parts += ["## Remarks", "\n".join(f"- {escaped(remark)}" for remark in comparison["remarks"])]
    return "\n\n".join(part for part in [*parts, f"`{comparison['command']}`"] if part) + "\n"


def measures(contrast: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return one contrast's measures as a table; shares differ in points."""
    heads = [
        *("measure", names[0], names[contrast["second"]]),
        *("difference", "95% over seeds", "p", "95% over test images", "equivalence p", "detectable"),
    ]
    return table(heads, (_measure(measure) for measure in contrast["measures"]))


def _measure(measure: Mapping[str, Any]) -> list[str]:
    unit, seeds = measure["unit"], measure["difference"]
    deviations = measure["deviations"] or [None, None]
    return [
        measure["title"],
        *(
            wording.size(mean, unit) + ("" if deviation is None else f" ± {wording.spread(deviation, unit)}")
            for mean, deviation in zip(measure["means"], deviations, strict=True)
        ),
        f"{wording.change(wording.difference(measure), unit)} {wording.UNITS[unit]}",
        wording.interval(seeds, unit),
        wording.p_value(seeds["p_value"] if seeds else None),
        wording.interval(measure["image_interval"], unit),
        wording.p_value(measure["equivalence_p"]),
        wording.spread(measure["detectable"], unit),
    ]


def pairs_table(pairs: Sequence[Mapping[str, Any]], names: tuple[str, str]) -> str:
    """Return one contrast pair by pair; cells hold the first side's value and the second's."""
    keys = ["accuracy", "macro F1", "loss", "calibration error"]
    heads = ["pair", *keys, "agreement", *(f"only {name} right" for name in names), "McNemar p"]
    return table(heads, (_pair(pair, place) for place, pair in enumerate(pairs)))


def _pair(pair: Mapping[str, Any], place: int) -> list[str]:
    values = [" / ".join(wording.size(value, unit) for value in pair[key]) for key, unit in PAIRED.items()]
    right = [wording.count(pair[f"only_{which}_right"]) for which in ("first", "second")]
    agreement, p_value = wording.percent(pair["agreement"]), wording.p_value(pair["mcnemar_p"])
    return [pair_name(pair, place), *values, agreement, *right, p_value]


def _cost(cost: Mapping[str, Any]) -> list[str]:
    cells = []
    for median, low, high in zip(cost["medians"], cost["low"], cost["high"], strict=True):
        spread = "" if low is None or low == high else f" ({wording.quantities(low, high, cost['unit'])})"
        cells.append(wording.quantity(median, cost["unit"]) + spread)
    return [f"{cost['title']} ({cost['better']} is better)", *cells, cost["note"]]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(escaped(cell) for cell in line)} |" for line in lines)


def escaped(text: str) -> str:
    """Escape text so that it cannot end a cell or start a tag."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
