"""`diptych data check` and `diptych datasets`: find problems in a dataset, and list the named ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.cli.arguments import parse, positional
from diptych.cli.output import print_json, print_table
from diptych.errors import UsageError
from diptych.options import SourceOptions, option
from diptych.vocabulary import did_you_mean

if TYPE_CHECKING:
    from diptych.api.data_check import Report

HELP = """Check datasets.

usage: diptych data ACTION ...

  check  find problems in a dataset before training on it

See `diptych data check --help`.
"""
EXAMPLES = 3


@dataclass(frozen=True)
class Check:
    """Check a dataset for damaged files, duplicates, leakage, class imbalance and outliers.

    Decodes every image once and changes nothing unless --quarantine is set. Writes report.html, with pictures, and
    findings.json. Exits with 1 if there is an error.
    """

    data: str = positional("DATA")
    """Dataset name or path, as for `diptych train`."""
    quarantine: Path | None = option(None, metavar="DIR")
    """Move files that cannot be decoded to this folder; DIR/quarantine.json lists their original paths."""
    strict: bool = False
    """Also exit with 1 if there are warnings."""
    out: Path | None = None
    """Folder for the report (default: runs/check-NAME)."""
    json: bool = False
    """Print as JSON."""
    data_options: SourceOptions = field(default_factory=SourceOptions)


@dataclass(frozen=True)
class Datasets:
    """List the datasets known by name."""

    json: bool = False
    """Print as JSON."""


def data(args: list[str]) -> int:
    """Run one action on data."""
    if not args or args[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    action, *rest = args
    if action != "check":
        raise UsageError(f"data has no action '{action}'{did_you_mean(action, ['check'])}. `diptych data` lists them.")
    parsed = parse(Check, "data check", rest)
    from diptych.api.data_check import check_data
    from diptych.api.training import data_progress
    from diptych.reports.progress import Progress

    options = {"quarantine": parsed.quarantine, "out": parsed.out, **vars(parsed.data_options)}
    with Progress() as display:
        report = check_data(parsed.data, progress=data_progress(display.notify), **options)
    if parsed.json:
        print_json(report.to_json())
    else:
        _print(report)
    return 1 if report.count("error") or (parsed.strict and report.count("warning")) else 0


def datasets(args: list[str]) -> int:
    """List the datasets."""
    parsed = parse(Datasets, "datasets", args)
    from diptych.data.sources import KINDS, NAMED

    if parsed.json:
        print_json([
            {field: getattr(one, field) for field in ("name", "image_shape", "mirror", "description")}
            | {"train": one.num_train, "test": one.num_test, "classes": one.num_classes}
            for one in NAMED.values()
        ])  # fmt: skip
        return 0
    table = []
    for one in NAMED.values():
        size, images = "×".join(map(str, one.image_shape)), one.num_train + one.num_test
        table.append((one.name, one.description, f"{one.num_classes:,}", f"{images:,}", size))
    print_table(("dataset", "description", "classes", "images", "size"), table)
    print(f"DATA may also be a path: {KINDS}.")
    return 0


def _print(report: Report) -> None:
    from diptych.reports.page import check_headline

    content = report.to_json()
    print(*filter(None, (check_headline(content), "; ".join(report.inferred))), sep="\n")
    rows = []
    for kind in content["kinds"]:
        examples = []
        for finding in [finding for finding in report.findings if finding.kind == kind["kind"]][:EXAMPLES]:
            names = ", ".join(sample.name for sample in finding.samples[:EXAMPLES])
            examples.append(f"{names}: {finding.reason}" if names else finding.reason)
        rows.append((kind["title"], kind["severity"], f"{kind['count']:,}", "\n".join(examples)))
    if rows:
        print_table(("finding", "severity", "count", "examples"), rows)
    if report.moved:
        print(f"quarantined: {len(report.moved):,} files")
    print(f"report: {report.report_path}")
