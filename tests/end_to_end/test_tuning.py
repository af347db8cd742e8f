"""Studies of real trainings: their files, their equality to undisturbed ones after kills, and how they end."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import optuna
import pytest
from commands import ONE_THREAD, SECONDS, answered, diptych, num_living, refused, started
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import diptych as api
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays
from diptych.options import find_recipe, spec_from_file

SPACE = {
    "format": "diptych-space",
    "version": 1,
    "parameters": [
        {"name": "optimizer", "kind": "choice", "choices": ["adamw", "sgd"]},
        {"name": "rate_factor", "kind": "float", "low": 0.1, "high": 10, "log": True},
        {"name": "batch_size", "kind": "choice", "choices": [32, 64, 128]},
    ],
}
TINY = ("digits", "--model", "mlp", "--epochs", 2, *ONE_THREAD, "--precision", "float32")
FINALS = ("--trials", 4, "--finalists", 1, "--seeds", 1)


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "space.json"
    path.write_text(json.dumps(SPACE))
    return path


@pytest.fixture(scope="module")
def found(tmp_path_factory, space):
    """The result of a study with finalists, and its folder."""
    out = tmp_path_factory.mktemp("runs")
    content = answered("tune", *TINY, *FINALS, "--space", space, "--out", out, "--log", "tensorboard")
    (folder,) = out.iterdir()
    return content, folder


def loaded(folder):
    """The study, as Optuna reads it."""
    backend = JournalFileBackend(str(folder / "journal.log"))
    return optuna.load_study(study_name=folder.name, storage=JournalStorage(backend))


def trials(folder):
    names = "number", "state", "params", "values", "intermediate_values"
    return [[getattr(trial, name) for name in names] for trial in loaded(folder).trials]


def test_a_study_has_trials_finalists_and_a_result_that_name_their_runs(found):
    content, folder = found
    assert content == {**json.loads((folder / "study.json").read_text()), "directory": str(folder)}
    assert [0, 1, 2, 3] == [row["number"] for row in content["trials"]]
    assert {"finished"} <= {row["state"] for row in content["trials"]} <= {"finished", "pruned"}
    for row in content["trials"]:
        run = Run.open(folder / row["run"])
        assert ("finished", "validation") == (run.read_record().status, run.read_record().evaluates)
        assert row["curve"] == [[epoch["epoch"], epoch["validation_accuracy"]] for epoch in run.history]
        assert (143, row["curve"][-1][1]) == (run.metrics["num_samples"], run.metrics["accuracy"])
        assert (row["latency_ms"] is not None) == (row["state"] == "finished")
    assert [content["best"], "default"] == [one["trial"] for one in content["finalists"]] or content["best"] == 0
    for one in content["finalists"]:
        values = [Run.open(folder / run).metrics["accuracy"] for run in one["runs"]]
        assert (2, pytest.approx(np.mean(values))) == (one["validation"]["n"], one["validation"]["mean"])
    assert "default " in content["result"]["sentence"]
    for row in content["trials"]:
        files = [path.read_bytes() for path in sorted((folder / row["run"] / "tensorboard").iterdir())]
        assert [False, True] == [b"_hparams_" in x and b"final_validation/accuracy" in x for x in files]
    costs = content["costs"]
    assert sum(row["epochs"] for row in content["trials"]) == costs["epochs"] == 8 - costs["epochs_saved"]
    assert 0 < costs["training_seconds"] < costs["seconds"]


def test_the_test_split_is_that_of_the_chosen_runs(found):
    content, folder = found
    chosen = content["result"]["chosen"]
    label = chosen if chosen == "default" else f"{chosen:04}"
    for engine in ("torch", "tensorflow"):
        measured = api.evaluate(folder / "finalists" / f"{label}-{engine}-s1", engine=engine)
        assert (359, [measured["accuracy"]]) == (measured["num_samples"], content["result"]["tuned"][engine])


def test_the_recipe_and_the_model_are_files_that_train_takes(found):
    content, folder = found
    recipe, spec = find_recipe(folder / "recipe.json"), spec_from_file(folder / "spec.json")
    number = 0 if content["result"]["chosen"] == "default" else content["result"]["chosen"]
    assert spec == Run.open(folder / f"trials/{number:04}").read_record().spec
    assert content["trials"][number]["params"].get("batch_size", 16) == recipe.batch_size


def test_the_same_command_again_trains_nothing_and_more_trials_continue(found, space):
    content, folder = found
    before = (folder / "journal.log").stat().st_size
    again = answered("tune", *TINY, *FINALS, "--space", space, "--out", folder.parent)
    assert {**content, "command": again["command"]} == again
    assert {"study.html", "study.csv"} <= {path.name for path in folder.iterdir()}
    assert before + 2000 > (folder / "journal.log").stat().st_size
    more = ("--trials", 5, "--finalists", 0)
    longer = answered("tune", *TINY, *more, "--space", space, "--out", folder.parent)
    assert content["trials"] == longer["trials"][:4]
    assert (5, None) == (len(longer["trials"]), longer["result"])


def test_a_model_that_is_too_slow_is_no_finalist(found, space):
    _, folder = found
    limit = ("--max-latency-ms", 1e-6)
    content = answered("tune", *TINY, *FINALS, *limit, "--space", space, "--out", folder.parent)
    assert ["default"] == [one["trial"] for one in content["finalists"]]
    few = "Besides the default recipe, no trial could be a finalist: the others were pruned or excluded."
    assert few in content["remarks"]


def test_a_trial_that_diverges_has_failed_and_the_study_goes_on(tmp_path):
    rate = {"name": "learning_rate", "kind": "choice", "choices": [1e30, 2e30]}
    space = {**SPACE, "parameters": [rate]}
    options = {"model": "mlp", "epochs": 1, "threads": 1, "precision": "float32", "trials": 3, "finalists": 0}
    tuned = api.tune("digits", space=space, out=tmp_path, progress=False, **options)
    assert ["finished", "failed", "failed"] == [row["state"] for row in tuned.content["trials"]]
    assert all("The training diverged" in row["note"] for row in tuned.content["trials"][1:])
    assert (0, 0.0) == (tuned.content["best"], tuned.content["costs"]["share_saved"])


def test_a_trial_is_a_run_for_evaluate_but_not_for_compare(found):
    _, folder = found
    metrics = api.evaluate(folder / "trials/0000")
    assert (359, "test split") == (metrics["num_samples"], metrics["data"]["used"])
    assert "was evaluated on its validation split" in refused("compare", folder / "trials/0000", folder / "trials/0001")


def test_a_trial_in_a_warm_process_is_that_of_a_fresh_one(engine_name, space, tmp_path):
    options = {"model": "mlp", "epochs": 2, "threads": 1, "precision": "float32", "engine": engine_name}
    tuned = api.tune("digits", space=SPACE, trials=3, finalists=0, out=tmp_path, progress=False, **options)
    last = Run.open(tuned.directory / "trials/0002")
    record = last.read_record()
    fresh = api.train(
        "digits", model=record.spec, recipe=record.recipe, engine=engine_name, threads=1, out=tmp_path, progress=False,
        stop_after=None, callbacks=lambda kind, fields: kind == "epoch" and fields["epoch"] == len(last.history),
    )  # fmt: skip
    weights, expected = (read_arrays(run.model_path)[0] for run in (last, fresh))
    for name, array in expected.items():
        np.testing.assert_array_equal(array, weights[name], strict=True)


def killed(arguments, moments, out, workers=False):
    """Run a command that is killed with -9 at moments after it has opened its study, and once more to its end.

    With `workers`, its process that trains is killed first, and it itself as much later. Returns the number of kills.
    """
    command = [sys.executable, "-m", "diptych", *map(str, arguments), "--out", str(out), "--json"]
    kills, pipes = 0, {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for seconds in moments:
        before, end = journal_size(out), time.monotonic() + SECONDS
        process = subprocess.Popen(command, start_new_session=True, **pipes)
        while process.poll() is None and journal_size(out) <= before and time.monotonic() < end:
            time.sleep(0.01)
        for is_worker in (True, False) if workers else (False,):
            time.sleep(seconds)
            children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
            for pid in map(int, children.stdout.split() if is_worker else [process.pid]):
                kills += process.poll() is None
                os.kill(pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return kills


def journal_size(out):
    return sum(path.stat().st_size for path in out.glob("*/journal.log"))


def test_a_study_that_is_killed_is_the_undisturbed_one(found, space, tmp_path):
    _, folder = found
    moments = np.random.default_rng().uniform(0, 3, 2)
    options = ("--trials", 4, "--finalists", 0, "--space", space)
    kills = killed(("tune", *TINY, *options), moments, tmp_path)
    (again,) = tmp_path.iterdir()
    assert trials(folder)[:4] == trials(again), (kills, moments)
    assert ["0000", "0001", "0002", "0003"] == sorted(path.name for path in (again / "trials").iterdir())


def test_an_interrupted_study_writes_what_it_found_and_says_how_to_resume(space, tmp_path):
    arguments = ("tune", *TINY[:-4], "--trials", 50, "--space", space, "--out", tmp_path)

    def has_one_trial():
        return any(tmp_path.glob("*/trials/0001/run.json"))

    with started(*arguments, until=has_one_trial) as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
        assert (130, 0) == (process.returncode, num_living(process.pid))
    assert "best so far: " in err
    assert "diptych: interrupted. Repeat the command to resume." in err
    (folder,) = tmp_path.iterdir()
    content = json.loads((folder / "study.json").read_text())
    assert "The study was interrupted; repeat the command to resume it." in content["remarks"]
    assert (folder / "recipe.json").is_file()


def test_a_plan_trains_nothing(space, tmp_path):
    plan = answered("tune", *TINY, "--trials", 9, "--space", space, "--out", tmp_path, "--plan")
    named = [(row["what"], row["trainings"]) for row in plan["rows"]]
    assert [("trials, torch", 9), ("finalists, torch", 12), ("finalists, tensorflow", 12)] == named
    assert plan["seconds"] == pytest.approx(sum(row["seconds"] for row in plan["rows"]))
    assert not [*tmp_path.iterdir()]


def test_each_trial_has_a_line(space, tmp_path):
    result = diptych("tune", *TINY, "--trials", 1, "--finalists", 0, "--space", space, "--out", tmp_path)
    assert 0 == result.code, result.err
    assert "trial 0: finished" in result.err
    assert "default recipe; best" in result.err
    assert "There were no finalists (--finalists 0), so the test split was not opened." in result.out


WRONG = [
    (("--validation-fraction", 0), "'digits' has no validation split to tune on: raise validation_fraction."),
    (("--max-params", 10), "candidates in a row exceed the limits"),
    (("--space", "absent.json"), "Cannot read 'absent.json'"),
]


@pytest.mark.parametrize(("options", "fault"), WRONG)
def test_a_study_that_cannot_be_is_refused_in_a_line(options, fault, tmp_path):
    result = diptych("tune", *TINY, *options, "--trials", 2, "--out", tmp_path)
    assert 2 == result.code
    assert fault in result.err.splitlines()[-1]


@pytest.mark.long
def test_a_study_whose_processes_are_killed_twenty_times_is_the_undisturbed_one(space, tmp_path):
    options = ("tune", *TINY, "--epochs", 6, "--trials", 30, "--finalists", 0, "--space", space)
    assert 0 == diptych(*options, "--out", tmp_path / "one").code
    moments = np.random.default_rng(int(time.time())).uniform(0, 2.5, 12)
    kills = killed(options, moments, tmp_path / "two", workers=True)
    assert kills >= 20
    print(f"{kills} kills at {moments.round(1)}")
    (undisturbed,), (other,) = ([*(tmp_path / name).iterdir()] for name in ("one", "two"))
    assert trials(undisturbed) == trials(other)
    assert [f"{number:04}" for number in range(30)] == sorted(path.name for path in (other / "trials").iterdir())


@pytest.mark.long
def test_two_processes_share_a_study_and_one_takes_over_what_the_other_leaves(space, tmp_path):
    options = ("tune", *TINY, "--trials", 8, "--finalists", 1, "--seeds", 1, "--space", space, "--out", tmp_path)
    with started(*options, until=lambda: any(tmp_path.glob("*/trials/0000/run.json"))) as first:
        with started(*options, until=lambda: any(tmp_path.glob("*/trials/0002/run.json"))) as second:
            os.killpg(second.pid, signal.SIGKILL)
        out, err = first.communicate(timeout=10 * SECONDS)
        assert 0 == first.returncode, err
    (folder,) = tmp_path.iterdir()
    content = json.loads((folder / "study.json").read_text())
    assert [*range(8)] == [row["number"] for row in content["trials"]]
    assert {"finished", "pruned"} >= {row["state"] for row in content["trials"]}
    assert content["result"]["sentence"] in out


@pytest.mark.long
def test_several_trials_at_a_time_end_with_every_trial_once(space, tmp_path):
    options = ("tune", *TINY, "--trials", 6, "--finalists", 0, "--workers", 2, "--space", space, "--out", tmp_path)
    rows = answered(*options)["trials"]
    assert [*range(6)] == [row["number"] for row in rows]
    assert 6 == len({row["run"] for row in rows})
