"""Move files that cannot be decoded out of the data.

`quarantine.json` records where each file came from, so that the move can be undone. It is written before the first file
moves: after an interruption, a file is either at its new place or still at its old one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from diptych.artifacts.store import read_json, write_json
from diptych.data.check import UNUSABLE, Finding
from diptych.data.readers import Files, Listing
from diptych.errors import DataError, UsageError

LIST = "quarantine.json"


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


def quarantine(root: Path, findings: Sequence[Finding], folder: Path) -> tuple[dict[str, str], ...]:
    """Move the files that cannot be decoded to `folder`, with their paths below `root`.

    Folders that are named like images stay: what is inside them may be good. Returns the entries of `quarantine.json`
    for the files moved now (from, to, kind, reason); the file lists all that ever were.

    Raises:
        DataError: a target exists (then nothing is moved), or a file cannot be moved.
    """
    root, folder = root.absolute(), folder.expanduser().absolute()
    unusable = {finding.samples[0].name: finding for finding in findings if finding.kind in UNUSABLE}
    moves = {
        folder / name: {"from": str(root / name), "to": str(folder / name), "kind": one.kind, "reason": one.reason}
        for name, one in unusable.items()
        if (root / name).is_symlink() or (root / name).is_file()
    }
    for target in moves:
        if os.path.lexists(target):
            raise DataError(f"{str(target)!r} exists and is not overwritten: name another folder.")
    if moves:
        known = read_json(folder / LIST)["files"] if (folder / LIST).exists() else []
        entries = {entry["to"]: entry for entry in (*known, *moves.values())}
        write_json(folder / LIST, {"files": list(entries.values())})
    for target, move in moves.items():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(move["from"], target)
        except OSError as error:
            if os.path.lexists(move["from"]):
                target.unlink(missing_ok=True)  # a part of a copy
            fault = f"{error.strerror or error}. {str(folder / LIST)!r} lists all planned moves"
            raise DataError(f"Cannot move {move['from']!r} to {str(target)!r}: {fault}.") from error
    return tuple(moves.values())
