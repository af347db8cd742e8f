"""A run whose run.json is damaged is named in one line with its entry, by every verb that takes a run."""

import json

import pytest
from finished import finished

from diptych.artifacts.record import ADVICE
from diptych.artifacts.run import Run
from diptych.cli import main
from diptych.errors import ArtifactError

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
    ("version", 99, "'version': invalid enum value 99"),
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
