"""Paths and files that a user names: a path that cannot be used is an error, and a pipe or device is never read."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from diptych.errors import UsageError


def expanded(path: str | os.PathLike[str], what: str = "the path") -> Path:
    """Return a path with `~` expanded; it need not exist.

    Raises UsageError, which calls the path `what`, if it is empty or cannot be looked up.
    """
    if not (text := os.fspath(path)):
        raise UsageError(f"{what} is empty; expected a path.")
    try:
        found = Path(text).expanduser()
        str(found).encode()
        with suppress(FileNotFoundError, NotADirectoryError):
            found.stat()
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        reason = "its name is not UTF-8" if isinstance(error, UnicodeError) else reason
        raise UsageError(f"Cannot use {what} {text!r:.100}: {reason}. Expected a readable path.") from error
    return found


def regular(path: str, flags: int) -> int:
    """Open a file without blocking, as the `opener` of `open`; raises OSError for a pipe or device."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # `open` raises an error for a folder
        return descriptor
    os.close(descriptor)
    raise OSError(None, "it is not a regular file")


def read_regular(path: Path) -> bytes:
    """Read a regular file; raises OSError, also for a pipe or device, which might never end."""
    with open(path, "rb", opener=regular) as file:
        return file.read()
