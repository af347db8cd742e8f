"""The report of a study shows every number of `study.json`, its CSV every trial, and no text can inject HTML."""

import csv
import re
from io import StringIO

import pytest
from studies import STUDIES, default_chosen, make_study
from test_page import HOSTILE, percent, read

from diptych.comparison import wording
from diptych.reports import figures_hyperparameters, figures_trials
from diptych.reports.figures_hyperparameters import setting
from diptych.reports.study import COLUMNS, render, table, write


@pytest.fixture(scope="module")
def study():
    return make_study()


@pytest.fixture(scope="module")
def page(study):
    return read(render(study))


@pytest.mark.parametrize("shape", STUDIES.values(), ids=STUDIES)
def test_a_report_of_any_study_is_valid_and_equal_each_time(shape):
    page = render(shape())
    reader = read(page)
    assert page == render(shape())
    assert len(set(reader.ids)) == len(reader.ids)
    assert {found["href"][1:] for tag, found in reader.found if tag == "a"} <= set(reader.ids)
    assert "default-src 'none'" in page
    assert not re.search(r"\b(nan|inf|undefined)\b", reader.text)
    attributes = [value for _, found in reader.found for key, value in found.items() if key != "content"]
    assert not [value for value in attributes if value and re.search(r"\b(nan|inf|None)\b", value)]
    assert len(page) < 2_000_000


def test_the_first_screen_has_the_result_the_command_and_the_changes(study, page):
    text = page.text.split("Trials by number The accuracy")[0]
    sentence = study["result"]["sentence"]
    wanted = [f" {study['title']} ", sentence[1:], study["command"]]
    wanted += [f"{name} {setting(default)} {setting(tuned)}" for name, default, tuned in study["changes"]]
    places = [text.rindex(part) for part in wanted]
    assert places == sorted(places)


def test_a_default_recipe_that_wins_is_not_shown_as_tuned(page):
    text = read(render(default_chosen())).text
    assert "Mean PyTorch TensorFlow Default " in text
    assert " Difference " not in text
    assert "Mean PyTorch TensorFlow Tuned " in page.text


def test_every_number_is_shown(study, page):
    result, costs = study["result"], study["costs"]
    wanted = ["54,000", "6,000", "10,000", "10 classes", f"p = {result['engines_p']:.3f}", "1:02:05", "0:56:30"]
    wanted += [f"+{100 * result['difference']['mean']:.2f} points", "+0.67 to +0.94", f"trial {result['chosen']}"]
    for side in (result["tuned"], result["default"]):
        wanted += [f"{percent(side['mean'])} ± {100 * side['std']:.2f} over 6 runs"]
        wanted += [percent(accuracy) for engine in ("torch", "tensorflow") for accuracy in side[engine]]
    wanted += [f"{100 * costs['overhead']:.1f}%", f"{100 * costs['share_saved']:.1f}%"]
    wanted += [f"Epochs trained {costs['epochs']}", f"by pruning {costs['epochs_saved']}", *study["remarks"]]
    wanted += [f"{name} {100 * share:.1f}%" for name, share in study["importance"]]
    for finalist in study["finalists"]:
        validation = finalist["validation"]
        wanted += [f"{percent(validation['mean'])} ± {100 * validation['std']:.2f} over 6", *finalist["runs"]]
    for parameter in study["space"]:
        wanted += [parameter["name"], parameter["meaning"], *map(setting, parameter.get("choices", ()))]
    assert [text for text in wanted if text not in page.text] == []


def test_every_trial_is_in_the_last_table_and_in_the_tips(study, page):
    rows = page.text.rsplit("All trials, as in study.csv", 1)[1]
    names = [parameter["name"] for parameter in study["space"]]
    for trial in study["trials"]:
        cells = [str(trial["number"]), trial["state"], wording.percent(trial["accuracy"])]
        cells += [f"{trial['epochs']} of 10"]
        settings = [setting(trial["params"][name]) if name in trial["params"] else "–" for name in names]
        sizes = [wording.count(trial["num_parameters"]), wording.count(trial["flops"]), "–"]
        assert " ".join(cells) in rows
        assert " ".join([*sizes, *settings]) in rows
        assert figures_trials.about(trial) in page.text
        assert all(f"{epoch}: {percent(accuracy)}" in page.text for epoch, accuracy in trial["curve"])


def test_the_front_holds_the_trials_that_no_other_one_beats():
    study = make_study()
    values = [(0.9, 5, 9), (0.8, 4, 9), (0.8, 4, 9), (0.7, 6, 9), (0.7, 6, 1), (0.9, 6, 9)]
    for trial, (accuracy, latency, size) in zip(study["trials"], values, strict=False):
        trial |= {"state": "finished", "accuracy": accuracy, "latency_ms": latency, "num_parameters": size}
    study["trials"] = study["trials"][: len(values)]
    assert "latency_ms" == figures_hyperparameters.cost_of(study)
    assert [1, 2, 0, 4] == [trial["number"] for trial in figures_hyperparameters.front_of(study, "latency_ms")]


