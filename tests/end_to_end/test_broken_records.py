"""A run whose run.json is not what was written is named in one line, by every verb that takes a run."""

import json

import pytest
from commands import diptych
from finished import finished

from diptych.artifacts.entries import ADVICE

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
    "[" * 100_000: "it is not JSON",
    "[]": "it holds a list, not a JSON object",
    "null": "it holds a NoneType, not a JSON object",
    "{}": "'status' is missing",
}
LACKING = ["status", "engine", "engines", "seed", "data", "class_names", "preprocessing", "spec", "recipe"]
CHANGED = [
    ("status", 5, "'status' is 5, which it cannot be"),
    ("data", [], "data wants entries, got []"),
    ("data", {"data": "fruit", "name": "fruit"}, "'data.fingerprint' is missing"),
    ("data", {"data": "x", "name": "x", "fingerprint": "f", "rot": 1}, "data: unknown field 'rot'"),
    ("data", {"data": "x", "name": "x", "fingerprint": "f", "seed": "0"}, "data, 'seed': expected int, got \"0\""),
    ("version", 99, "it is of version 99, not 1"),
    ("checkpoints", {"steps": "x", "keep": 2}, "'checkpoints.steps' is 'x', which it cannot be"),
    ("engines", [], "it is finished, and no engine trained it"),
    ("engines", ["torch"], "engines[0] wants entries, got 'torch'"),
    ("engines", [{"engine": "jax", "threads": 1}], "no engine is called 'jax'"),
    ("class_names", ["apple", "pear"], "it names 2 classes, its model has 3"),
    ("class_names", [1, 2, 3], "'class_names': wants str, got 1"),
    ("spec", {}, 'Wants a JSON object with "format": "diptych-model"'),
    ("recipe", {"format": "diptych-recipe", "version": 1, "epochs": "many"}, "'epochs': expected int, got \"many\""),
    (
        "recipe",
        {"format": "diptych-recipe", "version": 1, "learning_rate": 10**400},
        "'learning_rate': wants float, got 1",
    ),
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
