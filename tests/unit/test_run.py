"""A run directory is found, filled, sealed, checked and resumed; events survive crashes; a damaged record is named."""

import json

import numpy as np
import pytest
from finished import finished, record_of

from diptych.api.training import unfinished_run
from diptych.artifacts.events import append_event, read_events, rewind
from diptych.artifacts.record import ADVICE
from diptych.artifacts.run import Predictions, Run
from diptych.artifacts.store import write_json, write_npz
from diptych.cli import main
from diptych.errors import ArtifactError


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "runs", "digits-cnn-torch", record_of())


def test_new_runs_take_the_first_free_name(tmp_path):
    names = [Run.create(tmp_path / "runs", "digits-cnn-torch", record_of()).directory.name for _ in range(3)]
    assert ["digits-cnn-torch", "digits-cnn-torch-2", "digits-cnn-torch-3"] == names
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=rf"Cannot make the folder '{tmp_path}/file': File exists"):
        Run.create(tmp_path / "file", "name", record_of())


def test_a_run_opens_with_what_was_written(run):
    opened = Run.open(run.directory)
    assert run == opened
    assert record_of() == opened.read_record()
    opened.write_record(record_of(status="failed"))
    assert "failed" == run.read_record().status


def test_a_file_is_not_a_run(run):
    with pytest.raises(ArtifactError, match=r"run\.json' is not a run: it is a file"):
        Run.open(str(run.record_path))


def test_a_folder_of_one_run_is_that_run_and_one_of_several_is_refused(tmp_path):
    run = Run.create(tmp_path, "digits", {})
    assert run == Run.open(tmp_path)
    Run.create(tmp_path, "digits", {})
    with pytest.raises(ArtifactError, match=rf"it contains 2 runs; name one, such as '{tmp_path}/digits'"):
        Run.open(tmp_path)


def test_predictions_come_back_as_they_were(run):
    logits_nk = np.arange(6, dtype=np.float32).reshape(3, 2)
    run.write_predictions(Predictions(logits_nk, np.array([0, 1, 1]), np.array(["a", "b", "c"])))
    predictions = run.read_predictions()
    np.testing.assert_array_equal(logits_nk, predictions.logits_nk, strict=True)
    assert ([0, 1, 1], ["a", "b", "c"]) == (predictions.labels_n.tolist(), predictions.sample_ids_n.tolist())


@pytest.mark.parametrize("others", [{"labels": np.ones(3)}, {"labels": np.ones(2), "sample_ids": np.ones(3)}])
def test_predictions_that_do_not_belong_together_are_refused(run, others):
    write_npz(run.predictions_path, {"logits": np.ones((3, 2)), **others})
    with pytest.raises(ArtifactError, match="logits, labels and sample_ids of one length, got"):
        run.read_predictions()


def test_the_manifest_lists_every_finished_file_and_not_itself(run):
    run.plots_dir.mkdir()
    (run.plots_dir / "curves.png").write_bytes(b"png")
    (run.directory / ".model.safetensors.0a.tmp").write_bytes(b"left by a crash")
    run.seal()
    run.seal()
    assert ["plots/curves.png", "run.json"] == list(Run.open(run.directory).read_manifest())


def test_changed_and_missing_files_are_named_and_later_ones_are_no_fault(run):
    write_json(run.metrics_path, {"accuracy": 0.5})
    run.model_path.write_bytes(b"weights")
    run.cost_path.write_bytes(b"measured")
    run.seal()
    run.report_path.write_bytes(b"later")
    run.cost_path.unlink()  # to measure again
    run.verify()
    run.metrics_path.unlink()
    run.model_path.write_bytes(b"Weights")
    with pytest.raises(ArtifactError, match=r"metrics\.json is missing, model\.safetensors has changed"):
        run.verify()


@pytest.mark.parametrize("manifest", ['{"sha256": ["run.json"]}', "{}"])
def test_a_run_without_a_manifest_or_digests_does_not_verify(run, manifest):
    with pytest.raises(ArtifactError, match=r"has no manifest\.json: training has not finished"):
        run.verify()
    run.manifest_path.write_text(manifest)
    with pytest.raises(ArtifactError, match=r"manifest\.json': its digests are missing"):
        run.verify()


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
    with pytest.raises(ArtifactError, match=r"Nothing to resume: all 2 runs in '.*' are finished\."):
        unfinished_run(tmp_path)


EPOCHS = [{"epoch": epoch, "train_loss": 1 / epoch} for epoch in (1, 2, 3)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "events.jsonl"


def test_events_are_read_in_order_and_without_a_half_written_line(path):
    append_event(path, "start", {"engine": "torch"})
    append_event(path, "epoch", EPOCHS[0])
    with path.open("ab") as file:
        file.write(b'{"kind": "epo')
    events = read_events(path)
    assert ["start", "epoch"] == [event["kind"] for event in events]
    assert [1] == [event["epoch"] for event in read_events(path, kind="epoch")]
    assert events[0]["time"] <= events[1]["time"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"kind": "start"}\n{"kind": "epo\n{"kind": "end"}\n', "line 2 is not JSON"),
        (b"[1]\n", "line 1 is not an event with a 'kind'"),
        (None, "No such file"),
    ],
)
def test_a_broken_log_is_named_with_its_line(tmp_path, content, fault):
    path = tmp_path / "events.jsonl"
    if content:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"Cannot read '.*events\.jsonl': {fault}"):
        read_events(path)


