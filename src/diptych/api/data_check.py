"""Check a dataset for problems before training on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diptych.artifacts.store import atomic_write, write_json
from diptych.data import sources
from diptych.data.check import KINDS, SEVERITIES, UNUSABLE, Finding
from diptych.data.check.checks import check
from diptych.data.check.measure import load
from diptych.data.check.quarantine import movable_root
from diptych.data.check.quarantine import quarantine as move_files
from diptych.data.images import Progress, quiet
from diptych.data.readers.folder import survey_folder
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
    """In the order of `KINDS`."""
    moved: tuple[dict[str, str], ...]
    """Files moved to the quarantine: the entries of its `quarantine.json`."""
    directory: Path
    """Folder of `report.html` and `findings.json`."""

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
            "counts": {severity: self.count(severity) for severity in SEVERITIES},
            "kinds": [{"kind": kind, **vars(KINDS[kind]), "count": count} for kind, count in counts.items()],
            "findings": [finding.to_json() for finding in self.findings],
            "moved": self.moved,
            "report": str(self.report_path),
        }


@accepts(SourceOptions)
def check_data(
    data: str | Path,
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
    root = None if quarantine is None else movable_root(listing, str(data), Path(quarantine))
    findings = check(listing, progress)
    shown = page.shown_places([finding for finding in findings if finding.kind not in UNUSABLE])
    pictures = {place: page.picture(load(listing, place)) for place in shown}
    report = Report(
        data=source.name,
        num_images={name: len(split) for name, split in listing.splits.items()},
        num_classes=len(listing.class_names),
        findings=findings,
        moved=move_files(root, findings, Path(quarantine)) if root and quarantine is not None else (),
        directory=Path(out) if out else Path("runs") / f"check-{source.name}",
    )
    content = report.to_json()
    write_json(report.directory / "findings.json", content)
    with atomic_write(report.report_path) as file:
        file.write(page.render_check(content, pictures).encode())
    return report
