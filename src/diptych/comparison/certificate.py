"""What the ladder found: its rungs, and the certificate that says them as JSON and as one page of text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diptych.artifacts.store import atomic_write, write_json
from diptych.comparison.difference import Difference

LEGEND = "relative: the largest ‖PyTorch − TensorFlow‖ / ‖PyTorch‖ of an array; absolute: of an element."
SEEN = "seen: reported, not judged. float32 rounding grows from step to step, so no bound would mean much."


@dataclass(frozen=True)
class Rung:
    """One comparison of the two engines.

    Attributes:
        name: what was compared.
        precision: number format of both engines.
        tolerance: largest relative difference allowed; None where the difference is reported, not judged.
        relative: largest relative difference of an array.
        absolute: largest difference of two elements.
        worst: the array with the largest relative difference.
        departs_at: where a failed comparison begins: the first array beyond the tolerance.
        note: what else there is to say.
    """

    name: str
    precision: str
    tolerance: float | None
    relative: float
    absolute: float
    worst: str
    departs_at: str | None = None
    note: str = ""

    @classmethod
    def judged(cls, name: str, precision: str, tolerance: float | None, apart: Difference, note: str = "") -> Rung:
        """A rung out of what was found `apart`."""
        departs_at = None if tolerance is None else apart.departs_at(tolerance)
        return cls(name, precision, tolerance, apart.relative, apart.absolute, apart.worst, departs_at, note)

    @property
    def passed(self) -> bool:
        """Whether nothing departs."""
        return self.departs_at is None

    @property
    def status(self) -> str:
        """One word for people."""
        return "FAIL" if not self.passed else "pass" if self.tolerance is not None else "seen"


@dataclass(frozen=True)
class Certificate:
    """A model's climb up the ladder.

    Attributes:
        model: the model's name.
        input_shape: (height, width, channels).
        num_parameters: trainable numbers.
        spec_digest: SHA-256 of the spec's canonical JSON.
        seed: of weights, images and batches.
        steps: steps that each optimizer took.
        recipes: each optimizer's settings, as JSON data.
        versions: of diptych, Python, NumPy and the frameworks.
        processor: the machine's.
        time: when, UTC, ISO 8601.
        rungs: in the order of the climb.
    """

    model: str
    input_shape: tuple[int, int, int]
    num_parameters: int
    spec_digest: str
    seed: int
    steps: int
    recipes: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]
    processor: str
    time: str
    rungs: tuple[Rung, ...]

    @property
    def passed(self) -> bool:
        """Whether no rung failed."""
        return all(rung.passed for rung in self.rungs)

    @property
    def verdict(self) -> str:
        """The finding in plain words."""
        failed = [rung for rung in self.rungs if not rung.passed]
        if failed:
            first = failed[0]
            return (
                f"NOT the same model: {len(failed)} of {len(self.rungs)} comparisons failed. "
                f"The first is '{first.name}' in {first.precision}, and it begins at '{first.departs_at}'."
            )
        judged = [rung for rung in self.rungs if rung.tolerance is not None]
        return (
            f"The same model in PyTorch and in TensorFlow: all {len(judged)} judged comparisons hold"
            + "".join(_furthest(judged, precision) for precision in dict.fromkeys(rung.precision for rung in judged))
            + "."
        )

    def to_json(self) -> dict[str, Any]:
        """The certificate as plain JSON data."""
        rungs = [{**asdict(rung), "status": rung.status} for rung in self.rungs]
        header = {
            "format": "diptych-certificate",
            "version": 1,
            "passed": self.passed,
            "verdict": self.verdict,
        }
        return {**header, **asdict(self), "rungs": rungs}

    def to_text(self) -> str:
        """The certificate as one page."""
        shape = "×".join(map(str, self.input_shape))
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return "\n".join(
            [
                f"Parity of {self.model} ({shape}, {self.num_parameters:,} parameters)",
                "",
                self.verdict,
                "",
                *_table(self.rungs),
                "",
                LEGEND,
                *([SEEN] if any(rung.status == "seen" for rung in self.rungs) else []),
                "",
                f"Weights, images and batches from seed {self.seed}; {self.steps} steps an optimizer; "
                f"dropout rates set to 0.",
                f"Spec sha256 {self.spec_digest}",
                versions,
                f"{self.processor}, {self.time}",
                "",
            ]
        )


def write(certificate: Certificate, directory: Path) -> tuple[Path, Path]:
    """Write `parity.json` and `parity.txt` into `directory`; returns their paths."""
    json_path, text_path = directory / "parity.json", directory / "parity.txt"
    write_json(json_path, certificate.to_json())
    with atomic_write(text_path) as file:
        file.write(certificate.to_text().encode())
    return json_path, text_path


def _furthest(judged: list[Rung], precision: str) -> str:
    furthest = max(rung.relative for rung in judged if rung.precision == precision)
    return f", in {precision} to {furthest:.0e} or better"


def _table(rungs: tuple[Rung, ...]) -> list[str]:
    width = max(len(rung.name) for rung in rungs)
    lines = [f"{'':7}  {'':4}  {'':{width}}  relative  absolute  tolerance  worst at"]
    for rung in rungs:
        tolerance = "" if rung.tolerance is None else f"{rung.tolerance:.0e}" if rung.tolerance else "equal"
        where = f"begins at {rung.departs_at}" if rung.departs_at else rung.worst if rung.relative else ""
        numbers = f"{rung.relative:8.1e}  {rung.absolute:8.1e}  {tolerance:9}"
        lines.append(f"{rung.precision}  {rung.status}  {rung.name:{width}}  {numbers}  {where}".rstrip())
    return lines + [rung.note for rung in rungs if rung.note]
