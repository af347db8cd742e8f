"""PNG plots of a run and of a benchmark, drawn with seaborn and Matplotlib, imported with the first plot.

Layouts are fixed, because Matplotlib's automatic ones take longer than everything else. Colors are Okabe and Ito's,
which color-blind readers can tell apart.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.artifacts.store import atomic_write
from diptych.data.datasets import Split
from diptych.data.images import Images
from diptych.deployment.benchmark import Benchmark
from diptych.deployment.runtimes import RUNTIMES
from diptych.evaluation import reliability_bins, softmax

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENGINE_COLORS = {"torch": "#D55E00", "tensorflow": "#0072B2"}
NEUTRAL = "#009E73"
RUNTIME_COLORS = {**ENGINE_COLORS, "onnxruntime": NEUTRAL, "litert": "#CC79A7", "openvino": "#E69F00"}
"""By engine, or by runtime where a runtime belongs to no engine."""
RIGHT, WRONG = "#00704F", "#B3261E"
GRAY, INK = "#8A8A8A", "#222222"
FALLBACK_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *("PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "SimHei"),
    *("Noto Sans", "Noto Sans Devanagari", "Noto Sans Thai", "FreeSans", "Arial Unicode MS"),
)
"""Fonts for class names that DejaVu Sans cannot write; those that are installed are used."""
MAX_LABELED_CLASSES = 150
MAX_SAMPLES = 25


@dataclass(frozen=True)
class Answers:
    """Images uint8, (N, H, W, 1 or 3), labels (N,), probabilities (N, num_classes), and a name for each class."""

    images_nhwc: Images
    labels_n: np.ndarray
    probabilities_nk: np.ndarray
    class_names: Sequence[str]


def draw(run: Run, split: Split) -> None:
    """Draw the plots of a finished run, which predicted this split, into its `plots/` folder."""
    metrics, predictions, record = run.read_metrics(), run.read_predictions(), run.read_record()
    answers = Answers(split.images, predictions.labels_n, softmax(predictions.logits_nk), record.class_names)
    color = ENGINE_COLORS[record.engines[-1].engine]
    curves(run.plots_dir / "curves.png", read_events(run.events_path, "epoch"), color=color)
    confusion_matrix(run.plots_dir / "confusion_matrix.png", metrics["confusion_matrix"], record.class_names)
    for plot in (reliability, samples, mistakes):
        plot(run.plots_dir / f"{plot.__name__}.png", answers)


@contextmanager
def new_figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure of `width` by `height` inches, and save it to `path` afterwards."""
    import matplotlib
    import seaborn
    from matplotlib.figure import Figure
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    settings = {
        **seaborn.axes_style("whitegrid"),
        "axes.grid.axis": "y",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.family": ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed)],
        "text.parse_math": False,
    }
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # drawn as an empty box
        matplotlib.rcdefaults()  # whatever a `matplotlibrc` in the working directory says
        matplotlib.rcParams.update(settings)
        figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
        yield figure
        with atomic_write(path) as file:
            figure.savefig(file, format="png", pil_kwargs={"compress_level": 3})


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add axes at a place given in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def percent(share: float, _position: float = 0) -> str:
    """Format a share; also a Matplotlib tick formatter."""
    return f"{100 * share:.4g}%"


def _short(name: str, width: int) -> str:
    half = width // 2
    return name if len(name) <= width else f"{name[: half - 1]}…{name[-half:]}"


def curves(path: Path, epochs: Sequence[Mapping[str, Any]], *, color: str = NEUTRAL) -> None:
    """Draw loss and accuracy by epoch from `epoch` events, and mark the epoch with the highest validation accuracy.

    A loss or accuracy of None leaves a gap.
    """
    from matplotlib.ticker import MaxNLocator

    numbers, marker = [epoch["epoch"] for epoch in epochs], "o" if len(epochs) <= 30 else ""
    validated = [epoch for epoch in epochs if epoch["validation_accuracy"] is not None]
    best = max(validated, key=lambda epoch: epoch["validation_accuracy"], default=None)
    with new_figure(path, 10, 4) as figure:
        for left, quantity in ((0.7, "loss"), (5.7, "accuracy")):
            axes = add_axes(figure, left, 0.6, 4.1, 3.0)
            train, validation = (
                np.array([epoch[f"{split}_{quantity}"] for epoch in epochs], float) for split in ("train", "validation")
            )
            axes.plot(numbers, train, color=GRAY, linestyle="--", marker=marker, markersize=4, label="training")
            if np.isfinite(validation).any():
                axes.plot(numbers, validation, color=color, marker=marker, markersize=4, label="validation")
            title = quantity.capitalize()
            if best and (value := best[f"validation_{quantity}"]) is not None:
                axes.plot(best["epoch"], value, "o", markersize=11, mfc="none", color=INK, label="best epoch")
                text = f"{value:.1%}" if quantity == "accuracy" else f"{value:.3f}"
                title += f": {text} in validation at epoch {best['epoch']}"
            axes.set_title(title, color=INK, loc="left")
            axes.set(xlabel="epoch", xlim=(numbers[0] - 0.5, numbers[-1] + 0.5))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            if quantity == "accuracy":
                axes.yaxis.set_major_formatter(percent)
            axes.legend(frameon=False, loc="upper right" if quantity == "loss" else "lower right")


