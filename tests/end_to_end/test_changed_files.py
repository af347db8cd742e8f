"""A single bit that changes in a file of a finished run is reported in one line by every command that reads the run."""

import json
import shutil

import pytest
from commands import diptych, refused
from finished import finished

from diptych.artifacts import run as run_module
from diptych.artifacts.run import Run

READERS = ("evaluate RUN", "predict RUN .", "export RUN --to safetensors", "benchmark RUN", "compare RUN OTHER")


@pytest.fixture
def copy(made_run, tmp_path):
    """A run to damage; beside it, another one to compare it with."""
    finished(tmp_path, "other")
    return Run.open(shutil.copytree(made_run.directory, tmp_path / "run"))


def flip(path, place):
    """Flip the lowest bit of a byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def read(run, reader):
    return refused(
        *reader.replace("RUN", str(run.directory)).replace("OTHER", str(run.directory.parent / "other")).split()
    )


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["model.safetensors", "predictions.npz", "metrics.json"])
def test_a_flipped_bit_is_reported(copy, reader, name):
    flip(copy.directory / name, -100)
    assert f"'{copy.directory}' differs from its manifest: {name} has changed. Restore it from a copy; or" in read(
        copy, reader
    )


@pytest.mark.parametrize("mark", ['"digest": "', 'model.safetensors": "', '"predictions.n', '"sha2', '"dig', "{", "}"])
def test_a_flipped_bit_of_the_manifest_is_reported(copy, mark):
    flip(copy.manifest_path, copy.manifest_path.read_text().index(mark) + len(mark) - (len(mark) < 7))
    assert f"{copy.manifest_path}'" in read(copy, READERS[0])


def test_a_flipped_bit_of_the_record_is_reported(copy):
    record = copy.record_path.read_text()
    for mark in ('"seed": ', '"class_names": [\n    "', '"status": "'):
        flip(copy.record_path, record.index(mark) + len(mark))
        assert str(copy.directory) in read(copy, READERS[0])
        copy.record_path.write_text(record)
    copy.model_path.unlink()
    assert "model.safetensors is missing" in read(copy, READERS[0])


def test_a_manifest_without_its_own_digest_is_that_of_an_earlier_version(copy):
    copy.manifest_path.write_text(json.dumps({"sha256": copy.read_manifest()}))
    assert 0 == diptych("evaluate", copy.directory).code


def test_a_run_without_a_manifest_is_read_with_a_remark(copy):
    copy.manifest_path.unlink()
    result = diptych("evaluate", copy.directory, "--json")
    expected = f"diptych: '{copy.directory}' has no manifest.json, so changes to its files cannot be detected.\n"
    assert (0, expected) == (result.code, result.err)


def test_large_files_are_verified_by_option_and_a_remark_says_so(copy, monkeypatch):
    monkeypatch.setattr(run_module, "ALWAYS_VERIFIED", copy.model_path.stat().st_size - 1)
    flip(copy.model_path, -100)
    result = diptych("evaluate", copy.directory, "--json")
    line = "Not verified, because larger than 64 MB (see --verify-files): model.safetensors in"
    assert (0, f"diptych: {line} '{copy.directory}'.\n") == (result.code, result.err)
    assert "model.safetensors has changed" in refused("evaluate", copy.directory, "--verify-files")
    flip(copy.predictions_path, -100)
    assert "predictions.npz has changed" in refused("evaluate", copy.directory)
