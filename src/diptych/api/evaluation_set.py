"""The labelled images that a model is evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from diptych.data.datasets import Dataset, Split, Splits
from diptych.errors import DataError, UsageError


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Labelled images to evaluate a model on.

    Attributes:
        name: name of the data.
        class_names: a name for each label.
        splits: the images and their labels.
        used: the test split, or every image of data without one.
    """

    name: str
    class_names: tuple[str, ...]
    splits: tuple[Split, ...]
    used: Literal["test split", "every image"]

    @classmethod
    def of_test(cls, dataset: Dataset) -> Self:
        """The test split of the data a model was trained on."""
        return cls(dataset.name, dataset.class_names, (dataset.test,), "test split")

    @classmethod
    def of_other(cls, splits: Splits, name: str, test_fingerprint: str | None) -> Self:
        """The test split of other data, or all of its images if it has none.

        Data that turns out to be what the model was trained on is divided as it was then.

        Args:
            splits: the data.
            name: name of the data the model was trained on.
            test_fingerprint: fingerprint of its test split; without one, equal names mean equal data.

        Raises:
            DataError: it is the same data, and cannot be divided.
        """
        if splits.test is not None and len(splits.test):
            return cls(splits.name, splits.class_names, (splits.test,), "test split")
        if test_fingerprint is None and splits.name == name:
            return cls.of_test(splits.divide(seed=0, validation_fraction=0))
        try:
            dataset = splits.divide(seed=0, validation_fraction=0)
            if dataset.test_fingerprint == test_fingerprint:
                return cls.of_test(dataset)
        except DataError:  # data that cannot be divided was not trained on
            pass
        used = tuple(split for split in (splits.train, splits.validation) if split is not None and len(split))
        return cls(splits.name, splits.class_names, used, "every image")

    def labels(self, class_names: Sequence[str], model: str) -> NDArray[np.int64]:
        """Labels as indices into a model's class names, int64, (N,); the data may lack some of its classes.

        Args:
            class_names: the model's.
            model: its name in errors.

        Raises:
            UsageError: the model does not know a class.
        """
        unknown = [name for name in self.class_names if name not in class_names]
        if unknown:
            raise UsageError(
                f"'{self.name}' has classes that '{model}' does not know: {', '.join(unknown[:3])}…; "
                f"the model knows {', '.join(class_names[:3])}…"
            )
        indices_k = np.array([class_names.index(name) for name in self.class_names], dtype=np.int64)
        return np.concatenate([indices_k[split.labels] for split in self.splits])
