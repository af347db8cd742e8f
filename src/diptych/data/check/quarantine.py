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
from diptych.data.check.findings import UNUSABLE, Finding
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


def check_quarantine(listing: Listing, data: str, folder: Path) -> None:
    """Check that a quarantine can move files out of the data."""
    root, path = _root(listing), Path(data).expanduser()
    if root is None or not (path.is_dir() or path.suffix.lower() in (".csv", ".tsv")):
        raise UsageError(f"--quarantine requires a folder or a CSV of paths, got {data!r}: fix its files in place.")
    if folder.expanduser().resolve().is_relative_to(root.resolve()):
        raise UsageError(f"--quarantine {str(folder)!r} is inside the data, {str(root)!r}: choose a folder outside it.")


def quarantine(listing: Listing, findings: Sequence[Finding], folder: Path) -> list[Move]:
    """Move the files that cannot be decoded to `folder`, with their paths below the data's root.

    `check_quarantine` accepts the listing. Folders that are named like images stay: what is inside them may be good.
    Returns the files moved now; the folder's `quarantine.json` lists all that ever were.

    Raises:
        DataError: a target exists (then nothing is moved), or a file cannot be moved.
    """
    root, folder = _root(listing), folder.expanduser().absolute()
    assert root is not None  # `check_quarantine` accepts the listing
    moves = []
    for finding in findings:
        if finding.kind in UNUSABLE:
            path = (root / finding.samples[0].name).absolute()
            if path.is_symlink() or path.is_file():
                moves.append(Move(path, folder / finding.samples[0].name, finding.kind, finding.reason))
    for move in moves:
        _check_free(move.target)
    if moves:
        known = read_json(folder / LIST)["files"] if (folder / LIST).exists() else []
        entries = {entry["to"]: entry for entry in (*known, *(move.to_json() for move in moves))}
        write_json(folder / LIST, {"files": list(entries.values())})
    for move in moves:
        _check_free(move.target)
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
    return moves


def _root(listing: Listing) -> Path | None:
    """Return the one folder that all images are files below, if there is one."""
    roots = {split.images.root if isinstance(split.images, Files) else None for split in listing.splits.values()}
    return roots.pop() if len(roots) == 1 else None


def _check_free(target: Path) -> None:
    if os.path.lexists(target):
        raise DataError(f"{str(target)!r} exists and is not overwritten: name another folder.")
