"""`diptych verify` checks parity, writes the certificate and exits with 0."""

from commands import diptych

SETTINGS = ("--input-shape", 8, 8, 1, "--optimizer", "sgd", "adamw", "--steps", 5, "--digits-epochs", 1)


def test_a_model_that_is_the_same_in_both_frameworks_gets_a_certificate(tmp_path):
    output = diptych("verify", "mlp", *SETTINGS, "--out", tmp_path, "--json")
    assert (0, "") == (output.code, output.err)
    assert {"parity.json", "parity.txt"} == {path.name for path in tmp_path.iterdir()}
    assert output.out.strip() == (tmp_path / "parity.json").read_text().strip()
    certificate, page = output.json, (tmp_path / "parity.txt").read_text()
    assert ("diptych-certificate", True, "mlp") == tuple(certificate[key] for key in ("format", "passed", "model"))
    assert {"float64", "float32"} == {rung["precision"] for rung in certificate["rungs"]}
    assert {"torch", "tensorflow", "keras"} <= certificate["versions"].keys()
    names = {rung["name"] for rung in certificate["rungs"]}
    assert {"loss", "gradients", "one step of sgd", "5 steps of adamw"} <= names
    assert certificate["verdict"] in page
    assert all(name in page for name in names)
