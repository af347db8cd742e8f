"""The card inside every exported file: its model, inputs, outputs, classes and origin."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast
from unicodedata import category

import msgspec
import numpy as np

from diptych import __version__
from diptych.artifacts.record import RunRecord
from diptych.artifacts.store import entry_first, json_text, read_bytes
from diptych.data import sources
from diptych.deployment.options import CardOptions
from diptych.engines.contract import INPUT, MOST_BYTES, OPSET, OUTPUTS
from diptych.errors import ArtifactError, SpecError, UsageError, in_one_line
from diptych.spec import ModelSpec
from diptych.spec.codec import model_from_json, model_to_json
from diptych.spec.layers import Normalize

_MAX_ACTIVATIONS = 2**28
UNKNOWN = "unknown"
"""The dataset of a card that was made for a file without one."""


@dataclass(frozen=True)
class Card:
    """The description of an exported file."""

    form: str
    spec: ModelSpec
    class_names: tuple[str, ...]
    resize: str
    """How images are resized to the model's input size."""
    dataset: str
    """Name of the training data."""
    trained_by: tuple[str, ...]
    """The engines that trained the model, in order."""
    parity: str
    """SHA-256 of the spec and all arrays: equal in every file of one model, in any format."""
    diptych: str = __version__
    calibration: Mapping[str, Any] | None = None
    """The images that set the ranges of an integer format."""
    is_published: bool = False
    """Whether `dataset` is a dataset that diptych knows by name."""
    test_fingerprint: str | None = None
    """SHA-256 of the test data; see `Dataset`."""
    test_fraction: float = 0.2
    """Share of the training data that was held out for the test if the data has no test split."""
    remarks: tuple[str, ...] = ()
    """What was left out, different or not checked when the weights were transferred, one line each."""

    def to_text(self) -> str:
        """Return the card as JSON text."""
        return json_text(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the card with its input and outputs spelled out for programs that do not use diptych."""
        height, width, channels = self.spec.input_shape
        content = {
            "kind": "diptych-model",
            "version": 1,
            "diptych": self.diptych,
            "format": self.form,
            "model": self.spec.name,
            "input": {
                "name": INPUT,
                "dtype": "uint8",
                "layout": "NHWC",
                "range": [0, 255],
                "height": height,
                "width": width,
                "channels": channels,
                "colors": "RGB" if channels == 3 else "gray",
                "resize": self.resize,
                "normalization": "inside the model",
            },
            "outputs": list(OUTPUTS),
            "class_names": self.class_names,
            "dataset": self.dataset,
            "published": self.is_published or None,
            "test_fingerprint": self.test_fingerprint,
            "test_fraction": self.test_fraction,
            "trained_by": self.trained_by,
            "parity": self.parity,
            "calibration": self.calibration,
            "remarks": self.remarks or None,
            "opset": OPSET if self.form.startswith("onnx") else None,
            "spec": model_to_json(self.spec),
        }
        return {key: value for key, value in content.items() if value is not None}

    @classmethod
    def from_text(cls, text: str | bytes, where: str) -> Self:
        """Read a card, or raise ArtifactError, naming `where`, if it is damaged or from a newer version of diptych."""
        try:
            found = msgspec.json.decode(text, type=_CardFields)
            entries = msgspec.structs.asdict(found)
            entries |= {"spec": model_from_json(found.spec), "resize": found.input.resize}
            card = cls(**{column.name: entries[column.name] for column in fields(cls)})
            card._check()
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError, RecursionError, SpecError) as error:
            fault = entry_first(str(error)) if isinstance(error, msgspec.ValidationError) else in_one_line(error)
            raise ArtifactError(f"Cannot read the card in {where}: {fault.rstrip('.'):.300}.") from error
        return card

    def for_format(self, form: str, calibration: Mapping[str, Any] | None = None) -> Self:
        """Return the card for a file of another format."""
        return replace(self, form=form, calibration=calibration)

    def _check(self) -> None:
        """Raise ValueError for text that could control a terminal, and for models that are too large."""
        texts = (self.form, self.spec.name, self.resize, self.dataset, self.parity, self.diptych)
        lists = (*self.class_names, *self.trained_by, *self.remarks)
        for text in (*texts, *lists, self.test_fingerprint or ""):
            if any(category(letter) == "Cc" for letter in text):  # such as an escape sequence
                raise ValueError(f"{text!r:.40} has a control character")
        names, classes = len(self.class_names), self.spec.num_classes
        if names != classes:
            raise ValueError(f"it has {names} class names, its model has {classes} classes")
        if sum(array.size for array in self.spec.arrays) > MOST_BYTES // 4:
            raise ValueError(f"its model has more than {MOST_BYTES // 4:,} weights")
        if max(map(prod, self.spec.shapes.values())) > _MAX_ACTIVATIONS:
            raise ValueError(f"a layer outputs more than {_MAX_ACTIVATIONS:,} numbers for one image")


class _Input(msgspec.Struct, frozen=True):
    resize: str


class _CardFields(msgspec.Struct, frozen=True, rename={"form": "format", "is_published": "published"}):
    """The entries of a card's JSON that are read."""

    kind: Literal["diptych-model"]
    version: Literal[1]
    diptych: str
    form: str
    input: _Input
    class_names: tuple[str, ...]
    dataset: str
    trained_by: tuple[str, ...]
    parity: str
    spec: dict[str, Any]
    is_published: bool = False
    calibration: dict[str, Any] | None = None
    test_fingerprint: str | None = None
    test_fraction: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2
    remarks: tuple[str, ...] = ()


def card_of(record: RunRecord, weights: Mapping[str, np.ndarray]) -> Card:
    """Return the card of a run's model, for the safetensors format."""
    spec = record.spec
    return Card(
        form="safetensors",
        spec=spec,
        class_names=record.class_names,
        resize=record.preprocessing.resize,
        dataset=record.data.name,
        trained_by=tuple(dict.fromkeys(start.engine for start in record.engines)),
        parity=parity_digest(spec, weights),
        is_published=record.data.data in sources.NAMED,
        test_fingerprint=record.data.test_fingerprint,
        test_fraction=record.data.test_fraction,
    )


def with_description(card: Card, described: CardOptions, where: str, *, is_scaled: bool) -> Card:
    """Return the card of a weights file with the class names and the normalization that the user states.

    `is_scaled` says whether the file itself states how it scales pixels; a model that takes 0 to 255 states nothing.
    Raises UsageError if they do not fit the model, or contradict the card of a trained model.
    """
    spec, normalize, names = card.spec, cast(Normalize, card.spec.layers[0]), described.class_names or card.class_names
    if isinstance(names, str | Path):
        path = Path(names)
        names = tuple(read_bytes(path).decode("utf-8-sig", "replace").splitlines()) if path.is_file() else (str(names),)
    plain = {name for name in names if name.isprintable() and "\ufffd" not in name}
    if not len(names) == len(plain) == spec.num_classes:
        raise UsageError(f"--class-names must have {spec.num_classes} different names, got {len(names)}: {names!s:.60}")
    repeats = [spec.input_shape[2] if len(numbers) == 1 else 1 for numbers in (described.mean, described.std)]
    mean, std = described.mean * repeats[0], described.std * repeats[1]
    if not len(mean) == len(std) in (0, spec.input_shape[2]):
        raise UsageError(f"--mean and --std must both have {spec.input_shape[2]} numbers, got {mean} and {std}.")
    stated = replace(normalize, mean=mean, std=std) if mean else normalize
    new = replace(card, spec=replace(spec, layers=(stated, *spec.layers[1:])), class_names=names)
    contradicts = is_scaled and stated != normalize and not np.allclose([*normalize.std], 1 / 255)
    if contradicts or (card.dataset != UNKNOWN and new != card):
        has = f"mean {normalize.mean}, std {normalize.std} and classes {card.class_names!s:.60}"
        raise UsageError(f"'{where}' has a card, with {has}; --class-names, --mean and --std are for other files.")
    return new


def parity_digest(spec: ModelSpec, weights: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of a spec and its arrays, in the spec's order, by canonical name in canonical layout."""
    digest = hashlib.sha256(json.dumps(model_to_json(spec), sort_keys=True).encode())
    for array in spec.arrays:
        values = np.ascontiguousarray(weights[array.name], dtype="<f4")
        digest.update(f"{array.name} {values.shape}".encode())
        digest.update(values.data)
    return digest.hexdigest()
