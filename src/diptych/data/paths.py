"""Paths from users, and paths found in data, which must stay inside the folder they are relative to."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

from diptych.errors import DataError, ImageError, UsageError
from diptych.files import expanded, regular

_MAX_BYTES = 2**30
_DRIVE = re.compile(r"(^|/)[A-Za-z]:")
_PARENT = re.compile(r"(^|/)\.\.(/|$)")


def user_path(path: str | Path, what: str) -> Path:
    """Return a path from a user, absolute, with `~` expanded; raises UsageError, which calls it `what`, if unusable.

    It need not exist. Links are kept: their names and locations are part of what the user asked for.
    """
    absolute = expanded(path, what).absolute()
    if ".." in absolute.parts:  # `..` leads to the parent of a link's target
        absolute = absolute.resolve() if absolute.name == ".." else absolute.parent.resolve() / absolute.name
    as_text(str(absolute), str(absolute))
    return absolute


def folder_named_by(variable: str) -> Path:
    """Return the folder that an environment variable names, DIPTYCH_DATA or DIPTYCH_CACHE, or `~/.cache/diptych`."""
    if setting := os.environ.get(variable):
        return user_path(setting, variable)
    with suppress(RuntimeError):
        return Path("~/.cache/diptych").expanduser()
    raise UsageError(f"There is no home folder: set {variable} to a folder.")


def contained(root: Path, name: str) -> Path:
    """Return the path of `name` inside a folder, which may itself be reached through links; it need not exist.

    Raises DataError if the name is empty or absolute, contains `..`, a backslash, a drive letter or a NUL, or passes
    through a link that leads outside the folder.
    """
    fault = escape(name)
    # Without links, a name without `..` stays inside. (A Path for each part would take most of the time.)
    links = map(os.path.islink, accumulate([str(root), *name.split("/")], "{}/{}".format))
    if not fault and any(links) and not Path(os.path.realpath(root / name)).is_relative_to(os.path.realpath(root)):
        fault = "passes through a link that leads outside the folder"
    if fault:
        raise DataError(
            f"The path {name!r:.200} {fault}: expected a relative path inside {str(root)!r}, with '/' as separator."
        )
    return root / name


def as_text(path: str, name: str) -> str:
    """Return `name` if it can be written as UTF-8 to a record or list, or raise DataError, which names `path`."""
    if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise DataError(f"The name of '{shown:.200}' is not UTF-8: rename it.")
    return name


def escape(name: str) -> str | None:
    """Return how a name could lead outside the folder it is joined to, on any system, or None."""
    faults = {
        "contains a NUL": "\0" in name,
        "contains a backslash": "\\" in name,
        "is absolute": name.startswith("/"),
        "has a drive letter": _DRIVE.search(name),
        "contains '..'": _PARENT.search(name),
        "is empty": set(name.split("/")) <= {"", "."},
    }
    return next((text for text, applies in faults.items() if applies), None)


def read_file(path: Path) -> bytes:
    """Read a file of up to 1 GiB; raises ImageError for others, such as a pipe or device, on which it never blocks."""
    try:
        with open(path, "rb", opener=regular) as file:
            status = os.fstat(file.fileno())
            if status.st_size > _MAX_BYTES:
                message = f"it has {status.st_size:,} bytes; the limit is {_MAX_BYTES:,}"
                raise ImageError(f"Cannot read {str(path)!r}: {message}.", "too-large")
            return file.read()
    except OSError as error:
        raise ImageError(f"Cannot read {str(path)!r}: {error.strerror}.", "unreadable") from error
