"""SIGTERM in the process that trains: a step and the checkpoint after it are finished first, all else ends at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

# The exit code of a process that ended because of SIGTERM.
TERMINATED = 128 + signal.SIGTERM


class Stopped(BaseException):
    """The training was told to end; like a KeyboardInterrupt, no mere `except Exception` holds it up."""


class Stopping:
    """Whether the training has been told to end, and whether it may just now be interrupted."""

    def __init__(self) -> None:
        self.requested = False
        self._holds = False

    def listen(self) -> None:
        """Take SIGTERM from now on; Ctrl-C and a closed terminal are left to whoever started this, and sends it."""
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, frame: self.request())

    def request(self) -> None:
        """End the training: at once, or at the end of what is held. Only the first request counts.

        Raises:
            Stopped: unless something is held.
        """
        if not self.requested:
            self.requested = True
            if not self._holds:
                raise Stopped

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is done in this block is done to its end.

        Raises:
            Stopped: after the block, where the training has been told to end.
        """
        self._holds = True
        try:
            yield
        finally:
            self._holds = False
        if self.requested:
            raise Stopped
