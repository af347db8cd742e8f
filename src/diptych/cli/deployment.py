"""`diptych export`, `describe` and `transfer`: files for other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.cli.arguments import parse, positional
from diptych.cli.output import framework_silent, print_json, steps
from diptych.errors import UsageError
from diptych.options import EngineName, OtherDataOptions, option

if TYPE_CHECKING:
    from diptych.deployment.export import Exported

STYLES = {
    "ok": "[green]ok[/]",
    "failed": "[red]failed[/]",
    "impossible": "[red]not possible[/]",
    "unverified": "[yellow]not verified[/]",
}
MOST_CLASSES = 20


@dataclass(frozen=True)
class Export:
    """Export a run's model and verify each file against the trained model.

    Every file maps uint8 images, (N, H, W, C), to logits and probabilities. Formats: all, safetensors, state-dict,
    torchscript, torch-export, onnx, keras, h5, weights-h5, saved-model, tflite, tflite-fp16, tflite-dynamic,
    tflite-int8, onnx-int8, openvino.

    Exits with 1 if a file cannot be written, differs from the trained model, or cannot be verified because its runtime
    is not installed. `--to all` skips formats that need a package that is not installed.
    """

    run: Path = positional("RUN")
    """A finished run."""
    to: tuple[str, ...] = option(metavar="FORMAT")
    """Formats, or all."""
    out: Path | None = None
    """Folder for the files (default: the run's export/)."""
    writer: EngineName | None = None
    """Framework that writes onnx (default: PyTorch if installed)."""
    verify: bool = True
    """Compare each file with the trained model on the whole test set; a file that differs goes to failed/."""
    calibration: str | None = option(None, metavar="DATA")
    """Data whose training split gives the ranges of integer formats (default: the run's own)."""
    threads: int | None = None
    """Processor threads (default: all cores)."""
    json: bool = False
    """Print as JSON."""
    calibration_options: OtherDataOptions = field(default_factory=OtherDataOptions)


@dataclass(frozen=True)
class Describe:
    """Print the card of an exported file; runs nothing in it."""

    file: Path = positional("FILE")
    """The file, or the folder of a SavedModel or OpenVINO model."""
    json: bool = False
    """Print everything as JSON, including the model's spec."""


@dataclass(frozen=True)
class Transfer:
    """Copy weights from one file to another, bit for bit, between PyTorch, Keras and safetensors.

    Files are .pt, .pth, .safetensors, .keras, .h5 and .weights.h5. Nothing in SRC is run. Layers are matched by name
    and by structure; --map decides where that is ambiguous.
    """

    source: Path = positional("SRC")
    """File to read."""
    target: Path = positional("DST")
    """File to write."""
    model: str | None = option(None, metavar="MODEL")
    """Model name (see `diptych models`) or a spec.json (default: the spec in SRC)."""
    input_shape: tuple[int, int, int] = (32, 32, 3)
    """Height, width and channels of the images, for a named model."""
    num_classes: int = 10
    """Number of classes, for a named model."""
    map: tuple[str, ...] = option((), metavar="SRCLAYER=DSTLAYER")
    """A layer of SRC and the model's layer it belongs to; can be repeated."""
    force: bool = False
    """Replace DST if it exists."""
    json: bool = False
    """Print as JSON."""


def export(args: list[str]) -> int:
    """Export, verify, and print the result for each format."""
    parsed = parse(Export, "export", args)
    with steps("reading the run", quiet=parsed.json) as show, framework_silent():
        from diptych.api import deployment

        results = deployment.export(
            parsed.run,
            parsed.to,
            out=parsed.out,
            writer=parsed.writer,
            verify=parsed.verify,
            calibration=parsed.calibration,
            threads=parsed.threads,
            on_format=show,
            **vars(parsed.calibration_options),
        )
    if parsed.json:
        print_json([shipped.to_json() for shipped in results])
    else:
        _print_export(results)
    return 1 if any(_is_failure(shipped, parsed) for shipped in results) else 0


def _is_failure(shipped: Exported, parsed: Export) -> bool:
    """With `all`, a format whose tools are not installed is no failure; neither is an unverified one on request."""
    if shipped.status == "impossible":
        return not ("all" in parsed.to and shipped.absent)
    return shipped.status != "ok" and parsed.verify


def _print_export(results: Sequence[Exported]) -> None:
    from rich.console import Console
    from rich.table import Table

    from diptych.deployment.export import NOTED_DROP

    table = Table("format", "status", "size", "difference", "agreement", "accuracy")
    for shipped in results:
        table.add_row(
            shipped.form,
            STYLES[shipped.status],
            f"{shipped.num_bytes / 1000:,.0f} kB" if shipped.num_bytes else "",
            f"{shipped.worst_difference:.1e}" if shipped.worst_difference is not None else "",
            f"{shipped.agreement:.2%}" if shipped.agreement is not None else "",
            f"{shipped.accuracy:.2%}" if shipped.accuracy is not None else "",
        )
    Console().print(table)
    for shipped in results:
        if shipped.reason:
            print(f"{shipped.form}: {shipped.reason}")
        if shipped.drop > NOTED_DROP:
            _print_drop(shipped)
    for folder in {shipped.path.parent for shipped in results if shipped.path and shipped.status != "failed"}:
        print(f"files: {folder}")


def _print_drop(shipped: Exported) -> None:
    """Print what an integer format lost, by class and by layer."""
    print(f"{shipped.form} loses {100 * shipped.drop:.1f} points of accuracy.")
    for entry in sorted(shipped.classes or [], key=lambda entry: entry["shipped"] - entry["trained"])[:3]:
        print(f"  class {entry['class']}: {entry['trained']:.1%} → {entry['shipped']:.1%}")
    for entry in (shipped.layers or [])[:5]:
        print(
            f"  layer {entry['layer']} loses {entry['lost']:.1f} dB; {entry['decibels']:.1f} dB signal to noise remain"
        )


def describe(args: list[str]) -> int:
    """Read the card and print it."""
    parsed = parse(Describe, "describe", args)
    from diptych.api import deployment

    card = deployment.describe(parsed.file)
    if parsed.json:
        print_json(card)
        return 0
    for key, value in _card_rows(card).items():
        print(f"{key:8} {value}")
    return 0


def _card_rows(card: dict[str, Any]) -> dict[str, str]:
    shape = card["input"]
    names = card["class_names"]
    rows = {
        "format": card["format"],
        "model": f"{card['model']}, trained on {card['dataset']} by {' and '.join(card['trained_by']) or 'others'}",
        "input": f"'{shape['name']}': uint8 images, (N, {shape['height']}, {shape['width']}, {shape['channels']}), "
        f"{shape['colours']}, 0–255; the model normalizes them",
        "resize": shape["resize"],
        "outputs": f"{' and '.join(card['outputs'])}, (N, {len(names)})",
        "classes": ", ".join(names[:MOST_CLASSES])
        + (f" and {len(names) - MOST_CLASSES} more" if len(names) > MOST_CLASSES else ""),
        "size": f"{card['bytes']:,} bytes",
        "parity": f"{card['parity']} (the same for every file of this model)",
        "diptych": card["diptych"],
    }
    if "calibration" in card:
        rows["ranges"] = ", ".join(f"{key} {value}" for key, value in card["calibration"].items() if key != "indices")
    return rows


def transfer(args: list[str]) -> int:
    """Transfer, and print how the layers were matched."""
    parsed = parse(Transfer, "transfer", args)
    from diptych.api import models

    done = models.transfer(
        parsed.source,
        parsed.target,
        model=parsed.model,
        input_shape=parsed.input_shape,
        num_classes=parsed.num_classes,
        layer_map=_layer_map(parsed.map),
        force=parsed.force,
    )
    if parsed.json:
        print_json(done.to_json())
        return 0
    print(f"{done.model}: {done.num_arrays} arrays, {done.num_parameters:,} parameters")
    print(f"layers matched: {done.by_name} by name, {done.by_structure} by structure, {done.by_map} by --map")
    for line in done.casts:
        print(line)
    mean, std = (", ".join(f"{number:.4g}" for number in numbers) for numbers in (done.mean, done.std))
    print(f"inside the model: (pixels / 255 - ({mean})) / ({std})")
    print(f"{done.target}: read back, every bit equal")
    return 0


def _layer_map(texts: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        source, equals, target = text.partition("=")
        if not (source and equals and target) or source in pairs:
            raise UsageError(f"--map must be SRCLAYER=DSTLAYER, once per layer, got '{text}'.")
        pairs[source] = target
    return pairs
