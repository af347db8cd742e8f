"""Trackers get each training's events in a process of their own, and whatever goes wrong there stops no training."""

import os
import socket
import subprocess
import sys
import time

import pytest
from finished import amend, epoch_of, finished

from diptych.errors import UrgentRemark
from diptych.training import tracking
from diptych.training.provenance import parameters
from diptych.training.tracking import Tracker, tracked

# MLflow reads its store back in this process.
pytestmark = [pytest.mark.filterwarnings("ignore:::sqlalchemy"), pytest.mark.filterwarnings("ignore:The ``noload``")]
SECONDS = 300.0
HIDDEN = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == sys.argv[1] else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
from diptych.cli import main
sys.exit(main(["train", "digits", "--log", "tensorboard", sys.argv[1]]))
"""


@pytest.fixture(scope="module", autouse=True)
def _local(tmp_path_factory):
    """Use a store, a folder and an account of no one."""
    folder = tmp_path_factory.mktemp("trackers")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("WANDB_MODE", "offline")
        patch.setattr(tracking, "SECONDS_TO_FINISH", SECONDS)
        patch.setattr(tracking, "SECONDS_IF_STOPPED", SECONDS)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield


@pytest.fixture(scope="module")
def to_mlflow():
    with Tracker("mlflow") as tracker:
        yield tracker


@pytest.fixture
def run(tmp_path):
    made = finished(tmp_path, "fruit")
    made.plots_dir.mkdir()
    (made.plots_dir / "curves.png").write_bytes(b"")
    return made


def send(tracker, run, status="finished", epochs=(), **start):
    """Send the events of a training that trains some epochs and ends."""
    tracker("start", {"engine": "torch", "run": str(run.directory), "epochs": 2, **start})
    tracker("parameters", parameters(run.read_record()))
    for epoch in epochs:
        tracker("epoch", epoch_of(epoch))
    metrics = run.read_metrics() if status == "finished" else None
    tracker("end", {"run": str(run.directory), "status": status, "failure": "", "metrics": metrics})


def logged(run):
    """The tracked run in MLflow, and its client."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    return client.get_run(tracked(run)["mlflow"]["id"]), client


@pytest.mark.parametrize(
    ("status", "expected"),
    [("finished", "FINISHED"), ("stopped", "KILLED"), ("failed", "FAILED"), ("diverged", "FAILED")],
)
def test_a_tracked_run_ends_with_the_status_of_the_run(status, expected, to_mlflow, run):
    send(to_mlflow, run, status, group="a comparison")
    found, _ = logged(run)
    assert (expected, status, "a comparison") == (
        found.info.status,
        found.data.tags["status"],
        found.data.tags["group"],
    )
    assert (status == "finished") == ("test_loss" in found.data.metrics)


def test_a_tracked_run_that_is_continued_keeps_its_parameters_and_says_what_changed(to_mlflow, run):
    send(to_mlflow, run, "stopped")
    amend(run, seed=7)
    send(to_mlflow, run, epochs=[3])
    found, client = logged(run)
    assert ("0", "7") == (found.data.params["seed"], found.data.tags["resumed_seed"])
    assert "resumed_engine" not in found.data.tags
    losses = [(row.step, row.value) for row in client.get_metric_history(found.info.run_id, "train_loss")]
    assert [(epoch, epoch_of(epoch)["train_loss"]) for epoch in (1, 2, 3)] == losses


def test_epochs_that_a_new_tracked_run_lacks_are_logged_from_the_record_of_the_run(to_mlflow, run):
    send(to_mlflow, run, "stopped")
    first, client = logged(run)
    client.delete_run(first.info.run_id)
    send(to_mlflow, run)
    second, _ = logged(run)
    assert first.info.run_id != second.info.run_id
    assert [1, 2] == [row.step for row in client.get_metric_history(second.info.run_id, "seconds")]
    assert {"metrics.json", "plots", "recipe.json", "spec.json"} == {
        file.path for file in client.list_artifacts(second.info.run_id)
    }


def test_a_server_that_refuses_is_said_once_without_the_password(run, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:secret@127.0.0.1:9")
    with Tracker("mlflow") as tracker, pytest.warns(UrgentRemark, match="Logging to mlflow stopped") as warned:
        send(tracker, run, epochs=[3, 4])
    (line,) = {str(one.message) for one in warned}
    assert f"Logging to mlflow stopped, which does not affect the training: {tracked(run)['mlflow']['failure']}" == line
    assert "Max retries" in line
    assert "bob" not in line + run.tracking_path.read_text()
    assert 1 == len(warned)


def test_a_server_that_never_answers_is_waited_for_only_so_long_and_no_process_remains(run, monkeypatch):
    monkeypatch.setattr(tracking, "SECONDS_TO_FINISH", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent, Tracker("mlflow") as tracker:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.warns(UrgentRemark, match="no answer within 2 seconds"):
            send(tracker, run)
        assert time.monotonic() - start < 20
        assert tracker._process is None
    assert "no answer within 2 seconds" in tracked(run)["mlflow"]["failure"]


def test_the_next_training_is_logged_although_the_process_died(run):
    with Tracker("tensorboard") as tracker:
        tracker("start", {"engine": "torch", "run": str(run.directory), "epochs": 2})
        tracker._process._process.kill()
        with pytest.warns(UrgentRemark, match="tensorboard was killed by SIGKILL"):
            send(tracker, run)
        send(tracker, run)
    assert ["place"] == [*tracked(run)["tensorboard"]]


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_named_before_anything_starts(name, tmp_path):
    (tmp_path / "wandb").mkdir()  # the folder of W&B's own files is no package
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HIDDEN, name]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    expected = f"diptych: Logging to {name} needs the package {name}, which is not installed. "
    assert (2, expected + f"Install it with: pip install 'diptych[{name}]'\n") == (done.returncode, done.stderr)
    assert ["wandb"] == [path.name for path in tmp_path.iterdir()]
