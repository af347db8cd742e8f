"""Small checkpoints, told apart by a number, and what has to be true of a run after whatever happened to it."""

import numpy as np
from commands import assert_same_state

from diptych.engines.contract import Totals
from diptych.training import checkpoint
from diptych.training.checkpoint import Checkpoint


def arrays_of(seed, *names):
    random = np.random.default_rng(abs(seed) + (seed < 0) * 10_000)
    return {name: random.standard_normal((4, 8), dtype=np.float32) for name in names}


def state(number, step, best_epoch=0):
    """A checkpoint whose content follows from its number, its best weights from their epoch."""
    return Checkpoint(
        weights=arrays_of(number, "conv.weight", "fc.bias"),
        optimizer={"step": np.array(step, np.int64), **arrays_of(-number, "momentum/conv.weight")},
        epochs=[{"epoch": epoch, "train_loss": 0.1 + epoch} for epoch in range(1, number + 1)],
        totals=Totals(0.1 * number, 1 / 3, number, number + 1, number),
        best=arrays_of(1000 + best_epoch, "conv.weight", "fc.bias") if best_epoch else None,
        best_epoch=best_epoch,
        origin={"number": number},
    )


# The same step twice, a step before the last, the same best weights twice and new ones: all that a save can meet.
SAVES = [state(1, 10, 1), state(2, 20, 1), state(3, 20, 2), state(4, 30, 2), state(5, 40, 2), state(6, 35, 3)]
NEXT = state(7, 50, 3)


def load(run, saved=None):
    """The number of the checkpoint that a run goes on from, 0 without one, and what was told of damage."""
    told = []
    found = checkpoint.load(run, lambda kind, fields: told.append((kind, fields)))
    if found is None:
        return 0, told
    number = found.origin["number"]
    saved = saved or (*SAVES, NEXT)[number - 1]
    assert_same_state(saved, found)
    for name in ("epochs", "totals", "origin"):
        assert getattr(saved, name) == getattr(found, name), name
    return number, told


def assert_tidy(run, most=2):
    """`checkpoints/` holds that many checkpoints at most, and nothing else."""
    folders = list(run.checkpoints_dir.iterdir())
    assert len(folders) <= most
    for folder in folders:
        assert folder.name.startswith("step-")
        manifest = folder / "manifest.sha256"
        named = {line.split()[1] for line in manifest.read_text().splitlines()}
        assert named | {manifest.name} == {path.name for path in folder.iterdir()}


def assert_goes_on(run, returned):
    """After `returned` saves and a stop, a whole checkpoint is found, the next is saved, and all is tidy again."""
    number, told = load(run)
    assert (number in {returned, returned + 1}, []) == (True, told), (number, returned)
    checkpoint.save(run, NEXT)
    assert (7, []) == load(run)
    assert_tidy(run)
