"""A full, broken or read-only disk costs no checkpoint, and a folder is one process's at a time."""

import errno
import os
import re
from itertools import count

import faults
import pytest
import states
from finished import epoch_of, record_of

from diptych.artifacts.events import append_event, read_events
from diptych.artifacts.locks import locked
from diptych.artifacts.run import Run
from diptych.errors import ArtifactError
from diptych.training import checkpoint
from diptych.training.tensorboard import tensorboard

EPOCH = epoch_of(1)


def begun(parent, num_saves=1):
    """A run with some checkpoints; nothing waits for the disk."""
    with faults.watched(parent):
        run = Run.create(parent, "run", record_of())
        for state in states.SAVES[:num_saves]:
            checkpoint.save(run, state)
    return run


WORTH_READING = re.compile(r"Cannot (write '/[^']+': .* after [\d,]+( of [\d,]+)? bytes|remove '/[^']+': [^.]+)\. .*")


def refused(change):
    """The message that a change ends with: one line that names path and bytes."""
    with pytest.raises(ArtifactError) as raised:
        change()
    message = str(raised.value)
    assert WORTH_READING.fullmatch(message), message
    return message


ADVICE = {
    errno.ENOSPC: r"No space left on device after .* [\d,]+ bytes are free there; make room, or raise the quota",
    errno.EDQUOT: "quota exceeded after .* raise the quota",
    errno.EIO: "Input/output error after .* The disk may be failing; write to another one",
    errno.EFBIG: r"File too large after .* Allow larger files \(ulimit -f\)",
    errno.EROFS: "Read-only file system after .* Write to another folder, or make this one writable",
}


@pytest.mark.parametrize(
    ("code", "lasting", "half"),
    [*((code, False, False) for code in ADVICE), *((errno.ENOSPC, True, half) for half in (False, True))],
    ids=lambda value: errno.errorcode.get(value, value) if value > 1 else str(value),
)
def test_a_save_that_is_refused_a_change_costs_no_checkpoint(tmp_path, code, lasting, half):
    names = (tmp_path / str(number) for number in count())
    run, state = begun(next(names), num_saves=2), states.SAVES[3]
    with faults.watched(run.directory) as changes:
        checkpoint.save(run, state)
    visible = max(number for number, change in enumerate(changes) if change.to.rpartition("/")[2] == "step-00000030")
    refusals = [number for number, change in enumerate(changes) if change.kind == "write" or not half]
    for number in refusals:
        run = begun(next(names), num_saves=2)
        with faults.watched(run.directory, faults.failing_at(number, code, half=half, lasting=lasting)):
            message = refused(lambda run=run: checkpoint.save(run, state))
        assert str(run.checkpoints_dir) in message
        assert message.endswith("To continue training, use --resume.")
        assert re.search(ADVICE[code], message), message
        assert (4 if number > visible else 2, []) == states.load(run)
        states.assert_tidy(run, most=3)
        with faults.watched(run.directory):
            checkpoint.save(run, state)
        assert (4, []) == states.load(run)
        states.assert_tidy(run)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
def test_a_refused_event_leaves_no_half_line(tmp_path, code):
    path = tmp_path / "events.jsonl"
    append_event(path, "start", {})
    for number, half in ((0, False), (0, True), (1, False)):  # the write, half of it, its fsync
        with faults.watched(tmp_path, faults.failing_at(number, code, half=half)):
            message = refused(lambda: append_event(path, "epoch", EPOCH))
        assert str(path) in message
        assert ["start"] == [event["kind"] for event in read_events(path)]
        assert path.read_bytes().endswith(b"}\n")


def write_curves(folder):
    with tensorboard(folder) as write:
        write(EPOCH)


def test_curves_that_cannot_be_written_are_an_artifact_error(tmp_path):
    for number in range(4):
        with faults.watched(tmp_path, faults.failing_at(number, errno.ENOSPC, lasting=True)):
            message = refused(lambda: write_curves(tmp_path / "tensorboard"))
        assert str(tmp_path / "tensorboard") in message


def test_what_a_killed_save_left_makes_room_for_the_next(tmp_path):
    run = begun(tmp_path)
    left = run.checkpoints_dir / ".step-00000020"
    left.mkdir()
    (left / "state.safetensors").write_bytes(b"partly")
    with faults.watched(run.checkpoints_dir) as changes:
        checkpoint.save(run, states.SAVES[1])
    removed = [("unlink", f"{left.name}/state.safetensors"), ("rmdir", left.name)]
    assert removed == [(change.kind, change.path) for change in changes[:2]]
    assert (2, []) == states.load(run)
    states.assert_tidy(run)


def test_a_disk_that_became_read_only_costs_no_checkpoint(mounted):
    disk = mounted("size=1m")
    run = begun(disk)
    mounted("remount,ro")
    for change in (
        lambda: checkpoint.save(run, states.SAVES[1]),
        lambda: append_event(run.events_path, "end", {}),
        lambda: write_curves(run.tensorboard_dir),
        lambda: run.write_record(record_of()),
        lambda: locked(run.directory, "training").__enter__(),
    ):
        message = refused(change)
        assert "Read-only file system after 0" in message
    assert (1, []) == states.load(run)


def test_the_second_is_refused_and_told_who_holds_the_lock_until_the_first_has_ended(tmp_path):
    (tmp_path / ".lock").write_text("a process that was killed " * 9)
    with locked(tmp_path, "training"), pytest.raises(ArtifactError) as raised, locked(tmp_path, "training"):
        pass
    who = rf"process {os.getpid()} on \S+, training since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
    wanted = rf"'{re.escape(str(tmp_path))}' is in use: {who}\. Wait until it and its child processes end\."
    assert re.fullmatch(wanted, str(raised.value))
    with locked(tmp_path, "training") as descriptor:
        assert f"process {os.getpid()} on" in (tmp_path / ".lock").read_text()
        assert not os.get_inheritable(descriptor)  # a program that the holder starts does not hold it


def test_a_folder_that_is_not_there_cannot_be_locked(tmp_path):
    with pytest.raises(ArtifactError, match=r"Cannot write '.*absent/\.lock': No such file"):
        locked(tmp_path / "absent", "training").__enter__()
