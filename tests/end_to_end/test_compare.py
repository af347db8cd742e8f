"""`diptych compare`, from trainings to the report."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import ONE_THREAD, diptych, process
from msgspec.structs import replace
from recompute import apart

from diptych.artifacts import Run
from diptych.engines import NAMES

QUICK = ("--model", "mlp", "--precision", "float32", "--no-thorough", *ONE_THREAD)


THOROUGH = ("--seeds", 2, "--epochs", 4, "--precision", "float32", *ONE_THREAD)


@pytest.fixture(scope="session")
def compared(once):
    """What a thorough comparison of two seeds says of digits, and where it was made."""
    told, folder = once("compared", lambda folder: process("compare", "digits", *THOROUGH, "--out", folder, "--json"))
    assert (0, "") == (told.code, told.err), told
    return told.json, folder


def read(folder):
    """The one comparison in a folder of runs."""
    (path,) = Path(folder).glob("compare-*/comparison.json")
    return json.loads(path.read_text())


@pytest.mark.slow
def test_a_comparison_leaves_a_report_and_the_same_numbers_as_json_and_as_markdown(compared):
    found, folder = compared
    report = Path(found.pop("report"))
    assert json.loads((report.parent / "comparison.json").read_text()) == found
    accuracy = found["contrasts"][0]["measures"][0]["means"]
    markdown, page = (report.parent / "comparison.md").read_text(), report.read_text()
    assert all(f"{100 * mean:.2f}" in text for mean in accuracy for text in (markdown, page))
    assert found["verdict"]["headline"] in markdown
    assert report.stat().st_size < 5_000_000
    assert 4 == len(list(folder.glob("digits-cnn-*/run.json")))


@pytest.mark.slow
def test_an_independent_script_finds_the_same_numbers_in_the_predictions(compared):
    found = apart(compared[0])
    assert found.pop("power") < 1e-9  # of an equation that is solved, not computed
    assert max(found.values()) < 1e-12, found


@pytest.mark.slow
def test_pairs_start_alike_and_take_turns_at_going_first(compared):
    found, _ = compared
    first, second = ([Run.open(run).read_record() for run in side["runs"]] for side in found["sides"])
    assert [0, 1] == [record.seed for record in first] == [record.seed for record in second]
    assert first[0]["spec"] == second[0]["spec"]
    assert [True, False] == [a["created"] < b["created"] for a, b in zip(first, second, strict=True)]


@pytest.mark.slow
def test_costs_are_measured_in_a_process_for_each_run_and_say_how(compared):
    costs = {cost["key"]: cost for cost in compared[0]["costs"]}
    assert {
        "train_throughput",
        "predict_throughput",
        "latency_p50",
        "latency_p95",
        "train_seconds",
        "seconds_to_target",
        "import_seconds",
        "first_step_seconds",
        "peak_memory",
    } <= costs.keys()
    for key in ("train_throughput", "latency_p50", "import_seconds", "peak_memory"):
        assert [2, 2] == [len(values) for values in costs[key]["values"]], key
        assert all(value > 0 for values in costs[key]["values"] for value in values), key
    assert all(p50 <= p95 for p50, p95 in zip(costs["latency_p50"]["low"], costs["latency_p95"]["high"], strict=True))
    assert all(1e8 < value < 2e10 for value in costs["peak_memory"]["medians"])


@pytest.mark.slow
def test_what_each_framework_can_ship_to_was_really_exported(compared):
    rows = {row["format"]: row["status"] for row in compared[0]["deployment"]}
    assert ["ok", "ok"] == rows["onnx"]
    assert ["ok", "not written by this framework"] == rows["torchscript"]
    assert ["not written by this framework", "ok"] == rows["keras"]
    for side in compared[0]["sides"]:
        assert list((Path(side["runs"][0]) / "export").glob("*.onnx"))


@pytest.mark.slow
def test_the_report_carries_the_certificate_the_code_and_the_ledgers_rows(compared):
    found = compared[0]
    assert found["parity"]["passed"]
    assert all(compile(script["source"], script["file"], "exec") for script in found["code"]["scripts"])
    assert {"norm-momentum", "adam-epsilon"} <= {row["key"] for row in found["differences"]}


@pytest.mark.slow
def test_a_plan_says_what_is_there_and_runs_nothing(compared, tmp_path):
    settings = (*THOROUGH, "--out", compared[1])
    done = diptych("compare", "digits", *settings, "--plan", "--json")
    assert ({"finished"}, 0) == ({run["status"] for run in done.json["runs"]}, done.json["seconds"])
    more = diptych("compare", "digits", *settings, "--seeds", 3, "--plan", "--json").json["runs"]
    assert ["finished"] * 4 + ["new"] * 2 == [run["status"] for run in more]
    assert [*NAMES, *reversed(NAMES), *NAMES] == [run["engine"] for run in more]
    fresh = diptych("compare", "digits", "--out", tmp_path / "none", "--plan")
    assert (0, False) == (fresh.code, (tmp_path / "none").exists())
    assert "6" in fresh.out
    assert "Nothing was run" in fresh.out


WITHOUT_FRAMEWORKS = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "tensorflow", "keras"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
from diptych.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_finished_runs_are_compared_without_either_framework(compared, tmp_path):
    runs = [run for side in compared[0]["sides"] for run in side["runs"]]
    command = [sys.executable, "-c", WITHOUT_FRAMEWORKS, "compare", *runs, "--out", tmp_path]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    again = json.loads(done.stdout)
    assert compared[0]["contrasts"] == again["contrasts"]
    assert compared[0]["gallery"] == again["gallery"]
    assert (tmp_path / "report.html").exists()


@pytest.fixture(scope="session")
def unbroken(once):
    """The folder of a quick comparison that nothing disturbed."""
    settings = (*QUICK, "--seeds", 2, "--epochs", 6, "--json")
    told, folder = once("unbroken", lambda folder: process("compare", "digits", *settings, "--out", folder))
    assert 0 == told.code, told
    return folder


@pytest.mark.slow
def test_a_killed_comparison_goes_on_without_repeating_a_finished_run(unbroken, tmp_path):
    command = ["compare", "digits", *map(str, QUICK), "--seeds", "2", "--epochs", "6", "--out", str(tmp_path)]
    killed = subprocess.Popen(
        [sys.executable, "-m", "diptych", *command],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    finished = wait_for(lambda: sorted(tmp_path.glob("*/manifest.json")), killed)
    wait_for(lambda: len(list(tmp_path.glob("*/checkpoints/*"))) > len(finished), killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.glob("*/manifest.json")}
    assert 1 <= len(before) < 4
    assert 0 == diptych(*command).code
    assert before == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before}
    assert 4 == len(list(tmp_path.glob("digits-*/manifest.json")))
    assert read(unbroken)["contrasts"] == read(tmp_path)["contrasts"]
    assert read(unbroken)["gallery"] == read(tmp_path)["gallery"]


def wait_for(condition, process_, seconds=120):
    """The first true answer, while a process runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        assert process_.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    raise AssertionError("it took too long")


