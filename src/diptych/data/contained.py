"""Paths that come out of data, which must stay below the folder that they are read from."""

import os
import re
from pathlib import Path

from diptych.errors import DataError

_DRIVE = re.compile(r"(^|/)[A-Za-z]:")
_CLIMB = re.compile(r"(^|/)\.\.(/|$)")


def contained(root: Path, name: str) -> Path:
    """Return the path of `name` below a folder; nothing has to be there.

    Args:
        root: the folder, which may itself be reached through links.
        name: a relative path, its parts divided by `/`.

    Raises:
        DataError: the name is empty, absolute, climbs (`..`), has a backslash, a drive letter or a NUL in it, or
            passes through a link that leads out of the folder.
    """
    fault = escape(name)
    if not fault and _leads_out(root, name):
        fault = "passes through a link that leads out of it"
    if fault:
        raise DataError(
            f"The path {name!r:.200} {fault}: wanted one below {str(root)!r}, relative, with '/' between its parts."
        )
    return root / name


def as_text(path: str, name: str) -> str:
    """Return `name`, which can be written down, into a run's record or a list.

    Raises:
        DataError: it is not UTF-8; the error names `path`.
    """
    if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise DataError(f"The name of '{shown:.200}' is not UTF-8: rename it.")
    return name


def escape(name: str) -> str | None:
    """Say how a name could lead out of the folder that it is joined to, on this system or on another."""
    faults = {
        "has a NUL in it": "\0" in name,
        "has a backslash in it": "\\" in name,
        "is absolute": name.startswith("/"),
        "has a drive letter": _DRIVE.search(name),
        "climbs ('..')": _CLIMB.search(name),
        "names nothing": set(name.split("/")) <= {"", "."},
    }
    return next((words for words, holds in faults.items() if holds), None)


def _leads_out(root: Path, name: str) -> bool:
    """Whether a link below `root` leads out of it; without links there, a name that does not climb stays inside."""
    path = str(root)
    for part in name.split("/"):
        path = f"{path}/{part}"
        if os.path.islink(path):  # noqa: PTH114  (a Path for each part would take most of the time)
            return not Path(os.path.realpath(root / name)).is_relative_to(os.path.realpath(root))
    return False
