"""What every picture is drawn on: figures unknown to pyplot, plain axes, PNGs written whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diptych.artifacts.store import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY = "#8A8A8A"
INK = "#222222"


def figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=150, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: Axes, title: str) -> None:
    """Leave two spines and a light grid; the title stands at the left."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.set_title(title, color=INK, loc="left")


def percent(share: float, _position: float = 0) -> str:
    """A share as text, also in the form in which Matplotlib asks for the texts of ticks."""
    return f"{100 * share:.4g}%"


def short(name: str, width: int) -> str:
    """`name` with its middle left out beyond `width` characters; dollars are kept from starting formulas."""
    half = width // 2
    cut = name if len(name) <= width else f"{name[: half - 1]}…{name[-half:]}"
    return cut.replace("$", r"\$")


def save(figure: Figure, path: Path) -> None:
    """Write a PNG."""
    with atomic_write(path) as file:
        figure.savefig(file, format="png")
