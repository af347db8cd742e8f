"""Plots are PNGs of the requested size with the data in the right colors; parts of reports show numbers for people."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import matplotlib
import numpy as np
import pytest
from benchmark_rows import make_benchmark, make_row
from comparisons import make_comparison

from diptych.comparison import wording
from diptych.reports import plots, svg
from diptych.reports.figures_panels import curve_panels, curves_of
from diptych.reports.page import highlighted, picture

DIGIT_NAMES = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def answers():
    """Gray 8 by 8 images with made-up probabilities, wrong for every tenth."""
    rng = np.random.default_rng(0)
    images_nhwc = rng.integers(0, 256, (60, 8, 8, 1), np.uint8)
    labels_n = np.arange(60) % 10
    predicted_n = np.where(np.arange(60) % 10 == 0, (labels_n + 1) % 10, labels_n)
    confidence_n1 = rng.uniform(0.5, 1.0, (60, 1))
    probabilities_nk = np.where(np.eye(10)[predicted_n] == 1, confidence_n1, (1 - confidence_n1) / 9)
    return plots.Answers(images_nhwc, labels_n, probabilities_nk, DIGIT_NAMES)


def drawn(folder, plot, *content, **settings):
    """A plot as it is written: uint8, (height, width, 3), RGB."""
    plot(folder / "plots" / "a.png", *content, **settings)
    encoded = (folder / "plots" / "a.png").read_bytes()
    assert encoded.startswith(b"\x89PNG\r\n\x1a\n")
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def count_pixels(picture, color):
    """The number of pixels of the color `#rrggbb`, with tolerance for smoothed edges."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(picture.astype(int) - rgb).max(axis=2) < 12).sum())


def make_epochs(count):
    """Losses and accuracies of a training and its validation; the third epoch has the highest accuracy."""
    numbers = range(1, count + 1)
    training = [{"epoch": n, "train_loss": 2.0 / n, "train_accuracy": 1 - 0.5 / n} for n in numbers]
    validation = [{"validation_loss": 2.2 / n, "validation_accuracy": 0.9 - 0.01 * abs(n - 3)} for n in numbers]
    return [one | other for one, other in zip(training, validation, strict=True)]


@pytest.mark.parametrize(
    ("epochs", "has_validation"),
    [
        *((make_epochs(count), True) for count in (1, 5, 100)),
        ([{**epoch, "validation_loss": None, "validation_accuracy": None} for epoch in make_epochs(5)], False),
        ([{**epoch, "validation_loss": None} for epoch in make_epochs(3)], True),  # a diverged training
    ],
    ids=["one", "five", "many", "no validation", "gap"],
)
def test_curves_have_a_line_for_each_split_and_the_size_of_the_figure(tmp_path, epochs, has_validation):
    color = plots.ENGINE_COLORS["torch"]
    picture = drawn(tmp_path, plots.curves, epochs, color=color)
    assert (600, 1500, 3) == picture.shape
    assert has_validation == (count_pixels(picture, color) > 50)
    assert count_pixels(picture, plots.GRAY) > 50


def test_the_epoch_with_the_highest_validation_accuracy_is_marked(tmp_path):
    above_legend = drawn(tmp_path, plots.curves, make_epochs(5))[65:250, 855:1470].astype(int)  # of the right-hand axes
    ring = np.argwhere(above_legend.max(axis=2) < 60)
    assert 307 == pytest.approx(ring[:, 1].mean(), abs=3)  # the third of five epochs


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        *(((num_classes, 10), "class with a rather long name") for num_classes in (1, 2, 60, 300)),
        ((2, 0), r"$\frac$"),
        ((2, 1), "猫 कुत्ता \U0001f415"),
    ],
)
def test_a_confusion_matrix_is_drawn_for_any_number_of_classes_and_any_name(tmp_path, shape, name):
    matrix = np.eye(shape[0], dtype=int) * 90
    matrix[-1, -1] = 0  # a class without samples
    matrix[0, -1] += shape[1]
    picture = drawn(tmp_path, plots.confusion_matrix, matrix, [f"{name} {index}" for index in range(shape[0])])
    assert 450 < min(picture.shape[:2]) <= max(picture.shape[:2]) < 3700
    assert picture.std() > 5


def test_colors_of_a_confusion_matrix_are_shares_of_a_row(tmp_path):
    matrices = [[8, 2], [2, 8]], [[8, 2], [20, 80]]
    few, many = (drawn(tmp_path, plots.confusion_matrix, matrix, ["cat", "dog"]) for matrix in matrices)
    # The texts are 20 and 80 in place of 2 and 8, and the title; no cell changes its color.
    assert (few != many).any(axis=2).mean() < 0.02


