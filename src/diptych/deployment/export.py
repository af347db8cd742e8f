"""Writes a run's model in any format, and puts each file in its place once it is proved against the trained model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from diptych import engines
from diptych.artifacts.staging import remove, settle, staging
from diptych.artifacts.store import read_json, sha256_of, write_arrays, write_json
from diptych.deployment import calibration, probe, runtimes
from diptych.deployment.audit import lost_signal
from diptych.deployment.calibration import Calibration
from diptych.deployment.card import Card
from diptych.deployment.containers import is_artifact, num_bytes
from diptych.deployment.convert import convert
from diptych.deployment.formats import FORMATS, Format
from diptych.deployment.golden import write_golden
from diptych.deployment.probe import Answers, Speed
from diptych.deployment.trained import Trained
from diptych.deployment.verify import Reference, class_changes, judge
from diptych.engines.contract import CARD
from diptych.engines.session import Session, Sessions
from diptych.errors import ArtifactError, DiptychError, MissingEngine, UsageError, in_one_line

REPORT = "export.json"
NOTED_DROP = 0.01
Status = Literal["ok", "failed", "impossible", "unverified"]


@dataclass(frozen=True)
class Shipped:
    """What became of one format."""

    form: str
    status: Status
    """ok; written but not what was trained (kept in `failed/`); could not be written; not verified."""
    reason: str | None = None
    path: Path | None = None
    writer: str | None = None
    num_bytes: int | None = None
    worst_difference: float | None = None
    """Of a probability from the trained model's, over the golden images."""
    tolerance: float | None = None
    agreement: float | None = None
    """Share of test images that get the trained model's class."""
    accuracy: float | None = None
    trained_accuracy: float | None = None
    classes: list[dict[str, Any]] | None = None
    """Of an integer format: each class's accuracy, trained and shipped."""
    layers: list[dict[str, Any]] | None = None
    """Of an integer format that lost more than a point: the layers that lose most signal, worst first."""
    speed: Speed | None = None
    """Where it was asked for, in the runtime that verified the file."""
    absent: bool = False
    """Whether it could not be written because what writes it is not installed."""

    @property
    def drop(self) -> float:
        """Accuracy lost, 0 to 1."""
        return 0.0 if self.accuracy is None or self.trained_accuracy is None else self.trained_accuracy - self.accuracy

    def to_json(self) -> dict[str, Any]:
        """For `export.json`."""
        return {key: value for key, value in asdict(self).items() if value is not None} | {"drop": self.drop}


def export(
    trained: Trained,
    forms: Sequence[Format],
    folder: Path,
    *,
    writer: str | None = None,
    verify: bool = True,
    calibrate: Calibration | None = None,
    threads: int,
    seconds: float = 0.0,
    on_format: Callable[[str], None] = lambda name: None,
) -> list[Shipped]:
    """Ship a model.

    Args:
        trained: the model.
        forms: what to write.
        folder: where; a file of the same name is replaced once its successor has passed.
        writer: whose exporter to use where both frameworks have one; the format's first that is installed if not given.
        verify: whether to compare each file with the trained model, over the whole test set.
        calibrate: images for integer formats; 500 of the training split, stratified, when not given.
        threads: processor threads to compute with.
        seconds: how long to measure each speed of a file while it is verified; not at all when 0.
        on_format: told the name of each format before it is written.

    Returns:
        What became of each format, in the order of `forms`.
    """

    def prepare(worker: Session) -> None:
        worker.build(trained.card.spec, "float32")
        worker.load_weights(trained.weights)

    with staging(folder) as staged, Sessions(threads, prepare) as workers:
        if verify:
            trained.check_reference()
        workshop = _Workshop(trained, staged, folder, workers, threads, writer, calibrate, seconds)
        results = []
        for form in forms:
            on_format(form.name)
            results.append(_shipped(workshop, form, verify))
        if verify:
            write_golden(folder, trained.card, trained.reference)
        _report(folder, trained.card, workshop, results)
    return results


