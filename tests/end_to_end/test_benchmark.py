"""`diptych benchmark` measures each file in each runtime, names the best, and can hold a build to limits."""

import csv
import json
import shutil

import numpy as np
import pytest
from commands import ONE_THREAD, answered, diptych

from diptych.artifacts.run import Run
from diptych.artifacts.store import read_npz, write_npz

QUICK = ("--seconds", 0.05, *ONE_THREAD)


@pytest.fixture(scope="module")
def told(run):
    limits = ("--fail-under", "accuracy=0.5,agreement=0.9")
    return answered("benchmark", run.directory, "--to", "onnx", "tflite-int8", "torchscript", *QUICK, *limits)


@pytest.fixture(scope="module")
def rows(told):
    return {row["form"]: row for row in told["rows"]}


def test_every_row_is_verified_and_measured(rows, run):
    assert ["torchscript", "onnx", "tflite-int8"] == list(rows)
    for row in rows.values():
        assert ("ok", None) == (row["status"], row["reason"])
        assert 0.9 <= row["agreement"] <= 1
        assert 0 < row["latency_p50"] <= row["latency_p95"]
        assert row["images_per_second"] > 0 < row["load_seconds"]
        assert 10e6 < row["peak_memory"] < 4e9
    assert pytest.approx(run.read_metrics()["accuracy"]) == rows["onnx"]["accuracy"]


def test_memory_does_not_include_that_of_other_processes(rows):
    """LiteRT needs some tens of megabytes, whatever the parent holds."""
    assert rows["tflite-int8"]["peak_memory"] < 0.7 * rows["torchscript"]["peak_memory"]


def test_the_best_rows_are_named_with_the_best_in_float32(told):
    best = told["best"]
    assert "tflite-int8" == best["size"]["all"]["format"]
    assert best["size"]["lossless"]["format"] in ("onnx", "torchscript")
    assert {"latency", "throughput", "size"} == best.keys()
    assert 1 == told["threads"]
    assert "onnxruntime" in told["machine"]["versions"]


def test_tables_and_a_plot_are_written_beside_the_files(told, run):
    assert told == json.loads((run.export_dir / "benchmark.json").read_text())
    with (run.export_dir / "benchmark.csv").open() as file:
        assert [row["form"] for row in told["rows"]] == [line["form"] for line in csv.DictReader(file)]
    assert (run.export_dir / "benchmark.png").read_bytes().startswith(b"\x89PNG")


def test_a_row_that_fails_verification_fails_the_build_and_wins_nothing(run, tmp_path):
    spoilt = Run.open(shutil.copytree(run.directory, tmp_path / "run"))
    arrays = read_npz(spoilt.predictions_path)
    nudge = np.linspace(0, 1e-2, 10, dtype=np.float32)
    write_npz(spoilt.predictions_path, {**arrays, "logits": arrays["logits"] + nudge})
    spoilt.seal()
    told = diptych("benchmark", spoilt.directory, "--to", "onnx", "tflite-int8", *QUICK, "--fail-under", "accuracy=0.5")
    assert 1 == told.code
    assert "diptych: onnx in ONNX Runtime: a probability differs by" in told.err
    assert "lowest latency: tflite-int8 in LiteRT" in told.out
    assert (spoilt.export_dir / "failed" / "cnn.onnx").exists()
