"""`diptych data check`: what is wrong with a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from diptych.api import checks
from diptych.cli.arguments import MaybePath, parsed, print_json
from diptych.cli.settings import PixelShape, shape_of
from diptych.data.check.findings import KINDS
from diptych.errors import UsageError
from diptych.reports.check_page import headline
from diptych.reports.progress import Progress
from diptych.spec.typed import did_you_mean

ACTIONS = {"check": "find what is wrong with a dataset before anybody trains on it"}
HELP = f"""Look into data.

usage: diptych data ACTION ...

  check  {ACTIONS["check"]}

`diptych data check --help` says more.
"""
COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}
EXAMPLES = 3


@dataclass(frozen=True)
class Check:
    """Find what is wrong with a dataset: files, duplicates and leaks, classes, images unlike the others.

    Decodes every image once and changes nothing, unless --quarantine is given. Writes report.html, with pictures of
    what was found, and findings.json. Exits with 1 when there is an error, else with 0.
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """A dataset's name or a path, whatever a training takes."""
    quarantine: Annotated[MaybePath, tyro.conf.arg(metavar="DIR")] = None
    """Move files that cannot be decoded to this folder; its quarantine.json says where each came from."""
    strict: bool = False
    """Exit with 1 for warnings too."""
    out: MaybePath = None
    """Folder for the report; runs/check-NAME unless given."""
    data_dir: MaybePath = None
    """Where named datasets are kept; DIPTYCH_DATA or ~/.cache/diptych unless given."""
    root: MaybePath = None
    """What the paths in a table are relative to; the table's own folder unless given."""
    pixel_shape: PixelShape = None
    """Height, width and channels of a CSV's pixels, such as 28x28x1; inferred unless given."""
    json: bool = False
    """Print as JSON."""


def main(arguments: list[str]) -> int:
    """Run one action on data."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    action, *rest = arguments
    if action not in ACTIONS:
        raise UsageError(f"data has no action '{action}'{did_you_mean(action, ACTIONS)}. `diptych data` lists them.")
    asked = parsed(Check, "data check", rest)
    with Progress() as progress:
        report = checks.check_data(
            asked.data,
            data_dir=asked.data_dir,
            root=asked.root,
            pixel_shape=shape_of(asked.pixel_shape),
            quarantine=asked.quarantine,
            out=asked.out,
            tell=lambda doing, done, total: progress.notify("data", {"doing": doing, "done": done, "total": total}),
        )
    if asked.json:
        print_json(report.to_json())
    else:
        _tell(report)
    return 1 if report.count("error") or (asked.strict and report.count("warning")) else 0


def _tell(report: checks.Report) -> None:
    content = report.to_json()
    console = Console()
    console.print(headline(content), highlight=False, markup=False)
    if content["kinds"]:
        table = Table("finding", "severity", Column("times", justify="right"), "for example")
        for kind in content["kinds"]:
            severity = Text(kind["severity"], style=COLOURS[kind["severity"]])
            table.add_row(KINDS[kind["kind"]].title, severity, f"{kind['count']:,}", _examples(report, kind["kind"]))
        console.print(table)
    if report.moved:
        console.print(f"moved to the quarantine: {len(report.moved):,} files", highlight=False)
    print(f"report: {report.report_path}")


def _examples(report: checks.Report, kind: str) -> Text:
    """The first findings of a kind, one a line."""
    findings = [finding for finding in report.findings if finding.kind == kind]
    lines = []
    for finding in findings[:EXAMPLES]:
        names = ", ".join(sample.name for sample in finding.samples[:EXAMPLES])
        lines.append(f"{names}: {finding.reason}" if names else finding.reason)
    return Text("\n".join(lines), overflow="fold")
