"""`diptych verify` checks parity, writes the certificate and exits with 0."""

from unittest.mock import patch

from commands import diptych

from diptych.comparison import parity

SETTINGS = ("--input-shape", 8, 8, 1, "--optimizer", "sgd", "adamw", "--steps", 5, "--digits-epochs", 1)


def test_a_model_that_is_the_same_in_both_frameworks_gets_a_certificate(tmp_path):
    with patch.object(parity, "epoch_batches", wraps=parity.epoch_batches) as drawn:
        output = diptych("verify", "mlp", *SETTINGS, "--out", tmp_path, "--json")
    assert 2 == drawn.call_count  # an epoch in each framework
    assert (0, "") == (output.code, output.err)
    assert {"parity.json", "parity.txt"} == {path.name for path in tmp_path.iterdir()}
    assert output.out.strip() == (tmp_path / "parity.json").read_text().strip()
    certificate, page = output.json, (tmp_path / "parity.txt").read_text()
    assert ("diptych-certificate", True, "mlp") == tuple(certificate[key] for key in ("format", "passed", "model"))
    assert {"float64", "float32"} == {rung["precision"] for rung in certificate["rungs"]}
    assert {"diptych", "python", "numpy", "torch", "tensorflow", "keras"} == certificate["versions"].keys()
    statuses = {(rung["precision"], rung["name"]): rung["status"] for rung in certificate["rungs"]}
    assert {"pass"} == {statuses["float64", name] for name in ("loss", "gradients", "one step of sgd")}
    assert ("pass", "info") == tuple(statuses[precision, "5 steps of adamw"] for precision in ("float64", "float32"))
    assert "359 of 359 test images; float64 difference" in certificate["summary"]
    assert certificate["verdict"] in page
    assert "359 of 359 test predictions are equal" in page
    assert all(name in page for _, name in statuses)
    assert 60 > len(page.splitlines())
