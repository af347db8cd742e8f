"""A run's metrics, computed again by the engine that trained it and by the other one."""

import pytest
from commands import assert_metrics_of, diptych

from diptych.engines import NAMES

OTHER = dict(zip(NAMES, reversed(NAMES), strict=True))


def test_the_other_engine_measures_the_same(digits_runs, engine_name):
    run = digits_runs[engine_name]
    result = diptych("evaluate", run.directory, "--engine", OTHER[engine_name], "--json")
    assert (0, "") == (result.code, result.err)
    assert_metrics_of(run, result.json)


@pytest.mark.parametrize("data", [(), ("digits",)], ids=["own data", "named data"])
def test_a_run_measures_what_its_training_measured(digits_runs, data):
    run = digits_runs["torch"]
    assert_metrics_of(run, diptych("evaluate", run.directory, *data, "--json").json)
    run.verify()  # and is unchanged


def test_evaluate_prints_metrics_a_report_and_the_confusion_matrix(digits_runs):
    run = digits_runs["torch"]
    result = diptych("evaluate", run.directory)
    assert (0, "") == (result.code, result.err)
    assert f"accuracy {run.read_metrics()['accuracy']:.2%}" in result.out
    assert f"images {run.read_metrics()['num_samples']} (test split of digits)" in result.out
    assert all(word in result.out for word in ("precision", "recall", "macro avg", "confusion matrix"))
