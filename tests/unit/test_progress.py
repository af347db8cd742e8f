"""Without a terminal, progress is a line an epoch and one for every 30 seconds without a line."""

import time

import pytest
from finished import epoch_of

from diptych.reports import progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set: `clock.now`."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    monkeypatch.setattr(progress.Lines, "_watch", lambda self: None)  # tests call `remind` themselves
    return Clock


def step(epoch, step, steps=100):
    return {"epoch": epoch, "step": step, "steps": steps, "images_per_second": 1234.5}


def test_every_epoch_is_a_line_with_loss_accuracy_speed_and_time_left(clock, capsys):
    with progress.Progress() as shown:
        shown.notify("start", {"engine": "torch", "epochs": 4})
        clock.now = 60.0  # compiling, which the time left leaves out
        shown.notify("step", step(1, 50))
        capsys.readouterr()
        clock.now = 65.0
        shown.notify("epoch", epoch_of(1))
        clock.now = 95.0
        shown.notify("epoch", {**epoch_of(4), "validation_loss": None, "validation_accuracy": None})
    assert capsys.readouterr().err.splitlines() == [
        "torch: epoch 1/4, validation loss 1.1000, accuracy 55.00%, 1,000 images/s, 0:30 left",
        "torch: epoch 4/4, training loss 0.2500, accuracy 75.00%, 4,000 images/s, done",
    ]


def test_between_epochs_a_line_is_printed_every_30_seconds(clock, capsys):
    with progress.Progress() as shown:
        for clock.now in range(100):
            shown.notify("data", {"doing": "Decoding", "done": clock.now, "total": 2000})
            shown.lines.remind()
        shown.notify("start", {"engine": "torch", "epochs": 2})
        for clock.now in range(100, 160):
            shown.notify("step", step(1, clock.now - 99))
            shown.lines.remind()
    assert capsys.readouterr().err.splitlines() == [
        "Decoding: 30/2,000 images (0:30 elapsed)",
        "Decoding: 60/2,000 images (1:00 elapsed)",
        "Decoding: 90/2,000 images (1:30 elapsed)",
        "torch: epoch 1/2, step 21/100, 1,234 images/s, 2:59 left (2:00 elapsed)",
        "torch: epoch 1/2, step 51/100, 1,234 images/s, 2:29 left (2:30 elapsed)",
    ]


def test_work_that_reports_nothing_prints_lines_too(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.03)
    with progress.Progress() as shown:
        shown.step("measuring torch")
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert "measuring torch ..." == lines[0]
    assert {"measuring torch (0:00 elapsed)"} == set(lines[1:])
