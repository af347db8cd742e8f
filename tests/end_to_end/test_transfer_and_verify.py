"""`diptych transfer` and `diptych verify` on the command line."""

import json
import re

import pytest
from commands import answered, diptych, refused

from diptych.artifacts.store import write_arrays
from diptych.comparison.parity import samples
from diptych.spec import zoo

SPEC = zoo.model("mlp", (8, 8, 1), num_classes=3)
MODEL = ("--model", "mlp", "--input-shape", 8, 8, 1, "--num-classes", 3)
NAMES = {"fc1": "hidden.0", "fc2": "hidden.1", "fc3": "out"}
VERIFY = ("--input-shape", 8, 8, 1, "--optimizer", "sgd", "adamw", "--steps", 5, "--digits-epochs", 2)


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


def test_transfer_prints_how_layers_were_mapped_and_what_was_lost(source):
    told = diptych("transfer", source, "ours.safetensors", *MODEL)
    assert (0, "") == (told.code, told.err)
    assert f"mlp: 6 arrays, {SPEC.num_parameters:,} parameters" in told.out
    assert "0 by name, 3 by" in told.out
    assert "float64 → float32: 6 arrays, 6 lost digits" in told.out


def test_transfer_prints_json(source):
    maps = ("--map", "out=fc3", "--map", "hidden.1=fc2")
    told = answered("transfer", source, "ours.safetensors", *MODEL, *maps)
    keys = ("source", "target", "model", "by_name", "by_structure", "by_map")
    assert [source, "ours.safetensors", "mlp", 0, 1, 2] == [told[key] for key in keys]
    assert 0 == diptych("transfer", "ours.safetensors", "again.pt").code  # its card names the model


def test_a_model_that_is_the_same_in_both_frameworks_gets_a_certificate(tmp_path):
    output = diptych("verify", "mlp", *VERIFY, "--out", tmp_path, "--json")
    assert (0, "") == (output.code, output.err)
    assert {"parity.json", "parity.txt"} == {path.name for path in tmp_path.iterdir()}
    assert output.out.strip() == (tmp_path / "parity.json").read_text().strip()
    certificate, page = output.json, (tmp_path / "parity.txt").read_text()
    assert ("diptych-certificate", True, "mlp") == tuple(certificate[key] for key in ("format", "passed", "model"))
    assert {"float64", "float32", "float16", "bfloat16"} == {rung["precision"] for rung in certificate["rungs"]}
    assert {"diptych", "python", "numpy", "torch", "tensorflow", "keras"} == certificate["versions"].keys()
    assert {"pass"} == {rung["status"] for rung in certificate["rungs"]}
    assert (["GPUs", "optimizer adam", "optimizer rmsprop"], []) == (certificate["not_tested"], certificate["not_used"])
    assert "359 of 359 test images" in certificate["summary"]
    assert certificate["verdict"] in page
    assert "359 of 359 test predictions are equal" in page
    assert all(rung["name"] in page for rung in certificate["rungs"])
    assert 60 > len(page.splitlines())


def test_a_run_is_proved_with_its_own_recipe_seed_and_data(digits_runs, tmp_path):
    output = diptych("verify", digits_runs["torch"].directory, "--steps", 3, "--out", tmp_path, "--json")
    assert (0, "") == (output.code, output.err)
    certificate, record = output.json, digits_runs["torch"].read_record()
    assert (record.seed, record.recipe_json) == (certificate["seed"], certificate["recipe"])
    tested = {rung["name"] for rung in certificate["rungs"]}
    assert {"training with dropout", "training on digits"} <= tested
    assert not {"training with label smoothing", "training with weight averages"} & tested
    steps, gpus = certificate["not_tested"]
    assert "GPUs" == gpus
    assert re.fullmatch(r"the last [\d,]+ of [\d,]+ training steps .* --thorough\)", steps)
    assert {"label smoothing", "weight averages"} <= {*certificate["not_used"]}
    assert "has its own recipe" in refused("verify", digits_runs["torch"].directory, "--recipe", "sgd")


def test_a_thorough_check_measures_how_far_rounding_drives_float32_trainings_apart(tmp_path):
    fields = {"epochs": 1, "precision": "float32", "schedule": "constant"}
    (tmp_path / "recipe.json").write_text(json.dumps({"format": "diptych-recipe", "version": 1, **fields}))
    arguments = (
        "verify",
        "fashion_cnn",
        "--input-shape",
        10,
        10,
        1,
        "--recipe",
        tmp_path / "recipe.json",
        "--thorough",
    )
    output = diptych(*arguments, "--steps", 3, "--out", tmp_path)
    assert 0 == output.code, output.out
    certificate = json.loads((tmp_path / "parity.json").read_text())
    assert [1, 2, 4, 8, 16, 21] == [row["step"] for row in certificate["drift"]]
    first = certificate["drift"][0]
    assert first["engines"] < 1e-5
    assert first["threads"] < 1e-5
    assert "PyTorch, other threads" in output.out
