"""Parts of reports: curves with gaps, looks of sides, pictures, highlighted source, ticks, numbers as text."""

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from comparisons import make_comparison

from diptych.comparison import wording
from diptych.reports import svg
from diptych.reports.figures_panels import curve_panels, curves_of
from diptych.reports.page import highlighted, picture


def test_a_missing_epoch_leaves_a_gap_in_a_curve():
    comparison = make_comparison(num_seeds=1)
    whole = curve_panels(curves_of(comparison), svg.sides_of(comparison))[0]
    comparison["curves"][0]["train_loss"][0][4] = None
    gapped = curve_panels(curves_of(comparison), svg.sides_of(comparison))[0]
    lines = [re.findall(r'd="M([^"]+)" class="line"', panel) for panel in (whole, gapped)]
    assert [2, 3] == [len(found) for found in lines]
    whole_points, *parts = (line.split("L") for line in (lines[0][0], *lines[1][:2]))
    assert ([4, 5], [10]) == ([len(part) for part in parts], [len(whole_points)])
    assert [point.split()[0] for part in parts for point in part] == [
        point.split()[0] for place, point in enumerate(whole_points) if place != 4
    ]


def test_sides_differ_in_color_shape_and_dash():
    sides = svg.sides_of(make_comparison(num_sides=6, num_seeds=1))
    assert [side.color for side in sides[:2]] == ["is-torch", "is-tensorflow"]
    for part in ("color", "shape", "dash"):
        assert len({getattr(side, part) for side in sides}) == 6


def decoded(picture):
    data = base64.b64decode(picture.uri.partition(",")[2])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def test_small_images_are_kept_exactly_and_large_ones_shrunk():
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    small, large = picture(image), picture(np.full((500, 250, 1), 80, np.uint8))
    assert (9, 8, True) == (small.width, small.height, small.is_small)
    assert np.array_equal(decoded(small)[..., ::-1], image)
    assert (48, 96, False) == (large.width, large.height, large.is_small)
    assert large.uri.startswith("data:image/jpeg")
    assert abs(decoded(large).mean() - 80) < 2


@pytest.mark.parametrize("source", ["x = 'a' # b\n", "def f(:\n  '\n", 'f"{{x}} {y!r}"\n', "'ä' # ü\n", "'''a\nb'''\n"])
def test_highlighted_source_reads_the_same(source):
    texts = []
    reader = HTMLParser()
    reader.handle_data = texts.append
    reader.feed(f"<div>{highlighted(source)}</div>")
    assert "".join(texts) == source


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.003, 0.0041), (0.93, 0.9301), (0, 12345), (-2e-9, 5e-9)])
def test_ticks_are_round_and_few(low, high):
    ticks = svg.Scale(low, high, 0, 1).ticks(7)
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (wording.change(0.00123), "+0.12"),
        (wording.change(-0.00001), "0.00"),
        (wording.change(-0.0123, "nats"), "−0.0123"),
        (wording.p_value(0.0001), "<0.001"),
        (wording.quantity(1536, "bytes"), "1.50 KiB"),
        (wording.quantity(2**50, "bytes"), "1,024 TiB"),
        (wording.quantity(12345.6, "images/s"), "12,346 images/s"),
        (wording.quantities(4.8, 5.4, "ms"), "4.80 to 5.40 ms"),
        (wording.quantities(512, 2048, "bytes"), "512 bytes to 2.00 KiB"),
        (wording.ratio(2.0, 3.0), "1.50×"),
        (wording.plural(1, "class"), "1 class"),
        (wording.plural(2, "class"), "2 classes"),
    ],
)
def test_numbers_are_formatted_for_people(text, expected):
    assert text == expected
