"""Untrusted model files: no code in them runs, no other file is touched, and each is a typed error in one line.

Sound files, and hostile ones made of them, go through a user's doors once; `DOORS` may let a table's files in.
"""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import hostile_cards
import hostile_flat
import hostile_keras
import hostile_onnx
import hostile_places
import hostile_torch
import pytest
from ground import SECRET, Ground, make_outside, sound_files
from hostile_cards import MARKUP

from diptych import errors
from diptych.processes import engine_environment

MODULES = (hostile_cards, hostile_flat, hostile_keras, hostile_onnx, hostile_places, hostile_torch)
DESCRIBE, TRANSFER = ("describe",), ("transfer",)
DOORS = {"CASES": (), "TOLD": DESCRIBE, "MOVED": TRANSFER, "FOR_TRUST": DESCRIBE + TRANSFER}
DOORS["HARMLESS"] = (*DESCRIBE, "predict", *TRANSFER)
CORPUS = {
    name: (build, doors)
    for table, doors in DOORS.items()
    for module in MODULES
    for name, build in getattr(module, table, {}).items()
}
WEIGHTS = ("safetensors", "state-dict", "keras", "h5", "weights-h5")


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A sound file of each format, by name."""
    return sound_files(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory, sound):
    """What came of every file through every door, and what became of the folders around."""
    folder = tmp_path_factory.mktemp("hostile")
    outside = make_outside(folder / "outside")
    stolen = Ground(sound, folder, outside).card("openvino", class_names=[SECRET, "b", "c"])
    (outside / "stolen.json").write_text(stolen)
    for name in ("targets", "nowhere"):
        (folder / name).mkdir()
    files = {}
    for place, (name, (build, _)) in enumerate(CORPUS.items()):
        ground = Ground(sound, folder / str(place), outside)
        ground.folder.mkdir()
        files[name] = build(ground)
    before = content(outside)
    request = {"sound": sound, "outside": outside, "targets": folder / "targets"}
    found = []
    while files:
        done = through_doors(folder, {**request, "hostile": files})
        found += done
        files = {name: path for name, path in files.items() if name not in {told["name"] for told in done}}
    left = [*(folder / "nowhere").iterdir()]  # where the process worked
    return SimpleNamespace(found=found, before=before, after=content(outside), left=left)


def through_doors(folder, request):
    """Answers of one process; where it died over a file, that is the last of them."""
    path = folder / "request.json"
    path.write_text(json.dumps(request, default=str))
    command = [sys.executable, str(Path(__file__).with_name("doors.py")), str(path)]
    settings = {**engine_environment("tensorflow"), "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=folder / "nowhere", env=settings, capture_output=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode:
        last = done.stderr.decode(errors="replace")[-3000:]
        assert found, last
        found.append({"name": found[-1]["name"], "fault": f"the process ended with {done.returncode}: {last}"})
    return found


def content(folder):
    """Content and time of every file."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.iterdir())}


@pytest.fixture(scope="session")
def by_name(outcomes):
    """What came of each file, by door."""
    found = defaultdict(list)
    for told in outcomes.found:
        if told.get("door") or "fault" in told:
            found[told["name"]].append(told)
    return found


def test_sound_files_pass_through_every_door_that_fits(sound, by_name):
    for form in sound:
        answers = {told["door"]: told for told in by_name[form]}
        assert 0 == answers["describe"]["answer"]["code"], form
        assert 2 == len(answers["predict"]["answer"]), (form, answers["predict"])
        assert ("answer" in answers["transfer"]) == (form in WEIGHTS), (form, answers["transfer"])


def faults(tolds, harmless):
    """What is wrong with what came of one file."""
    if ["describe", "predict", "transfer"] != [told.get("door") for told in tolds]:
        yield f"not every door was tried: {tolds}"
    for told in tolds:
        checks = {
            "no error of ours": "fault" not in told,
            "let in": "answer" not in told or told["door"] in harmless,
            "code ran": not told.get("called"),
            "another file was read": not told.get("read") and SECRET not in str(told),
            "too much memory": told.get("mebibytes", 0) < 512,
            "too slow": told.get("seconds", 0) < 20,
            "no line that a terminal only prints": told.get("message", " ").isprintable(),
            "no short line": len(told.get("message", "")) < 600,
            "a process died": " process " not in told.get("message", ""),
            "of no type of ours": issubclass(getattr(errors, told.get("error", "DiptychError")), errors.DiptychError),
        }
        yield from (f"{fault}: {told}" for fault, holds in checks.items() if not holds)


def test_every_hostile_file_is_refused_in_one_line_at_no_cost(by_name):
    found = {name: [*faults(by_name[name], harmless)] for name, (_, harmless) in CORPUS.items()}
    assert {} == {name: wrong for name, wrong in found.items() if wrong}
    assert "more than 4,194,304 bytes" in by_name["a card of fifty megabytes"][0]["message"]


def test_what_is_described_is_what_the_card_says(sound, by_name):
    wanted = by_name["safetensors"][0]["answer"]["told"]
    for name, (_, harmless) in CORPUS.items():
        told = by_name[name][0]
        if "answer" in told and harmless != {"describe", "predict", "transfer"}:
            found = told["answer"]["told"]
            assert (wanted["parity"], wanted["spec"]["name"]) == (found["parity"], found["spec"]["name"]), name


def test_weights_that_could_be_had_are_the_sound_ones(by_name):
    arrays = by_name["keras"][2]["answer"]
    for name in CORPUS:
        assert by_name[name][2].get("answer") in (None, arrays), name


def test_a_class_is_printed_as_it_is_called(by_name):
    printed = by_name["a card whose classes are a terminal's markup"][0]["answer"]["said"]
    assert ", ".join(MARKUP) in printed


def test_no_file_outside_is_changed_and_none_is_left(outcomes):
    assert outcomes.before == outcomes.after
    assert [] == outcomes.left


def test_formats_that_run_code_are_refused_until_they_are_trusted(sound, by_name):
    for form in ("torchscript", "torch-export", "h5", "saved-model"):
        assert "answer" in by_name[form][1]
    for name in ("a SavedModel", "a TorchScript file", "a torch.export file"):
        told = by_name[f"{name} from a stranger"][1]
        assert "UsageError" == told["error"]
        assert told["message"].endswith("Add --trust if you trust its source."), told
    assert "UsageError" == by_name["an .h5 with a Lambda"][1]["error"]
