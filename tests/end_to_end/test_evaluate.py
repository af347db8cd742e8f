"""A run's metrics, computed again by the engine that trained it and by the other one."""

import pytest
from commands import diptych, process

from diptych.engines import NAMES

OTHER = dict(zip(NAMES, reversed(NAMES), strict=True))


def assert_close(expected, found):
    """Compare nested values: floats to 1e-5, everything else exactly."""
    if isinstance(expected, dict):
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert_close(value, found[name])
    elif isinstance(expected, list):
        assert len(expected) == len(found)
        for value, other in zip(expected, found, strict=True):
            assert_close(value, other)
    elif isinstance(expected, float):
        assert pytest.approx(expected, abs=1e-5) == found
    else:
        assert expected == found


def own(run):
    return {**run.read_metrics(), "data": {"name": "digits", "used": "test split"}}


def test_the_other_engine_measures_the_same(digits_runs, engine_name):
    run = digits_runs[engine_name]
    result = process("evaluate", run.directory, "--engine", OTHER[engine_name], "--json")
    assert (0, "") == (result.code, result.err)
    assert_close(own(run), result.json)


@pytest.mark.parametrize("data", [(), ("digits",)], ids=["own data", "named data"])
def test_a_run_measures_what_its_training_measured(digits_runs, data):
    run = digits_runs["torch"]
    assert_close(own(run), diptych("evaluate", run.directory, *data, "--json").json)
    run.verify()  # and is unchanged


def test_evaluate_prints_metrics_a_report_and_the_confusion_matrix(digits_runs):
    run = digits_runs["torch"]
    result = diptych("evaluate", run.directory)
    assert (0, "") == (result.code, result.err)
    assert f"accuracy {run.read_metrics()['accuracy']:.2%}" in result.out
    assert f"images {run.read_metrics()['num_samples']} (test split of digits)" in result.out
    assert all(word in result.out for word in ("precision", "recall", "macro avg", "confusion matrix"))
