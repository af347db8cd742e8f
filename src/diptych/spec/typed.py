"""Type checks of dataclass fields, whether the values come from Python, JSON or the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from diptych.errors import SpecError

_NUMBERS = {int: Integral, float: Real}


def check_types(instance: Any, where: str) -> None:
    """Convert each field of `instance` to its annotated type; raise SpecError, which starts with `where`, otherwise."""
    for name, hint in _hints(type(instance)).items():  # type: ignore[arg-type]
        value = convert(getattr(instance, name), hint, f"{where}, '{name}'")
        object.__setattr__(instance, name, value)  # frozen for other code


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def convert(value: Any, hint: Any, where: str) -> Any:
    """Convert `value` to the type `hint`: lists to tuples, integers to floats, NumPy numbers to Python's."""
    origin = get_origin(hint)
    kinds = get_args(hint)
    if origin in (Union, UnionType):
        *others, last = (kind for kind in kinds if value is None or kind is not NoneType)
        for kind in others:
            with suppress(SpecError):
                return convert(value, kind, where)
        return convert(value, last, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise SpecError(f"{where}: expected a list, got {brief(value)}.")
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        if len(value) != len(kinds):
            raise SpecError(f"{where}: expected {len(kinds)} values, got {len(value)}.")
        return tuple(convert(item, kind, where) for item, kind in zip(value, kinds, strict=True))
    if origin is Literal:
        if value in kinds:
            return value
        options = ", ".join(kinds)
        raise SpecError(f"{where}: expected one of {options}, got {brief(value)}{did_you_mean(str(value), kinds)}.")
    if hint in _NUMBERS and isinstance(value, _NUMBERS[hint]) and not isinstance(value, bool):
        with suppress(OverflowError):  # an integer too large for a float
            return hint(value)
    if hint not in _NUMBERS and isinstance(value, hint):
        return value
    raise SpecError(f"{where}: expected {hint.__name__}, got {brief(value)}.")


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return ` (did you mean '…'?)` with the closest option, or an empty string."""
    near = get_close_matches(word[:60], list(options), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def brief(value: Any) -> str:
    """Format a value as JSON of at most 60 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
