"""Output that several verbs share: JSON, tables and progress. Paths are never wrapped or styled."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from diptych.errors import DiptychError

if TYPE_CHECKING:
    from rich.table import Column


def print_json(content: Any) -> None:
    """Print one JSON document."""
    from diptych.artifacts.store import json_text  # imports NumPy, which lists do not need

    print(json_text(content, indent=2))


def print_table(titles: Sequence[str] | Sequence[Column], rows: Iterable[Sequence[str]], **settings: Any) -> None:
    """Print a table; `settings` are those of `rich.table.Table`."""
    from rich.console import Console
    from rich.table import Column, Table

    columns = (Column(title, overflow="fold") if isinstance(title, str) else title for title in titles)
    table = Table(*columns, **settings)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, emoji=False, highlight=False).print(table)


@contextmanager
def steps(quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Yield a function that prints a step to standard error, and again every 30 seconds; it does nothing if `quiet`."""
    if quiet:
        yield lambda step: None
        return
    from diptych.reports.progress import Lines

    with (
        os.fdopen(os.dup(2), "w", buffering=1) as terminal,  # open while `framework_silent` holds standard error back
        Lines(partial(print, file=terminal)) as lines,
    ):
        yield lines.step


@contextmanager
def framework_silent() -> Iterator[None]:
    """Hold back standard error, including that of compiled code; print it if an unexpected error is raised."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        unexpected = False
        try:
            yield
        except BaseException as error:
            unexpected = not isinstance(error, DiptychError)
            raise
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            if unexpected:
                held.seek(0)
                sys.stderr.write(held.read().decode(errors="replace"))
