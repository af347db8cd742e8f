"""Whether an unpacked folder still holds what was unpacked: one hidden file in it sums up all names and sizes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_NAME = ".diptych-unpacked"


def seal(folder: Path) -> None:
    """Write down what a folder holds; readers pass over the file, for its name begins with a dot."""
    (folder / _NAME).write_text(_digest(folder), encoding="ascii")


def is_as_sealed(folder: Path) -> bool:
    """Whether a folder is there, and holds the files that it held when it was sealed, of the same sizes."""
    try:
        return (folder / _NAME).read_bytes() == _digest(folder).encode()
    except OSError:
        return False


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    pending = [(str(root), "")]
    while pending:
        folder, prefix = pending.pop()
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                name = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, f"{name}/"))
                elif name != _NAME:
                    size = entry.stat(follow_symlinks=False).st_size
                    digest.update(f"{size} {name}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
