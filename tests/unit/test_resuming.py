"""Which run `train --resume` resumes."""

import pytest
from finished import finished

from diptych.api.training import unfinished_run
from diptych.errors import ArtifactError


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Three runs, from the oldest to the latest; the last one is finished."""
    monkeypatch.chdir(tmp_path)
    states = {"first": "stopped", "second": "running", "third": "finished"}
    for created, (name, status) in enumerate(states.items()):
        finished(tmp_path / "runs", name, record={"status": status, "created": float(created)})
    return tmp_path / "runs"


def test_a_run_is_named_by_its_folder(runs):
    assert "first" == unfinished_run(runs / "first").directory.name


@pytest.mark.parametrize("name", ["runs", "last"])
def test_a_folder_of_runs_stands_for_its_latest_unfinished_run(runs, name):
    assert "second" == unfinished_run(name).directory.name


def test_last_looks_into_the_folder_of_all_runs(runs):
    finished(runs.parent / "elsewhere", "other", record={"status": "stopped"})
    assert "other" == unfinished_run("last", out="elsewhere").directory.name


def test_a_damaged_record_is_skipped(runs):
    (runs / "second" / "run.json").write_text("{")
    assert "first" == unfinished_run("last").directory.name


def test_a_folder_of_finished_runs_is_refused(tmp_path):
    for name in ("one", "two"):
        finished(tmp_path, name)
    with pytest.raises(ArtifactError, match=r"All 2 runs in '.*' are finished: there is nothing to resume\."):
        unfinished_run(tmp_path)
