"""The card that travels inside every shipped file: what the model is, what it eats and answers, where it is from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Self
from unicodedata import category

import numpy as np

from diptych import __version__
from diptych.artifacts.record import RunRecord
from diptych.artifacts.store import json_text
from diptych.data import sources
from diptych.engines.contract import INPUT, MOST_BYTES, OPSET, OUTPUTS
from diptych.errors import ArtifactError, SpecError, in_one_line
from diptych.spec import ModelSpec
from diptych.spec.codec import model_from_json, model_to_json

KIND = "diptych-model"
VERSION = 1
_MOST_ACTIVATIONS = 2**28


@dataclass(frozen=True)
class Card:
    """What a shipped file says of itself."""

    form: str
    spec: ModelSpec
    class_names: tuple[str, ...]
    resize: str
    """How images are brought to the model's size."""
    dataset: str
    """Name of what it was trained on."""
    trained_by: tuple[str, ...]
    """The engines that trained it, in turn."""
    parity: str
    """SHA-256 of the spec and of every array: equal for every file of one model, whatever its format."""
    diptych: str = __version__
    calibration: Mapping[str, Any] | None = None
    """What the ranges of an integer format were taken from."""
    is_published: bool = False
    """Whether `dataset` is a name that diptych knows, and not what a folder or a file was called."""
    test_fingerprint: str | None = None
    """SHA-256 of what it was tested on; see `Dataset`."""

    def to_text(self) -> str:
        """JSON text of `to_json`."""
        return json_text(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """With the input and the outputs spelt out, for programs that know nothing of diptych."""
        height, width, channels = self.spec.input_shape
        content = {
            "kind": KIND,
            "version": VERSION,
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
                "colours": "RGB" if channels == 3 else "grey",
                "resize": self.resize,
                "normalisation": "inside the model",
            },
            "outputs": list(OUTPUTS),
            "class_names": self.class_names,
            "dataset": self.dataset,
            "published": self.is_published or None,
            "test_fingerprint": self.test_fingerprint,
            "trained_by": self.trained_by,
            "parity": self.parity,
            "calibration": self.calibration,
            "opset": OPSET if self.form.startswith("onnx") else None,
            "spec": model_to_json(self.spec),
        }
        return {key: value for key, value in content.items() if value is not None}

    @classmethod
    def from_text(cls, text: str | bytes, where: str) -> Self:
        """Read a card.

        Raises:
            ArtifactError: it is damaged, or of a newer diptych; names `where` it was.
        """
        try:
            content = json.loads(text)
            if content["kind"] != KIND or content["version"] != VERSION:
                raise ArtifactError(
                    f"Cannot read the card in {where}: it is a {content['kind']!r:.40} of version "
                    f"{content['version']!r:.20}, wanted '{KIND}' of version {VERSION}."
                )
            card = cls(
                form=_text(content["format"]),
                spec=_spec(content["spec"]),
                class_names=_texts(content["class_names"]),
                resize=_text(content["input"]["resize"]),
                dataset=_text(content["dataset"]),
                trained_by=_texts(content["trained_by"]),
                parity=_text(content["parity"]),
                diptych=_text(content["diptych"]),
                calibration=_record(content.get("calibration")),
                is_published=content.get("published") is True,
                test_fingerprint=_maybe_text(content.get("test_fingerprint")),
            )
        except (ValueError, KeyError, TypeError, RecursionError, SpecError) as error:
            raise ArtifactError(f"Cannot read the card in {where}: {in_one_line(error).rstrip('.')}.") from error
        if len(card.class_names) != card.spec.num_classes:
            raise ArtifactError(
                f"Cannot read the card in {where}: it names {len(card.class_names)} classes, "
                f"its model has {card.spec.num_classes}."
            )
        return card

    def for_format(self, form: str, calibration: Mapping[str, Any] | None = None) -> Self:
        """The same model's card in a file of another format."""
        return replace(self, form=form, calibration=calibration)


def card_of(record: RunRecord, weights: Mapping[str, np.ndarray]) -> Card:
    """The card of a run's model, for safetensors until told otherwise."""
    spec = record.spec
    return Card(
        form="safetensors",
        spec=spec,
        class_names=record.class_names,
        resize=record.preprocessing.resize,
        dataset=record.data.name,
        trained_by=tuple(dict.fromkeys(start.engine for start in record.engines)),
        parity=parity_digest(spec, weights),
        is_published=sources.is_named(record.data.data),
        test_fingerprint=record.data.test_fingerprint,
    )


def parity_digest(spec: ModelSpec, weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of a spec and of its arrays, in the spec's order, by canonical name in canonical layout."""
    digest = hashlib.sha256(json.dumps(model_to_json(spec), sort_keys=True).encode())
    for array in spec.arrays:
        values = np.ascontiguousarray(weights[array.name], dtype="<f4")
        digest.update(f"{array.name} {values.shape}".encode())
        digest.update(values.data)
    return digest.hexdigest()


def _spec(value: Any) -> ModelSpec:
    """A spec that a machine can hold; one of larger numbers would be met by whoever builds it, or prints it."""
    spec = model_from_json(value)
    _text(spec.name)
    if sum(array.size for array in spec.arrays) > MOST_BYTES // 4:
        raise SpecError(f"it has more than {MOST_BYTES // 4:,} weights")
    if max(map(prod, spec.shapes.values())) > _MOST_ACTIVATIONS:
        raise SpecError(f"a layer of it gives more than {_MOST_ACTIVATIONS:,} numbers for one image")
    return spec


def _text(value: Any) -> str:
    """Text that a terminal prints and does not obey."""
    if not isinstance(value, str) or any(category(letter) == "Cc" for letter in value):
        raise TypeError(f"wanted text, got {value!r:.40}")
    return value


def _maybe_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"wanted a list, got {value!r:.40}")
    return tuple(map(_text, value))


def _record(value: Any) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise TypeError(f"wanted an object, got {value!r:.40}")
    return value
