"""A training begun in one framework and finished in the other equals an unbroken one.

In float64, the engines differ by rounding alone, also with dropout, augmentation and averaged weights.
"""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from commands import train

from diptych.artifacts.events import read_events
from diptych.artifacts.store import read_arrays, write_json
from diptych.engines import NAMES
from diptych.spec import zoo
from diptych.spec.codec import model_to_json

EPOCHS = 4
ROUNDING = 1e-9
CNN = zoo.model("cnn", (8, 8, 1))
# Dropout of elements behind a Flatten, whose order differs, and of samples.
LAYERS = (replace(layer, mode="sample") if layer.name == "dropout2" else layer for layer in CNN.layers)
SPEC = replace(CNN, name="own", layers=tuple(LAYERS))
LEARNING = {"crop_padding": 2, "label_smoothing": 0.1, "average_decay": 0.9, "mixup": 0.2}
RECIPE = {"format": "diptych-recipe", "version": 1, "precision": "float64", "epochs": 7, "batch_size": 64, **LEARNING}


@pytest.fixture(scope="module")
def args(tmp_path_factory):
    """The arguments of the training: files of a model and of a recipe, of whose epochs there are fewer."""
    folder = tmp_path_factory.mktemp("handover")
    write_json(folder / "spec.json", model_to_json(SPEC))
    write_json(folder / "recipe.json", RECIPE)
    files = ("--model", folder / "spec.json", "--recipe", folder / "recipe.json")
    return ("digits", *files, "--epochs", EPOCHS, "--out", folder / "runs")


@pytest.fixture(scope="module")
def unbroken(args):
    """A whole training in each engine, which is to stop after its last epoch."""
    return dict(zip(NAMES, train(*args, "--engine", "both", "--stop-after", EPOCHS), strict=True))


def largest_difference(run, other):
    """Of two elements at one place, in weights and in logits."""
    (ours, _), (theirs, _) = (read_arrays(one.model_path) for one in (run, other))
    assert ours.keys() == theirs.keys()
    weights = max(np.abs(ours[name] - theirs[name]).max() for name in ours)
    logits = np.abs(run.read_predictions().logits_nk - other.read_predictions().logits_nk).max()
    return weights, logits


def predicted(run):
    return run.read_predictions().logits_nk.argmax(1)


def test_files_of_a_model_and_a_recipe_are_used_unless_an_option_overrides_them(unbroken):
    for engine, run in unbroken.items():
        record = run.read_record()
        assert (f"digits-own-{engine}", "finished", SPEC) == (run.directory.name, record.status, record.spec)
        recipe = record.recipe
        assert ("float64", EPOCHS, 0.1) == (recipe.precision, recipe.epochs, recipe.label_smoothing)


def test_both_engines_end_with_the_same_weights_and_predictions(unbroken):
    assert max(largest_difference(*unbroken.values())) < ROUNDING
    ours, theirs = map(predicted, unbroken.values())
    np.testing.assert_array_equal(ours, theirs)
    assert 359 == len(ours)
    assert min(run.read_metrics()["accuracy"] for run in unbroken.values()) > 0.3  # they have learned something
    assert 2 == unbroken["torch"].read_record().recipe.crop_padding  # from augmented images


@pytest.mark.parametrize(("first", "second"), [*permutations(NAMES)])
def test_a_training_that_is_handed_over_in_the_middle_ends_where_the_unbroken_ones_do(first, second, args, unbroken):
    (stopped,) = train(*args, "--engine", first, "--stop-after", EPOCHS // 2)
    assert "stopped" == stopped.read_record().status
    (run,) = train("--resume", stopped.directory, "--engine", second)
    for other in unbroken.values():
        assert max(largest_difference(run, other)) < ROUNDING
        np.testing.assert_array_equal(predicted(other), predicted(run))
    started = [(start.engine, start.after_epoch) for start in run.read_record().engines]
    assert (first, [(first, 0), (second, EPOCHS // 2)]) == (run.read_record().engine, started)
    assert list(range(1, EPOCHS + 1)) == [epoch["epoch"] for epoch in read_events(run.events_path, "epoch")]
    assert [] == read_events(run.events_path, "forced")
    run.verify()
