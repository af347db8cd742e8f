"""Numbers as text: shares in percent, differences in signed points, bytes, times, p-values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOTHING = "–"
BYTES = ("bytes", "KiB", "MiB", "GiB", "TiB")


def percent(share: float | None, digits: int = 2) -> str:
    """Format 0.9312 as 93.12%."""
    return NOTHING if share is None else f"{100 * share:.{digits}f}%"


def signed(number: float | None, digits: int = 2) -> str:
    """Format a number with its sign, with a true minus; zero has none."""
    if number is None:
        return NOTHING
    rounded = round(number, digits)
    text = f"{abs(rounded):.{digits}f}"
    return text if rounded == 0 else f"{'+' if rounded > 0 else '−'}{text}"


def points(difference: float | None, digits: int = 2) -> str:
    """Format a difference of shares in percentage points, 0.001 as +0.10."""
    return NOTHING if difference is None else signed(100 * difference, digits)


def size(value: float | None, unit: str) -> str:
    """Format a measure's value: shares in percent, others with four decimals."""
    if value is None:
        return NOTHING
    return percent(value) if unit == "share" else f"{value:.4f}"


def spread(value: float | None, unit: str) -> str:
    """Format a deviation, without sign: in points or with four decimals."""
    if value is None:
        return NOTHING
    return f"{100 * value:.2f}" if unit == "share" else f"{value:.4f}"


def change(value: float | None, unit: str) -> str:
    """Format a difference of a measure with its unit."""
    return NOTHING if value is None else f"{bare_change(value, unit)} {'points' if unit == 'share' else unit}"


def bare_change(value: float, unit: str) -> str:
    """Format a difference of a measure without its unit."""
    return points(value) if unit == "share" else signed(value, 4)


def interval(ends: Mapping[str, Any] | None, unit: str = "share") -> str:
    """Format an interval, signed, without the unit."""
    if ends is None:
        return NOTHING
    low, high = (points(ends[end]) if unit == "share" else signed(ends[end], 4) for end in ("low", "high"))
    return f"{low} to {high}"


def p_value(value: float | None) -> str:
    """Format a p-value with three decimals, or as <0.001."""
    if value is None:
        return NOTHING
    return "<0.001" if value < 0.0005 else f"{value:.3f}"


def count(number: float | None) -> str:
    """Format a whole number with commas."""
    return NOTHING if number is None else f"{number:,.0f}"


def quantity(value: float | None, unit: str) -> str:
    """Format a cost with its unit: three significant digits, bytes in KiB, MiB, …"""
    if value is None:
        return "not measured"
    if unit == "bytes":
        return _bytes(value)
    return f"{_digits(value)} {unit}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def _bytes(value: float) -> str:
    power = 0
    while value >= 1024 and power + 1 < len(BYTES):
        value, power = value / 1024, power + 1
    return f"{value:,.0f} bytes" if power == 0 else f"{value:.{0 if value >= 100 else 1}f} {BYTES[power]}"


def quantities(low: float | None, high: float | None, unit: str) -> str:
    """Format the range of a cost."""
    if low is None or high is None:
        return NOTHING
    texts = [quantity(value, unit) for value in (low, high)]
    numbers, units = zip(*(text.split(" ") for text in texts), strict=True)
    return f"{numbers[0]} to {texts[1]}" if units[0] == units[1] else " to ".join(texts)


def ratio(first: float | None, second: float | None) -> str:
    """Format second over first."""
    return NOTHING if not first or second is None else f"{second / first:.2f}×"


def difference(measure: Mapping[str, Any]) -> float:
    """Return second minus first: the mean over pairs, or the difference of the means."""
    paired = measure["difference"]
    first, second = measure["means"]
    return float(paired["mean"]) if paired else float(second - first)


def headed(text: str) -> str:
    """Return `text` with a capital first letter."""
    return text[:1].upper() + text[1:]


def shortened(name: str, most: int) -> str:
    """Return `name`, without its middle if it exceeds `most` characters."""
    half = most // 2
    return name if len(name) <= most else f"{name[: most - half - 1]}…{name[-half:]}"


def plural(number: int, noun: str) -> str:
    """Format a number and a noun: `1 seed`, `3 seeds`, `2 classes`."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"
