"""Move files that cannot be decoded out of the data.

`quarantine.json` records where each file came from, so that the move can be undone. It is written before the first file
moves: after an interruption, a file is either at its new place or still at its old one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych.artifacts.store import read_json, write_json
from diptych.data.check import UNUSABLE, Finding
from diptych.data.readers import Files, Listing
from diptych.errors import DataError, UsageError

LIST = "quarantine.json"


@dataclass(frozen=True)
class Move:
    """A file that leaves the data."""

    source: Path
    target: Path
    kind: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """Return the entry of `quarantine.json`."""
        return {"from": str(self.source), "to": str(self.target), "kind": self.kind, "reason": self.reason}


def movable_root(listing: Listing, data: str, folder: Path) -> Path:
    """Return the folder of a dataset's files; raises UsageError if they cannot be moved from there to `folder`."""
    path, images = Path(data).expanduser(), [split.images for split in listing.splits.values()]
    roots = {one.root for one in images if isinstance(one, Files)}
    if len(roots) != 1 or not (path.is_dir() or path.suffix.lower() in (".csv", ".tsv")):
        raise UsageError(f"--quarantine requires a folder or a CSV of paths, got {data!r}: fix its files in place.")
    root = roots.pop()
    if folder.expanduser().resolve().is_relative_to(root.resolve()):
        raise UsageError(f"--quarantine {str(folder)!r} is inside the data, {str(root)!r}: choose a folder outside it.")
    return root


def quarantine(root: Path, findings: Sequence[Finding], folder: Path) -> tuple[Move, ...]:
    """Move the files that cannot be decoded to `folder`, with their paths below `root`.

    Folders that are named like images stay: what is inside them may be good. Returns the files moved now; the folder's
    `quarantine.json` lists all that ever were.

    Raises:
        DataError: a target exists (then nothing is moved), or a file cannot be moved.
    """
    root, folder = root.absolute(), folder.expanduser().absolute()
    names = {finding.samples[0].name: finding for finding in findings if finding.kind in UNUSABLE}
    moves = [Move(root / name, folder / name, finding.kind, finding.reason) for name, finding in names.items()]
    moves = [move for move in moves if move.source.is_symlink() or move.source.is_file()]
    for move in moves:
        if os.path.lexists(move.target):
            raise DataError(f"{str(move.target)!r} exists and is not overwritten: name another folder.")
    if moves:
        known = read_json(folder / LIST)["files"] if (folder / LIST).exists() else []
        entries = {entry["to"]: entry for entry in (*known, *(move.to_json() for move in moves))}
        write_json(folder / LIST, {"files": list(entries.values())})
    for move in moves:
        try:
            move.target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(move.source, move.target)
        except OSError as error:
            if os.path.lexists(move.source):
                move.target.unlink(missing_ok=True)  # a part of a copy
            raise DataError(
                f"Cannot move {str(move.source)!r} to {str(move.target)!r}: {error.strerror or error}. "
                f"{str(folder / LIST)!r} lists all planned moves."
            ) from error
    return tuple(moves)
