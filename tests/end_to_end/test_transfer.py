"""`diptych transfer`, from the command line."""

import numpy as np
import pytest
from commands import diptych, process

from diptych.artifacts.store import read_arrays, write_arrays
from diptych.comparison.parity import samples
from diptych.spec import zoo

SPEC = zoo.model("mlp", (8, 8, 1), num_classes=3)
MODEL = ("--model", "mlp", "--input-shape", 8, 8, 1, "--num-classes", 3)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Weights that say nothing of their model, in float64, under names of their own."""
    monkeypatch.chdir(tmp_path)
    names = {"fc1": "hidden.0", "fc2": "hidden.1", "fc3": "out"}
    arrays = samples.weights(SPEC, seed=0)
    write_arrays(tmp_path / "theirs.safetensors", {_renamed(name, names): arrays[name] for name in arrays}, {})
    return "theirs.safetensors"


def _renamed(path, names):
    layer, _, role = path.rpartition(".")
    return f"{names[layer]}.{role}"


def test_it_tells_how_layers_were_found_and_what_was_lost(source):
    told = diptych("transfer", source, "ours.safetensors", *MODEL)
    assert (0, "") == (told.code, told.err)
    assert told.out.splitlines() == [
        f"mlp: 6 arrays, {SPEC.num_parameters:,} parameters",
        "layers matched: 0 by name, 3 by structure, 0 by --map",
        "float64 → float32: 6 arrays, 6 lost digits",
        "inside the model: (pixels / 255 - (0.5)) / (0.25)",
        "ours.safetensors: read back, every bit equal",
    ]


def test_it_answers_in_json(source):
    told = diptych(
        "transfer", source, "ours.safetensors", *MODEL, "--map", "out=fc3", "--map", "hidden.1=fc2", "--json"
    )
    assert 0 == told.code
    found = {key: told.json[key] for key in ("source", "target", "model", "by_name", "by_structure", "by_map")}
    assert found == {
        "source": source,
        "target": "ours.safetensors",
        "model": "mlp",
        "by_name": 0,
        "by_structure": 1,
        "by_map": 2,
    }


def test_what_was_transferred_says_of_itself_what_it_is(source, tmp_path):
    assert 0 == diptych("transfer", source, "one.safetensors", *MODEL).code
    told = process("transfer", "one.safetensors", "two.pt", cwd=tmp_path)
    assert (0, "") == (told.code, told.err)
    assert 0 == diptych("transfer", "two.pt", "three.safetensors").code
    for name, array in read_arrays(tmp_path / "one.safetensors")[0].items():
        np.testing.assert_array_equal(read_arrays(tmp_path / "three.safetensors")[0][name], array, strict=True)
    assert "mlp" == diptych("describe", "three.safetensors", "--json").json["model"]