def test_any_text_stays_on_one_line_and_a_loss_that_is_not_a_number_is_null(path):
    text = "first\nsecond\u2028third"
    append_event(path, "note", {"text": text, "loss": float("nan")})
    (event,) = read_events(path)
    assert (text, None) == (event["text"], event["loss"])


def test_a_rewound_log_has_the_epochs_of_the_checkpoint_and_all_else(path):
    for kind, fields in [("start", {}), *(("epoch", epoch) for epoch in EPOCHS), ("early_stop", {}), ("note", {})]:
        append_event(path, kind, fields)
    before = path.read_bytes().splitlines()
    rewind(path, EPOCHS[:2])
    assert [*before[:3], before[5]] == path.read_bytes().splitlines()
    unchanged = path.stat()
    rewind(path, EPOCHS[:2])
    assert (unchanged.st_ino, unchanged.st_mtime_ns) == (path.stat().st_ino, path.stat().st_mtime_ns)


@pytest.mark.parametrize("num_logged", [0, 1])
def test_an_epoch_that_a_crash_kept_from_the_log_is_added(path, num_logged):
    for epoch in EPOCHS[:num_logged]:
        append_event(path, "epoch", epoch)
    rewind(path, EPOCHS)
    assert EPOCHS == [{name: event[name] for name in EPOCHS[0]} for event in read_events(path, "epoch")]


def test_a_rewound_log_has_lost_what_is_no_event_and_says_so(path):
    for epoch in EPOCHS[:2]:
        append_event(path, "epoch", epoch)
    path.write_bytes(path.read_bytes().replace(b'{"kind"', b'{"kin\xff', 1) + b'{"kind": "torn')
    rewind(path, EPOCHS[:2])
    assert [2, 1] == [event["epoch"] for event in read_events(path, "epoch")]
    assert [1] == [event["lines"] for event in read_events(path, "damaged_events")]


VERBS = ["evaluate RUN", "predict RUN image.png", "export RUN --to onnx", "benchmark RUN", "compare RUN OTHER"]
VERBS += ["compare OTHER RUN", "train --resume RUN"]
DAMAGED = {
    "": "it is not JSON",
    '{"status": "fini': "it is not JSON",
    "[" * 100_000: "",
    "[]": "expected `object`, got `array`",
    "null": "expected `object`, got `null`",
    "{}": "'version' is missing",
}
REQUIRED = ["version", "status", "engine", "engines", "seed", "data", "class_names", "preprocessing", "spec", "recipe"]
RECIPE = {"format": "diptych-recipe", "version": 1}
CHANGED = [
    ("status", 5, "'status': expected `str`, got `int`"),
    ("status", "lost", "'status': invalid enum value 'lost'"),
    ("data", [], "'data': expected `object`, got `array`"),
    ("data", {"data": "fruit", "name": "fruit"}, "'data.fingerprint' is missing"),
    ("data", {"data": "x", "name": "x", "fingerprint": "f", "seed": "0"}, "'data.seed': expected `int`, got `str`"),
    ("version", 99, "unsupported version 99"),
    ("checkpoints", {"steps": "x", "keep": 2}, "'checkpoints.steps': expected `int | null`, got `str`"),
    ("engines", [], "the status is finished, but 'engines' is empty"),
    ("engines", ["torch"], "'engines[0]': expected `object`, got `str`"),
    ("engines", [{"engine": "jax", "threads": 1}], "'engines[0].engine': invalid enum value 'jax'"),
    ("class_names", ["apple", "pear"], "2 class names, but the model has 3 classes"),
    ("class_names", [1, 2, 3], "'class_names[0]': expected `str`, got `int`"),
    ("spec", {}, '"format": "diptych-model"'),
    ("recipe", {**RECIPE, "epochs": "many"}, "'epochs'"),
    ("recipe", {**RECIPE, "learning_rate": 10**400}, "'learning_rate' must be a number"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished(tmp_path, "RUN")
    return tmp_path


def fault():
    with pytest.raises(ArtifactError) as raised:
        Run.open("RUN").read_record()
    message = str(raised.value)
    assert message.startswith("Cannot read 'RUN/run.json': ")
    assert message.endswith(f" {ADVICE}")
    return message


@pytest.mark.parametrize("content", DAMAGED, ids=[content[:9] or "empty" for content in DAMAGED])
def test_a_file_that_is_not_a_record_is_named(folder, content):
    (folder / "RUN/run.json").write_text(content)
    assert DAMAGED[content] in fault()


def test_an_entry_that_is_missing_or_does_not_fit_is_named(folder):
    record = json.loads((folder / "RUN/run.json").read_text())
    lacking = [
        ({key: record[key] for key in record if key != entry}, f": '{entry}' is missing. ") for entry in REQUIRED
    ]
    for content, expected in [*lacking, *(({**record, entry: value}, words) for entry, value, words in CHANGED)]:
        (folder / "RUN/run.json").write_text(json.dumps(content))
        assert expected in fault()


@pytest.mark.parametrize("content", ["", "{}"], ids=["empty", "lacks every entry"])
def test_every_verb_reports_a_damaged_record_in_one_line(folder, content, capsys):
    finished(folder, "OTHER", engine="tensorflow")
    (folder / "RUN/run.json").write_text(content)
    before = sorted(folder.rglob("*"))
    for verb in VERBS:
        assert 2 == main(verb.split())
        out, err = capsys.readouterr()
        assert ("", 1) == (out, len(err.splitlines())), (verb, out, err)
        assert err.startswith(f"diptych: Cannot read 'RUN/run.json': {DAMAGED[content]}"), (verb, err)
    assert before == sorted(folder.rglob("*"))
