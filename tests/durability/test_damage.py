"""Damage to any byte of a checkpoint is found and told, and the checkpoint before it is gone on from."""

import random
import subprocess
from itertools import cycle, islice

import pytest
import states
from finished import record_of

from diptych.artifacts import Run
from diptych.errors import ArtifactError
from diptych.training import checkpoint

NUM_FLIPS, NUM_TRUNCATIONS = 500, 100


@pytest.fixture
def run(tmp_path):
    """A run with two checkpoints that have the same best weights."""
    run = Run.create(tmp_path, "run", record_of())
    for state in states.SAVES[3:5]:
        checkpoint.save(run, state)
    return run


def files_of_newest(run):
    """The manifest of the newest checkpoint and the two files that it lists."""
    folder = run.checkpoints_dir / "step-00000040"
    return [folder / name for name in ("manifest.sha256", "best.safetensors", "state.safetensors")]


def assert_passed_over(run, path):
    """The checkpoint before the newest is found, and it is told that this file is why."""
    number, [(kind, fields)] = states.load(run)
    assert (4, "damaged_checkpoint") == (number, kind)
    # A damaged manifest may have another digest for a file.
    assert path.suffix == ".sha256" or fields["file"] == f"checkpoints/step-00000040/{path.name}"
    assert fields["fault"]


def with_flip(content, position):
    """Content in which one bit is another."""
    changed = bytearray(content)
    changed[position // 8] ^= 1 << position % 8
    return bytes(changed)


def flips(files, seed=0):
    """Places of bits, as many in each file, spread at random."""
    places = random.Random(seed)
    for path in cycle(files):
        yield path, places.randrange(8 * path.stat().st_size)


def test_500_flipped_bits_are_found_and_the_checkpoint_before_is_used(run):
    files = files_of_newest(run)
    assert 3 == len(files)
    for path, position in islice(flips(files), NUM_FLIPS):
        content = path.read_bytes()
        path.write_bytes(with_flip(content, position))
        assert_passed_over(run, path)
        path.write_bytes(content)
    print(
        f"\n{NUM_FLIPS} flipped bits in {len(files)} files of {sum(p.stat().st_size for p in files)} bytes: all found"
    )
    assert (5, []) == states.load(run)


def test_every_bit_of_a_manifest_counts(run):
    manifest, *_ = files_of_newest(run)
    content = manifest.read_bytes()
    for position in range(8 * len(content)):
        manifest.write_bytes(with_flip(content, position))
        assert 4 == checkpoint.load(run).origin["number"]
    print(f"\n{8 * len(content)} bits of a manifest flipped in turn: all found")


def test_100_truncations_are_found_and_the_checkpoint_before_is_used(run):
    files = files_of_newest(run)
    for path, position in islice(flips(files), NUM_TRUNCATIONS):
        content = path.read_bytes()
        path.write_bytes(content[: position // 8])
        assert_passed_over(run, path)
        path.write_bytes(content)
    print(f"\n{NUM_TRUNCATIONS} truncations in {len(files)} files: all found")
    assert (5, []) == states.load(run)


def test_a_missing_file_is_found_and_the_checkpoint_before_is_used(run):
    for path in files_of_newest(run):
        content = path.read_bytes()
        path.unlink()
        assert_passed_over(run, path)
        path.write_bytes(content)


def test_after_damage_the_training_goes_on_and_the_damaged_checkpoint_goes(run):
    path = files_of_newest(run)[1]
    path.write_bytes(b"")
    assert 4 == states.load(run)[0]
    checkpoint.save(run, states.state(5, 35, 2))  # an earlier step than that of the damaged one
    assert ["step-00000030", "step-00000035"] == sorted(path.name for path in run.checkpoints_dir.iterdir())
    states.assert_tidy(run)


def test_a_damaged_checkpoint_is_saved_anew_under_the_same_step(run):
    path = files_of_newest(run)[2]
    path.write_bytes(path.read_bytes()[:-1])
    assert 4 == states.load(run)[0]
    checkpoint.save(run, states.SAVES[4])
    assert (5, []) == states.load(run)
    states.assert_tidy(run)


def test_when_no_checkpoint_is_whole_each_is_named_with_its_fault(run):
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
