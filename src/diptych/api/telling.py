"""Whom to tell of what takes long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diptych.data import images
from diptych.reports.progress import Progress
from diptych.training.fit import Notify


def reading(tell: Notify) -> images.Progress:
    """What tells of images that are read, in the words of a training."""
    return lambda doing, done, total: tell("data", {"doing": doing, "done": done, "total": total})


@contextmanager
def told(notify: Notify | None) -> Iterator[Notify]:
    """Whom to tell of a training: `notify`, or a live display."""
    if notify:
        yield notify
        return
    with Progress() as progress:
        yield progress.notify
