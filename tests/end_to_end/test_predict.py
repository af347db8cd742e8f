"""Image files in, classes out: the pixels that a run was tested on, as PNG files, are answered as they were then."""

import cv2
import numpy as np
import pytest
from commands import diptych, process

import diptych as package
from diptych.engines import NAMES
from diptych.evaluation import softmax

OTHER = dict(zip(NAMES, reversed(NAMES), strict=True))


@pytest.fixture
def directory(digits_runs):
    return digits_runs["torch"].directory


def names_of(told):
    return [answer["image"] for answer in told.json]


def test_the_other_engine_answers_every_file_as_the_run_was_tested(digits_runs, digit_files, engine_name):
    run, folder = digits_runs[engine_name], digit_files[0].parent
    told = process("predict", run.directory, folder, "--engine", OTHER[engine_name], "--top", 10, "--json")
    assert (0, "") == (told.code, told.err)
    assert list(map(str, digit_files)) == names_of(told)
    wanted_nk = softmax(run.read_predictions().logits_nk)
    assert wanted_nk.argmax(1).tolist() == [int(answer["classes"][0][0]) for answer in told.json]
    found_nk = [[share for _, share in sorted(answer["classes"])] for answer in told.json]
    np.testing.assert_allclose(found_nk, wanted_nk, atol=1e-5)


def test_files_are_answered_in_the_order_given(directory, digit_files):
    chosen = [digit_files[7], digit_files[3]]
    assert list(map(str, chosen)) == names_of(diptych("predict", directory, *chosen, "--json"))


def test_a_pattern_finds_what_the_shell_did_not(directory, digit_files):
    told = diptych("predict", directory, digit_files[0].parent / "00[0-4].png", "--json")
    assert list(map(str, digit_files[:5])) == names_of(told)


def test_as_many_classes_are_named_as_asked_for_most_probable_first(directory, digit_files):
    (answer,) = diptych("predict", directory, digit_files[0], "--top", 4, "--json").json
    shares = [share for _, share in answer["classes"]]
    assert 4 == len(shares)
    assert sorted(shares, reverse=True) == shares
    assert 0 < sum(shares) <= 1 + 1e-6


def test_people_are_shown_a_line_per_image(directory, digit_files):
    told = diptych("predict", directory, digit_files[0])
    assert (0, "") == (told.code, told.err)
    assert told.out.startswith(f"{digit_files[0]}  ")
    assert "%" in told.out


def test_a_larger_colour_image_is_brought_to_the_models_size(directory, digit_files, tmp_path):
    image_hwc = cv2.imread(str(digit_files[0]), cv2.IMREAD_COLOR)
    cv2.imwrite(str(tmp_path / "large.png"), image_hwc.repeat(4, axis=0).repeat(4, axis=1))
    small, large = diptych("predict", directory, digit_files[0], tmp_path / "large.png", "--json").json
    assert small["classes"] == large["classes"]


def test_the_python_api_takes_pixels(directory, digits, digit_files):
    answers = package.predict(directory, digits.test.images[:3], engine="torch")
    files = package.predict(directory, digit_files[:3], engine="torch")
    assert [answer.classes for answer in files] == [answer.classes for answer in answers]
    assert ["0", "1", "2"] == [answer.image for answer in answers]


def test_pixels_of_another_shape_are_refused(directory):
    with pytest.raises(package.DiptychError, match=r"wanted uint8, \(N, 8, 8, 1\)"):
        package.predict(directory, np.zeros((2, 9, 9, 1), np.uint8))


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n and no more"])
def test_a_file_that_is_no_image_is_named_in_one_line(directory, digit_files, tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    told = process("predict", directory, digit_files[0], path)
    assert (2, "") == (told.code, told.out)
    assert told.err.startswith("diptych: ")
    assert str(path) in told.err
    assert 1 == len(told.err.splitlines())
