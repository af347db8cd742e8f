"""SIGTERM in the process that trains: a step and the checkpoint after it are finished, everything else ends at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(BaseException):
    """The training was told to stop; like KeyboardInterrupt, `except Exception` does not catch it."""


class Stopping:
    """Whether the training was told to stop, and whether it may be interrupted now."""

    def __init__(self) -> None:
        self.requested = False
        self._holds = False

    def listen(self) -> None:
        """Handle SIGTERM from now on."""
        signal.signal(signal.SIGTERM, lambda number, frame: self.request())

    def request(self) -> None:
        """Stop the training, at once or at the end of a `held` block; further requests change nothing.

        Raises:
            Stopped: outside a `held` block.
        """
        if not self.requested:
            self.requested = True
            if not self._holds:
                raise Stopped

    @contextmanager
    def held(self) -> Iterator[None]:
        """Finish the block before stopping.

        Raises:
            Stopped: after the block, if the training was told to stop.
        """
        self._holds = True
        try:
            yield
        finally:
            self._holds = False
        if self.requested:
            raise Stopped
