"""How each side looks, the same everywhere: Okabe and Ito's colours, a shape for dots and a dash for lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SPARE = ("green", "purple", "orange", "black", "sky")
SHAPES = ("circle", "diamond", "square", "up", "down", "cross")
DASHES = ("none", "7 3", "2 3", "9 3 2 3", "4 2", "12 4")


@dataclass(frozen=True)
class Side:
    """One side of the comparison, as it is drawn.

    Attributes:
        index: its place among the sides.
        name: how people call it.
        colour: a CSS class that sets the colour of whatever is drawn for it.
        shape: of its dots.
        dash: of its lines.
    """

    index: int
    name: str
    colour: str
    shape: str
    dash: str


def sides_of(comparison: Mapping[str, Any]) -> list[Side]:
    """The looks of a comparison's sides; an engine's first side has the engine's colour."""
    spare, taken, found = iter(SPARE), set[str](), []
    for index, side in enumerate(comparison["sides"]):
        own = side["engine"] not in taken
        taken.add(side["engine"])
        colour = f"is-{side['engine'] if own else next(spare)}"
        place = index % len(SHAPES)
        found.append(Side(index, side["name"], colour, SHAPES[place], DASHES[place]))
    return found
