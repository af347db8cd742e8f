"""`diptych export`, `describe` and `benchmark`: files for other programs, and their speed on this machine."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Literal

from diptych.cli.arguments import parse, positional
from diptych.cli.output import framework_silent, print_json, print_table, steps
from diptych.deployment.options import BenchmarkOptions, ExportOptions
from diptych.options import OtherDataOptions, option
from diptych.spec.typed import Fraction

if TYPE_CHECKING:
    from diptych.deployment.benchmark import Benchmark as Results
    from diptych.deployment.verify import Exported

MOST_CLASSES = 20
WIDE = 100
# Title; field of a row, scale, format, unit.
AIMS = {
    "latency": ("lowest latency", "latency_p50", 1e3, ",.3f", "ms"),
    "throughput": ("highest throughput", "images_per_second", 1, ",.0f", "images/s"),
    "size": ("smallest complete model", "num_bytes", 1e-3, ",.0f", "kB"),
}
# Columns of words: title, field of a row.
NAMES = {"format": "form", "runtime": "title"}
# Columns of numbers: title, field of a row, scale, format, and whether narrow terminals show it.
COLUMNS = (
    ("size\nkB", "num_bytes", 1e-3, ",.0f", True),
    ("accuracy\n%", "accuracy", 100, ".2f", True),
    ("agree-\nment %", "agreement", 100, ".2f", True),
    ("max\ndiff.", "worst_difference", 1, ".0e", False),
    ("load\ns", "load_seconds", 1, ".1f", False),
    ("p50\nms", "latency_p50", 1e3, ",.3f", True),
    ("p95\nms", "latency_p95", 1e3, ",.3f", False),
    ("images\n/s", "images_per_second", 1, ",.0f", True),
    ("memory\nMB", "peak_memory", 1e-6, ",.0f", False),
)


def _limits(text: str) -> list[tuple[str, float]]:
    """Each name and number in a text such as `accuracy=0.9, agreement=0.99`."""
    if not re.fullmatch(r"\w+=\d*\.?\d+(, *\w+=\d*\.?\d+)*", text):
        raise ValueError(f"must be accuracy=SHARE, agreement=SHARE or both, got '{text}'")
    return [(name, float(value)) for name, _, value in (part.strip().partition("=") for part in text.split(","))]


@dataclass(frozen=True)
class Export:
    """Export the model of a run or a file, and verify each file against the trained model.

    Every file maps uint8 images of shape (N, H, W, C) to logits and probabilities. Formats: all, safetensors,
    state-dict, torchscript, torch-export, onnx, keras, h5, weights-h5, saved-model, tflite, tflite-fp16,
    tflite-dynamic, tflite-int8, onnx-int8, openvino.

    Exits with 1 if a file cannot be written, differs from the trained model, or cannot be verified because its runtime
    is not installed. `--to all` skips formats whose packages are not installed.
    """

    run: Path = positional("RUN|FILE")
    """A finished run, or a weights file that `diptych transfer` or `diptych export` wrote."""
    to: tuple[str, ...] = option(metavar="FORMAT")
    """Formats, or all."""
    calibration: str | None = option(None, metavar="DATA")
    """Data whose training split calibrates the integer formats (default: that of --data, or else the run's own)."""
    options: ExportOptions = field(default_factory=ExportOptions)
    json: bool = False
    """Print as JSON."""
    data_options: OtherDataOptions = field(default_factory=OtherDataOptions)


@dataclass(frozen=True)
class Describe:
    """Print the model card of an exported file without executing code in it."""

    file: Path = positional("FILE")
    """Exported file, or the folder of a SavedModel or OpenVINO model."""
    json: bool = False
    """Print as JSON, including the model's spec."""


@dataclass(frozen=True)
class Benchmark:
    """Benchmark every format in every runtime on this machine, each in its own process.

    For reliable results, run nothing else meanwhile. Writes benchmark.json, benchmark.csv and benchmark.png. Exits with
    1 if a measurement failed; skips formats whose packages are not installed.
    """

    run: Path = positional("RUN|FILE")
    """A finished run, or a weights file that `diptych transfer` or `diptych export` wrote."""
    to: tuple[str, ...] = option(("all",), metavar="FORMAT")
    """Formats, as for `diptych export`."""
    fail_under: tuple[tuple[Literal["accuracy", "agreement"], Fraction], ...] = option(
        (), metavar="accuracy=SHARE,agreement=SHARE", parse=_limits
    )
    """Minimum accuracy and agreement, 0 to 1; formats below them count as failed."""
    options: BenchmarkOptions = field(default_factory=BenchmarkOptions)
    json: bool = False
    """Print as JSON."""


def export(args: list[str]) -> int:
    """Export, verify, and print the result for each format."""
    parsed = parse(Export, "export", args)
    options = {"calibration": parsed.calibration, **vars(parsed.options), **vars(parsed.data_options)}
    with steps(quiet=parsed.json) as show, framework_silent():
        from diptych.api import deployment

        results = deployment.export(parsed.run, parsed.to, on_format=show, **options)
    from diptych.artifacts.store import read_json
    from diptych.deployment.export import REPORT

    if parsed.json:
        print_json([shipped.to_json() for shipped in results])
    else:
        _print_export(results)
        if parsed.options.verify:
            folder = Path(parsed.options.out or deployment.export_folder(parsed.run))
            print(f"verified on {read_json(folder / REPORT)['verified_on']}")
    faults = {"failed", "impossible"}
    if "all" not in parsed.to:
        faults.add("absent")
    if parsed.options.verify:
        faults.add("unverified")
    return 1 if any(shipped.status in faults for shipped in results) else 0


def _print_export(results: Sequence[Exported]) -> None:
    from diptych.deployment.export import NOTED_DROP

    _print_rows(results, COLUMNS[:4], "format")
    for shipped in results:
        if shipped.drop > NOTED_DROP:
            print(f"{shipped.form} loses {100 * shipped.drop:.1f} points of accuracy.")
            for entry in sorted(shipped.classes or [], key=lambda entry: entry["shipped"] - entry["trained"])[:3]:
                print(f"  class {entry['class']}: {entry['trained']:.1%} → {entry['shipped']:.1%}")
            for entry in (shipped.layers or [])[:5]:
                lost, left = f"{entry['lost']:.1f} dB", f"{entry['decibels']:.1f} dB"
                print(f"  layer {entry['layer']} loses {lost}; signal-to-noise ratio {left}")
    for folder in {shipped.path.parent for shipped in results if shipped.path and shipped.status != "failed"}:
        print(f"files: {folder}")


def describe(args: list[str]) -> int:
    """Read the card and print it."""
    parsed = parse(Describe, "describe", args)
    from diptych.api import deployment

    card = deployment.describe(parsed.file)
    if parsed.json:
        print_json(card)
        return 0
    shape, names = card["input"], card["class_names"]
    more = f" and {len(names) - MOST_CLASSES} more" if len(names) > MOST_CLASSES else ""
    rows = {
        "format": card["format"],
        "model": f"{card['model']}, trained on {card['dataset']} by {' and '.join(card['trained_by']) or 'others'}",
        "input": f"'{shape['name']}': uint8 images, (N, {shape['height']}, {shape['width']}, {shape['channels']}), "
        f"{shape['colors']}, 0–255; the model normalizes them",
        "resize": shape["resize"],
        "outputs": f"{' and '.join(card['outputs'])}, (N, {len(names)})",
        "classes": ", ".join(names[:MOST_CLASSES]) + more,
        "size": f"{card['bytes']:,} bytes",
        "parity": f"{card['parity']} (equal for every file of this model)",
        "diptych": card["diptych"],
    }
    if "calibration" in card:
        rows["int8"] = ", ".join(f"{key} {value}" for key, value in card["calibration"].items() if key != "indices")
    for key, value in rows.items():
        print(f"{key:8} {value}")
    return 0


def benchmark(args: list[str]) -> int:
    """Measure, print, and compare the rows with the limits."""
    parsed = parse(Benchmark, "benchmark", args)
    with steps(quiet=parsed.json) as show, framework_silent():
        from diptych.api import deployment

        results = deployment.benchmark(parsed.run, parsed.to, on_step=show, **vars(parsed.options))
    if parsed.json:
        print_json(results.to_json())
    else:
        _print_benchmark(results)
        folder = parsed.options.out or deployment.export_folder(parsed.run)
        print(f"written: {Path(folder) / 'benchmark.json'}, .csv and .png")
    shortfalls = results.shortfalls(dict(parsed.fail_under))
    for line in shortfalls:
        print(f"diptych: {line}", file=sys.stderr)
    return 1 if shortfalls else 0


def _print_benchmark(results: Results) -> None:
    from diptych.deployment.benchmark import NOISY

    is_wide = get_terminal_size().columns >= WIDE
    columns = [column for column in COLUMNS if column[-1] or is_wide]
    _print_rows(results.rows, columns, "format", "runtime")
    if spreads := [row.spread for row in results.rows if row.spread and row.spread > NOISY]:
        times = f"{1 + max(spreads):.2g} times"
        print(f"The measurements of {len(spreads)} rows differ by up to {times}; the machine may have been busy.")
    for aim, rows in results.best.items():
        title, name, scale, form, unit = AIMS[aim]
        texts = [f"{row.label}, {format(scale * row.to_json()[name], form)} {unit}" for row in rows if row]
        print(f"{title}: {'; in float32 '.join(texts)}")
    print(f"threads: {results.threads} of {results.machine['processor']}; p50, p95: one image; images/s: batches of 32")


def _print_rows(rows: Sequence[Exported], columns: Sequence[tuple[str, str, float, str, bool]], *titles: str) -> None:
    """Print a table of names, statuses and numbers, then the reason for each failure."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column

    table, faults = [], []
    for row in rows:
        values = row.to_json()
        names = [values[NAMES[title]] for title in titles]
        numbers = [(values.get(name), scale, form) for _, name, scale, form, _ in columns]
        cells = ["" if number is None else format(scale * number, form) for number, scale, form in numbers]
        table.append((*names, row.status, *cells))
        if row.reason:
            faults.append(f"{' in '.join(names)}: {row.reason}")
    words = [Column(title, no_wrap=title != "runtime") for title in (*titles, "status")]
    numbers_right = [Column(title, justify="right", no_wrap=True) for title, *_ in columns]
    print_table([*words, *numbers_right], table, box=SIMPLE_HEAD, padding=0)
    for fault in faults:
        print(fault)
