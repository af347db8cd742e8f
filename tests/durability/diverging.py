"""`python diverging.py FOLDER`: what a training that diverges, and one that is made to go on, change in their run.

`changes.pickle` then holds, for each, the files that were there before, and every change from there to the end.
"""

import pickle
import sys
from pathlib import Path

import faults

from diptych.artifacts.run import Run
from diptych.spec import Recipe, zoo
from diptych.training import provenance
from diptych.training.divergence import Diverged
from diptych.training.process import Settings, execute
from diptych.training.trainer import Stopping

# Decay that overshoots: each step turns weights over and makes them larger, until they overflow in the second epoch.
RECIPE = Recipe(
    optimizer="sgd",
    learning_rate=0.1,
    momentum=0.0,
    l2=21.0,
    schedule="constant",
    warmup_epochs=0.0,
    epochs=3,
    batch_size=128,
    precision="float32",
)


def train(run, dataset, **settings):
    """Train until it stops or diverges; whether it has diverged."""
    try:
        execute(run, Settings("torch", 1, **settings), dataset, lambda kind, fields: None, Stopping())
    except Diverged:
        return True
    return False


def main(root):
    source = provenance.Source("digits")
    dataset = source.load()
    spec = zoo.model("mlp", dataset.image_shape, dataset.num_classes)
    run: Run = provenance.create(root, "run", source, dataset, spec, RECIPE, 0, "torch")
    assert not train(run, dataset, stop_after=1)
    found = {}
    for kind, force in (("diverged", False), ("forced", True)):
        before = faults.read_files(run.directory)
        with faults.watched(run.directory) as changes:
            assert train(run, dataset, force=force)
        # Of curves nothing depends, and what was not there to be removed is no change.
        found[kind] = before, [one for one in changes if one.path and not one.path.startswith("tensorboard")]
    (root / "changes.pickle").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
