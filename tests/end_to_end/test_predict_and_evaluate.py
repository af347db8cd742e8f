"""`diptych predict` and `diptych evaluate` answer as the training's own test did, in either engine."""

import cv2
import numpy as np
import pytest
from commands import answered, assert_metrics_of, diptych

import diptych as package
from diptych.evaluation import softmax


def test_either_engine_answers_every_file_as_in_the_test(made_run, digit_files, engine_name):
    folder = digit_files[0].parent
    told = answered("predict", made_run.directory, folder, "--engine", engine_name, "--top", 10)
    assert list(map(str, digit_files)) == [answer["image"] for answer in told]
    expected_nk = softmax(made_run.read_predictions().logits_nk)
    assert expected_nk.argmax(1).tolist() == [int(answer["classes"][0][0]) for answer in told]
    assert all(answer["classes"] == sorted(answer["classes"], key=lambda pair: -pair[1]) for answer in told)
    found_nk = [[share for _, share in sorted(answer["classes"])] for answer in told]
    np.testing.assert_allclose(found_nk, expected_nk, atol=1e-5)


def test_files_are_answered_in_the_order_given_and_patterns_in_that_of_names(made_run, digit_files):
    chosen = [digit_files[7], digit_files[3]]
    assert list(map(str, chosen)) == [one["image"] for one in answered("predict", made_run.directory, *chosen)]
    told = answered("predict", made_run.directory, digit_files[0].parent / "00[0-4].png")
    assert list(map(str, digit_files[:5])) == [answer["image"] for answer in told]


def test_without_json_each_image_is_a_line(made_run, digit_files):
    told = diptych("predict", made_run.directory, *digit_files[:2], "--top", 2)
    assert (0, "") == (told.code, told.err)
    first, second = told.out.splitlines()
    assert first.startswith(f"{digit_files[0]}  ")
    assert 2 == second.count("%")


def test_a_larger_color_image_is_resized(made_run, digit_files, tmp_path):
    image_hwc = cv2.imread(str(digit_files[0]), cv2.IMREAD_COLOR)
    cv2.imwrite(str(tmp_path / "large.png"), image_hwc.repeat(4, axis=0).repeat(4, axis=1))
    small, large = answered("predict", made_run.directory, digit_files[0], tmp_path / "large.png")
    assert small["classes"] == large["classes"]


def test_the_python_function_takes_pixels_of_the_models_shape(made_run, digits, digit_files):
    answers = package.predict(made_run, digits.test.images[:3], engine="torch")
    files = package.predict(made_run, digit_files[:3], engine="torch")
    assert [answer.classes for answer in files] == [answer.classes for answer in answers]
    assert ["0", "1", "2"] == [answer.image for answer in answers]
    with pytest.raises(package.DiptychError, match=r"uint8.* \(N, 8, 8, 1\)"):
        package.predict(made_run, np.zeros((2, 9, 9, 1), np.uint8))


@pytest.mark.parametrize(
    ("engine", "options"),
    [
        ("torch", ()),
        ("torch", ("digits",)),
        ("torch", ("--engine", "tensorflow")),
        ("tensorflow", ("--engine", "torch")),
    ],
)
def test_a_run_measures_what_its_training_measured_in_either_engine(digits_runs, engine, options):
    run = digits_runs[engine]
    assert_metrics_of(run, answered("evaluate", run.directory, *options))
    run.verify()  # and is unchanged


def test_evaluate_prints_metrics_a_report_and_the_confusion_matrix(digits_runs):
    run = digits_runs["torch"]
    result = diptych("evaluate", run.directory)
    held = [
        "no test split: 359 of 1,797 training images were held out for the test",
        "no validation split: 143 of 1,438 training images were held out for validation",
    ]
    assert (0, held) == (result.code, result.err.splitlines())
    assert f"accuracy {run.read_metrics()['accuracy']:.2%}" in result.out
    assert f"images {run.read_metrics()['num_samples']} (test split of digits)" in result.out
    assert all(word in result.out for word in ("precision", "recall", "macro average", "confusion matrix"))
