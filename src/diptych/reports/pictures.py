"""The pictures of one run: curves, confusion matrix, calibration, sample predictions, most confident mistakes."""

from __future__ import annotations

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.data.datasets import Split
from diptych.evaluation.metrics import softmax
from diptych.reports import charts


def draw(run: Run, test: Split) -> None:
    """Draw a finished run's pictures into its `plots/`.

    Args:
        run: with metrics, predictions and events.
        test: the test split that its predictions are of.
    """
    metrics, predictions, record = run.read_metrics(), run.read_predictions(), run.read_record()
    names, plots = record["class_names"], run.plots_dir
    probabilities_nk = softmax(predictions.logits_nk)
    colour = charts.ENGINE_COLOURS[record["engines"][-1]["engine"]]
    charts.curves(plots / "curves.png", read_events(run.events_path, "epoch"), colour=colour)
    charts.confusion_matrix(plots / "confusion_matrix.png", metrics["confusion_matrix"], names)
    charts.reliability(plots / "reliability.png", probabilities_nk, predictions.labels_n)
    for name, chart in (("samples", charts.sample_predictions), ("mistakes", charts.worst_mistakes)):
        chart(plots / f"{name}.png", test.images, predictions.labels_n, probabilities_nk, names)
