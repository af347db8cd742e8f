"""What a model is judged on: a test split, or, of other data that bring none, every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from diptych.data.datasets import Dataset, Split, Splits
from diptych.errors import DataError, UsageError


@dataclass(frozen=True, eq=False)
class Questions:
    """Labelled images that a model answers.

    Attributes:
        name: of the data.
        class_names: one for each label.
        splits: the images, and their labels.
        used: which of the data's images these are.
    """

    name: str
    class_names: tuple[str, ...]
    splits: tuple[Split, ...]
    used: Literal["test split", "every image"]

    @classmethod
    def of_test(cls, dataset: Dataset) -> Self:
        """The test split of what a model was trained on."""
        return cls(dataset.name, dataset.class_names, (dataset.test,), "test split")

    @classmethod
    def of_other(cls, splits: Splits, name: str, test_fingerprint: str | None) -> Self:
        """What data that somebody names have to ask.

        Their test split is used where they bring one, and where they turn out to be what the model was trained on;
        else every image, as none of them was trained on.

        Args:
            splits: of the data.
            name: of what the model was trained on.
            test_fingerprint: of the test split of that; without, data of its name are taken for it.

        Raises:
            DataError: they are taken for it, and cannot be divided.
        """
        if splits.test is not None and len(splits.test):
            return cls(splits.name, splits.class_names, (splits.test,), "test split")
        if test_fingerprint is None and splits.name == name:
            return cls.of_test(splits.divide(seed=0, validation_fraction=0))
        try:
            dataset = splits.divide(seed=0, validation_fraction=0)
            if dataset.test_fingerprint == test_fingerprint:
                return cls.of_test(dataset)
        except DataError:  # what cannot be divided was not trained on
            pass
        used = tuple(split for split in (splits.train, splits.validation) if split is not None and len(split))
        return cls(splits.name, splits.class_names, used, "every image")

    def labels(self, class_names: Sequence[str], model: str) -> NDArray[np.int64]:
        """The labels, as places among a model's class names, int64, (N,); the data may have only some of these.

        Args:
            class_names: the model's.
            model: what to call it in an error.

        Raises:
            UsageError: the model does not know a class.
        """
        unknown = [name for name in self.class_names if name not in class_names]
        if unknown:
            raise UsageError(
                f"The classes of '{self.name}' are not those of '{model}': "
                f"{', '.join(unknown[:3])}… instead of {', '.join(class_names[:3])}…"
            )
        places_k = np.array([class_names.index(name) for name in self.class_names], dtype=np.int64)
        return np.concatenate([places_k[split.labels] for split in self.splits])