def confusion_matrix(path: Path, matrix: Sequence[Sequence[int]], class_names: Sequence[str]) -> None:
    """Draw counts, (num_classes, num_classes), rows true classes, colored by the share of the true class."""
    import seaborn
    from matplotlib.colors import PowerNorm

    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    is_labeled = len(counts) <= MAX_LABELED_CLASSES
    labels = [_short(name, 24) for name in class_names] if is_labeled else []
    grid = float(np.clip(4.5 * (len(counts) / 10) ** 0.6, 3, 20))
    cell_points = 72 * grid / len(counts)
    heading, tick_size = max(12.0, grid), min(10.0, 0.8 * cell_points)
    letters = max((sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in name) for name in labels), default=0)
    margin = 0.35 + heading / 50 + letters * tick_size * 0.008
    with new_figure(path, margin + grid + 1.3, margin + grid + 0.6) as figure:
        axes = add_axes(figure, margin, margin, grid, grid)
        axes.grid(visible=False)
        seaborn.heatmap(
            shares,
            mask=counts == 0,
            annot=counts if is_labeled else None,
            fmt="d",
            annot_kws={"fontsize": min(10.0, 1.4 * cell_points / len(str(counts.max())))},
            norm=PowerNorm(0.5, vmin=0, vmax=1),  # the square root makes the small shares visible: the mistakes
            cmap="Blues",
            linewidths=0.5 if len(counts) <= 30 else 0,
            linecolor="#EEEEEE",
            xticklabels=False,
            yticklabels=False,
            ax=axes,
            cbar_ax=add_axes(figure, margin + grid + 0.15, margin, 0.03 * grid + 0.05, grid),
            cbar_kws={"format": percent, "ticks": [0, 0.01, 0.1, 0.25, 0.5, 1], "label": "share of the true class"},
        )
        is_upright = letters * tick_size * 0.6 > cell_points
        centers = np.arange(len(labels)) + 0.5
        axes.set_xticks(centers, labels, rotation=90 if is_upright else 0)
        axes.set_yticks(centers, labels, rotation=0)
        axes.tick_params(length=0, labelsize=tick_size)
        axes.set_xlabel("predicted class", fontsize=heading)
        axes.set_ylabel("true class", fontsize=heading)
        title = f"Confusion matrix: {counts.trace():,} of {counts.sum():,} correct"
        axes.set_title(title, color=INK, loc="left", fontsize=heading + 1)


def samples(path: Path, answers: Answers, *, seed: int = 0) -> None:
    """Draw up to 25 random samples with their predictions."""
    right_n = answers.probabilities_nk.argmax(axis=1) == answers.labels_n
    count = min(MAX_SAMPLES, len(right_n))
    chosen = np.random.default_rng(seed).choice(len(right_n), count, replace=False)
    num_right = int(right_n[chosen].sum())
    _image_grid(path, f"Random samples: {num_right} right, {count - num_right} wrong", chosen, answers)


def mistakes(path: Path, answers: Answers) -> None:
    """Draw the up to 25 most confident wrong predictions."""
    probabilities_nk, num_samples = answers.probabilities_nk, len(answers.labels_n)
    wrong = np.flatnonzero(probabilities_nk.argmax(axis=1) != answers.labels_n)
    chosen = wrong[np.argsort(-probabilities_nk[wrong].max(axis=1), kind="stable")][:MAX_SAMPLES]
    title = f"Most confident mistakes ({len(chosen)} of {len(wrong):,}; {num_samples:,} samples)"
    _image_grid(path, title if len(wrong) else f"No mistakes in {num_samples:,} samples", chosen, answers)


