"""`diptych predict`: image files are answered as the same pixels were in the test."""

import cv2
import numpy as np
import pytest
from commands import answered, diptych

import diptych as package
from diptych.evaluation import softmax


@pytest.fixture
def directory(made_run):
    return made_run.directory


def images_of(told):
    return [answer["image"] for answer in told]


def test_either_engine_answers_every_file_as_in_the_test(made_run, digit_files, engine_name):
    folder = digit_files[0].parent
    told = answered("predict", made_run.directory, folder, "--engine", engine_name, "--top", 10)
    assert list(map(str, digit_files)) == images_of(told)
    expected_nk = softmax(made_run.read_predictions().logits_nk)
    assert expected_nk.argmax(1).tolist() == [int(answer["classes"][0][0]) for answer in told]
    assert all(answer["classes"] == sorted(answer["classes"], key=lambda pair: -pair[1]) for answer in told)
    found_nk = [[share for _, share in sorted(answer["classes"])] for answer in told]
    np.testing.assert_allclose(found_nk, expected_nk, atol=1e-5)


def test_files_are_answered_in_the_order_given_and_patterns_in_that_of_names(directory, digit_files):
    chosen = [digit_files[7], digit_files[3]]
    assert list(map(str, chosen)) == images_of(answered("predict", directory, *chosen))
    told = answered("predict", directory, digit_files[0].parent / "00[0-4].png")
    assert list(map(str, digit_files[:5])) == images_of(told)


def test_without_json_each_image_is_a_line(directory, digit_files):
    told = diptych("predict", directory, *digit_files[:2], "--top", 2)
    assert (0, "") == (told.code, told.err)
    first, second = told.out.splitlines()
    assert first.startswith(f"{digit_files[0]}  ")
    assert 2 == second.count("%")


def test_a_larger_color_image_is_resized(directory, digit_files, tmp_path):
    image_hwc = cv2.imread(str(digit_files[0]), cv2.IMREAD_COLOR)
    cv2.imwrite(str(tmp_path / "large.png"), image_hwc.repeat(4, axis=0).repeat(4, axis=1))
    small, large = answered("predict", directory, digit_files[0], tmp_path / "large.png")
    assert small["classes"] == large["classes"]


def test_the_python_function_takes_pixels_of_the_models_shape(directory, digits, digit_files):
    answers = package.predict(directory, digits.test.images[:3], engine="torch")
    files = package.predict(directory, digit_files[:3], engine="torch")
    assert [answer.classes for answer in files] == [answer.classes for answer in answers]
    assert ["0", "1", "2"] == [answer.image for answer in answers]
    with pytest.raises(package.DiptychError, match=r"uint8.* \(N, 8, 8, 1\)"):
        package.predict(directory, np.zeros((2, 9, 9, 1), np.uint8))
