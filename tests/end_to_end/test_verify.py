"""`diptych verify` climbs the ladder, writes the certificate and ends with 0."""

import pytest
from commands import process

SETTINGS = ("--input-shape", 8, 8, 1, "--optimizer", "sgd", "adamw", "--steps", 5, "--digits-epochs", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("certificate")


@pytest.fixture(scope="module")
def verified(folder):
    return process("verify", "mlp", *SETTINGS, "--out", folder, "--json")


def test_a_model_that_is_the_same_in_both_ends_with_0(verified):
    assert (0, "") == (verified.code, verified.err)


def test_the_certificate_is_printed_and_written(verified, folder):
    assert {"parity.json", "parity.txt"} == {path.name for path in folder.iterdir()}
    assert verified.out.strip() == (folder / "parity.json").read_text().strip()


def test_the_certificate_says_what_was_compared_and_how_it_went(verified):
    told = verified.json
    assert ("diptych-certificate", True, "mlp") == (told["format"], told["passed"], told["model"])
    assert {"float64", "float32"} == {rung["precision"] for rung in told["rungs"]}
    assert {"torch", "tensorflow", "keras"} <= told["versions"].keys()
    climbed = {rung["name"] for rung in told["rungs"]}
    assert {"loss", "gradients", "one step of sgd", "5 steps of adamw"} <= climbed


def test_the_page_for_people_holds_the_verdict_and_every_rung(verified, folder):
    page = (folder / "parity.txt").read_text()
    assert verified.json["verdict"] in page
    assert all(rung["name"] in page for rung in verified.json["rungs"])
