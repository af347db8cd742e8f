"""The picture of a benchmark has a dot for each row that passed, and labels that stand apart."""

import numpy as np
import pytest
from standings import make_benchmark, make_row
from test_charts import count_pixels, read_picture

from diptych.reports.charts import ENGINE_COLOURS, NEUTRAL
from diptych.reports.deployment_charts import COLOURS, LABEL_GAP, accuracy_by_latency, spread


def test_rows_that_passed_have_dots_in_the_colours_of_their_makers(tmp_path):
    rows = make_row("onnx"), make_row("keras", latency=4e-3), make_row("tflite-int8", accuracy=0.8)
    accuracy_by_latency(tmp_path / "a.png", make_benchmark(*rows))
    picture = read_picture(tmp_path / "a.png")
    assert (825, 1500, 3) == picture.shape
    for colour in (NEUTRAL, ENGINE_COLOURS["tensorflow"], COLOURS["litert"]):
        assert count_pixels(picture, colour) > 300


@pytest.mark.parametrize("rows", [(), (make_row("onnx", status="failed", reason="differs"),)])
def test_where_nothing_passed_the_picture_says_so(tmp_path, rows):
    accuracy_by_latency(tmp_path / "a.png", make_benchmark(*rows))
    assert 0 == count_pixels(read_picture(tmp_path / "a.png"), NEUTRAL)


@pytest.mark.parametrize(
    "wanted", [[0.5] * 17, list(np.linspace(0, 1, 17)), [0.0, 0.0, 0.0, 1.0, 1.0], [0.3, 0.31, 0.9]]
)
def test_labels_stand_apart_in_their_order_and_near_their_dots(wanted):
    places = spread(wanted, LABEL_GAP)
    assert np.diff(places).min() >= LABEL_GAP - 1e-12
    assert -1e-12 <= min(places) <= max(places) <= 1 + 1e-12
    assert np.abs(np.subtract(places, wanted)).max() <= LABEL_GAP * len(wanted)


def test_labels_with_room_stand_over_their_dots():
    assert [0.2, 0.5, 0.8] == pytest.approx(spread([0.2, 0.5, 0.8], LABEL_GAP))
    assert [] == spread([], LABEL_GAP)
