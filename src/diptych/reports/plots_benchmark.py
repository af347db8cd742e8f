"""PNG plot of a benchmark: accuracy against latency of every exported format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diptych.deployment.benchmark import Benchmark, Row
from diptych.deployment.formats import FORMATS
from diptych.deployment.runtimes import RUNTIMES
from diptych.reports.plots import ENGINE_COLORS, GRAY, INK, NEUTRAL, add_axes, new_figure, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

COLORS = {**ENGINE_COLORS, "onnxruntime": NEUTRAL, "litert": "#CC79A7", "openvino": "#E69F00"}
"""By engine, or by runtime where a runtime belongs to no engine."""
NAMES = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
MARKERS = {True: "o", False: "s"}
MIN_SPAN = 0.01
"""Minimum range of the accuracy axis, so that negligible differences look negligible."""
LABEL_GAP = 0.03
"""Minimum distance between neighboring labels, as a fraction of the axis."""


def accuracy_by_latency(path: Path, benchmark: Benchmark) -> None:
    """Draw a dot for each format and runtime that passed: accuracy against the median latency of one image."""
    rows = sorted((row for row in benchmark.rows if row.status == "ok"), key=_milliseconds)
    title = f"{benchmark.model}: no format passed"
    if rows:
        title = f"{benchmark.model}: fastest is {rows[0].label} with {_milliseconds(rows[0]):.3g} ms"
    with new_figure(path, 10, 6.2) as figure:
        axes = add_axes(figure, 0.9, 1.2, 7.7, 2.9)
        figure.text(0.01, 0.96, title, color=INK, fontsize=13)
        axes.set_xlabel(f"median latency of one image in milliseconds (logarithmic; threads: {benchmark.threads})")
        axes.set_ylabel("accuracy on the test set")
        axes.yaxis.set_major_formatter(percent)
        _set_limits(axes, rows, benchmark.trained_accuracy)
        for row in rows:
            marker, color = MARKERS[row.is_lossless], COLORS[_maker(row)]
            axes.plot(_milliseconds(row), _accuracy(row), marker, color=color, markersize=9, mec="white")
        _label(axes, rows)
        figure.legend(handles=_legend(rows), frameon=False, loc="lower center", ncols=4)


def _milliseconds(row: Row) -> float:
    return 1000 * row.speed.latency_p50 if row.speed else np.nan


def _accuracy(row: Row) -> float:
    return np.nan if row.accuracy is None else row.accuracy


def _maker(row: Row) -> str:
    return RUNTIMES[row.runtime].engine or row.runtime


def _set_limits(axes: Axes, rows: Sequence[Row], trained_accuracy: float) -> None:
    """Leave room around the dots, and draw a line at the trained model's accuracy."""
    from matplotlib.ticker import LogLocator, NullFormatter

    accuracies = [trained_accuracy, *(_accuracy(row) for row in rows)]
    span = max(max(accuracies) - min(accuracies), MIN_SPAN)
    axes.set_ylim(max(accuracies) - 1.2 * span, max(accuracies) + 0.2 * span)
    axes.axhline(trained_accuracy, color=GRAY, linestyle="--", linewidth=1, zorder=1)
    axes.set_xscale("log")
    if rows:
        axes.set_xlim(_milliseconds(rows[0]) / 1.5, _milliseconds(rows[-1]) * 1.5)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _label(axes: Axes, rows: Sequence[Row]) -> None:
    """Write slanted names above the axes, in the order of the dots, each with a line to its dot."""
    low, high = np.log(axes.get_xlim())
    places = spread([(np.log(_milliseconds(row)) - low) / (high - low) for row in rows], LABEL_GAP)
    line = {"arrowstyle": "-", "color": GRAY, "linewidth": 0.6, "relpos": (0, 0), "shrinkA": 0, "shrinkB": 4}
    for row, place in zip(rows, places, strict=True):
        axes.annotate(
            row.form if len(FORMATS[row.form].runtimes) == 1 else row.label,
            (_milliseconds(row), _accuracy(row)),
            (place, 1.03),
            textcoords="axes fraction",
            rotation=45,
            rotation_mode="anchor",
            fontsize=9,
            color=INK,
            arrowprops=line,
        )


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move ascending positions in 0–1 apart until neighbors are at least `gap` apart."""
    if not positions:
        return []
    steps = gap * np.arange(len(positions))
    bare = np.asarray(positions) - steps
    up, down = np.maximum.accumulate(bare), np.minimum.accumulate(bare[::-1])[::-1]
    return [*(np.clip((up + down) / 2, 0, max(0.0, 1 - steps[-1])) + steps)]


def _legend(rows: Sequence[Row]) -> list[Line2D]:
    from matplotlib.lines import Line2D

    makers = [maker for maker in COLORS if maker in map(_maker, rows)]
    dots = [(NAMES.get(maker) or RUNTIMES[maker].title, COLORS[maker], "o") for maker in makers]
    dots += [("float32", GRAY, MARKERS[True]), ("float16 or int8", GRAY, MARKERS[False])]
    handles = [Line2D([], [], linestyle="", marker=marker, color=color, label=name) for name, color, marker in dots]
    return [*handles, Line2D([], [], color=GRAY, linestyle="--", linewidth=1, label="as trained")]
