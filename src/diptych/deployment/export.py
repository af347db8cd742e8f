"""Export a run's model to any format. Each file is verified against the trained model before it is put in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from diptych import engines
from diptych.artifacts.locks import remove, settle, staging
from diptych.artifacts.record import read_record
from diptych.artifacts.run import Predictions, Run
from diptych.artifacts.store import read_arrays, sha256_of, write_arrays, write_json
from diptych.data.datasets import Dataset
from diptych.deployment import quantization, runtimes
from diptych.deployment.card import Card, card_of
from diptych.deployment.file_types import is_artifact, num_bytes
from diptych.deployment.formats import FORMATS, Format, check_installed, convert
from diptych.deployment.options import ExportOptions
from diptych.deployment.predictor import Probes, save_images
from diptych.deployment.quantization import Calibration
from diptych.deployment.verify import Exported, Reference, class_changes, judge, write_golden
from diptych.engines.contract import CARD, Arrays
from diptych.engines.session import Session, Sessions
from diptych.errors import ArtifactError, DiptychError, MissingEngine, UsageError, in_one_line
from diptych.processes import num_threads
from diptych.training import provenance

REPORT = "export.json"
NOTED_DROP = 0.01
"""Loss of accuracy above which classes and layers are reported."""


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained model: its weights, its card, and its data, loaded when needed."""

    weights: Arrays
    card: Card
    load: Callable[[], Dataset]
    """Loads images to verify and to calibrate with."""
    answers: Callable[[], Predictions]
    """Returns its predictions for the test images among them."""

    @classmethod
    def of(cls, run: Run, data_dir: str | Path | None = None) -> TrainedModel:
        """Read a finished run; `data_dir` is the folder of named datasets if it has changed."""
        record, weights = run.read_record(), read_arrays(run.model_path)[0]
        load = partial(provenance.load_data, record, **({"data_dir": data_dir} if data_dir else {}))
        return cls(weights, card_of(record, weights), load, run.read_predictions)

    @cached_property
    def data(self) -> Dataset:
        """The data of its training and test."""
        return self.load()

    @cached_property
    def reference(self) -> Reference:
        """The test set and the model's predictions for it; raises if the set is missing or has changed."""
        try:
            return Reference.of(self.data.test, self.answers(), self.card.class_names)
        except DiptychError as error:
            hint = "Name other test images (--data), give their folder (--data-dir), or skip it (--no-verify)."
            raise type(error)(f"Cannot verify without the test set: {error} {hint}") from error


class ExportReport(msgspec.Struct, frozen=True):
    """The content of `export.json`."""

    model: str
    parity: str
    calibration: dict[str, Any] | None = None
    verified_on: str | None = None
    """The test images, if files were verified."""
    formats: dict[str, dict[str, Any]] = {}
    """For each format, the result as `Exported.to_json` returns it, with `path` and `sha256`."""


def export(
    trained: TrainedModel,
    forms: Sequence[Format],
    folder: Path,
    options: ExportOptions,
    *,
    calibrate: Calibration | None = None,
    on_format: Callable[[str], None] = lambda name: None,
) -> list[Exported]:
    """Export a model, and return the result for each format; see `api.export`.

    An existing file in `folder` is replaced once its successor is verified.
    """
    threads, verify = options.threads or num_threads(), options.verify

    def prepare(worker: Session) -> None:
        worker.build(trained.card.spec, "float32")
        worker.load_weights(trained.weights)

    with staging(folder) as staged, Sessions(threads, prepare) as workers, Probes(threads) as probes:
        # Raises for missing test images before anything is exported.
        images = save_images(staged / "images.npy", trained.reference.images) if verify else None
        exporter = _Exporter(trained, staged, folder, workers, probes, images, options.writer, calibrate)
        results = []
        for form in forms:
            on_format(form.name)
            with suppress(MissingEngine):
                if verify:
                    probes.start(runtimes.usable(form))
            results.append(exporter.export(form))
        if verify:
            write_golden(folder, trained.card, trained.reference)
        _write_report(exporter, results)
    return results