class _Workshop:
    """What the formats of one export share: workers, what has been written, the calibration images."""

    def __init__(
        self,
        trained: Trained,
        staged: Path,
        folder: Path,
        workers: Sessions,
        threads: int,
        writer: str | None,
        calibrate: Calibration | None,
        seconds: float,
    ) -> None:
        self.trained, self.staged, self.folder = trained, staged, folder
        self.workers, self.threads = workers, threads
        self.writer, self.calibrate, self.seconds = writer, calibrate, seconds
        self.written: dict[str, Path] = {}

    @cached_property
    def calibration(self) -> Calibration:
        data = self.trained.data
        chosen = self.calibrate or calibration.draw(data.train, data.name)
        calibration.check(chosen.images_nhwc, data.train.images)
        return chosen

    @cached_property
    def images(self) -> Path:
        """The test set, for those who verify."""
        return probe.save_images(self.staged / "images.npy", self.trained.reference.images)

    def writer_of(self, form: Format) -> str | None:
        """The engine that writes a format; None where that takes none.

        Raises:
            MissingEngine: what is needed is not installed.
        """
        runtimes.check_installed("writing it", form.packages)
        if not form.writers:
            return None
        if self.writer in form.writers:
            return self.writer
        here = [name for name in form.writers if name in engines.installed()]
        if not here:
            engines.check_installed(form.writers[0])
        return here[0]

    def write(self, form: Format) -> Path:
        """Write a format into the staging folder, once; where it lies."""
        if form.name in self.written:
            return self.written[form.name]
        name = self.writer_of(form)
        path = self.staged / f"{self.trained.card.spec.name}{form.suffix}"
        for place in (self.folder / path.name, self.folder / "failed" / path.name):
            _check_place(place)
        images, record = (self.calibration.images_nhwc, self.calibration.record) if form.is_quantised else (None, None)
        card = self.trained.card.for_format(form.name, record).to_text()
        if form.made_of:
            convert(form, self.write(FORMATS[form.made_of]), path, card, images)
        elif name is None:
            arrays = {name: array.astype(np.float32) for name, array in self.trained.weights.items()}
            write_arrays(path, arrays, {"format": "pt", CARD: card})
        else:
            self.workers[name].export(form.name, path, card, images)
        self.written[form.name] = path
        return path

    def place(self, form: Format, passed: bool) -> Path:
        """Move what was written to where it belongs; what passed takes the place of what failed before."""
        staged = self.written[form.name]
        failed = self.folder / "failed" / staged.name
        path = self.folder / staged.name if passed else failed
        settle(staged, path)
        if passed:
            remove(failed)
        self.written[form.name] = path
        return path


def _check_place(path: Path) -> None:
    """Refuse to replace a folder that is not one of our files."""
    ours = {"1", "model.xml", "model.bin", CARD}
    if path.is_dir() and not ({inside.name for inside in path.iterdir()} <= ours and is_artifact(path)):
        raise UsageError(f"'{path}' is a folder that diptych did not write; choose another place with --out.")


def _shipped(workshop: _Workshop, form: Format, verify: bool) -> Shipped:
    try:
        path = workshop.write(form)
        writer = workshop.writer_of(form)
    except DiptychError as error:
        return Shipped(form.name, "impossible", str(error), absent=isinstance(error, MissingEngine))
    shipped = Shipped(form.name, "unverified", writer=writer, num_bytes=num_bytes(path))
    if verify:
        shipped = _verified(workshop, form, path, shipped)
    return replace(shipped, path=workshop.place(form, shipped.status != "failed"))


def _verified(workshop: _Workshop, form: Format, path: Path, shipped: Shipped) -> Shipped:
    reference, images = workshop.trained.reference, workshop.images
    try:
        runtime = runtimes.usable(form)
        answers = probe.ask(path, runtime, images, workshop.threads, form=form, seconds=workshop.seconds)
    except MissingEngine as error:
        return replace(shipped, reason=str(error))
    except DiptychError as error:
        return replace(shipped, status="failed", reason=str(error))
    found = judged(shipped, form, reference, answers)
    return _audited(workshop, form, path, found, answers.logits_nk) if form.is_quantised else found


def judged(shipped: Shipped, form: Format, reference: Reference, answers: Answers) -> Shipped:
    """What became of a format, now that a runtime has answered with its file."""
    verdict = judge(form, reference, answers.probabilities_nk)
    return replace(
        shipped,
        status="failed" if verdict.fault else "ok",
        reason=verdict.fault,
        worst_difference=verdict.worst_difference,
        tolerance=form.tolerance,
        agreement=verdict.agreement,
        accuracy=verdict.accuracy,
        trained_accuracy=reference.accuracy,
        speed=answers.speed,
    )


def _audited(workshop: _Workshop, form: Format, path: Path, found: Shipped, logits_nk: np.ndarray) -> Shipped:
    found = replace(found, classes=class_changes(workshop.trained.reference, logits_nk))
    if found.drop <= NOTED_DROP:
        return found
    try:
        source = workshop.write(FORMATS[form.made_of or "tflite"])
        spec, images_nhwc = workshop.trained.card.spec, workshop.calibration.images_nhwc
        return replace(found, layers=lost_signal(form, spec, source, path, images_nhwc))
    except Exception as error:  # the runtimes' debuggers raise what they like; the file is as good as it was
        return replace(found, reason=f"its layers could not be compared: {in_one_line(error)}")


def _read_report(path: Path, card: Card) -> dict[str, Any]:
    """What earlier exports of this very model wrote; nothing where there was none, or none that can be read."""
    try:
        found = read_json(path)
    except ArtifactError:
        return {}
    return found if found.get("parity") == card.parity else {}


def _report(folder: Path, card: Card, workshop: _Workshop, results: Sequence[Shipped]) -> None:
    """Bring `export.json` up to date; what other exports of the same model wrote stays in it."""
    path = folder / REPORT
    before = _read_report(path, card)
    known = before.get("formats", {})
    entries = {
        shipped.form: shipped.to_json()
        | {"path": shipped.path and shipped.path.relative_to(folder).as_posix()}
        | ({"sha256": sha256_of(shipped.path)} if shipped.path and shipped.path.is_file() else {})
        for shipped in results
    }
    quantised = any(FORMATS[shipped.form].is_quantised and shipped.path for shipped in results)
    record = workshop.calibration.record if quantised else before.get("calibration")
    write_json(
        path, {"model": card.spec.name, "parity": card.parity, "calibration": record, "formats": known | entries}
    )
