"""A state is saved every so many steps, or as often as it takes less than 2 % of the time."""

import numpy as np
import pytest
from finished import record_of

from diptych.artifacts.run import Run
from diptych.engines.contract import Totals
from diptych.training import checkpoint, schedule
from diptych.training.checkpoint import Checkpoint
from diptych.training.schedule import Saver


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path, "run", record_of())


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand; what the saver does takes no time unless `save_seconds` says so."""

    class Clock:
        now, save_seconds, save = 100.0, 0.0, staticmethod(checkpoint.save)

        def perf_counter(self):
            return self.now

        def save_slowly(self, *arguments):
            self.save(*arguments)
            self.now += self.save_seconds

    clock = Clock()
    monkeypatch.setattr(schedule, "time", clock)
    monkeypatch.setattr(checkpoint, "save", clock.save_slowly)
    return clock


def state(step):
    return Checkpoint({"weight": np.full(3, step)}, {"step": np.array(step)}, [], Totals(steps=step))


def test_a_number_of_steps_is_kept_to_exactly(run):
    saver = Saver(run, 7, 2)
    assert [7, 7, 14, 21] == [saver.next_stop(step) for step in (0, 6, 7, 20)]
    for step in (7, 14):
        assert saver.is_due()
        saver.save(state(step))
    assert not saver.is_overdue()
    assert 14 == checkpoint.load(run).totals.steps


def test_unless_given_a_save_waits_fifty_times_as_long_as_the_last_one_took(run, clock):
    saver, clock.save_seconds = Saver(run, None, 2), 0.25
    assert 500 == saver.next_stop(0)
    assert saver.is_due()  # how long one takes is not known yet
    saver.save(state(500))
    for step in range(1000, 5000, 500):
        start = clock.now
        while not saver.is_due():
            clock.now += 0.125
        saver.save(state(step))
        assert 0.25 / (clock.now - start) < 0.02


@pytest.mark.parametrize(("save_seconds", "pause"), [(0.0, 300), (10.0, 500)])
def test_unless_given_a_save_is_overdue_after_five_minutes_or_fifty_times_its_time(run, clock, save_seconds, pause):
    saver, clock.save_seconds = Saver(run, None, 2), save_seconds
    saver.save(state(1))
    clock.now += pause - 1
    assert not saver.is_overdue()
    clock.now += 1
    assert saver.is_overdue() and saver.is_due()


def test_a_state_is_saved_once(run):
    saver = Saver(run, None, 2)
    saver.save(state(3))
    (manifest,) = run.checkpoints_dir.glob("*/*.sha256")
    written = manifest.stat().st_mtime_ns
    saver.save(state(3))
    Saver(run, None, 2, checkpoint.load(run)).save(state(3))
    assert written == manifest.stat().st_mtime_ns