def test_accuracies_far_below_most_leave_the_scale_but_not_that_of_the_default_recipe():
    study = make_study()
    default, other = study["trials"][0], next(t for t in study["trials"][1:] if t["state"] == "finished")
    other["accuracy"] = 0.1
    assert 0.9 < figures_trials.final_scale(figures_trials.measured(study), 0, 1).low
    default["accuracy"] = 0.2
    assert 0.2 > figures_trials.final_scale(figures_trials.measured(study), 0, 1).low > 0.1


def test_latency_is_drawn_if_it_was_measured_and_flops_if_not(page):
    assert "FLOPs per image" in page.text
    study = make_study(40, with_latency=True)
    assert "latency of one image (ms)" in read(render(study)).text
    assert "Not shown: " not in read(render(study)).text
    finished = [trial for trial in study["trials"] if trial["state"] == "finished"]
    finished[3]["latency_ms"] = None
    unmeasured = f"Not shown: trial {finished[3]['number']}, without a measured latency of one image."
    assert unmeasured in read(render(study)).text


AXES = [
    ({"kind": "float", "low": 1e-4, "high": 1e-1, "log": True}, ["0.0001", "0.001", "0.01", "0.1"], 1e-3, 100.0),
    ({"kind": "float", "low": 0.0, "high": 0.2, "log": False}, ["0", "0.05", "0.1", "0.15", "0.2"], 0.15, 225.0),
    ({"kind": "int", "low": 32, "high": 256, "log": True}, ["32", "64", "128", "256"], 64, 100.0),
    ({"kind": "int", "low": 2, "high": 4, "log": False}, ["2", "3", "4"], 3, 150.0),
    ({"kind": "choice", "choices": ["a", None, 0.5]}, ["a", "none", "0.5"], None, 150.0),
    ({"kind": "float", "low": 0.5, "high": 0.5, "log": False}, ["0.3", "0.4", "0.5", "0.6", "0.7"], 0.5, 150.0),
]


@pytest.mark.parametrize(("parameter", "labels", "value", "place"), AXES)
def test_an_axis_has_round_ticks_and_is_logarithmic_if_the_space_is(parameter, labels, value, place):
    axis = figures_hyperparameters.axis_of({"name": "x", **parameter}, [], 0.0, 300.0)
    assert labels == [axis.label(tick) for tick in axis.ticks]
    assert place == pytest.approx(axis(value))


def test_an_axis_contains_values_outside_the_space():
    trials = [{"params": {"x": value}} for value in (0.5, 2.0)]
    axis = figures_hyperparameters.axis_of(
        {"name": "x", "kind": "float", "low": 0.0, "high": 1.0, "log": False}, trials, 0, 100
    )
    assert 100 == axis(2.0)
    axis = figures_hyperparameters.axis_of({"name": "x", "kind": "choice", "choices": [0.5]}, trials, 0, 100)
    assert (25, 75) == (axis(0.5), axis(2.0))


@pytest.mark.parametrize("shape", STUDIES.values(), ids=STUDIES)
def test_the_csv_parses_back_to_the_trials(shape):
    study = shape()
    header, *rows = csv.reader(StringIO(table(study)))
    assert COLUMNS == header[:8]
    assert [parameter["name"] for parameter in study["space"]] == header[8:]
    wanted = []
    for trial in study["trials"]:
        values = [*(trial[key] for key in COLUMNS), *map(trial["params"].get, header[8:])]
        wanted.append(["" if value is None else str(value) for value in values])
    assert wanted == rows
    assert [trial["accuracy"] for trial in study["trials"]] == [float(row[2]) if row[2] else None for row in rows]


def test_texts_cannot_inject_html_and_commas_and_column_names_stay_apart_in_csv(tmp_path):
    study = make_study(3)
    for name in ("title", "command"):
        study[name] = HOSTILE
    study["result"]["sentence"] = study["remarks"][0] = study["subject"]["data"] = HOSTILE
    study["space"] = [{"name": HOSTILE, "kind": "choice", "choices": [HOSTILE], "meaning": HOSTILE}]
    study["space"].append({"name": "epochs", "kind": "int", "low": 1, "high": 9, "log": False, "meaning": ""})
    study["importance"], study["changes"] = [[HOSTILE, 1.0]], [[HOSTILE, HOSTILE, HOSTILE]]
    for trial in study["trials"]:
        trial |= {"params": {HOSTILE: HOSTILE, "epochs": 5}, "note": HOSTILE, "run": HOSTILE}
    write(tmp_path, study)
    text = (tmp_path / "study.html").read_text()
    assert 1 == text.count("<script")
    assert HOSTILE not in text
    header, first, *_ = csv.reader(StringIO((tmp_path / "study.csv").read_text()))
    assert [HOSTILE, "param_epochs"] == header[8:]
    assert [HOSTILE, "5"] == first[8:]
    assert ["study.csv", "study.html"] == sorted(path.name for path in tmp_path.iterdir())
