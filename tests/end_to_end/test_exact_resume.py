"""A training that is killed, again and again, ends bit for bit as if nothing had happened, in both engines."""

import random
from functools import cache

import pytest
from killing import Moment, assert_same_to_the_last_bit, finish, killed, terminated

from diptych.artifacts.events import read_events
from diptych.spec import Recipe, zoo
from diptych.training import checkpoint, provenance
from diptych.training.process import Settings

# Dropout, batch norm, averaged and best weights, a plateau schedule: all that a state could forget.
RECIPE = Recipe(
    epochs=8,
    batch_size=128,
    precision="float32",
    average_decay=0.9,
    keep_best=True,
    schedule="plateau",
    plateau_patience=1,
    mixup=0.2,
)
STEPS = 3
# The kinds of moments that must be there, whatever chance draws.
FIXED = [
    Moment("step", 1),
    Moment("synced", 2),
    Moment("validated", 1),
    Moment("moved", 3),
    Moment("step", 7),
]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A function that makes a run which no process has trained yet."""
    source = provenance.Source("digits")
    dataset = source.load()
    spec = zoo.model("cnn", dataset.image_shape, dataset.num_classes, (0.5,), (0.5,))

    def begin(engine, **settings):
        settings = {"checkpoint_steps": STEPS, **settings}
        return provenance.create(
            tmp_path_factory.mktemp("runs"), "run", source, dataset, spec, RECIPE, 0, engine, **settings
        )

    return begin


@pytest.fixture(scope="module")
def unbroken(begun):
    """A function that gives the run of an engine that nothing interrupted."""

    @cache
    def train(engine):
        run = begun(engine)
        finish(run, Settings(engine, 1))
        return run

    return train


def moments(number, seed):
    """Moments of every kind: those that must be there, and random ones."""
    chance = random.Random(seed)
    kinds = {
        "step": lambda: chance.randint(2, 9),
        "validated": lambda: 1,
        "synced": lambda: chance.randint(1, 12),
        "renamed": lambda: chance.randint(1, 5),
        "moved": lambda: chance.randint(1, 5),
        "delay": lambda: round(chance.uniform(0.0, 0.5), 3),
    }
    drawn = [Moment(kind, kinds[kind]()) for kind in chance.choices(list(kinds), k=number - len(FIXED))]
    return [*FIXED, *drawn]


def check(run, expected, engine, planned):
    """Kill a run at each moment, end it, and compare it with one that nothing interrupted."""
    num_kills = sum(killed(run, Settings(engine, 1, workers=place % 3), moment) for place, moment in enumerate(planned))
    assert len(planned) == num_kills, planned
    finish(run, Settings(engine, 1))
    num_arrays = assert_same_to_the_last_bit(expected, run)
    assert "finished" == run.read_record().status
    starts = read_events(run.events_path, "resume")
    print(
        f"\n{engine}: {num_kills} kills, {len(starts)} resumes, {len(checkpoint.load(run).epochs)} epochs; "
        f"{num_arrays} arrays, metrics and log equal to the last bit"
    )


@pytest.mark.slow
def test_killed_five_times_it_ends_as_if_nothing_had_happened(begun, unbroken, engine_name):
    check(begun(engine_name), unbroken(engine_name), engine_name, FIXED)


@pytest.mark.long
def test_killed_twenty_times_it_ends_as_if_nothing_had_happened(begun, unbroken, engine_name):
    planned = moments(19, seed=engine_name)
    check(begun(engine_name), unbroken(engine_name), engine_name, [*planned, Moment("evaluated", 1)])


@pytest.mark.slow
@pytest.mark.parametrize("moment", [Moment("step", 5), Moment("delay", 0.05), Moment("validated", 1)], ids=str)
def test_sigterm_ends_a_training_within_one_call_and_one_save(begun, unbroken, engine_name, moment):
    run = begun(engine_name, checkpoint_steps=None)
    stop = terminated(run, Settings(engine_name, 1), moment)
    state = checkpoint.load(run)
    num_steps = int(state.optimizer["step"])
    print(
        f"\n{engine_name}, SIGTERM at {moment}: {stop.steps - stop.steps_before} steps taken after it, "
        f"{stop.seconds:.3f} s until the process ended, {num_steps} steps saved"
    )
    assert "stopped" == run.read_record().status
    # A call to the framework takes one step in PyTorch, and up to sixteen in TensorFlow; before a step, none is on.
    most = 0 if moment.place == "step" else {"torch": 1, "tensorflow": 16}[engine_name]
    assert stop.steps - stop.steps_before <= most
    assert stop.steps == num_steps == state.position + len(state.epochs) * 11
    assert stop.seconds < 10
    if moment.place == "step":
        finish(run, Settings(engine_name, 1))
        assert_same_to_the_last_bit(unbroken(engine_name), run)
