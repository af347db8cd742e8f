"""Rows are measured in turn and in reverse on images from one file; a fault affects its row alone."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_rows import make_speed
from data_files import write_image

from diptych.artifacts.run import Predictions
from diptych.data.datasets import Split, ingest
from diptych.data.readers.folder import list_folder
from diptych.deployment import benchmark as measuring
from diptych.deployment.export import Exported
from diptych.deployment.formats import FORMATS
from diptych.deployment.predictor import Answers, save_images
from diptych.deployment.runtimes import RUNTIMES
from diptych.deployment.verify import Reference
from diptych.errors import ArtifactError, DataError, EngineError, MissingEngine

NUM = 40
LABELS = np.arange(NUM) % 4
LOGITS = 5.0 * np.eye(4)[LABELS]
REFERENCE = Reference.of(
    Split(np.zeros((NUM, 2, 2, 1), np.uint8), LABELS), Predictions(LOGITS, LABELS, LABELS), tuple("abcd")
)
TRAINED = SimpleNamespace(reference=REFERENCE, card=SimpleNamespace(spec=SimpleNamespace(name="cnn"), parity="0" * 64))


def shipped(form, **fields):
    known = {"path": Path(form), "worst_difference": 0.0, "agreement": 1.0, "accuracy": 1.0}
    return Exported(form, fields.pop("status", "ok"), **known | fields)


@pytest.fixture
def measure(monkeypatch):
    """A benchmark of given exports, with `answer(form, runtime)` in place of a process."""

    def run(*exports, answer=lambda form, runtime: make_speed()):
        calls = []

        def ask(probes, path, runtime, images, *, form, seconds):
            num_images = len(np.load(images))
            calls.append((form.name, runtime.name, num_images))
            speed = answer(form.name, runtime.name)
            return Answers(LOGITS[:num_images], REFERENCE.probabilities_nk[:num_images], speed)

        monkeypatch.setattr(measuring, "export", lambda *arguments, **settings: list(exports))
        monkeypatch.setattr(measuring.Probes, "ask", ask)
        monkeypatch.setattr(measuring.runtimes, "usable", lambda form: RUNTIMES[form.runtimes[0]])
        forms = [FORMATS[one.form] for one in exports]
        return measuring.benchmark(TRAINED, forms, Path("out"), threads=2, seconds=1.0), calls

    return run


def test_rows_are_measured_on_the_whole_test_set_and_once_more_in_reverse(measure):
    result, calls = measure(shipped("onnx"), shipped("tflite"))
    rows = [("onnx", "onnxruntime"), ("tflite", "litert")]
    assert [*((*row, NUM) for row in rows), *((*row, 32) for row in reversed(rows))] == calls
    assert [("ok", 1.0), ("ok", 1.0)] == [(row.status, row.agreement) for row in result.rows]


def test_values_are_medians_and_for_loading_and_memory_minima(measure):
    speeds = iter([make_speed(latency=2.0, rate=10.0), make_speed(latency=2.2, rate=11.0)])
    (row,) = measure(shipped("onnx"), answer=lambda form, runtime: next(speeds))[0].rows
    found = (row.speed.latency_p50, row.speed.images_per_second, row.speed.load_seconds, row.spread)
    assert pytest.approx((2.1, 10.5, 0.5, 0.1)) == found


def test_a_third_measurement_decides_if_two_disagree(measure):
    speeds = iter([make_speed(latency=2.1), make_speed(latency=9.0), make_speed(latency=2.0)])
    result, calls = measure(shipped("onnx"), answer=lambda form, runtime: next(speeds))
    assert 3 == len(calls)
    assert 2.1 == result.rows[0].speed.latency_p50
    assert pytest.approx(9.0 / 2.0 - 1) == result.rows[0].spread


@pytest.mark.parametrize(("error", "status"), [(EngineError, "unrunnable"), (MissingEngine, "absent")])
def test_a_runtime_that_cannot_run_a_file_affects_its_row_alone(measure, error, status):
    def answer(form, runtime):
        if runtime == "torch-compiled":
            raise error("no compiler")
        return make_speed()

    rows = measure(shipped("safetensors"), answer=answer)[0].rows
    runtimes = ("torch", "ok"), ("torch-compiled", status), ("tensorflow", "ok")
    assert [*runtimes] == [(row.runtime, row.status) for row in rows]
    assert ("no compiler", None) == (rows[1].reason, rows[1].speed)


def test_a_format_that_cannot_be_written_is_a_row_with_its_reason(measure):
    result, calls = measure(
        Exported("keras", "impossible", "no such layer"),
        Exported("openvino", "absent", "not installed"),
    )
    assert [("impossible", "no such layer"), ("absent", "not installed")] == [
        (row.status, row.reason) for row in result.rows
    ]
    assert [] == calls


def streamed(root, kept):
    for number in range(300):
        write_image(root / "ab"[number % 2] / f"{number:03}.png", number % 256)
    return ingest(list_folder(root), (6, 8, 3), caching="never", folder=kept).train.images


def test_streamed_images_are_written_as_a_numpy_file(tmp_path):
    images = streamed(tmp_path / "photos", tmp_path / "kept")
    found = np.load(save_images(tmp_path / "images.npy", images), mmap_mode="r")
    np.testing.assert_array_equal(np.asarray(images), found, strict=True)


def test_an_image_that_has_changed_is_named(tmp_path):
    images = streamed(tmp_path / "photos", tmp_path / "kept")
    (tmp_path / "photos" / "b" / "299.png").write_bytes(b"other")
    with pytest.raises(DataError, match=r"'b/299\.png' changed while in use: restore it"):
        save_images(tmp_path / "images.npy", images)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_with_path_and_bytes():
    with pytest.raises(ArtifactError, match=r"'/dev/full': No space left on device after 0 of 57,600,000 bytes"):
        save_images(Path("/dev/full"), np.zeros((1000, 120, 160, 3), np.uint8))
