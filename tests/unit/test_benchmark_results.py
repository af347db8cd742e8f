"""The best rows, shortfalls, JSON and CSV of a benchmark."""

import csv
import json
import re

import pytest
from benchmark_rows import make_benchmark, make_row

from diptych.cli.arguments import parse
from diptych.cli.deployment import Benchmark as BenchmarkOptions
from diptych.deployment.benchmark import write
from diptych.errors import UsageError


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
    write(benchmark, tmp_path)
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
