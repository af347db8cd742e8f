"""Model specs and recipes as versioned JSON; errors name the layer and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, Field, asdict, fields
from pathlib import Path
from typing import Any, TypeVar, get_args

from diptych.errors import SpecError
from diptych.files import expanded, read_regular
from diptych.spec.layers import Layer
from diptych.spec.model import ModelSpec
from diptych.spec.recipe import Recipe
from diptych.spec.typed import brief
from diptych.vocabulary import did_you_mean

VERSION = 1
_LAYERS: dict[str, type] = {kind.__name__: kind for kind in get_args(Layer)}
T = TypeVar("T")


def model_to_json(spec: ModelSpec) -> dict[str, Any]:
    """Convert a model spec to JSON data."""
    return {
        "format": "diptych-model",
        "version": VERSION,
        "name": spec.name,
        "input_shape": list(spec.input_shape),
        "layers": [{"type": type(layer).__name__, **_listed(asdict(layer))} for layer in spec.layers],
    }


def model_from_json(data: Any) -> ModelSpec:
    """Convert JSON data to a model spec; a layer without `inputs` follows the previous one.

    Raise SpecError, which names the layer and field, if a field is invalid.
    """
    entries = _entries(data, "diptych-model")
    if isinstance(layers := entries.get("layers"), list):
        built: list[Any] = []
        for entry in layers:
            built.append(_layer(entry, len(built), built[-1].name if built else "input"))
        entries["layers"] = tuple(built)
    return _build(ModelSpec, entries, "Model spec")


def recipe_to_json(recipe: Recipe) -> dict[str, Any]:
    """Convert a recipe to JSON data."""
    return {"format": "diptych-recipe", "version": VERSION, **_listed(asdict(recipe))}


def recipe_from_json(data: Any) -> Recipe:
    """Convert JSON data to a recipe; missing fields take their defaults. Raise SpecError if a field is invalid."""
    return _build(Recipe, _entries(data, "diptych-recipe"), "Recipe")


def read(path: Path, convert: Callable[[Any], T]) -> T:
    """Convert a JSON file with `model_from_json` or `recipe_from_json`; raise SpecError, which names the file."""
    try:
        data = json.loads(read_regular(expanded(path)).decode())
    except OSError as error:
        raise SpecError(f"Cannot read '{path}': {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"'{path}' is not JSON: {error}.") from error
    try:
        return convert(data)
    except SpecError as error:
        raise SpecError(f"'{path}': {error}") from error


def _entries(data: Any, expected: str) -> dict[str, Any]:
    """Return the entries of a JSON object after checking its format and version."""
    if not isinstance(data, dict) or data.get("format") != expected:
        given = data.get("format") if isinstance(data, dict) else brief(data)
        raise SpecError(f'Expected a JSON object with "format": "{expected}", got {given!r}.')
    if data.get("version") != VERSION:
        raise SpecError(f"Unsupported {expected} version {data.get('version')!r}; expected version {VERSION}.")
    return {key: value for key, value in data.items() if key not in ("format", "version")}


def _layer(entry: Any, place: int, previous: str) -> Any:
    if not isinstance(entry, dict) or "type" not in entry:
        raise SpecError(f"Layer {place}: expected an object with a 'type', got {brief(entry)}.")
    where = f"Layer '{entry.get('name', place)}'"
    kind = _LAYERS.get(str(entry["type"]))
    if kind is None:
        raise SpecError(f"{where}: unknown type '{entry['type']}'{did_you_mean(str(entry['type']), _LAYERS)}.")
    values = {"inputs": [previous], **entry}
    del values["type"]
    return _build(kind, values, f"{where} ({kind.__name__})")


def _build(kind: type[T], entries: dict[str, Any], where: str) -> T:
    """Build a dataclass; raise SpecError, starting with `where`, if an entry is unknown or missing."""
    known: dict[str, Field[Any]] = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(entries.keys() - known.keys()):
        raise SpecError(f"{where}: unknown field '{unknown[0]}'{did_you_mean(unknown[0], known)}.")
    if missing := [name for name, field in known.items() if field.default is MISSING and name not in entries]:
        raise SpecError(f"{where}: field '{missing[0]}' is missing.")
    return kind(**entries)


def _listed(entries: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in entries.items()}
