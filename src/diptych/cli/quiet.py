"""Keeps what a framework prints while it starts off the terminal, unless it fails."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status

from diptych.errors import DiptychError


@contextmanager
def progress(words: str) -> Iterator[Status]:
    """A line on the terminal that tells what is going on, on a way of its own past `framework_silent`."""
    with os.fdopen(os.dup(2), "w") as terminal, Console(file=terminal).status(words) as status:
        yield status


@contextmanager
def framework_silent() -> Iterator[None]:
    """Hold back standard error, compiled code's too; it is shown when something unforeseen is raised."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        unforeseen = False
        try:
            yield
        except DiptychError:
            raise
        except BaseException:
            unforeseen = True
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            if unforeseen:
                said.seek(0)
                sys.stderr.write(said.read().decode(errors="replace"))
