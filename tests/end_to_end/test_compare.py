"""`diptych compare`, from training to the report."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from commands import ONE_THREAD, diptych, process, started
from msgspec.structs import replace

from diptych.artifacts.run import Run
from diptych.comparison import costs
from diptych.engines import NAMES

QUICK = ("--model", "mlp", "--precision", "float32", "--no-thorough", *ONE_THREAD)
MEASURED = "train_throughput predict_throughput latency_p50 latency_p95 import_seconds first_step_seconds peak_memory"
THOROUGH = ("--model", "mlp", "--seeds", 2, "--epochs", 3, "--precision", "float32", *ONE_THREAD)


@pytest.fixture(scope="session")
def compared(once):
    """The output of a thorough comparison with two seeds and short measurements, and its folder of runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs.measure, "__defaults__", (0.1,))
        arguments = ("compare", "digits", *THOROUGH, "--json")
        output, folder = once("compared", lambda folder: diptych(*arguments, "--out", folder))
    assert (0, "") == (output.code, output.err), output
    return output.json, folder


def test_a_comparison_writes_the_same_numbers_as_html_json_and_markdown(compared):
    result, folder = compared
    report = Path(result["report"])
    plain = {key: value for key, value in result.items() if key != "report"}
    assert json.loads((report.parent / "comparison.json").read_text()) == plain
    accuracy = result["contrasts"][0]["measures"][0]["means"]
    markdown, page = (report.parent / "comparison.md").read_text(), report.read_text()
    assert all(f"{100 * mean:.2f}" in text for mean in accuracy for text in (markdown, page))
    assert result["verdict"]["headline"] in markdown
    assert report.stat().st_size < 5_000_000
    assert 4 == len(list(folder.glob("digits-mlp-*/run.json")))


def test_pairs_start_equal_and_alternate_the_first_framework(compared):
    first, second = ([Run.open(run).read_record() for run in side["runs"]] for side in compared[0]["sides"])
    assert [0, 1] == [record.seed for record in first] == [record.seed for record in second]
    assert first[0].spec == second[0].spec
    assert [True, False] == [a.created < b.created for a, b in zip(first, second, strict=True)]


def test_costs_are_measured_for_each_run_with_the_load_of_the_machine(compared):
    costs = {cost["key"]: cost for cost in compared[0]["costs"]}
    assert {"train_seconds", "seconds_to_target", "file_size"} <= costs.keys()
    for key in MEASURED.split():
        assert [2, 2] == [len(values) for values in costs[key]["values"]], key
        assert all(value > 0 for values in costs[key]["values"] for value in values), key
    assert all(1e8 < value < 2e10 for value in costs["peak_memory"]["medians"])
    for run in (run for side in compared[0]["sides"] for run in side["runs"]):
        cost = json.loads((Path(run) / "cost.json").read_text())
        assert {"processor", "cores", "other_load", "disturbed"} <= cost.keys()
        assert 3 == len(cost["load_average"])
        assert cost["latency_p50"] <= cost["latency_p95"]


def test_the_report_has_exports_the_certificate_the_scripts_and_the_relevant_differences(compared):
    result = compared[0]
    rows = {row["format"]: row["status"] for row in result["deployment"]}
    assert ["ok", "ok"] == rows["onnx"]
    assert ["ok", "not written by this framework"] == rows["torchscript"]
    assert ["not written by this framework", "ok"] == rows["keras"]
    assert all(list((Path(side["runs"][0]) / "export").glob("*.onnx")) for side in result["sides"])
    parity = result["parity"]
    assert parity["passed"]
    assert parity["same_predictions"] == parity["num_predictions"] > 300
    assert (50, True) == (parity["steps"], 0 < parity["float64_difference"] < 1e-9)
    assert all(compile(script["source"], script["file"], "exec") for script in result["code"]["scripts"])
    assert {"adam-epsilon"} <= {row["key"] for row in result["differences"]}


