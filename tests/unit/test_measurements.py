"""Rows are measured in turn and in reverse, and a fault affects its row alone; the best rows, limits, JSON and CSV."""

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_rows import make_benchmark, make_row, make_speed
from data_files import write_image

from diptych.artifacts.run import Predictions
from diptych.cli.arguments import parse
from diptych.cli.deployment import Benchmark as BenchmarkOptions
from diptych.data.datasets import Split, ingest
from diptych.data.readers.folder import list_folder
from diptych.deployment import benchmark as measuring
from diptych.deployment.formats import FORMATS
from diptych.deployment.predictor import Answers, save_images
from diptych.deployment.runtimes import RUNTIMES
from diptych.deployment.verify import Exported, Reference
from diptych.errors import ArtifactError, EngineError, MissingEngine, UsageError

NUM = 40
LABELS = np.arange(NUM) % 4
LOGITS = 5.0 * np.eye(4)[LABELS]
REFERENCE = Reference.of(
    Split(np.zeros((NUM, 2, 2, 1), np.uint8), LABELS, np.arange(NUM)),
    Predictions(LOGITS, LABELS, LABELS),
    tuple("abcd"),
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
        options = measuring.BenchmarkOptions(threads=2, seconds=1.0)
        return measuring.benchmark(TRAINED, forms, Path("out"), options), calls

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
    faults = [("impossible", "no such layer"), ("absent", "not installed")]
    result, calls = measure(
        *(Exported(form, *fault) for form, fault in zip(("keras", "openvino"), faults, strict=True))
    )
    assert faults == [(row.status, row.reason) for row in result.rows]
    assert [] == calls


def test_streamed_images_are_written_as_a_numpy_file(tmp_path):
    for number in range(300):
        write_image(tmp_path / "photos" / "ab"[number % 2] / f"{number:03}.png", number % 256)
    images = ingest(list_folder(tmp_path / "photos"), (6, 8, 3), caching="never").train.images
    found = np.load(save_images(tmp_path / "images.npy", images), mmap_mode="r")
    np.testing.assert_array_equal(np.asarray(images), found, strict=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_with_path_and_bytes():
    with pytest.raises(ArtifactError, match=r"'/dev/full': No space left on device after 0 of 57,600,000 bytes"):
        save_images(Path("/dev/full"), np.zeros((1000, 120, 160, 3), np.uint8))


def test_each_aim_has_a_winner_and_the_best_float32_row():
    results = make_benchmark(
        make_row("onnx", latency=2e-3, rate=500, num_bytes=900),
        make_row("tflite", latency=3e-3, rate=900, num_bytes=800),
        make_row("tflite-int8", latency=1e-3, rate=400, num_bytes=200),
    )
    best = {aim: tuple(row and row.form for row in rows) for aim, rows in results.best.items()}
    assert {
        "latency": ("tflite-int8", "onnx"),
        "throughput": ("tflite", None),
        "size": ("tflite-int8", "tflite"),
    } == best


def test_failed_rows_do_not_win_and_weights_are_not_the_smallest_model():
    results = make_benchmark(
        make_row("onnx", latency=1e-3, status="failed", reason="a probability differs"),
        make_row("safetensors", latency=2e-3, num_bytes=100),
        make_row("keras", latency=3e-3, num_bytes=900),
    )
    assert ["safetensors", "safetensors", "keras"] == [row.form for row, _ in results.best.values()]


def test_a_row_below_a_limit_is_reported_with_its_value():
    results = make_benchmark(make_row("onnx", accuracy=0.95), make_row("tflite-int8", accuracy=0.85, agreement=0.9))
    assert [] == results.shortfalls({"accuracy": 0.85, "agreement": 0.9})
    assert ["tflite-int8 in LiteRT: accuracy is 0.8500; at least 0.9 is required"] == results.shortfalls(
        {"accuracy": 0.9}
    )


@pytest.mark.parametrize("status", ["failed", "impossible", "unrunnable"])
def test_a_failed_row_is_a_shortfall_for_any_limit_and_never_the_best(status):
    broken = make_row("tflite", status=status, reason="it broke")
    assert ["tflite in LiteRT: it broke"] == make_benchmark(make_row("onnx"), broken).shortfalls({"accuracy": 0.0})
    assert {} == make_benchmark(broken).best


def test_a_missing_package_is_a_shortfall_only_if_nothing_was_measured():
    absent = make_row("openvino", status="absent", reason="not installed", speeds=())
    assert [] == make_benchmark(make_row("onnx"), absent).shortfalls({"accuracy": 0.0})
    (line,) = make_benchmark(absent).shortfalls({"accuracy": 0.0})
    assert "nothing was measured" in line


def test_json_and_csv_have_the_same_rows(tmp_path):
    benchmark = make_benchmark(make_row("tflite-int8"), make_row("tflite", status="impossible", reason='it says "no"'))
    measuring.write(benchmark, tmp_path)
    content = json.loads((tmp_path / "benchmark.json").read_text())
    lines = list(csv.DictReader((tmp_path / "benchmark.csv").read_text().splitlines()))
    texts = [{key: "" if value is None else str(value) for key, value in row.items()} for row in content["rows"]]
    assert texts == lines
    assert {"format": "tflite-int8", "runtime": "litert"} == content["best"]["latency"]["all"]
    row = content["rows"][0]
    assert ("LiteRT", True, False) == (row["title"], row["is_quantized"], row["is_lossless"])
    assert (1e-3, "tflite-int8") == (row["latency_p50"], row["path"])


def limits_of(text):
    return dict(parse(BenchmarkOptions, "benchmark", ["RUN", "--fail-under", text]).fail_under)


def test_limits_are_read_from_text():
    assert {"accuracy": 0.9, "agreement": 0.99} == limits_of("accuracy=0.9, agreement=0.99")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acuracy=0.9", "got 'acuracy' (did you mean 'accuracy'?)"),
        ("accuracy=90", "--fail-under must be a number in [0, 1], got 90"),
        *(
            (text, f"accuracy=SHARE, agreement=SHARE or both, got '{text}'")
            for text in ("", "accuracy=nan", "accuracy=0.1.1")
        ),
    ],
)
def test_invalid_limits_are_an_error(text, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        limits_of(text)