def _image_grid(path: Path, title: str, chosen: np.ndarray, answers: Answers) -> None:
    """Draw the chosen images in rows of five, all in one system of axes measured in inches."""
    height = 0.8 + 2.2 * -(-len(chosen) // 5)
    with new_figure(path, 10, height) as figure:
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 10), ylim=(height, 0), autoscale_on=False)
        axes.set_axis_off()
        axes.text(5, 0.4, title, color=INK, fontsize=13, ha="center", va="center")
        for place, index in enumerate(chosen):
            image_hwc, label = answers.images_nhwc[index], answers.labels_n[index]
            probabilities_k = answers.probabilities_nk[index]
            predicted = int(probabilities_k.argmax())
            left, top = 0.2 + 1.95 * (place % 5), 1.1 + 2.2 * (place // 5)
            x, y = left + 0.9, top + 0.9
            tall, wide = 0.8 * np.array(image_hwc.shape[:2]) / max(image_hwc.shape[:2])
            extent = (x - wide, x + wide, y + tall, y - tall)
            pixels = image_hwc[..., 0] if image_hwc.shape[-1] == 1 else image_hwc
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")
            text = f"{_short(answers.class_names[predicted], 14)} ({probabilities_k[predicted]:.0%})"
            text = f"✓ {text}" if predicted == label else f"✗ {text}\ntrue: {_short(answers.class_names[label], 14)}"
            color = RIGHT if predicted == label else WRONG
            axes.text(x, y - tall - 0.06, text, color=color, fontsize=10, ha="center", va="bottom")


def reliability(path: Path, answers: Answers) -> None:
    """Draw accuracy against confidence, and the distribution of confidence."""
    bins = reliability_bins(answers.probabilities_nk, answers.labels_n)
    bar: dict[str, Any] = {"x": bins.edges[:-1], "width": np.diff(bins.edges), "align": "edge", "edgecolor": "white"}
    with new_figure(path, 6, 7) as figure:
        upper, lower = add_axes(figure, 0.8, 2.3, 4.9, 4.25), add_axes(figure, 0.8, 0.6, 4.9, 1.4)
        upper.bar(height=bins.accuracy, color=NEUTRAL, label="accuracy", **bar)
        upper.plot([0, 1], [0, 1], color=INK, linestyle="--", label="perfectly calibrated")
        upper.legend(frameon=False, loc="upper left")
        lower.bar(height=bins.counts / bins.counts.sum(), color=GRAY, **bar)
        upper.set_title(f"Calibration: expected error {bins.expected_calibration_error:.1%}", color=INK, loc="left")
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", xticklabels=[])
        lower.set(xlim=(0, 1), ylabel="share of samples", xlabel="confidence (probability of the predicted class)")
        for axis in (upper.yaxis, lower.yaxis, lower.xaxis):
            axis.set_major_formatter(percent)


def benchmark(path: Path, measured: Benchmark) -> None:
    """Draw a row for each format and runtime that passed: a dot at the median latency of one image, and the accuracy.

    Circles have the trained model's float32 numbers, squares float16 or int8.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    passed = [(1000 * row.speed.latency_p50, row) for row in measured.rows if row.status == "ok" and row.speed]
    passed.sort(key=lambda one: -one[0])
    fastest = f"fastest is {passed[-1][1].label} with {passed[-1][0]:.3g} ms" if passed else "no format passed"
    num_places = max(len(passed), 7)
    height = 0.32 * num_places
    with new_figure(path, 10, height + 1.4) as figure:
        axes = add_axes(figure, 3.1, 0.8, 5.7, height)
        axes.set_title(f"{measured.model}: {fastest}", color=INK, x=-0.52, loc="left")
        axes.set(xscale="log", ylim=(-0.5, num_places - 0.5))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(f"median latency of one image in ms, {measured.threads} threads; ● float32, ■ float16 or int8")
        axes.set_yticks(range(len(passed)), [row.label for _, row in passed])
        accuracies = axes.secondary_yaxis("right")
        accuracies.tick_params(length=0, right=False, labelright=measured.trained_accuracy is not None)
        if measured.trained_accuracy is not None:
            accuracies.set_yticks(range(len(passed)), [f"{row.accuracy:.2%}" for _, row in passed])
            accuracies.set_ylabel(f"accuracy ({measured.trained_accuracy:.2%} as trained)")
        for place, (latency, row) in enumerate(passed):
            color = RUNTIME_COLORS[RUNTIMES[row.runtime].engine or row.runtime]
            axes.plot(latency, place, "o" if row.is_lossless else "s", color=color, markersize=9, mec="white")