def test_a_plan_shows_the_status_of_every_run_and_trains_none(compared, tmp_path):
    settings = (*THOROUGH, "--out", compared[1])
    done = diptych("compare", "digits", *settings, "--plan", "--json")
    assert ({"finished"}, 0) == ({run["status"] for run in done.json["runs"]}, done.json["seconds"])
    more = diptych("compare", "digits", *settings, "--seeds", 3, "--plan", "--json").json["runs"]
    assert ["finished"] * 4 + ["new"] * 2 == [run["status"] for run in more]
    assert [*NAMES, *reversed(NAMES), *NAMES] == [run["engine"] for run in more]
    fresh = diptych("compare", "digits", "--out", tmp_path / "none", "--plan")
    assert (0, False) == (fresh.code, (tmp_path / "none").exists())
    assert "nothing was run" in fresh.out


def test_finished_runs_are_compared_without_either_framework(compared, tmp_path):
    for name in ("torch", "tensorflow", "keras"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('{name}')")
    runs = [run for side in compared[0]["sides"] for run in side["runs"]]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    again = process("compare", *runs, "--out", tmp_path / "again", "--json", env=env)
    assert 0 == again.code, again.err
    assert compared[0]["contrasts"] == again.json["contrasts"]
    assert compared[0]["gallery"] == again.json["gallery"]
    assert (tmp_path / "again" / "report.html").exists()


def test_a_killed_comparison_resumes_without_repeating_a_finished_run(compared, tmp_path):
    command = ("compare", "digits", *THOROUGH, "--no-thorough", "--out", tmp_path)

    def in_another_run():
        num_finished = len(list(tmp_path.glob("*/manifest.json")))
        return 0 < num_finished < len(list(tmp_path.glob("*/checkpoints/*")))

    with started(*command, until=in_another_run) as comparison:
        os.killpg(comparison.pid, signal.SIGKILL)
        comparison.wait()
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.glob("*/manifest.json")}
    assert 1 <= len(before) < 4
    resumed = diptych(*command, "--json")
    assert 0 == resumed.code, resumed.err
    assert before == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before}
    assert 4 == len(list(tmp_path.glob("digits-*/manifest.json")))
    assert compared[0]["contrasts"] == resumed.json["contrasts"]
    assert compared[0]["gallery"] == resumed.json["gallery"]


def test_an_explained_gap_has_a_row_for_each_default_and_shares_equal_runs(tmp_path):
    output = diptych("compare", "digits", *QUICK, "--epochs", 1, "--seeds", 1, "--explain", "--out", tmp_path, "--json")
    assert 0 == output.code, output.err
    rows = {row["key"]: row for row in output.json["explained"]["defaults"]}
    assert {"initial-weights", "adam-epsilon", "weight-decay"} == rows.keys()
    assert 0 == rows["adam-epsilon"]["effects"][0]["mean"]  # PyTorch's own default is the aligned value
    # PyTorch: aligned, native and two switched; TensorFlow: aligned, native and three switched.
    assert 9 == len(list(tmp_path.glob("digits-mlp-*/run.json")))


def test_a_report_is_beside_the_first_run_with_pictures_if_the_data_is_at_hand(digits_runs, tmp_path, monkeypatch):
    copies = [shutil.copytree(digits_runs[name].directory, tmp_path / name) for name in NAMES]
    monkeypatch.chdir(tmp_path)
    output = diptych("compare", *NAMES)
    assert 0 == output.code, output.err
    assert "\nreport: compare-torch-and-tensorflow/report.html" in output.out
    assert "data:image/png;base64," in Path("compare-torch-and-tensorflow/report.html").read_text()
    for run in map(Run.open, copies):
        record = run.read_record()
        run.write_record(replace(record, data=replace(record.data, data=str(tmp_path / "gone"))))
        run.seal()
    output = diptych("compare", *copies, "--json")
    assert 0 == output.code, output.err
    assert any("The gallery shows no images" in remark for remark in output.json["remarks"])