@dataclass(eq=False)
class _Exporter:
    """The state that the formats of one export share; `images` are a file of test images, if files are verified."""

    trained: TrainedModel
    staged: Path
    folder: Path
    workers: Sessions
    probes: Probes
    images: Path | None
    writer: str | None
    calibrate: Calibration | None
    written: dict[str, Path] = field(default_factory=dict)

    @cached_property
    def calibration(self) -> Calibration:
        data = self.trained.data
        if not (self.calibrate or len(data.train)):
            raise UsageError("it needs images to calibrate with: add --calibration DATA, such as training images.")
        images = self.calibrate or quantization.draw(data.train, data.name)
        quantization.check(images.images_nhwc, data.train.images)
        return images

    def export(self, form: Format) -> Exported:
        """Write, verify and place a file."""
        try:
            path = self.write(form)
            writer = self.writer_of(form)
        except DiptychError as error:
            return Exported(form.name, "absent" if isinstance(error, MissingEngine) else "impossible", str(error))
        exported = Exported(form.name, "unverified", writer=writer, num_bytes=num_bytes(path))
        if self.images:
            exported = self.verified(form, path, exported, self.images)
        passed = exported.status != "failed"
        target, failed = self.folder / path.name, self.folder / "failed" / path.name
        self.written[form.name] = target if passed else failed
        settle(path, self.written[form.name])
        if passed:
            remove(failed)
        return replace(exported, path=self.written[form.name])

    def writer_of(self, form: Format) -> str | None:
        """Return the engine that writes a format, or None if none is needed; raise MissingEngine if none can."""
        check_installed("writing it", form.packages)
        if not form.writers:
            return None
        if self.writer in form.writers:
            return self.writer
        writer = next((name for name in form.writers if name in engines.installed()), form.writers[0])
        engines.check_installed(writer)
        return writer

    def write(self, form: Format) -> Path:
        """Write a format to the staging folder, once, and return its path."""
        if form.name in self.written:
            return self.written[form.name]
        name = self.writer_of(form)
        path = self.staged / f"{self.trained.card.spec.name}{form.suffix}"
        parts = {"1", "model.xml", "model.bin", CARD}
        for target in (self.folder / path.name, self.folder / "failed" / path.name):
            if target.is_dir() and not ({part.name for part in target.iterdir()} <= parts and is_artifact(target)):
                raise UsageError(f"'{target}' is a folder that diptych did not create; choose another one with --out.")
        images, record = (self.calibration.images_nhwc, self.calibration.record) if form.is_quantized else (None, None)
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

    def verified(self, form: Format, path: Path, exported: Exported, images: Path) -> Exported:
        """Compare a file with the trained model."""
        try:
            answers = self.probes.ask(path, runtimes.usable(form), images, form=form)
        except MissingEngine as error:
            return replace(exported, reason=str(error))
        except DiptychError as error:
            return replace(exported, status="failed", reason=str(error))
        result = judge(exported, self.trained.reference, answers.probabilities_nk)
        if result.accuracy is None and form.tolerance == 1:  # its integers need not suit random images
            return replace(exported, reason="random images cannot verify it: add labeled test images with --data DATA")
        if not form.is_quantized:
            return result
        result = replace(result, classes=class_changes(self.trained.reference, answers.logits_nk))
        if result.drop <= NOTED_DROP:
            return result
        try:
            source = self.write(FORMATS[form.made_of or "tflite"])
            spec, images_nhwc = self.trained.card.spec, self.calibration.images_nhwc
            return replace(result, layers=quantization.lost_signal(form, spec, source, path, images_nhwc))
        except Exception as error:  # debuggers can raise anything; the file itself is not affected
            return replace(result, reason=f"its layers could not be compared: {in_one_line(error)}")


def _write_report(exporter: _Exporter, results: Sequence[Exported]) -> None:
    """Update `export.json`; entries of earlier exports of the same model are kept."""
    path, card = exporter.folder / REPORT, exporter.trained.card
    before = ExportReport(card.spec.name, card.parity)
    with suppress(ArtifactError):  # missing, damaged, or of an older version
        found = read_record(path, ExportReport)
        before = found if found.parity == card.parity else before
    entries = {
        exported.form: exported.to_json()
        | {"path": exported.path and exported.path.relative_to(exporter.folder).as_posix()}
        | ({"sha256": sha256_of(exported.path)} if exported.path and exported.path.is_file() else {})
        for exported in results
    }
    is_quantized = any(FORMATS[exported.form].is_quantized and exported.path for exported in results)
    record = exporter.calibration.record if is_quantized else before.calibration
    trained, images = exporter.trained, exporter.images
    used = f"{len(trained.data.test):,} test images, {trained.data.name}" if images else before.verified_on
    report = ExportReport(card.spec.name, card.parity, record, used, before.formats | entries)
    write_json(path, msgspec.structs.asdict(report))
