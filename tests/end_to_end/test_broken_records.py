"""A run whose run.json is not what was written is named in one line, by every verb that takes a run."""

import json

import pytest
from commands import diptych
from finished import finished

from diptych.artifacts.record import ADVICE

VERBS = [
    "evaluate RUN",
    "predict RUN image.png",
    "export RUN --to onnx",
    "benchmark RUN",
    "compare RUN OTHER",
    "compare OTHER RUN",
    "train --resume RUN",
]
BROKEN = {
    "": "it is not JSON",
    '{"status": "fini': "it is not JSON",
    "[" * 100_000: "",
    "[]": "expected `object`, got `array`",
    "null": "expected `object`, got `null`",
    "{}": "'version' is missing",
}
LACKING = ["version", "status", "engine", "engines", "seed", "data", "class_names", "preprocessing", "spec", "recipe"]
CHANGED = [
    ("status", 5, "'status': expected `str`, got `int`"),
    ("status", "lost", "'status': invalid enum value 'lost'"),
    ("data", [], "'data': expected `object`, got `array`"),
    ("data", {"data": "fruit", "name": "fruit"}, "'data.fingerprint' is missing"),
    ("data", {"data": "x", "name": "x", "fingerprint": "f", "seed": "0"}, "'data.seed': expected `int`, got `str`"),
    ("version", 99, "it has version 99; this diptych reads version 1"),
    ("checkpoints", {"steps": "x", "keep": 2}, "'checkpoints.steps': expected `int | null`, got `str`"),
    ("engines", [], "the status is finished, but 'engines' is empty"),
    ("engines", ["torch"], "'engines[0]': expected `object`, got `str`"),
    ("engines", [{"engine": "jax", "threads": 1}], "'engines[0].engine': invalid enum value 'jax'"),
    ("class_names", ["apple", "pear"], "2 class names, but the model has 3 classes"),
    ("class_names", [1, 2, 3], "'class_names[0]': expected `str`, got `int`"),
    ("spec", {}, '"format": "diptych-model"'),
    ("recipe", {"format": "diptych-recipe", "version": 1, "epochs": "many"}, "'epochs'"),
    ("recipe", {"format": "diptych-recipe", "version": 1, "learning_rate": 10**400}, "'learning_rate': expected float"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished(tmp_path, "RUN")
    finished(tmp_path, "OTHER", engine="tensorflow")
    return tmp_path


def answers(folder, verbs=VERBS):
    """What each verb says, which is one line."""
    before = sorted(folder.rglob("*"))
    for verb in verbs:
        told = diptych(*verb.split())
        assert (2, "", 1) == (told.code, told.out, len(told.err.splitlines())), (verb, told)
        yield told.err
    assert before == sorted(folder.rglob("*"))


@pytest.mark.parametrize("content", BROKEN, ids=[content[:9] or "empty" for content in BROKEN])
def test_a_record_that_is_none_is_named_by_every_verb(folder, content):
    (folder / "RUN/run.json").write_text(content)
    for line in answers(folder):
        assert line.startswith(f"diptych: Cannot read 'RUN/run.json': {BROKEN[content]}"), line
        assert line.endswith(f" {ADVICE}\n"), line


@pytest.mark.parametrize("entry", LACKING)
def test_a_record_that_lacks_an_entry_is_named_by_every_verb(folder, entry):
    record = json.loads((folder / "RUN/run.json").read_text())
    del record[entry]
    (folder / "RUN/run.json").write_text(json.dumps(record))
    wanted = f"diptych: Cannot read 'RUN/run.json': '{entry}' is missing. {ADVICE}\n"
    assert {wanted} == set(answers(folder))


@pytest.mark.parametrize(("entry", "value", "said"), CHANGED)
def test_a_record_with_an_entry_of_another_kind_is_named_by_every_verb(folder, entry, value, said):
    record = json.loads((folder / "RUN/run.json").read_text())
    (folder / "RUN/run.json").write_text(json.dumps({**record, entry: value}))
    for line in answers(folder):
        assert line.startswith("diptych: Cannot read 'RUN/run.json': "), line
        assert said in line, line
        assert line.endswith(f" {ADVICE}\n"), line


def test_a_run_is_nothing_that_describe_describes(folder):
    (folder / "RUN/run.json").write_text("{}")
    (line,) = answers(folder, ["describe RUN"])
    print(line)
    assert "RUN" in line
