"""`diptych transfer` on the command line."""

import numpy as np
import pytest
from commands import answered, diptych

from diptych.artifacts.store import read_arrays, write_arrays
from diptych.comparison.parity import samples
from diptych.spec import zoo

SPEC = zoo.model("mlp", (8, 8, 1), num_classes=3)
MODEL = ("--model", "mlp", "--input-shape", 8, 8, 1, "--num-classes", 3)
NAMES = {"fc1": "hidden.0", "fc2": "hidden.1", "fc3": "out"}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Weights without a card, in float64, with their own names."""
    monkeypatch.chdir(tmp_path)
    arrays = {}
    for path, array in samples.weights(SPEC, seed=0).items():
        layer, _, role = path.rpartition(".")
        arrays[f"{NAMES[layer]}.{role}"] = array
    write_arrays(tmp_path / "theirs.safetensors", arrays, {})
    return "theirs.safetensors"


def test_it_prints_how_layers_were_mapped_and_what_was_lost(source):
    told = diptych("transfer", source, "ours.safetensors", *MODEL)
    assert (0, "") == (told.code, told.err)
    assert f"mlp: 6 arrays, {SPEC.num_parameters:,} parameters" in told.out
    assert "0 by name, 3 by" in told.out
    assert "float64 → float32: 6 arrays, 6 lost digits" in told.out


def test_it_prints_json(source):
    maps = ("--map", "out=fc3", "--map", "hidden.1=fc2")
    told = answered("transfer", source, "ours.safetensors", *MODEL, *maps)
    keys = ("source", "target", "model", "by_name", "by_structure", "by_map")
    assert [source, "ours.safetensors", "mlp", 0, 1, 2] == [told[key] for key in keys]


def test_a_transferred_file_has_a_card(source, tmp_path):
    assert 0 == diptych("transfer", source, "one.safetensors", *MODEL).code
    assert 0 == diptych("transfer", "one.safetensors", "two.pt").code
    assert 0 == diptych("transfer", "two.pt", "three.safetensors").code
    for name, array in read_arrays(tmp_path / "one.safetensors")[0].items():
        np.testing.assert_array_equal(read_arrays(tmp_path / "three.safetensors")[0][name], array, strict=True)
    assert "mlp" == diptych("describe", "three.safetensors", "--json").json["model"]
