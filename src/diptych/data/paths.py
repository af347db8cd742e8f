"""Paths as people give them, on the command line, in Python or in the environment."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from diptych.data.contained import as_text
from diptych.errors import DataError, UsageError

USUAL = "~/.cache/diptych"
"""Where data and what is kept of them lie, unless DIPTYCH_DATA or DIPTYCH_CACHE say otherwise."""


def user_path(told: str | Path, what: str) -> Path:
    """A path as somebody gives it, made absolute; there need not be anything.

    Links stay as they are: what they are called, and where, says what they are.

    Args:
        told: the path; `~` is a home.
        what: what to call it in an error.

    Raises:
        UsageError: it is empty, or the system will not look there: no such home, a name too long, a folder that may
            not be searched, links that go round.
    """
    if not str(told):
        raise UsageError(f"{what} is empty: wanted a path.")
    try:
        path = Path(told).expanduser().absolute()
        if ".." in path.parts:  # it goes up from where a link leads
            path = path.resolve() if path.name == ".." else path.parent.resolve() / path.name
        as_text(str(path), str(path))
        with suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise UsageError(f"Cannot use {what} {str(told)!r:.100}: {why}. Wanted a path that can be read.") from error
    except DataError as error:
        raise UsageError(f"Cannot use {what}. {error}") from error
    return path
