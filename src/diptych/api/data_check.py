"""Check a dataset for problems before training on it, and move files that cannot be decoded out of it."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diptych.artifacts.store import atomic_write, read_json, write_json
from diptych.data import sources
from diptych.data.archives import Progress, quiet
from diptych.data.check import load
from diptych.data.check.checks import check
from diptych.data.readers import Files, Listing, objects
from diptych.data.rules import KINDS, SEVERITIES, Finding
from diptych.errors import DataError, ImageError, UsageError
from diptych.files import expanded
from diptych.options import SourceOptions, accepts, split_options
from diptych.reports import page

LIST = "quarantine.json"


@dataclass(frozen=True)
class Report:
    """The result of a check."""

    data: str
    num_images: dict[str, int]
    """By split."""
    num_classes: int
    findings: tuple[Finding, ...]
    """In the order of `KINDS`."""
    moved: tuple[dict[str, str], ...]
    """Files moved to the quarantine: the entries of its `quarantine.json`."""
    directory: Path
    """Folder of `report.html` and `findings.json`."""
    inferred: tuple[str, ...] = ()
    """What the reader decided by itself; training says it, too."""

    @property
    def report_path(self) -> Path:
        """`report.html`, a self-contained page."""
        return self.directory / "report.html"

    def count(self, severity: str) -> int:
        """Number of findings of a severity: error, warning or note."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The content of `findings.json`."""
        counts = Counter(finding.kind for finding in self.findings)
        return {
            "data": self.data,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "num_images": self.num_images,
            "num_classes": self.num_classes,
            "inferred": self.inferred,
            "counts": {severity: self.count(severity) for severity in SEVERITIES},
            "kinds": [{"kind": kind, **vars(KINDS[kind]), "count": count} for kind, count in counts.items()],
            "findings": [finding.to_json() for finding in self.findings],
            "moved": self.moved,
            "report": str(self.report_path),
        }


@accepts(SourceOptions)
def check_data(
    data: Any,
    *,
    quarantine: str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress = quiet,
    **options: Any,
) -> Report:
    """Check a dataset for damaged files, duplicates, leakage, class imbalance and outliers.

    Decodes every image once; changes nothing unless `quarantine` is set. Kinds, severities and thresholds are in
    docs/data.md.

    Args:
        data: dataset name, path or Python object, as for `train`.
        quarantine: folder to move files to that cannot be decoded, with a list of their original paths.
        out: folder for the report (default: `runs/check-…`).
        progress: called with the current activity, the number of images done and their total.
        options: fields of `SourceOptions`.

    Raises:
        UsageError: there is no such data, or files cannot be moved out of it.
        DataError: the data cannot be listed, or a file cannot be moved.
    """
    (reading,), _ = split_options("check_data", options, SourceOptions)
    data, root = objects.stored(data, reading.root, progress=progress)
    options = {**vars(reading), "root": root}
    source = sources.find(data, progress=progress, **options)
    listing = source.listing
    movable = None if quarantine is None else _movable_root(listing, data, Path(quarantine))
    findings = check(listing, progress)
    shown = page.shown_places([finding for finding in findings if finding.kind not in ImageError.KINDS])
    pictures = {place: page.picture(load(listing, place)) for place in shown}
    report = Report(
        data=source.name,
        num_images={name: len(split) for name, split in listing.splits.items()},
        num_classes=len(listing.class_names),
        findings=findings,
        inferred=listing.inferred,
        moved=_move(movable, findings, Path(quarantine)) if movable and quarantine is not None else (),
        directory=Path(out) if out else Path("runs") / f"check-{source.name}",
    )
    content = report.to_json()
    write_json(report.directory / "findings.json", content)
    with atomic_write(report.report_path) as file:
        file.write(page.render_check(content, pictures).encode())
    return report


def _movable_root(listing: Listing, data: str, folder: Path) -> Path:
    """Return the folder of a dataset's files; raises UsageError if they cannot be moved from there to `folder`."""
    path, images = expanded(data), [split.images for split in listing.splits.values()]
    roots = {one.root for one in images if isinstance(one, Files)}
    if len(roots) != 1 or not (path.is_dir() or path.suffix.lower() in (".csv", ".tsv")):
        raise UsageError(f"--quarantine requires a folder or a CSV of paths, got {data!r}; fix its files in place.")
    root = roots.pop()
    if expanded(folder).resolve().is_relative_to(root.resolve()):
        raise UsageError(f"--quarantine {str(folder)!r} is inside the data, {str(root)!r}: choose a folder outside it.")
    return root


def _move(root: Path, findings: Sequence[Finding], folder: Path) -> tuple[dict[str, str], ...]:
    """Move the files, not folders, that cannot be decoded to `folder`, after writing their list; return its entries."""
    root, folder = root.absolute(), expanded(folder).absolute()
    unusable = {finding.samples[0].name: finding for finding in findings if finding.kind in ImageError.KINDS}
    moves = {
        folder / name: {"from": str(root / name), "to": str(folder / name), "kind": one.kind, "reason": one.reason}
        for name, one in unusable.items()
        if (root / name).is_symlink() or (root / name).is_file()
    }
    _check_free(*moves)
    if moves:
        known = read_json(folder / LIST)["files"] if (folder / LIST).exists() else []
        entries = {entry["to"]: entry for entry in (*known, *moves.values())}
        write_json(folder / LIST, {"files": list(entries.values())})
    for target, move in moves.items():
        _check_free(target)  # two names may be one where upper and lower case are the same
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(move["from"], target)
        except OSError as error:
            if os.path.lexists(move["from"]):
                target.unlink(missing_ok=True)  # a part of a copy
            fault = f"{error.strerror or error}. {str(folder / LIST)!r} lists all planned moves"
            raise DataError(f"Cannot move {move['from']!r} to {str(target)!r}: {fault}.") from error
    return tuple(moves.values())


def _check_free(*targets: Path) -> None:
    for target in targets:
        if os.path.lexists(target):
            raise DataError(f"{str(target)!r} already exists: choose another folder.")
