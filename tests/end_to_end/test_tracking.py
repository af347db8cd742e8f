"""Trainings that are logged to MLflow, W&B and TensorBoard, and read back with these tools."""

import json
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
from commands import ONE_THREAD, SECONDS, diptych, started, wait_until_all_ended

from diptych.artifacts.run import Run
from diptych.training import tracking
from diptych.training.provenance import parameters
from diptych.training.tracking import tracked

# Reading MLflow's store and TensorBoard's files back happens in this process.
pytestmark = [
    pytest.mark.filterwarnings("ignore:::sqlalchemy"),
    pytest.mark.filterwarnings("ignore:The ``noload``"),
    pytest.mark.filterwarnings("ignore:The numpy:DeprecationWarning"),
]
BLOCK, HEAD = 32768, 7


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A working folder, with MLflow's own default of a store in it, and W&B offline."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("WANDB_MODE", "offline")
        patch.setattr(tracking, "SECONDS_TO_FINISH", float(SECONDS))
        patch.setattr(tracking, "SECONDS_IF_STOPPED", float(SECONDS))
        yield folder


@pytest.fixture(scope="module")
def run(store):
    """A run that is logged to all trackers and paused after its first epoch, then resumed to its second."""
    trackers = ("--log", "mlflow", "wandb", "--log", "tensorboard")
    told = diptych("train", "digits", "--epochs", 2, "--stop-after", 1, *trackers, *ONE_THREAD)
    assert 0 == told.code, told
    paused = Run.open("runs/digits-cnn-torch")
    ids = {name: one.get("id") for name, one in tracked(paused).items()}
    resumed = diptych("train", "--resume", paused.directory)
    assert 0 == resumed.code, resumed
    assert ids == {name: one.get("id") for name, one in tracked(paused).items()}
    assert "log:   mlflow: sqlite:///" in told.out and "log:   mlflow: sqlite:///" in resumed.out
    return paused


def epochs(run):
    """Numbers of each epoch, by name."""
    return [{name: value for name, value in row.items() if name != "epoch"} for row in run.history]


def test_mlflow_has_the_parameters_every_epoch_and_the_test_metrics(run):
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    (found,) = client.search_runs(["0"])  # one run, although the training was resumed
    record, names = run.read_record(), epochs(run)[0]
    assert (tracked(run)["mlflow"]["id"], "FINISHED") == (found.info.run_id, found.info.status)
    assert {name: str(value) for name, value in parameters(record).items()} == found.data.params
    assert {name: str(value) for name, value in vars(record.recipe).items()}.items() - found.data.params.items() == {
        (name, str(getattr(record.recipe, name)))
        for name in ("no_decay", "step_epochs")  # lists, without brackets
    }
    for name in names:
        history = {row.step: row.value for row in client.get_metric_history(found.info.run_id, name)}
        assert {number: row[name] for number, row in enumerate(epochs(run), 1)} == history
    assert run.metrics["accuracy"] == found.data.metrics["test_accuracy"]
    assert run.metrics["macro"]["f1"] == found.data.metrics["test_macro_f1"]


def records(path):
    """The records of a file of W&B: protobuf messages in LevelDB's log format, after a head of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, parts = path.read_bytes(), HEAD, b""
    while place + HEAD <= len(content):
        if BLOCK - place % BLOCK < HEAD:  # the rest of a block is empty
            place += BLOCK - place % BLOCK
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        parts += content[place + HEAD : place + HEAD + length]
        place += HEAD + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def values(items):
    """Names and values of W&B's messages."""
    return {item.key or item.nested_key[0]: json.loads(item.value_json) for item in items}


def test_wandb_has_both_parts_of_the_training_offline_under_one_id(run, store):
    files = sorted(store.glob("wandb/offline-run-*/*.wandb"))
    assert [f"run-{tracked(run)['wandb']['id']}.wandb"] * 2 == [path.name for path in files]
    parts = [list(records(path)) for path in files]
    rows = [values(one.history.item) for part in parts for one in part if one.HasField("history")]
    logged = [{name: row[name] for name in epochs(run)[0]} for row in rows if "train_loss" in row]
    assert epochs(run) == logged
    assert [1, 2] == [row["_step"] for row in rows if "train_loss" in row]
    config = values(next(one.run for one in parts[0] if one.HasField("run")).config.update)
    assert parameters(run.read_record()).items() <= config.items()
    summary = values(item for one in parts[1] if one.HasField("summary") for item in one.summary.update)
    assert (run.metrics["accuracy"], "finished") == (summary["test_accuracy"], summary["status"])
    assert [130, 0] == [one.exit.exit_code for part in parts for one in part if one.HasField("exit")]


def test_tensorboard_has_each_curve_once_the_recipe_and_the_test_metrics(run, monkeypatch):
    # TensorBoard otherwise loads TensorFlow, and a process must not load two frameworks.
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", types.ModuleType("notf"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG, parse_session_start_info_plugin_data

    events = EventAccumulator(str(run.tensorboard_dir))
    events.Reload()
    points = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert [(number, pytest.approx(row["train_loss"])) for number, row in enumerate(epochs(run), 1)] == points
    (tested,) = events.Scalars("test/accuracy")
    assert (2, pytest.approx(run.metrics["accuracy"])) == (tested.step, tested.value)
    content = events.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content
    hparams = parse_session_start_info_plugin_data(content).hparams
    assert {*parameters(run.read_record())} == {*hparams}
    assert (0.003, "adamw") == (hparams["learning_rate"].number_value, hparams["optimizer"].string_value)


def children(pid):
    """PIDs of a process's children and their children."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = [child for child, parent in pairs if parent == pid]
    return found + [one for child in found for one in children(child)]


@pytest.mark.parametrize(
    ("sent", "code", "ending"),
    [(signal.SIGINT, 130, [130]), pytest.param(signal.SIGKILL, -9, [], marks=pytest.mark.long)],
)
def test_an_interrupted_training_ends_its_tracker_and_leaves_no_process(sent, code, ending, store):
    again = Run(Path("runs", f"interrupted-{code}"))
    settings = ("--model", "mlp", "--precision", "float32", "--epochs", 100_000, "--name", again.directory.name)
    arguments = ("train", "digits", *settings, "--log", "wandb")
    with started(*arguments, until=lambda: tracked(again) and again.history) as process:
        family = children(process.pid)
        process.send_signal(sent)
        assert code == process.wait(SECONDS)
        assert "wandb stopped" not in process.communicate()[1]
        wait_until_all_ended(process)
        states = [
            path.read_text().rpartition(")")[2].split()[0]
            for pid in family
            if (path := Path(f"/proc/{pid}/stat")).exists()
        ]
        assert {"Z"} >= {*states}
    (file,) = store.glob(f"wandb/offline-run-*/run-{tracked(again)['wandb']['id']}.wandb")
    assert ending == [one.exit.exit_code for one in records(file) if one.HasField("exit")]
