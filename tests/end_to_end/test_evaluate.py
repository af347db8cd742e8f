"""A run's metrics, computed again by the engine that trained it and by the other one."""

import pytest
from commands import answered, assert_metrics_of, diptych


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
    assert (0, "") == (result.code, result.err)
    assert f"accuracy {run.read_metrics()['accuracy']:.2%}" in result.out
    assert f"images {run.read_metrics()['num_samples']} (test split of digits)" in result.out
    assert all(word in result.out for word in ("precision", "recall", "macro average", "confusion matrix"))
