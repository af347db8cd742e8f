"""A finished run as what is shipped: weights, a card, and the test set with what was said of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from msgspec.structs import replace

from diptych.artifacts.record import RunRecord
from diptych.artifacts.run import Run
from diptych.artifacts.store import read_arrays
from diptych.data.datasets import Dataset
from diptych.data.paths import user_path
from diptych.deployment.card import Card, card_of
from diptych.deployment.verify import Reference
from diptych.engines.contract import Arrays
from diptych.errors import DiptychError
from diptych.training import job


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished run: its weights, its card, and its data when that is needed."""

    run: Run
    record: RunRecord
    weights: Arrays
    card: Card

    @classmethod
    def of(cls, run: Run, data_dir: str | Path | None = None) -> Trained:
        """Read a finished run, whose named dataset may be kept in another folder by now.

        Raises:
            ArtifactError: its record or its weights are damaged.
            UsageError: the folder cannot be looked at.
        """
        record, weights = run.read_record(), read_arrays(run.model_path)[0]
        if data_dir:
            data = replace(record.data, data_dir=str(user_path(data_dir, "--data-dir")))
            record = replace(record, data=data)
        return cls(run, record, weights, card_of(record, weights))

    @cached_property
    def data(self) -> Dataset:
        """What it was trained and tested on."""
        return job.load_data(self.record)

    @cached_property
    def reference(self) -> Reference:
        """What it said of the test set."""
        return Reference.of(self.data.test, self.run.read_predictions(), self.card.class_names)

    def check_reference(self) -> None:
        """Read the test set, before anything is written that it has to verify.

        Raises:
            DiptychError: it is not there, or not what the run was tested on; says what can be done.
        """
        try:
            self.reference  # noqa: B018  (kept for later)
        except DiptychError as error:
            hint = "Name where it is (--data-dir), or export without it (--no-verify)."
            raise type(error)(f"Cannot verify without the test set: {error} {hint}") from error
