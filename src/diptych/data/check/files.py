"""Files that hold no image, or another than they say; and the way out of the data for them.

A quarantine moves files and can be undone: `quarantine.json` says where each came from. It is written before the first
file is moved, so that a stop on the way loses none; a file that is not where it went is where it was.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych.artifacts.store import read_json, write_json
from diptych.data.check.findings import UNUSABLE, Finding
from diptych.data.check.measure import Measures
from diptych.data.check.subject import Subject
from diptych.data.readers import Files
from diptych.errors import DataError, UsageError

LIST = "quarantine.json"


def unusable(subject: Subject, found: Measures) -> Iterator[Finding]:
    """Yield the files that cannot be decoded, and those whose names say another format than they hold."""
    for place, (kind, reason) in sorted(found.faults.items()):
        yield subject.finding(kind, reason.rstrip("."), place)
    for place, reason in sorted(found.mislabelled.items()):
        yield subject.finding("mislabelled", reason, place)


@dataclass(frozen=True)
class Move:
    """A file on its way out of the data: where it is, where it goes, why."""

    source: Path
    target: Path
    kind: str
    reason: str

    def to_json(self) -> dict[str, str]:
        """As the list has it."""
        return {"from": str(self.source), "to": str(self.target), "kind": self.kind, "reason": self.reason}


def check_quarantine(subject: Subject, data: str, folder: Path) -> None:
    """Refuse a quarantine that would take files out of what is no folder of files, or put them back into it.

    Raises:
        UsageError: the data are not files in folders of the user's own, or the quarantine is inside of them.
    """
    root, own = _root(subject), Path(data).expanduser()
    if root is None or not (own.is_dir() or own.suffix.lower() in (".csv", ".tsv")):
        raise UsageError(f"--quarantine moves files out of a folder; {data!r} is none: mend its files where they are.")
    if folder.expanduser().resolve().is_relative_to(root.resolve()):
        raise UsageError(f"--quarantine {str(folder)!r} is inside the data, {str(root)!r}: name a folder outside.")


def quarantine(subject: Subject, findings: Sequence[Finding], folder: Path) -> list[Move]:
    """Move the files that cannot be decoded to `folder`, where their paths below the data's root stay what they are.

    Folders that are named like images stay: what is inside of them may be good.

    Args:
        subject: what was checked, as `check_quarantine` lets it pass.
        findings: what was found.
        folder: where to; made when missing.

    Returns:
        What was moved; all that this folder ever took is in its `quarantine.json`.

    Raises:
        DataError: something of that name is in the quarantine already (then nothing is moved), or a file cannot be
            moved.
    """
    folder = folder.expanduser().absolute()
    moves = [
        Move(path, folder / name, finding.kind, finding.reason)
        for finding in findings
        if finding.kind in UNUSABLE
        for path, name in [_path(subject, finding.samples[0].place)]
        if path.is_symlink() or path.is_file()
    ]
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
            _move(move.source, move.target)
        except OSError as error:
            raise DataError(
                f"Cannot move {str(move.source)!r} to {str(move.target)!r}: {error.strerror or error}. "
                f"{str(folder / LIST)!r} lists what was to be moved."
            ) from error
    return moves


def _root(subject: Subject) -> Path | None:
    """The one folder that all files are below, if all images are files."""
    roots = {split.images.root if isinstance(split.images, Files) else None for split in subject.splits}
    return roots.pop() if len(roots) == 1 else None


def _path(subject: Subject, place: int) -> tuple[Path, str]:
    """Where an image's file is, and its path below the root."""
    split, within = subject.find(place)
    assert isinstance(split.images, Files)  # `check_quarantine` has seen to it
    name = str(split.images.names[within])
    return (split.images.root / name).absolute(), name


def _check_free(target: Path) -> None:
    if os.path.lexists(target):
        raise DataError(f"{str(target)!r} is there already: nothing is overwritten; name another folder.")


def _move(source: Path, target: Path) -> None:
    """Move a file or a link to a place where nothing is, on any file system."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        return
    if source.is_symlink():
        target.symlink_to(source.readlink())
    else:
        _copy(source, target)
    source.unlink()


def _copy(source: Path, target: Path) -> None:
    try:
        with source.open("rb") as read, target.open("xb") as written:
            shutil.copyfileobj(read, written)
            written.flush()
            os.fsync(written.fileno())
        shutil.copystat(source, target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