def test_samples_depend_on_the_seed_alone(tmp_path, answers):
    picture, same, other = (drawn(tmp_path, plots.samples, answers, seed=seed).astype(int) for seed in (0, 0, 1))
    assert (True, False) == (np.array_equal(picture, same), np.array_equal(picture, other))
    images = picture[170:400, 60:280]
    assert ((1770, 1500, 3), 0) == (picture.shape, np.ptp(images, axis=2).max())
    assert np.ptp(images) > 200


def test_right_and_wrong_predictions_have_their_colors(tmp_path, answers):
    arrays = (answers.images_nhwc, answers.labels_n, answers.probabilities_nk)
    places = slice(1, 6), slice(0, 50, 10)
    chosen = (plots.Answers(*(array[place] for array in arrays), DIGIT_NAMES) for place in places)
    right, wrong = (drawn(tmp_path, plots.samples, some) for some in chosen)
    assert count_pixels(right, plots.RIGHT) > 100 > 0 == count_pixels(right, plots.WRONG)
    assert count_pixels(wrong, plots.WRONG) > 100 > 0 == count_pixels(wrong, plots.RIGHT)


@pytest.mark.parametrize("count", [1, 7])
def test_color_images_keep_their_colors_and_fewer_than_25_are_all_shown(tmp_path, answers, count):
    blue_nhwc = np.zeros((count, 16, 12, 3), np.uint8)
    blue_nhwc[..., 2] = 255
    few = plots.Answers(blue_nhwc, answers.labels_n[:count], answers.probabilities_nk[:count], DIGIT_NAMES)
    picture = drawn(tmp_path, plots.samples, few)
    assert (round(150 * (0.8 + 2.2 * -(-count // 5))), 1500, 3) == picture.shape
    assert count_pixels(picture, "#0000FF") == pytest.approx(count * 240 * 180, rel=0.05)


def test_the_most_confident_mistakes_come_first_and_right_answers_are_left_out(tmp_path):
    images_nhwc = np.zeros((4, 8, 8, 3), np.uint8)
    images_nhwc[:] = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 99, 9)])[:, None, None]
    probabilities_nk = np.array([[0.4, 0.6], [0.1, 0.9], [0.2, 0.8], [0.99, 0.01]])
    answers = plots.Answers(images_nhwc, np.zeros(4, int), probabilities_nk, ["cat", "dog"])
    picture, colors = drawn(tmp_path, plots.mistakes, answers), ([0, 255, 0], [0, 0, 255], [255, 0, 0])
    green, blue, red = (np.argwhere((picture == color).all(axis=2))[:, 1] for color in colors)
    assert green.max() < blue.min() <= blue.max() < red.min()
    assert 0 == count_pixels(picture, "#096309")


def test_a_model_without_mistakes_gets_a_plot_that_says_so(tmp_path, answers):
    picture = drawn(tmp_path, plots.mistakes, replace(answers, probabilities_nk=np.eye(10)[answers.labels_n]))
    assert (120, 1500, 3) == picture.shape
    assert count_pixels(picture, plots.INK) > 100


def test_the_reliability_plot_has_bars_for_accuracy_and_for_counts(tmp_path, answers):
    picture = drawn(tmp_path, plots.reliability, answers)
    assert (1050, 900, 3) == picture.shape
    assert count_pixels(picture, plots.NEUTRAL) > 10_000
    assert count_pixels(picture, plots.GRAY) > 1_000


def test_drawing_changes_no_setting_of_matplotlib(tmp_path):
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        before = {key: value for key, value in matplotlib.rcParams.items() if key != "backend"}
        drawn(tmp_path, plots.confusion_matrix, [[5, 1], [0, 4]], ["cat", "dog"])
        assert before == {key: matplotlib.rcParams[key] for key in before}


def test_benchmark_rows_that_passed_are_dots_in_the_colors_of_their_makers(tmp_path):
    failed = make_row("openvino", status="failed", reason="differs")
    rows = make_row("onnx"), make_row("keras", latency=4e-3), make_row("tflite-int8", accuracy=0.8), failed
    picture = drawn(tmp_path, plots.benchmark, make_benchmark(*rows))
    assert (546, 1500, 3) == picture.shape
    makers = ("onnxruntime", "tensorflow", "litert", "openvino")
    assert [True] * 3 + [False] == [count_pixels(picture, plots.RUNTIME_COLORS[maker]) > 100 for maker in makers]
    assert 0 == count_pixels(drawn(tmp_path, plots.benchmark, make_benchmark()), plots.NEUTRAL)


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
