"""What shipped files are worth: accuracy against latency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diptych.deployment.formats import FORMATS
from diptych.deployment.runtimes import RUNTIMES
from diptych.deployment.standings import Benchmark, Row
from diptych.reports import canvas
from diptych.reports.canvas import GREY, INK
from diptych.reports.charts import ENGINE_COLOURS, NEUTRAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

COLOURS = {**ENGINE_COLOURS, "onnxruntime": NEUTRAL, "litert": "#CC79A7", "openvino": "#E69F00"}
"""By framework, where a runtime belongs to one."""
MARKERS = {True: "o", False: "s"}
NAMES = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
NARROWEST = 0.01
"""Least span of the accuracies drawn, so that hardly a difference does not look like much."""
LABEL_GAP = 0.03
"""Between neighbouring labels, as a share of the axis."""


def accuracy_by_latency(path: Path, found: Benchmark) -> None:
    """Draw a dot for each format and runtime that passed: accuracy against the median latency of one image.

    Args:
        path: the PNG to write.
        found: what was measured.
    """
    rows = sorted((row for row in found.rows if row.status == "ok"), key=_milliseconds)
    figure = canvas.figure(10, 5.5)
    axes = figure.subplots()
    canvas.plain_axes(axes, "")
    figure.suptitle(_title(found, rows), color=INK, x=0.01, ha="left", fontsize=13)
    axes.set_xlabel(f"median latency of one image in milliseconds (logarithmic; threads: {found.threads})")
    axes.set_ylabel("accuracy on the test set")
    axes.yaxis.set_major_formatter(canvas.percent)
    _span(axes, rows, found.trained_accuracy)
    for row in rows:
        marker = MARKERS[row.is_lossless]
        axes.plot(_milliseconds(row), _accuracy(row), marker, color=COLOURS[_maker(row)], markersize=9, mec="white")
    _label(axes, rows)
    figure.legend(handles=_key(rows), frameon=False, loc="outside lower center", ncols=4)
    canvas.save(figure, path)


def _milliseconds(row: Row) -> float:
    return 1000 * row.speed.latency_p50 if row.speed else np.nan


def _accuracy(row: Row) -> float:
    return np.nan if row.accuracy is None else row.accuracy


def _maker(row: Row) -> str:
    return RUNTIMES[row.runtime].engine or row.runtime


def _title(found: Benchmark, rows: Sequence[Row]) -> str:
    if not rows:
        return f"{found.model}: no format passed"
    fastest = rows[0]
    return f"{found.model}: fastest is {fastest.label} with {_milliseconds(fastest):.3g} ms"


def _span(axes: Axes, rows: Sequence[Row], trained_accuracy: float) -> None:
    """Room around the dots, and a line where the trained model is."""
    from matplotlib.ticker import LogLocator, NullFormatter

    accuracies = [trained_accuracy, *(_accuracy(row) for row in rows)]
    span = max(max(accuracies) - min(accuracies), NARROWEST)
    axes.set_ylim(max(accuracies) - 1.2 * span, max(accuracies) + 0.2 * span)
    axes.axhline(trained_accuracy, color=GREY, linestyle="--", linewidth=1, zorder=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    if rows:
        axes.set_xlim(_milliseconds(rows[0]) / 1.5, _milliseconds(rows[-1]) * 1.5)


def _label(axes: Axes, rows: Sequence[Row]) -> None:
    """Slanted names above the axes, in the order of the dots and never closer than `LABEL_GAP`, each with a line."""
    low, high = np.log(axes.get_xlim())
    shares = [(np.log(_milliseconds(row)) - low) / (high - low) for row in rows]
    for row, place in zip(rows, spread(shares, LABEL_GAP), strict=True):
        axes.annotate(
            row.form if len(FORMATS[row.form].runtimes) == 1 else row.label,
            (_milliseconds(row), _accuracy(row)),
            (place, 1.03),
            textcoords="axes fraction",
            rotation=45,
            rotation_mode="anchor",
            fontsize=9,
            color=INK,
            arrowprops={
                "arrowstyle": "-",
                "color": GREY,
                "linewidth": 0.6,
                "relpos": (0, 0),
                "shrinkA": 0,
                "shrinkB": 4,
            },
        )


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """The places in 0–1 nearest to those wanted (ascending) that are at least `gap` apart."""
    from scipy.optimize import isotonic_regression

    if not wanted:
        return []
    steps = gap * np.arange(len(wanted))
    nearest = isotonic_regression(np.asarray(wanted) - steps).x
    return [*(np.clip(nearest, 0, max(0.0, 1 - steps[-1])) + steps)]


def _key(rows: Sequence[Row]) -> list[Line2D]:
    from matplotlib.lines import Line2D

    makers = [maker for maker in COLOURS if maker in map(_maker, rows)]
    dots = [(NAMES.get(maker) or RUNTIMES[maker].title, COLOURS[maker], "o") for maker in makers]
    kinds = [("float32", GREY, MARKERS[True]), ("float16 or int8", GREY, MARKERS[False])]
    line = Line2D([], [], color=GREY, linestyle="--", linewidth=1, label="as trained")
    return [
        *(
            Line2D([], [], linestyle="", marker=marker, color=colour, label=name)
            for name, colour, marker in dots + kinds
        ),
        line,
    ]
