"""Wherever a process stops or the power fails, the last checkpoint is whole, or the one in the making."""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp

import faults
import pytest
import states
from finished import record_of

from diptych.artifacts.events import append_event, read_events, rewind
from diptych.artifacts.run import Run, is_run
from diptych.artifacts.store import atomic_write
from diptych.errors import ArtifactError
from diptych.training import checkpoint


@pytest.fixture
def new_folder(tmp_path):
    """A function that makes a new, empty folder."""
    return lambda: Path(mkdtemp(dir=tmp_path))


def saves(folder):
    """A new run, and a checkpoint at each step."""
    run = Run.create(folder, "run", record_of())
    for state in states.SAVES:
        checkpoint.save(run, state)
        yield


def assert_goes_on(folder, returned):
    """A whole checkpoint is there, or no run yet; the run goes on and is tidy."""
    with faults.watched(folder):  # so that nothing waits for the disk
        if returned or is_run(folder / "run"):
            states.assert_goes_on(Run.open(folder / "run"), returned)


def check_stops(new_folder, scenario, check):
    """Check what a process leaves that stops before or within any change of a scenario; return the changes."""
    folder = new_folder()
    changes, marks = faults.changes_of(lambda: scenario(folder), folder)
    for number, change in enumerate(changes):
        for half in {False, change.kind == "write"}:
            folder = new_folder()
            returned, code = faults.stopped_at(number, half, lambda folder=folder: scenario(folder), folder)
            assert (faults.STOPPED, sum(mark <= number for mark in marks)) == (code, returned)
            check(folder, returned)
    return changes


def check_power_losses(new_folder, scenario, check, keep=lambda change: True):
    """Check every folder that a power loss in the changes to `keep` may leave; whether there are more than changes."""
    folder, num_states = new_folder(), 0
    changes, marks = faults.changes_of(lambda: scenario(folder), folder)
    kept = [change for change in changes if keep(change)]
    marks = [sum(map(keep, changes[:mark])) for mark in marks]
    for number, files in faults.power_losses({}, kept):
        folder, num_states = new_folder(), num_states + 1
        faults.write_files(folder, files)
        check(folder, sum(mark <= number for mark in marks))
    return num_states > len(kept)


def test_a_process_that_stops_at_any_change_leaves_a_whole_checkpoint(new_folder):
    changes = check_stops(new_folder, saves, assert_goes_on)
    kinds = {"create", "write", "fsync", "close", "rename", "unlink", "mkdir", "rmdir"}
    assert kinds == {change.kind for change in changes}


def test_a_power_loss_at_any_change_leaves_a_whole_checkpoint(new_folder):
    assert check_power_losses(new_folder, saves, assert_goes_on)


@pytest.mark.parametrize("what", ["files", "folders"])
def test_a_store_that_does_not_fsync_is_found_out(new_folder, what):
    def keep(change):
        return change.kind != "fsync" or change.path.endswith(".tmp") == (what == "folders")

    with pytest.raises((AssertionError, ArtifactError)):
        check_power_losses(new_folder, saves, assert_goes_on, keep)


def test_nothing_that_a_save_does_escapes_the_injector(new_folder):
    folder, seen = new_folder(), Counter()

    def hear(event, arguments):
        if event == "open" and str(arguments[0]).startswith(str(folder)) and arguments[2] & os.O_CREAT:
            seen["create"] += 1
        if event in {"os.rename", "os.remove", "os.mkdir", "os.truncate", "os.link", "os.rmdir"}:
            seen[event.removeprefix("os.").replace("remove", "unlink")] += str(arguments[0]).startswith(str(folder))

    def check():
        sys.addaudithook(hear)
        changes, _ = faults.changes_of(lambda: saves(folder), folder)
        assert Counter(one.kind for one in changes if one.kind not in {"write", "fsync", "close"}) == seen

    assert 0 == faults.in_child(check)


EPOCHS = [{"epoch": epoch, "train_loss": 1 / epoch} for epoch in (1, 2, 3)]


def log(folder):
    """A log of three epochs, brought back to two of them, that goes on."""
    path = folder / "events.jsonl"
    for epoch in EPOCHS:
        append_event(path, "epoch", epoch)
        yield
    rewind(path, EPOCHS[:2])
    append_event(path, "epoch", EPOCHS[2])
    yield


def assert_log_goes_on(folder, returned):
    """What a returned write or a rewind left is there; brought to where a checkpoint stands, the log is as unbroken."""
    path = folder / "events.jsonl"
    if returned:
        lines = path.read_bytes().splitlines()[: min(returned, 2)]
        assert list(range(1, len(lines) + 1)) == [json.loads(line)["epoch"] for line in lines]
    rewind(path, EPOCHS)
    append_event(path, "end", {})
    assert EPOCHS == [{name: event[name] for name in EPOCHS[0]} for event in read_events(path, "epoch")]


def test_a_log_loses_no_event_when_its_process_stops(new_folder):
    check_stops(new_folder, log, assert_log_goes_on)


def test_a_log_loses_no_event_when_the_power_fails(new_folder):
    check_power_losses(new_folder, log, assert_log_goes_on)


def replacements(folder):
    """A file that is written anew three times."""
    for content in CONTENTS[1:]:
        with atomic_write(folder / "run.json", len(content)) as file:
            file.write(content)
        yield


CONTENTS = (None, b"1" * 99, b"2" * 9999, b"3")


def test_a_file_that_is_written_anew_is_the_old_or_the_new_one_after_a_power_loss(new_folder):
    def check(folder, returned):
        path = folder / "run.json"
        assert (path.read_bytes() if path.exists() else None) in CONTENTS[returned : returned + 2]

    check_power_losses(new_folder, replacements, check)