@pytest.mark.slow
def test_two_comparisons_share_their_runs(unbroken, tmp_path):
    pool = tmp_path / "pool"
    shutil.copytree(unbroken, pool)
    before = {path: path.stat().st_mtime_ns for path in pool.glob("digits-*/model.safetensors")}
    told = diptych("compare", "digits", *QUICK, "--seeds", 1, "--epochs", 6, "--out", pool, "--json")
    assert ("too-few", 0) == (told.json["verdict"]["outcome"], told.code)
    assert before == {path: path.stat().st_mtime_ns for path in pool.glob("digits-*/model.safetensors")}


@pytest.mark.slow
def test_a_planted_difference_is_found_and_the_verdict_says_so(tmp_path):
    settings = ("--model", "mlp", "--precision", "float32", "--out", tmp_path, *ONE_THREAD, "--json")
    arms = {
        "smooth": ("--label-smoothing", 0.4, "--epochs", 5),
        "plain": ("--epochs", 5),
        "short": ("--epochs", 1),
    }
    runs = {
        name: [diptych("train", "digits", *arm, "--seed", seed, *settings).json[0]["run"] for seed in range(3)]
        for name, arm in arms.items()
    }
    smooth = diptych("compare", *runs["plain"], *runs["smooth"], "--out", tmp_path / "a", "--json").json
    assert any("The loss of label smoothing 0.4 is higher" in line for line in smooth["verdict"]["details"])
    short = diptych("compare", *runs["plain"], *runs["short"], "--out", tmp_path / "b", "--json").json
    assert "different" == short["verdict"]["outcome"]
    assert "epochs 5 is more accurate than epochs 1" in short["verdict"]["headline"]
    assert ["epochs 5", "epochs 1"] == [side["name"] for side in short["sides"]]


