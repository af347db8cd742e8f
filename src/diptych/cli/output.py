"""Output that several verbs share: JSON, tables and progress. Paths are never wrapped or styled."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from diptych.errors import DiptychError, UsageError

if TYPE_CHECKING:
    from rich.table import Column

NARROWEST, WIDEST = 40, 400
"""Columns of a layout: help texts in fewer never end, tables in many more fill the memory with spaces."""
_ASCII = "× x,± +/-,− -,– -,— -,→ ->,← <-,… ...,· *,‖ ||,√ sqrt,₁ 1,₂ 2,² ^2,ε eps,β beta,µ u,≤ <=,≥ >=,✓ yes,✗ no"
ASCII = str.maketrans(dict(pair.split() for pair in _ASCII.split(",")))


class _Optional(io.TextIOWrapper):
    """Standard error: progress that cannot be written, as on a full disk, is no reason to stop."""

    def __init__(self, descriptor: int, *, closefd: bool = True) -> None:
        encoding = getattr(sys.stderr, "encoding", "utf-8")
        super().__init__(open(descriptor, "wb", 0, closefd=closefd), encoding, "diptych", write_through=True)  # noqa: SIM115

    def write(self, text: str) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)


def own_streams() -> None:
    """Open closed streams of this process, and spell what their encodings lack; raises UsageError without an output."""
    while (free := os.open(os.devnull, os.O_RDWR)) < 3:  # else the next file that is opened would be a stream
        pass
    os.close(free)
    sys.stderr = _Optional(2, closefd=False)
    if sys.stdout is None:
        raise UsageError("Standard output is closed: send it to a file, or to /dev/null.")
    sys.stdout.reconfigure(errors="diptych")  # type: ignore[union-attr]


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks by ASCII; an error handler of `codecs`."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(ASCII)
    return text.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error("diptych", _spelled)


def print_json(content: Any) -> None:
    """Print one JSON document."""
    from diptych.artifacts.store import json_text  # imports NumPy, which lists do not need

    text = json_text(content, indent=2)
    in_utf8 = (getattr(sys.stdout, "encoding", None) or "utf-8").startswith("utf")
    print(text if in_utf8 else json.dumps(json.loads(text), indent=2))


def print_table(titles: Sequence[str] | Sequence[Column], rows: Iterable[Sequence[str]], **settings: Any) -> None:
    """Print a table; `settings` are those of `rich.table.Table`."""
    from rich.console import Console
    from rich.table import Column, Table

    console = Console(markup=False, emoji=False, highlight=False)
    console.width = sorted((NARROWEST, console.width, WIDEST))[1]
    columns = (Column(title, overflow="fold") if isinstance(title, str) else title for title in titles)
    table = Table(*columns, **settings)
    for row in rows:  # translated before columns are measured
        table.add_row(*(row if console.encoding.startswith("utf") else (cell.translate(ASCII) for cell in row)))
    console.print(table)


@contextmanager
def steps(quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Yield a function that prints a step to standard error, and again every 30 seconds; it does nothing if `quiet`."""
    if quiet:
        yield lambda step: None
        return
    from diptych.reports.progress import Lines

    # The copy stays open while `framework_silent` holds standard error back.
    with _Optional(os.dup(2)) as terminal, Lines(partial(print, file=terminal)) as lines:
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
