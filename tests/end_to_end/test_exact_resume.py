"""A training that is killed, again and again, ends bit for bit as if nothing had happened, in both engines."""

import random
from functools import cache

import pytest
from commands import train
from killing import Moment, assert_same_to_the_last_bit, killed, terminated

from diptych.artifacts.record import CheckpointOptions
from diptych.spec import Recipe, zoo
from diptych.training import checkpoint, provenance
from diptych.training.process import Settings

# Dropout, batch norm, averaged and best weights, a plateau schedule: all that a state could forget.
LEARNING = {"schedule": "plateau", "plateau_patience": 1, "average_decay": 0.9, "keep_best": True, "mixup": 0.2}
RECIPE = Recipe(epochs=12, batch_size=128, precision="float32", **LEARNING)
STEPS = 3
# Moments that are always tested: what TensorFlow could forget, then what no framework has a part in.
OF_BOTH = [Moment("validated", 1), Moment("step", 7)]
FIXED = [Moment("step", 1), Moment("synced", 2), *OF_BOTH, Moment("renamed", 3)]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A function that creates an untrained run."""
    source = provenance.DataSource("digits")
    dataset = source.load()
    spec = zoo.model("cnn", dataset.image_shape, dataset.num_classes, (0.5,), (0.5,))

    def begin(engine, steps=STEPS):
        made = tmp_path_factory.mktemp("runs"), "run", source, dataset, spec, RECIPE, engine
        return provenance.create(*made, checkpoints=CheckpointOptions(steps))

    return begin


@pytest.fixture(scope="module")
def unbroken(begun):
    """A function that returns an engine's uninterrupted run."""

    return cache(lambda engine: train("--resume", begun(engine).directory)[0])


def check(run, expected, engine, planned):
    """Kill a run at each moment, end it, and compare it with one that nothing interrupted."""
    num_kills = sum(killed(run, Settings(engine, 1, workers=place % 3), moment) for place, moment in enumerate(planned))
    assert len(planned) == num_kills, planned
    train("--resume", run.directory)
    assert_same_to_the_last_bit(expected, run)
    assert "finished" == run.read_record().status


def test_a_training_killed_again_and_again_ends_bit_for_bit_the_same(begun, unbroken, engine_name):
    check(begun(engine_name), unbroken(engine_name), engine_name, FIXED if engine_name == "torch" else OF_BOTH)


@pytest.mark.long
def test_a_training_killed_twenty_times_ends_bit_for_bit_the_same(begun, unbroken, engine_name):
    chance = random.Random(engine_name)
    last = {"step": 6, "validated": 1, "synced": 8, "renamed": 3}  # so that the epochs last for every kill
    drawn = [Moment(kind, chance.randint(1, last[kind])) for kind in chance.choices([*last], k=18 - len(FIXED))]
    planned = [Moment("delay", 0.02), *FIXED, *drawn, Moment("evaluated", 1)]
    check(begun(engine_name), unbroken(engine_name), engine_name, planned)


@pytest.mark.parametrize(
    ("engine", "moment"),
    [("torch", Moment("step", 5)), ("torch", Moment("validated", 1)), ("tensorflow", Moment("delay", 0.05))],
    ids=str,
)
def test_sigterm_ends_a_training_within_one_call_and_one_save(begun, unbroken, engine, moment):
    run = begun(engine, steps=None)
    before = terminated(run, Settings(engine, 1), moment)
    state = checkpoint.load(run)
    assert "stopped" == run.read_record().status
    # A call to the framework takes one step in PyTorch, and up to sixteen in TensorFlow; before a step, none is on.
    most = 0 if moment.place == "step" else {"torch": 1, "tensorflow": 16}[engine]
    saved = int(state.optimizer["step"])
    assert before <= saved <= before + most
    assert saved == state.totals.steps + len(state.epochs) * 11
    if moment.place != "validated":
        train("--resume", run.directory)
        assert_same_to_the_last_bit(unbroken(engine), run)
