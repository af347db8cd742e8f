"""Damage to any byte of a checkpoint is found and reported, and the checkpoint before it is used."""

import random
import subprocess
from itertools import cycle, islice

import pytest
import states
from finished import record_of

from diptych.artifacts.run import Run
from diptych.errors import ArtifactError
from diptych.training import checkpoint

FILES = ("manifest.sha256", "best.safetensors", "state.safetensors")


@pytest.fixture
def run(tmp_path):
    """A run with two checkpoints that have the same best weights."""
    run = Run.create(tmp_path, "run", record_of())
    for state in states.SAVES[3:5]:
        checkpoint.save(run, state)
    return run


def files_of_newest(run):
    return [run.checkpoints_dir / "step-00000040" / name for name in FILES]


def assert_skipped(run, path):
    """The checkpoint before the newest is used, and the damaged file is reported."""
    number, [(kind, fields)] = states.load(run)
    assert (4, "damaged_checkpoint") == (number, kind)
    # A damaged manifest may have another digest for a file.
    assert path.name == FILES[0] or fields["file"] == f"checkpoints/step-00000040/{path.name}"
    assert fields["fault"]


def with_flip(content, position):
    changed = bytearray(content)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


@pytest.mark.parametrize(
    ("number", "damage"),
    [(200, with_flip), (60, lambda content, position: content[: position // 8]), (3, lambda content, position: None)],
    ids=["flipped bits", "truncations", "missing files"],
)
def test_damage_anywhere_is_found(run, number, damage):
    places = random.Random(0)
    for path in islice(cycle(files_of_newest(run)), number):
        content = path.read_bytes()
        damaged = damage(content, places.randrange(8 * len(content)))
        path.unlink() if damaged is None else path.write_bytes(damaged)
        assert_skipped(run, path)
        path.write_bytes(content)
    assert (5, []) == states.load(run)


@pytest.mark.parametrize("step", [35, 40], ids=["an earlier step", "the same step"])
def test_the_next_save_replaces_a_damaged_checkpoint(run, step):
    files_of_newest(run)[2].write_bytes(b"")
    assert 4 == states.load(run)[0]
    next_state = states.state(5, step, 2)
    checkpoint.save(run, next_state)
    assert (5, []) == states.load(run, next_state)
    assert 2 == len(list(run.checkpoints_dir.iterdir()))
    states.assert_tidy(run)


def test_if_every_checkpoint_is_damaged_each_is_named_with_its_fault(run):
    for manifest in run.checkpoints_dir.glob("*/*.sha256"):
        manifest.write_bytes(b"")
    match = r"every checkpoint is damaged \(checkpoints/step-00000040/manifest\.sha256 is not .*30/manifest"
    with pytest.raises(ArtifactError, match=match):
        checkpoint.load(run)


def test_sha256sum_verifies_a_checkpoint(run):
    for manifest in run.checkpoints_dir.glob("*/*.sha256"):
        command = ["sha256sum", "--check", "--strict", manifest.name]
        done = subprocess.run(command, cwd=manifest.parent, capture_output=True, text=True, check=True)
        assert 2 == done.stdout.count(": OK")
