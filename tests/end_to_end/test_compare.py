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
# With crops, which digits are too small for, the runs of the first seed disagree.
HARD = ("--epochs", 3, "--crop-padding", 2)
THOROUGH = ("--model", "mlp", "--seeds", 2, *HARD, "--precision", "bfloat16", *ONE_THREAD)


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
    assert 6 == len(list(folder.glob("digits-mlp-*/run.json")))  # two pairs and two of PyTorch alone


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
    assert (120, True) == (parity["steps"], 0 < parity["float64_difference"] < 1e-9)
    assert all(compile(script["source"], script["file"], "exec") for script in result["code"]["scripts"])
    assert {"adam-epsilon"} <= {row["key"] for row in result["differences"]}


def test_a_disagreement_is_measured_beside_that_of_pytorch_with_itself(compared):
    result, folder = compared
    predictions, accuracies = {}, {}
    for run in (Run.open(path.parent) for path in folder.glob("digits-mlp-*-s0-*/run.json")):
        record = run.read_record()
        setting = record.last_engine, record.last_threads, record.recipe.precision
        predictions[setting] = run.read_predictions().logits_nk.argmax(axis=1)
        accuracies[setting] = run.read_metrics()["accuracy"]
    base = "torch", 1, "bfloat16"
    others = {
        "PyTorch and TensorFlow": ("tensorflow", 1, "bfloat16"),
        "PyTorch, 1 and 2 threads": ("torch", 2, "bfloat16"),
        "PyTorch, bfloat16 and float32": ("torch", 1, "float32"),
    }
    assert {base, *others.values()} == predictions.keys()
    drift, page = result["drift"], Path(result["report"]).read_text()
    assert (0, list(others)) == (drift["seed"], [pair["title"] for pair in drift["pairs"]])
    for pair, setting in zip(drift["pairs"], others.values(), strict=True):
        assert (predictions[base] == predictions[setting]).sum() == pair["num_same"]
        assert len(predictions[base]) == pair["num_images"]
        assert accuracies[setting] - accuracies[base] == pair["accuracy"]
        assert f"{pair['num_same']} of {pair['num_images']}" in page
    assert drift["pairs"][0]["num_same"] < drift["pairs"][0]["num_images"]
    assert drift["sentence"] in page


def test_repeating_a_comparison_trains_and_measures_nothing(compared, tmp_path):
    result, folder = compared
    copy = shutil.copytree(folder, tmp_path / "copy")
    files = {path: path.stat().st_mtime_ns for path in copy.glob("digits-*/**/*") if path.is_file()}
    again = diptych("compare", "digits", *THOROUGH, "--out", copy, "--json")
    assert (0, "") == (again.code, again.err), again
    assert files == {path: path.stat().st_mtime_ns for path in copy.glob("digits-*/**/*") if path.is_file()}
    assert [result[key] for key in ("drift", "contrasts")] == [again.json[key] for key in ("drift", "contrasts")]


def test_runs_that_agree_on_every_image_need_no_other_runs(tmp_path):
    settings = ("--model", "mlp", "--precision", "float64", "--epochs", 1, "--seeds", 1, *ONE_THREAD, "--out", tmp_path)
    before = diptych("compare", "digits", *settings, "--plan", "--json").json["runs"]
    assert ["aligned", "aligned", "threads"] == [run["arm"] for run in before]  # no format is finer than float64
    output = diptych("compare", "digits", *settings, "--no-thorough", "--json")
    assert (0, None) == (output.code, output.json["drift"])
    after = diptych("compare", "digits", *settings, "--plan", "--json").json["runs"]
    assert ["aligned", "aligned"] == [run["arm"] for run in after]


def test_a_plan_shows_the_status_of_every_run_and_trains_none(compared, tmp_path):
    settings = (*THOROUGH, "--out", compared[1])
    done = diptych("compare", "digits", *settings, "--plan", "--json")
    assert ({"finished"}, 0) == ({run["status"] for run in done.json["runs"]}, done.json["seconds"])
    more = diptych("compare", "digits", *settings, "--seeds", 3, "--plan", "--json").json["runs"]
    assert ["finished"] * 4 + ["new"] * 2 + ["finished"] * 2 == [run["status"] for run in more]
    assert [*NAMES, *reversed(NAMES), *NAMES, NAMES[0], NAMES[0]] == [run["engine"] for run in more]
    assert [["aligned", 0], ["threads", 0], ["precision", 0]] == [[more[i]["arm"], more[i]["seed"]] for i in (0, 6, 7)]
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
