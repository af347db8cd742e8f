"""`diptych predict` and `diptych evaluate` answer as the training's own test did, in either engine."""

import re

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from commands import answered, assert_metrics_of, diptych, refused
from msgspec.structs import replace
from PIL import Image

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


FORMS = {
    "one path": lambda paths, images: paths[0],
    "texts of paths": lambda paths, images: np.array(list(map(str, paths))),
    "one image of Pillow": lambda paths, images: Image.open(paths[0]),
    "one gray array": lambda paths, images: images[0, ..., 0],
    "one array": lambda paths, images: images[0],
    "one color array of another size": lambda paths, images: images[0].repeat(3, 2).repeat(4, 0).repeat(4, 1),
    "a batch": lambda paths, images: images,
    "a gray batch of int64": lambda paths, images: images[..., 0].astype(int),
    "a list of all": lambda paths, images: [paths[0], Image.open(paths[1]), images[2:]],
    "a generator of encoded bytes": lambda paths, images: (path.read_bytes() for path in paths),
    "a tensor with channels first": lambda paths, images: torch.from_numpy(images.transpose(0, 3, 1, 2)),
}


@pytest.mark.filterwarnings("ignore::diptych.errors.Remark")
@pytest.mark.parametrize("form", FORMS)
def test_the_python_function_takes_images_in_any_form(made_run, digits, digit_files, form):
    files = package.predict(made_run, digit_files[:4], engine="torch")
    images = FORMS[form](digit_files[:4], digits.test.images[:4])
    answers = package.predict(made_run, images, engine="torch")
    for file, answer in zip(files, answers, strict=False):
        assert dict(file.classes) == pytest.approx(dict(answer.classes), abs=1e-5)
    assert (1 if form.startswith("one") else 4) == len(answers)
    assert answers[-1].image in (str(len(answers) - 1), *map(str, digit_files))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.ones((2, 8, 8, 1)), r"float64 in 1 to 1: expected uint8 in 0–255; multiply by 255"),
        ([np.zeros((8, 8), np.float32)], "Image 0 is float32"),
        (np.zeros((3, 8, 8), np.uint8), r"may be one image or three: if its channels come first"),
        (np.full((2, 3, 8, 8), 9, np.uint8), r"channels; here they come first: images.transpose\(0, 2, 3, 1\)"),
        (np.zeros((8, 8, 4), np.uint8), "drop the alpha channel"),
        ([], "No images given"),
        (7, "Unsupported images of type int"),
        ("absent.png", "Cannot read '.*absent.png': No such file"),
    ],
)
def test_the_python_function_misreads_no_images(made_run, images, message):
    with pytest.raises(package.DiptychError, match=message):
        package.predict(made_run, images)


@pytest.fixture
def partly_bad(digit_files, tmp_path):
    """A folder with one good image, one that is cut off, one that is text, and a broken link."""
    (tmp_path / "a.png").write_bytes(digit_files[0].read_bytes())
    (tmp_path / "b.png").write_bytes(digit_files[0].read_bytes()[:-30])
    (tmp_path / "c.jpg").write_text("<html>")
    (tmp_path / "d.png").symlink_to("nowhere")
    return tmp_path


def test_files_that_cannot_be_read_are_named_and_the_rest_predicted(made_run, partly_bad):
    result = diptych("predict", made_run.directory, partly_bad, "absent.png")
    assert (1, 1) == (result.code, len(result.out.splitlines()))
    assert ["b.png", "c.jpg", "d.png", "absent.png"] == re.findall(r"^diptych: Cannot .*?([\w.]+)':", result.err, re.M)
    result = diptych("predict", made_run.directory, partly_bad, "--json")
    assert (1, "") == (result.code, result.err)
    assert [True, False, False, False] == [not answer["error"] for answer in result.json]
    assert [3, 0, 0, 0] == [len(answer["classes"]) for answer in result.json]


def test_if_no_file_can_be_read_it_is_an_error(made_run, partly_bad):
    assert "c.jpg': expected JPEG" in refused("predict", made_run.directory, partly_bad / "c.jpg")


def test_a_loaded_run_has_metrics_history_and_predictions(digits_runs):
    run = package.load(digits_runs["torch"].directory)
    assert run.metrics["accuracy"] == np.mean(run.predictions.logits_nk.argmax(1) == run.predictions.labels_n)
    history = pd.DataFrame(run.history)
    assert [*range(1, 21)] == history["epoch"].tolist()
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]


def test_a_loaded_run_builds_its_trained_model_in_either_framework(made_run, digits):
    run, images = package.load(made_run.directory.parent), digits.test.images[:20]
    network = run.build("torch").eval()
    with torch.no_grad():
        np.testing.assert_allclose(network(torch.from_numpy(images)), run.predictions.logits_nk[:20], atol=1e-4)
    logits_nk = run.build("tensorflow")(images, training=False).numpy()
    np.testing.assert_allclose(logits_nk, run.predictions.logits_nk[:20], atol=1e-4)


def test_an_unfinished_run_has_no_metrics(tmp_path, run):
    run.write_record(replace(run.read_record(), status="stopped"))
    for read in (lambda: run.metrics, lambda: run.predictions, lambda: run.build("torch")):
        with pytest.raises(package.DiptychError, match=r"is not finished \(stopped\)"):
            read()


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
