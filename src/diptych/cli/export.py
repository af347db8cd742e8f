"""`diptych export`: a run's model in any format, each file proved against what was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from diptych import api
from diptych.cli.arguments import MaybeEngine, MaybePath, RunPath, given_once, parsed, print_json
from diptych.cli.quiet import framework_silent, progress
from diptych.cli.settings import OtherData
from diptych.deployment.export import NOTED_DROP, Shipped

_SHOWN = {
    "ok": "[green]ok[/]",
    "failed": "[red]failed[/]",
    "impossible": "[red]not possible[/]",
    "unverified": "[yellow]not verified[/]",
}


@dataclass(frozen=True)
class Export:
    """Write a run's model in other formats, each file proved against what was trained.

    Exits with 1 when a file could not be written, is not what was trained, or could not be checked because its runtime
    is not installed; with `--to all`, what cannot be written for want of a package is passed over.

    Every file takes uint8 images, (N, H, W, C), and gives logits and probabilities. Formats: all, safetensors,
    state-dict, torchscript, torch-export, onnx, keras, h5, weights-h5, saved-model, tflite, tflite-fp16,
    tflite-dynamic, tflite-int8, onnx-int8, openvino.
    """

    run: RunPath
    """A finished run."""
    to: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FORMAT...")]
    """Formats, or all."""
    out: MaybePath = None
    """Folder for the files; the run's export/ unless given."""
    writer: MaybeEngine = None
    """Whose exporter writes onnx, which both frameworks have; PyTorch's where it is installed, unless given."""
    verify: bool = True
    """Compare each file with the trained model over the whole test set; one that fails goes to failed/."""
    calibration: Annotated[str | None, tyro.conf.arg(metavar="DATA")] = None
    """Whose training split gives the ranges of integer formats; the run's own unless given."""
    threads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Processor threads; every core unless given."""
    json: bool = False
    """Print as JSON."""
    reading: OtherData = field(default_factory=OtherData)
    """How --calibration is read; --data-dir is for the run's data, too."""


def main(arguments: list[str]) -> int:
    """Export, verify, and tell what became of each format."""
    given_once(arguments, "--to")
    asked = parsed(Export, "export", arguments)
    with progress("reading the run ...") as status, framework_silent():
        results = api.export(
            asked.run,
            asked.to,
            out=asked.out,
            writer=asked.writer,
            verify=asked.verify,
            calibration=asked.calibration,
            threads=asked.threads,
            on_format=lambda name: status.update(f"{name} ..."),
            **asked.reading.keywords(),
        )
    if asked.json:
        print_json([shipped.to_json() for shipped in results])
    else:
        _print(results)
    return 1 if any(_counts_as_failure(shipped, asked) for shipped in results) else 0


def _counts_as_failure(shipped: Shipped, asked: Export) -> bool:
    """With `all`, a format whose tools are not installed is no failure; neither is one that nobody wanted verified."""
    if shipped.status == "impossible":
        return not ("all" in asked.to and shipped.absent)
    return shipped.status != "ok" and asked.verify


def _print(results: Sequence[Shipped]) -> None:
    console = Console()
    table = Table("format", "status", "size", "difference", "agreement", "accuracy")
    for shipped in results:
        table.add_row(
            shipped.form,
            _SHOWN[shipped.status],
            f"{shipped.num_bytes / 1000:,.0f} kB" if shipped.num_bytes else "",
            f"{shipped.worst_difference:.1e}" if shipped.worst_difference is not None else "",
            f"{shipped.agreement:.2%}" if shipped.agreement is not None else "",
            f"{shipped.accuracy:.2%}" if shipped.accuracy is not None else "",
        )
    console.print(table)
    for shipped in results:
        if shipped.reason:
            console.print(f"{shipped.form}: {shipped.reason}", highlight=False, markup=False, soft_wrap=True)
        if shipped.drop > NOTED_DROP:
            _print_drop(console, shipped)
    folders = {shipped.path.parent for shipped in results if shipped.path and shipped.status != "failed"}
    for folder in folders:
        console.print(f"files: {folder}", highlight=False, markup=False, soft_wrap=True)


def _print_drop(console: Console, shipped: Shipped) -> None:
    """What an integer format lost, by class and by layer."""
    console.print(f"{shipped.form} loses {100 * shipped.drop:.1f} points of accuracy.", style="yellow", highlight=False)
    for entry in sorted(shipped.classes or [], key=lambda entry: entry["shipped"] - entry["trained"])[:3]:
        console.print(
            f"  class {entry['class']}: {entry['trained']:.1%} → {entry['shipped']:.1%}", highlight=False, markup=False
        )
    for entry in (shipped.layers or [])[:5]:
        rest = f"{entry['decibels']:.1f} dB of signal to noise are left"
        console.print(f"  layer {entry['layer']} loses {entry['lost']:.1f} dB; {rest}", highlight=False, markup=False)
