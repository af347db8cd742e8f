"""A run's numbers, computed again: by the engine that trained it and by the other one."""

import pytest
from commands import diptych, process

from diptych.engines import NAMES

OTHER = dict(zip(NAMES, reversed(NAMES), strict=True))


def assert_close(expected, found):
    """The same numbers to 1e-5 and the same of everything else, however deep."""
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
    """What evaluating a run on its own test split gives."""
    return {**run.read_metrics(), "data": {"name": "digits", "used": "test split"}}


def test_the_other_engine_measures_the_same(digits_runs, engine_name):
    run = digits_runs[engine_name]
    told = process("evaluate", run.directory, "--engine", OTHER[engine_name], "--json")
    assert (0, "") == (told.code, told.err)
    assert_close(own(run), told.json)


def test_a_run_measures_itself_as_it_did_in_the_end(digits_runs):
    told = diptych("evaluate", digits_runs["torch"].directory, "--json")
    assert_close(own(digits_runs["torch"]), told.json)


def test_data_may_be_named(digits_runs):
    told = diptych("evaluate", digits_runs["torch"].directory, "digits", "--json")
    assert_close(own(digits_runs["torch"]), told.json)


def test_people_are_told_accuracy_report_and_confusion(digits_runs):
    run = digits_runs["torch"]
    told = diptych("evaluate", run.directory)
    assert (0, "") == (told.code, told.err)
    assert f"accuracy {run.read_metrics()['accuracy']:.2%}" in told.out
    assert f"images {run.read_metrics()['num_samples']} (test split of digits)" in told.out
    assert all(word in told.out for word in ("precision", "recall", "macro avg", "confusion matrix"))


def test_evaluating_leaves_the_run_as_it_was(digits_runs):
    diptych("evaluate", digits_runs["torch"].directory)
    digits_runs["torch"].verify()