@pytest.mark.slow
def test_a_planted_default_is_attributed_to_its_own_row(tmp_path):
    layers = [
        {"type": "Normalize", "name": "normalize", "inputs": ["input"], "mean": [0.3], "std": [0.1]},
        {"type": "Flatten", "name": "flatten", "inputs": ["normalize"]},
    ]
    for place in range(8):
        before = layers[-1]["name"]
        layers += [
            {"type": "Dense", "name": f"dense{place}", "inputs": [before], "units": 64, "use_bias": False},
            {"type": "BatchNorm", "name": f"norm{place}", "inputs": [f"dense{place}"]},
            {"type": "Activation", "name": f"relu{place}", "inputs": [f"norm{place}"]},
        ]
    layers.append({"type": "Dense", "name": "head", "inputs": [layers[-1]["name"]], "units": 10})
    header = {"format": "diptych-model", "version": 1, "name": "normed", "input_shape": [8, 8, 1]}
    spec = {**header, "layers": layers}
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec))
    # Few steps: running averages that keep 0.99 of the old ones have hardly left their start.
    recipe = ("--epochs", 1, "--optimizer", "sgd", "--learning-rate", 0.1, "--precision", "float32", "--seeds", 5)
    told = process(
        "compare", "digits", "--model", path, *recipe, "--explain", "--no-thorough", "--out", tmp_path, *ONE_THREAD,
        "--json",
    )  # fmt: skip
    assert 0 == told.code, told.err
    rows = told.json["explained"]["defaults"]
    assert {"initial-weights", "norm-epsilon", "norm-momentum", "norm-running-variance", "sgd-velocity"} == {
        row["key"] for row in rows
    }
    blamed = max(rows, key=lambda row: abs(row["gap"]["mean"]))
    assert "norm-momentum" == blamed["key"]
    assert blamed["gap"]["high"] < 0  # TensorFlow loses
    assert 0 == blamed["effects"][0]["mean"]  # PyTorch's own default is the aligned value
    assert any("`norm-momentum`" in line for line in told.json["verdict"]["details"])
    # A seed's runs: TensorFlow's aligned, native and five switched ones; PyTorch's aligned and native ones, as of its
    # defaults only the initial weights are not the aligned value, so that switching them is the native arm.
    assert 45 == len(list(tmp_path.glob("digits-normed-*/run.json")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "compare requires DATA"),
        (("digits", "--seeds", 0), "'seeds' must be a whole number of at least 1, got 0."),
        (("digits", "--margin", 0), "'margin' must be above 0"),
        (("digits", "--early-stopping", 3), "does not support early_stopping"),
        (("digits", "--keep-best"), "does not support early_stopping"),
        (("digit", "--plan"), "did you mean 'digits'?"),
        (("here", "there"), "'here' is not a run: there is no such folder."),
        (("digits", "fashion-mnist"), "'digits' is not a run"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = diptych("compare", *arguments)
    assert 2 == told.code
    assert message in told.err
    assert 1 == told.err.count("\n")
    assert [] == list(tmp_path.iterdir())


def test_a_run_alone_is_no_comparison(digits_runs):
    told = diptych("compare", digits_runs["torch"].directory)
    assert (2, 1) == (told.code, told.err.count("\n"))
    assert "at least two runs, each named" in told.err


def test_a_report_of_two_runs_lies_beside_the_first(digits_runs, tmp_path):
    runs = [tmp_path / name for name in NAMES]
    for name, copy in zip(NAMES, runs, strict=True):
        shutil.copytree(digits_runs[name].directory, copy)
    told = diptych("compare", *runs)
    assert 0 == told.code, told.err
    assert f"report: {tmp_path / 'compare-torch-and-tensorflow' / 'report.html'}" in told.out
    page = (tmp_path / "compare-torch-and-tensorflow" / "report.html").read_text()
    assert "data:image/png;base64," in page  # digits are at hand, so the gallery has pictures


def test_runs_whose_data_are_gone_are_compared_without_pictures(digits_runs, tmp_path):
    runs = [tmp_path / name for name in NAMES]
    for name, copy in zip(NAMES, runs, strict=True):
        shutil.copytree(digits_runs[name].directory, copy)
        run = Run.open(copy)
        record = run.read_record()
        run.write_record(replace(record, data=replace(record.data, data=str(tmp_path / "gone"))))
    told = diptych("compare", *runs, "--json")
    assert 0 == told.code, told.err
    assert any("The gallery has no pictures" in remark for remark in told.json["remarks"])
    assert not np.isnan(told.json["contrasts"][0]["agreement"])
