"""The certificate of a parity check: its comparisons, as JSON and as one page of text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.artifacts.store import write_json, write_parts
from diptych.spec import Recipe
from diptych.spec.codec import recipe_to_json

VERSION = 4
LEGEND = (
    "relative: ‖PyTorch − TensorFlow‖ / ‖PyTorch‖ of the array closest to its tolerance, or farthest beyond it; "
    "absolute: largest difference of any element of any array.\n"
    "“training on DATA” trains this model; all other trainings use a small model on digits."
)
NOT_JUDGED = "info: reported without a tolerance, because float32 rounding errors grow from step to step."
DRIFT_HEAD = (
    "float32 training: relative difference of all weights\n    step  PyTorch, TensorFlow  PyTorch, other threads"
)

# An array that is zero except for rounding, such as the gradient of a bias before a normalization, has no scale of
# its own. If an array is smaller than this share of its group's median, its difference is relative to that share.
SMALL = 1e-2
TINY = 1e-30


def differences(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], small: float = SMALL
) -> dict[str, tuple[float, float]]:
    """Return the relative and the absolute difference of each array of `theirs`.

    The relative one is ‖a − b‖ / ‖b‖, or infinity if an array is missing, has another shape or contains NaN; the
    absolute one is the largest of any element. Names `group/…` form groups, each with its own scale; with `small` 0,
    every array has its own.
    """
    sizes: dict[str, list[float]] = defaultdict(list)
    for name, array in theirs.items():
        sizes[name.rpartition("/")[0]].append(_rms(array))
    scales = {group: float(np.median(values)) for group, values in sizes.items()}
    return {
        name: _distance(ours.get(name), array, small * scales[name.rpartition("/")[0]])
        for name, array in theirs.items()
    }


def _distance(ours: np.ndarray | None, theirs: np.ndarray, scale: float) -> tuple[float, float]:
    """Return the relative and the absolute difference of one array."""
    if ours is None or ours.shape != theirs.shape:
        return np.inf, np.inf
    if np.array_equal(ours, theirs):
        return 0.0, 0.0
    with np.errstate(all="ignore"):
        gap = ours.astype(np.float64) - theirs
        relative = _rms(gap) / max(_rms(theirs), scale, TINY)
    return relative if np.isfinite(relative) else np.inf, float(np.abs(gap).max())


def _rms(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


@dataclass(frozen=True)
class Rung:
    """One comparison of the two engines, from single layers to whole trainings."""

    name: str
    precision: str
    tolerance: float | None
    """Largest relative difference allowed for the worst array; None if the comparison is reported but not judged."""
    relative: float
    absolute: float
    worst: str
    departs_at: str | None = None
    """The first array beyond the tolerance, if the comparison failed."""
    note: str = ""
    equal: int = 0
    """Number of equal predictions, if predictions were compared."""
    total: int = 0

    @classmethod
    def judged(
        cls,
        name: str,
        precision: str,
        tolerance: float | Mapping[str, float] | None,
        apart: Mapping[str, tuple[float, float]],
        **more: Any,
    ) -> Rung:
        """Judge the `differences` of arrays by one tolerance, or by one per array; `more` are other fields."""
        each = tolerance if isinstance(tolerance, Mapping) else dict.fromkeys(apart, tolerance)
        beyond = [
            array for array, (relative, _) in apart.items() if (most := each[array]) is not None and relative > most
        ]
        worst = max(apart, key=lambda array: (array in beyond, apart[array][0] / max(each[array] or 0.0, TINY)))
        absolute = float(np.max([absolute for _, absolute in apart.values()]))
        return cls(name, precision, each[worst], apart[worst][0], absolute, worst, next(iter(beyond), None), **more)

    @property
    def status(self) -> str:
        """FAIL, pass or info."""
        return "FAIL" if self.departs_at else "pass" if self.tolerance is not None else "info"


@dataclass(frozen=True)
class Certificate:
    """The result of a parity check."""

    model: str
    input_shape: tuple[int, int, int]
    num_parameters: int
    spec_digest: str
    """SHA-256 of the spec's canonical JSON."""
    seed: int
    steps: int
    """Updates with each optimizer."""
    recipe: Mapping[str, Any] | None
    """The tested recipe, as JSON data; None if all recipe options were tested."""
    not_tested: tuple[str, ...]
    """What the certificate does not show: hardware, steps, images and options that were not tested."""
    not_used: tuple[str, ...]
    """Options that were not tested because neither the recipe nor the model uses them."""
    versions: Mapping[str, str]
    processor: str
    time: str
    """UTC, ISO 8601."""
    rungs: tuple[Rung, ...]
    drift: tuple[Mapping[str, float], ...] = ()
    """Relative differences of all weights in float32 after a step: between engines, and between numbers of threads."""

    @property
    def passed(self) -> bool:
        """Whether every comparison passed."""
        return not any(rung.departs_at for rung in self.rungs)

    @property
    def predictions(self) -> tuple[int, int]:
        """Number of test images with equal predictions after training in float64, of how many; 0 without training."""
        return sum(rung.equal for rung in self.rungs), sum(rung.total for rung in self.rungs)

    @property
    def float64_difference(self) -> float | None:
        """Relative difference of the worst array in the float64 training of the model; None without training."""
        return max((rung.relative for rung in self.rungs if rung.total), default=None)

    @property
    def summary(self) -> str:
        """The result in one line."""
        (same, total), difference = self.predictions, self.float64_difference
        details = "see the certificate"
        if total:
            training = next(rung.name for rung in self.rungs if rung.total)
            details = f"after {training} in float64, same predictions on {same} of {total} test images"
            details += f"; weights, losses and logits differ by {difference:.0e}"
        return f"{'The same model' if self.passed else 'NOT the same model'}: {details}."

    @property
    def verdict(self) -> str:
        """The result of all comparisons in a sentence."""
        if failed := [rung for rung in self.rungs if rung.departs_at]:
            first = failed[0]
            return (
                f"NOT the same model: {len(failed)} of {len(self.rungs)} comparisons failed. "
                f"The first is '{first.name}' in {first.precision}, starting at '{first.departs_at}'."
            )
        judged = [rung for rung in self.rungs if rung.tolerance is not None]
        return f"The same model in PyTorch and in TensorFlow: all {len(judged)} comparisons passed."

    def to_json(self) -> dict[str, Any]:
        """Return the certificate as JSON data."""
        derived = ("passed", "verdict", "summary", "float64_difference")
        same, total = self.predictions
        return {
            "format": "diptych-certificate",
            "version": VERSION,
            **{name: getattr(self, name) for name in derived},
            "same_predictions": same,
            "num_predictions": total,
            **asdict(self),
            "rungs": [{**asdict(rung), "status": rung.status} for rung in self.rungs],
        }

    @property
    def _recipe(self) -> str:
        """The recipe in one line: the fields that differ from the default recipe."""
        if self.recipe is None:
            return "none given (all recipe options)"
        usual = recipe_to_json(Recipe())
        fields = [f"{name} {value}" for name, value in self.recipe.items() if usual[name] != value]
        return ", ".join(["the default", *fields])

    def to_text(self) -> str:
        """Return the certificate as one page of text."""
        shape, width = "×".join(map(str, self.input_shape)), max(len(rung.name) for rung in self.rungs)
        table = [f"{'format':8}  {'':4}  {'comparison':{width}}  relative  absolute  tolerance  worst at"]
        for rung in self.rungs:
            tolerance = "" if rung.tolerance is None else f"{rung.tolerance:.0e}" if rung.tolerance else "equal"
            where = f"starts at {rung.departs_at}" if rung.departs_at else rung.worst if rung.relative else ""
            numbers = f"{rung.relative:8.1e}  {rung.absolute:8.1e}  {tolerance:9}"
            table.append(f"{rung.precision:8}  {rung.status}  {rung.name:{width}}  {numbers}  {where}".rstrip())
        notes = [rung.note for rung in self.rungs if rung.note]
        rows = ["{step:8,}  {engines:19.0e}  {threads:22.0e}".format_map(row) for row in self.drift]
        drift = [DRIFT_HEAD, *rows] if rows else []
        legend = [LEGEND, NOT_JUDGED] if any(rung.status == "info" for rung in self.rungs) else [LEGEND]
        origin = (
            f"Weights, images, batches and masks are from seed {self.seed}; {self.steps} updates with each optimizer.",
            f"Recipe: {self._recipe}.",
            f"Not tested: {', '.join(self.not_tested)}.",
            *([f"Not used by the recipe or the model: {', '.join(self.not_used)}."] if self.not_used else []),
            f"Spec sha256 {self.spec_digest}",
            ", ".join(f"{name} {version}" for name, version in self.versions.items()),
            f"{self.processor}, {self.time}",
        )
        title = f"Parity of {self.model} ({shape}, {self.num_parameters:,} parameters)"
        parts = ([title], [self.verdict], [*table, *notes], legend, drift, origin)
        return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def write(certificate: Certificate, directory: Path) -> tuple[Path, Path]:
    """Write `parity.json` and `parity.txt` into `directory` and return their paths."""
    json_path, text_path = directory / "parity.json", directory / "parity.txt"
    write_json(json_path, certificate.to_json())
    write_parts(text_path, certificate.to_text().encode())
    return json_path, text_path
