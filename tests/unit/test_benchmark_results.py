"""The best rows, shortfalls, JSON and CSV of a benchmark."""

import csv
import json

import pytest
from benchmark_rows import make_benchmark, make_row

from diptych.cli.deployment import limits_of
from diptych.deployment.benchmark import write
from diptych.errors import UsageError


def named(winner):
    return winner.row.form, winner.lossless and winner.lossless.form


def test_each_aim_has_a_winner_and_the_best_float32_row():
    results = make_benchmark(
        make_row("onnx", latency=2e-3, rate=500, num_bytes=900),
        make_row("tflite", latency=3e-3, rate=900, num_bytes=800),
        make_row("tflite-int8", latency=1e-3, rate=400, num_bytes=200),
    )
    latency, throughput, size = results.best
    assert ("latency", ("tflite-int8", "onnx")) == (latency.aim, named(latency))
    assert ("throughput", ("tflite", None)) == (throughput.aim, named(throughput))
    assert ("size", ("tflite-int8", "tflite")) == (size.aim, named(size))


def test_failed_rows_do_not_win_and_weights_are_not_the_smallest_model():
    results = make_benchmark(
        make_row("onnx", latency=1e-3, status="failed", reason="a probability differs"),
        make_row("safetensors", latency=2e-3, num_bytes=100),
        make_row("keras", latency=3e-3, num_bytes=900),
    )
    assert ["safetensors", "safetensors", "keras"] == [winner.row.form for winner in results.best]


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
    assert [] == make_benchmark(broken).best


def test_a_missing_package_is_a_shortfall_only_if_nothing_was_measured():
    absent = make_row("openvino", status="absent", reason="not installed", speeds=())
    assert [] == make_benchmark(make_row("onnx"), absent).shortfalls({"accuracy": 0.0})
    (line,) = make_benchmark(absent).shortfalls({"accuracy": 0.0})
    assert "nothing was measured" in line


def test_json_and_csv_have_the_same_rows(tmp_path):
    benchmark = make_benchmark(make_row("tflite-int8"), make_row("tflite", status="impossible", reason='it says "no"'))
    write(benchmark, tmp_path)
    content = json.loads((tmp_path / "benchmark.json").read_text())
    lines = list(csv.DictReader((tmp_path / "benchmark.csv").read_text().splitlines()))
    texts = [{key: "" if value is None else str(value) for key, value in row.items()} for row in content["rows"]]
    assert texts == lines
    assert {"format": "tflite-int8", "runtime": "litert"} == content["best"]["latency"]["all"]
    row = content["rows"][0]
    assert ("LiteRT", True, False) == (row["title"], row["is_quantized"], row["is_lossless"])
    assert (1e-3, "tflite-int8") == (row["latency_p50"], row["path"])


def test_limits_are_read_from_text():
    assert {"accuracy": 0.9, "agreement": 0.99} == limits_of("accuracy=0.9, agreement=0.99")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acuracy=0.9", "got 'acuracy=0.9' (did you mean 'accuracy'?)"),
        ("", "must be accuracy=SHARE, agreement=SHARE or both"),
        ("accuracy=90", "accuracy must be a number in [0, 1], got '90'"),
        ("agreement=nan", "agreement must be a number in [0, 1], got 'nan'"),
        ("accuracy=much", "accuracy must be a number in [0, 1], got 'much'"),
    ],
)
def test_invalid_limits_are_an_error(text, message):
    with pytest.raises(UsageError) as error:
        limits_of(text)
    assert message in str(error.value)
