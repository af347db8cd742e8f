"""Rows are measured in turn and in reverse, again where that disagrees; a fault is told of its row alone."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benchmark_rows import make_speed

from diptych.artifacts.run import Predictions
from diptych.data.datasets import Split
from diptych.deployment import benchmark as measuring
from diptych.deployment.export import Exported
from diptych.deployment.formats import FORMATS
from diptych.deployment.predictor import Answers
from diptych.deployment.runtimes import RUNTIMES
from diptych.deployment.verify import Reference
from diptych.errors import EngineError, MissingEngine

NUM = 40
LABELS = np.arange(NUM) % 4
LOGITS = 5.0 * np.eye(4)[LABELS]
REFERENCE = Reference.of(
    Split(np.zeros((NUM, 2, 2, 1), np.uint8), LABELS), Predictions(LOGITS, LABELS, LABELS), tuple("abcd")
)
TRAINED = SimpleNamespace(reference=REFERENCE, card=SimpleNamespace(spec=SimpleNamespace(name="cnn"), parity="0" * 64))


def shipped(form, **fields):
    known = {"path": Path(form), "worst_difference": 0.0, "agreement": 1.0, "accuracy": 1.0, "speed": make_speed()}
    return Exported(form, fields.pop("status", "ok"), **known | fields)


@pytest.fixture
def measure(monkeypatch):
    """A benchmark of what an export is said to have left; `answer(form, runtime)` is asked in place of a process."""

    def run(*found, answer=lambda form, runtime: make_speed()):
        asked = []

        def ask(probes, path, runtime, images, *, form, seconds):
            num_images = len(np.load(images))
            asked.append((form.name, runtime.name, num_images))
            speed = answer(form.name, runtime.name)
            return Answers(LOGITS[:num_images], REFERENCE.probabilities_nk[:num_images], speed)

        monkeypatch.setattr(measuring, "export", lambda *arguments, **settings: list(found))
        monkeypatch.setattr(measuring.Probes, "ask", ask)
        monkeypatch.setattr(measuring.runtimes, "usable", lambda form: RUNTIMES[form.runtimes[0]])
        forms = [FORMATS[one.form] for one in found]
        return measuring.benchmark(TRAINED, forms, Path("out"), threads=2, seconds=1.0), asked

    return run


def test_what_the_export_has_verified_and_measured_is_measured_once_more_in_reverse(measure):
    found, asked = measure(shipped("onnx"), shipped("tflite"))
    assert [("tflite", "litert", 32), ("onnx", "onnxruntime", 32)] == asked
    assert ["ok", "ok"] == [row.status for row in found.rows]


def test_every_further_runtime_answers_for_the_whole_test_set_and_is_judged(measure):
    found, asked = measure(shipped("safetensors"))
    assert [("safetensors", "torch-compiled", NUM), ("safetensors", "tensorflow", NUM)] == asked[:2]
    assert ["torch", "torch-compiled", "tensorflow"] == [row.runtime for row in found.rows]
    assert [1.0, 1.0, 1.0] == [row.agreement for row in found.rows]


def test_numbers_are_medians_but_loading_and_memory_the_least(measure):
    first = make_speed(latency=2.0, rate=10.0)
    second = make_speed(latency=2.2, rate=11.0)
    (row,) = measure(shipped("onnx", speed=first), answer=lambda form, runtime: second)[0].rows
    assert (2.1, 10.5, 0.5) == pytest.approx(
        (row.speed.latency_p50, row.speed.images_per_second, row.speed.load_seconds)
    )
    assert pytest.approx(0.1) == row.spread


def test_measurements_that_disagree_are_decided_by_a_third(measure):
    speeds = iter([make_speed(latency=9.0), make_speed(latency=2.0)])
    found, asked = measure(shipped("onnx", speed=make_speed(latency=2.1)), answer=lambda form, runtime: next(speeds))
    assert 2 == len(asked)
    assert 2.1 == found.rows[0].speed.latency_p50
    assert found.rows[0].spread > 3


@pytest.mark.parametrize(("error", "status"), [(EngineError, "unrunnable"), (MissingEngine, "absent")])
def test_a_runtime_that_cannot_run_a_file_is_told_of_its_row_alone(measure, error, status):
    def answer(form, runtime):
        if runtime == "torch-compiled":
            raise error("no compiler")
        return make_speed()

    rows = measure(shipped("safetensors"), answer=answer)[0].rows
    assert ["ok", status, "ok"] == [row.status for row in rows]
    assert ("no compiler", None) == (rows[1].reason, rows[1].speed)


def test_a_format_that_failed_or_could_not_be_written_is_a_row_with_its_reason(measure):
    found, asked = measure(
        shipped("onnx", status="failed", reason="differs"),
        Exported("keras", "impossible", "no such layer"),
        Exported("openvino", "impossible", "not installed", absent=True),
    )
    assert [("failed", "differs"), ("impossible", "no such layer"), ("absent", "not installed")] == [
        (row.status, row.reason) for row in found.rows
    ]
    assert [] == asked
