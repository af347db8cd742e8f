"""Check a dataset for problems before training on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diptych.artifacts.store import atomic_write, write_json
from diptych.data import sources
from diptych.data.check.checks import check
from diptych.data.check.findings import KINDS, SEVERITIES, Finding
from diptych.data.check.measure import load
from diptych.data.check.quarantine import Move, check_quarantine
from diptych.data.check.quarantine import quarantine as move_files
from diptych.data.images import Progress
from diptych.data.readers import Listing
from diptych.data.readers.folder import survey_folder
from diptych.errors import DataError
from diptych.options import SourceOptions, accepts, split_options
from diptych.reports import page


@dataclass(frozen=True)
class Report:
    """The result of a check."""

    data: str
    num_images: dict[str, int]
    """By split."""
    num_classes: int
    findings: tuple[Finding, ...]
    """In the order of `findings.KINDS`."""
    moved: tuple[Move, ...]
    """Files moved to the quarantine."""
    directory: Path
    """Folder of `report.html` and `findings.json`."""

    @property
    def report_path(self) -> Path:
        """`report.html`, a self-contained page."""
        return self.directory / "report.html"

    @property
    def json_path(self) -> Path:
        """`findings.json`."""
        return self.directory / "findings.json"

    def count(self, severity: str) -> int:
        """Number of findings of a severity: error, warning or note."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The content of `findings.json`."""
        counts = Counter(finding.kind for finding in self.findings)
        kinds = [
            {"kind": kind.key, "severity": kind.severity, "title": kind.title, "meaning": kind.meaning, "count": count}
            for kind, count in ((kind, counts[kind.key]) for kind in KINDS.values())
            if count
        ]
        return {
            "data": self.data,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "num_images": self.num_images,
            "num_classes": self.num_classes,
            "counts": {severity: self.count(severity) for severity in SEVERITIES},
            "kinds": kinds,
            "findings": [finding.to_json() for finding in self.findings],
            "moved": [move.to_json() for move in self.moved],
            "report": str(self.report_path),
        }


@accepts(SourceOptions)
def check_data(
    data: str | Path,
    *,
    quarantine: str | Path | None = None,
    out: str | Path | None = None,
    progress: Progress = lambda doing, done, total: None,
    **options: Any,
) -> Report:
    """Find problems in a dataset: broken files, duplicates and leaks, class imbalance, outliers.

    Decodes every image once; changes nothing unless `quarantine` is set. Kinds, severities and thresholds are in
    docs/data.md.

    Args:
        data: dataset name or path, as for `train`.
        quarantine: folder to move files to that cannot be decoded, with a list of their original places.
        out: folder for the report (default: `runs/check-…`).
        progress: called with the current activity, the number of images done and their total.
        options: fields of `SourceOptions`.

    Raises:
        UsageError: there is no such data, or files cannot be moved out of it.
        DataError: the data cannot be listed, or a file cannot be moved.
    """
    (reading,), _ = split_options("check_data", options, SourceOptions)
    source = sources.find(
        str(data),
        data_dir=Path(reading.data_dir) if reading.data_dir else None,
        root=Path(reading.root) if reading.root else None,
        pixel_shape=reading.pixel_shape,
        list_classes=survey_folder,
        progress=progress,
    )
    listing = source.listing
    if quarantine is not None:
        check_quarantine(listing, str(data), Path(quarantine))
    findings = check(listing, progress)
    pictures = _pictures(listing, page.shown_places(findings))
    report = Report(
        data=source.name,
        num_images={name: len(split) for name, split in listing.splits.items()},
        num_classes=len(listing.class_names),
        findings=findings,
        moved=() if quarantine is None else tuple(move_files(listing, findings, Path(quarantine))),
        directory=Path(out) if out else Path("runs") / f"check-{source.name}",
    )
    content = report.to_json()
    write_json(report.json_path, content)
    with atomic_write(report.report_path) as file:
        file.write(page.render_check(content, pictures).encode())
    return report


def _pictures(listing: Listing, indices: Iterable[int]) -> dict[int, page.Picture]:
    """Pictures of the images at some indices that can be decoded."""
    pictures = {}
    for index in indices:
        with suppress(DataError):  # the finding says so
            pictures[index] = page.picture(load(listing, index))
    return pictures
