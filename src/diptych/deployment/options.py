"""Options of transferring, exporting and measuring; see `diptych.options`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diptych.options import EngineName, Options, RunFileOptions, option
from diptych.spec.typed import Factor, Fraction, Positive, Threads


@dataclass(frozen=True)
class CardOptions(Options):
    """What a weights file does not say about its model."""

    class_names: str | Path | tuple[str, ...] = option((), metavar="FILE|NAME")
    """Names of the classes in label order, or a text file with one per line, if SRC has none."""
    mean: tuple[Fraction, ...] = option((), metavar="NUMBER")
    """Mean that the model subtracts from pixels / 255, per channel, as in torchvision's Normalize, if SRC has none."""
    std: tuple[Factor, ...] = option((), metavar="NUMBER")
    """Standard deviation that the model then divides by, in the same units, if SRC has none."""
    check: str | Path | None = option(None, metavar="DATA")
    """Also evaluate DST on labeled images, and compare its accuracy with chance."""


@dataclass(frozen=True, kw_only=True)
class FilesOptions(RunFileOptions):
    """Exported files."""

    out: str | Path | None = None
    """Folder for the files (default: the run's export/, or export/ beside FILE)."""
    data: str | Path | None = option(None, metavar="DATA")
    """Data to test on (default: a run's own; for a FILE, that of --calibration, or else random images)."""
    threads: Threads | None = None
    """CPU threads (default: all cores)."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions(FilesOptions):
    """How a run is exported."""

    writer: EngineName | None = None
    """Framework that writes onnx (default: PyTorch if installed)."""
    verify: bool = True
    """Compare each file with the trained model on the whole test set; move files that differ to failed/."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(FilesOptions):
    """How exported files are measured."""

    data_dir: str | Path | None = None
    """Folder for named datasets."""
    seconds: Positive = 1.0
    """Duration of each speed measurement."""
