"""One function a picture; each writes one PNG and leaves Matplotlib's global state alone.

Colours are Okabe and Ito's, told apart by colour-blind readers too; an engine has the same one everywhere.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diptych.data.images import Images
from diptych.errors import UsageError
from diptych.evaluation.calibration import reliability_bins
from diptych.reports import canvas
from diptych.reports.canvas import GREY, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENGINE_COLOURS = {"torch": "#D55E00", "tensorflow": "#0072B2"}
NEUTRAL = "#009E73"
RIGHT = "#00704F"
WRONG = "#B3261E"


def curves(
    path: Path,
    epochs: Sequence[Mapping[str, Any]],
    *,
    best_epoch: int | None = None,
    colour: str = NEUTRAL,
) -> None:
    """Draw loss and accuracy by epoch, in training and, where it was measured, in validation.

    Args:
        path: the PNG to write.
        epochs: one record an epoch, as events tell it; a loss or accuracy of None leaves a gap.
        best_epoch: number of the epoch to mark; the one of the highest validation accuracy when None.
        colour: of the validation curve; take it from ENGINE_COLOURS.
    """
    if not epochs:
        raise UsageError(f"Cannot draw '{path}': there are no epochs. Train for at least one.")
    figure = canvas.figure(10, 4)
    best = _best(epochs, best_epoch)
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        _curve(axes, epochs, quantity, best, colour)
    canvas.save(figure, path)


def _best(epochs: Sequence[Mapping[str, Any]], best_epoch: int | None) -> Mapping[str, Any] | None:
    measured = [epoch for epoch in epochs if epoch["validation_accuracy"] is not None]
    candidates = [epoch for epoch in measured if best_epoch in {None, epoch["epoch"]}]
    return max(candidates, key=lambda epoch: epoch["validation_accuracy"], default=None)


def _curve(
    axes: "Axes",
    epochs: Sequence[Mapping[str, Any]],
    quantity: str,
    best: Mapping[str, Any] | None,
    colour: str,
) -> None:
    from matplotlib.ticker import MaxNLocator

    numbers = np.array([epoch["epoch"] for epoch in epochs])
    train = _column(epochs, f"train_{quantity}")
    validation = _column(epochs, f"validation_{quantity}")
    marker = "o" if len(epochs) <= 30 else ""
    axes.plot(numbers, train, color=GREY, linestyle="--", marker=marker, markersize=4, label="training")
    title = quantity.capitalize()
    if np.isfinite(validation).any():
        axes.plot(numbers, validation, color=colour, marker=marker, markersize=4, label="validation")
    if best and best[f"validation_{quantity}"] is not None:
        value = best[f"validation_{quantity}"]
        axes.plot(best["epoch"], value, "o", markersize=11, mfc="none", color=INK, label="best epoch")
        text = f"{value:.1%}" if quantity == "accuracy" else f"{value:.3f}"
        title += f": {text} in validation at epoch {best['epoch']}"
    canvas.plain_axes(axes, title)
    axes.set_xlabel("epoch")
    axes.set_xlim(numbers[0] - 0.5, numbers[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if quantity == "accuracy":
        axes.yaxis.set_major_formatter(canvas.percent)
    axes.legend(frameon=False)


def _column(epochs: Sequence[Mapping[str, Any]], field: str) -> np.ndarray:
    return np.array([np.nan if epoch[field] is None else epoch[field] for epoch in epochs])


def confusion_matrix(path: Path, matrix: Sequence[Sequence[int]], class_names: Sequence[str]) -> None:
    """Draw a confusion matrix: colours are shares of a row, texts are counts, zeros stay blank.

    Args:
        path: the PNG to write.
        matrix: counts, (num_classes, num_classes), rows are true classes.
        class_names: one name a class.
    """
    import seaborn
    from matplotlib.colors import PowerNorm

    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    is_legible = len(counts) <= 150
    labels = [canvas.short(name, 24) for name in class_names] if is_legible else []
    grid_inches = float(np.clip(4.5 * (len(counts) / 10) ** 0.6, 3, 20))
    margin_inches = 0.7 + 0.08 * max(map(len, labels), default=0)
    figure = canvas.figure(grid_inches + margin_inches + 0.8, grid_inches + margin_inches)
    axes = figure.subplots()
    seaborn.heatmap(
        shares,
        ax=axes,
        # A square root, because the small shares are the mistakes that one looks for.
        norm=PowerNorm(0.5, vmin=0, vmax=1),
        cmap="Blues",
        square=True,
        linewidths=0.5 if len(counts) <= 30 else 0,
        linecolor="#EEEEEE",
        xticklabels=labels,
        yticklabels=labels,
        cbar_kws={
            "label": "share of the true class",
            "format": canvas.percent,
            "ticks": [0, 0.01, 0.1, 0.25, 0.5, 1],
            "fraction": 0.03,
            "pad": 0.02,
        },
    )
    cell_points = 72 * grid_inches / len(counts)
    if is_legible:
        _write_counts(axes, counts, shares, cell_points)
    axes.tick_params(length=0, labelsize=min(10, 0.8 * cell_points))
    axes.tick_params(axis="y", rotation=0)
    heading_points = max(12, grid_inches)
    axes.set_xlabel("predicted class", fontsize=heading_points)
    axes.set_ylabel("true class", fontsize=heading_points)
    title = f"Confusion matrix: {counts.trace():,} of {counts.sum():,} right"
    axes.set_title(title, color=INK, loc="left", fontsize=heading_points + 1)
    canvas.save(figure, path)


def _write_counts(axes: "Axes", counts: np.ndarray, shares: np.ndarray, cell_points: float) -> None:
    font_size = min(10.0, 1.4 * cell_points / len(str(counts.max())))
    for row, column in np.argwhere(counts):
        axes.text(
            column + 0.5,
            row + 0.5,
            str(counts[row, column]),
            ha="center",
            va="center",
            fontsize=font_size,
            color="white" if shares[row, column] > 0.3 else INK,
            in_layout=False,
        )


def sample_predictions(
    path: Path,
    images_nhwc: Images,
    labels_n: np.ndarray,
    probabilities_nk: np.ndarray,
    class_names: Sequence[str],
    *,
    seed: int = 0,
) -> None:
    """Draw up to 25 samples, chosen by `seed`, with what the model says of them.

    Args:
        path: the PNG to write.
        images_nhwc: uint8, (num_samples, height, width, 1 or 3).
        labels_n: integers, (num_samples,), the true classes.
        probabilities_nk: float, (num_samples, num_classes).
        class_names: one name a class.
        seed: of the choice.
    """
    count = min(25, len(labels_n))
    chosen = np.random.default_rng(seed).choice(len(labels_n), count, replace=False)
    num_right = int((probabilities_nk[chosen].argmax(axis=1) == labels_n[chosen]).sum())
    title = f"Random samples: {num_right} right, {count - num_right} wrong"
    _image_grid(path, title, _samples(images_nhwc, labels_n, probabilities_nk, chosen), class_names)


def worst_mistakes(
    path: Path,
    images_nhwc: Images,
    labels_n: np.ndarray,
    probabilities_nk: np.ndarray,
    class_names: Sequence[str],
    *,
    count: int = 25,
) -> None:
    """Draw the `count` wrong predictions of which the model was surest; arguments as `sample_predictions`."""
    wrong = np.flatnonzero(probabilities_nk.argmax(axis=1) != labels_n)
    surest_first = wrong[np.argsort(-probabilities_nk[wrong].max(axis=1), kind="stable")][:count]
    title = f"Most confident mistakes ({len(surest_first)} of {len(wrong):,}; {len(labels_n):,} samples)"
    if len(wrong) == 0:
        title = f"No mistakes in {len(labels_n):,} samples"
    _image_grid(path, title, _samples(images_nhwc, labels_n, probabilities_nk, surest_first), class_names)


def _samples(
    images_nhwc: Images, labels_n: np.ndarray, probabilities_nk: np.ndarray, chosen: np.ndarray
) -> list[tuple[np.ndarray, int, np.ndarray]]:
    return [(images_nhwc[i], int(labels_n[i]), probabilities_nk[i]) for i in chosen]


def _image_grid(
    path: Path, title: str, samples: list[tuple[np.ndarray, int, np.ndarray]], class_names: Sequence[str]
) -> None:
    num_columns = 5
    num_rows = -(-len(samples) // num_columns)
    figure = canvas.figure(10, 0.8 + 2.2 * num_rows)
    figure.suptitle(title, color=INK, fontsize=13)
    for position, (image_hwc, label, probabilities_k) in enumerate(samples, start=1):
        axes = figure.add_subplot(num_rows, num_columns, position)
        _image(axes, image_hwc, label, probabilities_k, class_names)
    canvas.save(figure, path)


def _image(
    axes: "Axes", image_hwc: np.ndarray, label: int, probabilities_k: np.ndarray, class_names: Sequence[str]
) -> None:
    predicted = int(probabilities_k.argmax())
    right = predicted == label
    text = f"{'✓' if right else '✗'} {canvas.short(class_names[predicted], 14)} ({probabilities_k[predicted]:.0%})"
    if not right:
        text += f"\ntrue: {canvas.short(class_names[label], 14)}"
    is_grey = image_hwc.shape[-1] == 1
    axes.imshow(image_hwc[..., 0] if is_grey else image_hwc, cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()
    axes.set_title(text, color=RIGHT if right else WRONG, fontsize=10)


def reliability(path: Path, probabilities_nk: np.ndarray, labels_n: np.ndarray, *, num_bins: int = 15) -> None:
    """Draw how often the model is right against how sure it is, and how many samples are how sure.

    Args:
        path: the PNG to write.
        probabilities_nk: float, (num_samples, num_classes).
        labels_n: integers, (num_samples,), the true classes.
        num_bins: number of bins of confidence between 0 and 1.
    """
    bins = reliability_bins(probabilities_nk, labels_n, num_bins)
    shares = bins.counts / bins.counts.sum()
    figure = canvas.figure(6, 7)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    bar = {"x": bins.edges[:-1], "width": np.diff(bins.edges), "align": "edge", "edgecolor": "white"}
    upper.bar(height=bins.accuracy, color=NEUTRAL, label="accuracy", **bar)
    upper.plot([0, 1], [0, 1], color=INK, linestyle="--", label="perfectly calibrated")
    upper.legend(frameon=False, loc="upper left")
    lower.bar(height=shares, color=GREY, **bar)
    canvas.plain_axes(upper, f"Calibration: expected error {bins.expected_calibration_error:.1%}")
    canvas.plain_axes(lower, "")
    upper.set_ylabel("share that is right")
    lower.set_ylabel("share of samples")
    lower.set_xlabel("probability of the predicted class")
    for axis in (upper.yaxis, lower.yaxis, lower.xaxis):
        axis.set_major_formatter(canvas.percent)
    upper.set(xlim=(0, 1), ylim=(0, 1))
    canvas.save(figure, path)
