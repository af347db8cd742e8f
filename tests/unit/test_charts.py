"""Pictures are real PNGs of the size that was asked for, with something drawn on them."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_digits

from diptych.errors import UsageError
from diptych.reports import charts

DIGIT_NAMES = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def digits():
    """scikit-learn's digits, 8 by 8 and grey, with invented probabilities that are wrong for every tenth."""
    data = load_digits()
    images_nhwc = (data.images * 15.9).astype(np.uint8)[..., None]
    answers_n = np.where(np.arange(len(data.target)) % 10 == 0, (data.target + 1) % 10, data.target)
    rng = np.random.default_rng(0)
    confidence_n = rng.uniform(0.5, 1.0, len(answers_n))
    probabilities_nk = np.eye(10)[answers_n] * (confidence_n - (1 - confidence_n) / 9)[:, None]
    probabilities_nk += ((1 - confidence_n) / 9)[:, None]
    return images_nhwc, data.target, probabilities_nk


def read_picture(path):
    """A PNG as it lies on disk: uint8, (height, width, 3 or 4), RGB."""
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def count_pixels(picture, colour):
    """How many pixels have the colour `#rrggbb`, give or take the smoothing of edges."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(picture.astype(int) - wanted).max(axis=2) < 12).sum())


def make_epochs(count, *, validated=True):
    return [
        {
            "epoch": epoch,
            "train_loss": 2.0 / epoch,
            "train_accuracy": 1 - 0.5 / epoch,
            "validation_loss": 2.2 / epoch if validated else None,
            "validation_accuracy": 0.9 - 0.01 * abs(epoch - 3) if validated else None,
            "learning_rate": 0.1,
            "images_per_second": 1000.0,
            "seconds": 1.0,
        }
        for epoch in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", [1, 5, 100])
def test_curves_have_both_lines_and_the_size_of_the_figure(tmp_path, count):
    charts.curves(tmp_path / "plots" / "curves.png", make_epochs(count))
    picture = read_picture(tmp_path / "plots" / "curves.png")
    assert (600, 1500, 3) == picture.shape
    assert count_pixels(picture, charts.NEUTRAL) > 50
    assert count_pixels(picture, charts.GREY) > 50


def test_curves_take_the_colour_of_their_engine(tmp_path):
    for engine, colour in charts.ENGINE_COLOURS.items():
        charts.curves(tmp_path / engine, make_epochs(5), colour=colour)
        assert count_pixels(read_picture(tmp_path / engine), colour) > 500


def test_curves_without_validation_draw_the_training_alone(tmp_path):
    charts.curves(tmp_path / "a.png", make_epochs(5, validated=False))
    picture = read_picture(tmp_path / "a.png")
    assert 0 == count_pixels(picture, charts.NEUTRAL)
    assert count_pixels(picture, charts.GREY) > 500


def test_the_best_epoch_is_the_one_of_the_highest_validation_accuracy_or_the_one_that_is_named(tmp_path):
    charts.curves(tmp_path / "default.png", make_epochs(5))
    for epoch in (2, 3):
        charts.curves(tmp_path / f"{epoch}.png", make_epochs(5), best_epoch=epoch)
    assert (tmp_path / "default.png").read_bytes() == (tmp_path / "3.png").read_bytes()
    assert (tmp_path / "default.png").read_bytes() != (tmp_path / "2.png").read_bytes()


def test_curves_of_a_training_that_diverged_have_gaps(tmp_path):
    epochs = [{**epoch, "train_loss": None, "validation_loss": None} for epoch in make_epochs(3)]
    charts.curves(tmp_path / "a.png", epochs)
    assert count_pixels(read_picture(tmp_path / "a.png"), charts.NEUTRAL) > 50


def test_curves_of_no_epochs_are_refused(tmp_path):
    with pytest.raises(UsageError, match="there are no epochs"):
        charts.curves(tmp_path / "a.png", [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("num_classes", [1, 2, 10, 60, 300])
def test_a_confusion_matrix_is_drawn_for_any_number_of_classes(tmp_path, num_classes):
    matrix = np.eye(num_classes, dtype=int) * 90
    matrix[0, -1] += 10
    names = [f"class number {index} with a rather long name" for index in range(num_classes)]
    charts.confusion_matrix(tmp_path / "a.png", matrix, names)
    picture = read_picture(tmp_path / "a.png")
    assert 450 < min(picture.shape[:2]) <= max(picture.shape[:2]) < 3600
    assert picture.std() > 5


def test_colours_of_a_confusion_matrix_are_shares_of_a_row(tmp_path):
    for name, matrix in {"few": [[8, 2], [2, 8]], "many": [[8, 2], [20, 80]]}.items():
        charts.confusion_matrix(tmp_path / name, matrix, ["cat", "dog"])
    few, many = read_picture(tmp_path / "few"), read_picture(tmp_path / "many")
    # The texts are 20 and 80 in place of 2 and 8, and the title; no cell changes its colour.
    assert (few != many).any(axis=2).mean() < 0.02


def test_a_class_without_samples_leaves_a_blank_row(tmp_path):
    charts.confusion_matrix(tmp_path / "a.png", [[5, 0], [0, 0]], ["cat", "dog"])
    assert read_picture(tmp_path / "a.png").std() > 5


def test_dollars_in_a_class_name_start_no_formula(tmp_path):
    charts.confusion_matrix(tmp_path / "a.png", [[5, 1], [0, 4]], [r"$\frac$", "a$b$"])
    assert read_picture(tmp_path / "a.png").std() > 5


def test_samples_are_chosen_by_the_seed_alone(tmp_path, digits):
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        charts.sample_predictions(tmp_path / name, *digits, DIGIT_NAMES, seed=seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_grey_images_are_shown_grey(tmp_path, digits):
    charts.sample_predictions(tmp_path / "a.png", *digits, DIGIT_NAMES)
    picture = read_picture(tmp_path / "a.png").astype(int)
    assert (1770, 1500, 3) == picture.shape
    images = picture[110:370, :290]
    assert np.ptp(images) > 200
    assert 0 == np.ptp(images, axis=2).max()


def test_right_and_wrong_predictions_have_their_colours(tmp_path, digits):
    images_nhwc, labels_n, probabilities_nk = digits
    right, wrong = np.arange(1, 6), np.arange(0, 50, 10)
    for name, chosen in {"right": right, "wrong": wrong}.items():
        charts.sample_predictions(
            tmp_path / name, images_nhwc[chosen], labels_n[chosen], probabilities_nk[chosen], DIGIT_NAMES
        )
    picture_right, picture_wrong = read_picture(tmp_path / "right"), read_picture(tmp_path / "wrong")
    assert count_pixels(picture_right, charts.RIGHT) > 100 > 0 == count_pixels(picture_right, charts.WRONG)
    assert count_pixels(picture_wrong, charts.WRONG) > 100 > 0 == count_pixels(picture_wrong, charts.RIGHT)


@pytest.mark.parametrize("count", [1, 7])
def test_fewer_samples_than_the_grid_holds_are_all_shown(tmp_path, digits, count):
    images_nhwc, labels_n, probabilities_nk = (array[:count] for array in digits)
    charts.sample_predictions(tmp_path / "a.png", images_nhwc, labels_n, probabilities_nk, DIGIT_NAMES)
    picture = read_picture(tmp_path / "a.png")
    assert (round(150 * (0.8 + 2.2 * -(-count // 5))), 1500, 3) == picture.shape
    assert picture.std() > 20


def test_colour_images_keep_their_colours(tmp_path, digits):
    _, labels_n, probabilities_nk = (array[:1] for array in digits)
    blue_nhwc = np.zeros((1, 16, 16, 3), np.uint8)
    blue_nhwc[..., 2] = 255
    charts.sample_predictions(tmp_path / "a.png", blue_nhwc, labels_n, probabilities_nk, DIGIT_NAMES)
    assert count_pixels(read_picture(tmp_path / "a.png"), "#0000FF") > 10_000


def test_the_surest_mistakes_come_first(tmp_path):
    images_nhwc = np.zeros((4, 8, 8, 3), np.uint8)
    for image_hwc, colour in zip(images_nhwc, [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)], strict=True):
        image_hwc[:] = colour
    probabilities_nk = np.array([[0.4, 0.6], [0.1, 0.9], [0.2, 0.8], [0.99, 0.01]])
    charts.worst_mistakes(tmp_path / "a.png", images_nhwc, np.zeros(4, int), probabilities_nk, ["cat", "dog"], count=2)
    picture = read_picture(tmp_path / "a.png")
    green, blue = (np.argwhere((picture == colour).all(axis=2)) for colour in ([0, 255, 0], [0, 0, 255]))
    assert green[:, 1].max() < blue[:, 1].min()
    assert 0 == count_pixels(picture, "#FF0000")


def test_no_mistakes_are_a_picture_that_says_so(tmp_path, digits):
    images_nhwc, labels_n, _ = digits
    charts.worst_mistakes(tmp_path / "a.png", images_nhwc, labels_n, np.eye(10)[labels_n], DIGIT_NAMES)
    picture = read_picture(tmp_path / "a.png")
    assert (120, 1500, 3) == picture.shape
    assert count_pixels(picture, charts.INK) > 100


def test_reliability_draws_bars_and_the_line_of_perfection(tmp_path, digits):
    _, labels_n, probabilities_nk = digits
    charts.reliability(tmp_path / "a.png", probabilities_nk, labels_n)
    picture = read_picture(tmp_path / "a.png")
    assert (1050, 900, 3) == picture.shape
    assert count_pixels(picture, charts.NEUTRAL) > 10_000
    assert count_pixels(picture, charts.GREY) > 1_000


def test_drawing_leaves_no_figure_no_setting_and_no_backend_behind(tmp_path):
    script = """
import sys, pathlib, matplotlib
before = dict(matplotlib.rcParams.items())
from diptych.reports import charts
charts.confusion_matrix(pathlib.Path(sys.argv[1]), [[5, 1], [0, 4]], ["cat", "dog"])
import matplotlib.pyplot
print(matplotlib.pyplot.get_fignums(), [key for key in before if before[key] != matplotlib.rcParams[key]])
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "a.png"], check=True, capture_output=True, text=True
    )
    assert "[] []\n" == done.stdout
