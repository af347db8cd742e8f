"""Type checks of dataclass fields, whether the values come from Python, JSON or the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from diptych.errors import SpecError

T = TypeVar("T")
_NUMBERS = {int: Integral, float: Real}


def check_types(instance: T, where: str) -> T:
    """Convert each field of `instance` to its annotated type and return the instance.

    Raises:
        SpecError: A field has another type; the message starts with `where` and names the field.
    """
    hints = _hints(type(instance))  # type: ignore[arg-type]
    for field in fields(instance):  # type: ignore[arg-type]
        value = convert(getattr(instance, field.name), hints[field.name], f"{where}, '{field.name}'")
        object.__setattr__(instance, field.name, value)  # frozen for other code
    return instance


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def convert(value: Any, hint: Any, where: str) -> Any:
    """Convert `value` to the type `hint`: lists to tuples, integers to floats, NumPy numbers to Python's.

    Raises:
        SpecError: The value has another type; the message starts with `where`.
    """
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return _first_fitting(value, get_args(hint), where)
    if origin is tuple:
        return _tuple(value, get_args(hint), where)
    if origin is Literal:
        if value in get_args(hint):
            return value
        options = [str(option) for option in get_args(hint)]
        suggestion = did_you_mean(str(value), options)
        raise SpecError(f"{where}: expected one of {', '.join(options)}, got {brief(value)}{suggestion}.")
    if hint in _NUMBERS and isinstance(value, _NUMBERS[hint]) and not isinstance(value, bool):
        with suppress(OverflowError):  # an integer too large for a float
            return hint(value)
    if hint not in _NUMBERS and isinstance(value, hint):
        return value
    raise SpecError(f"{where}: expected {hint.__name__}, got {brief(value)}.")


def _first_fitting(value: Any, options: tuple[Any, ...], where: str) -> Any:
    if value is None and NoneType in options:
        return None
    failures = []
    for option in (option for option in options if option is not NoneType):
        try:
            return convert(value, option, where)
        except SpecError as error:
            failures.append(error)
    raise failures[-1]


def _tuple(value: Any, kinds: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise SpecError(f"{where}: expected a list, got {brief(value)}.")
    if kinds[-1] is Ellipsis:
        return tuple(convert(item, kinds[0], where) for item in value)
    if len(value) != len(kinds):
        raise SpecError(f"{where}: expected {len(kinds)} values, got {len(value)}.")
    return tuple(convert(item, kind, where) for item, kind in zip(value, kinds, strict=True))


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return ` (did you mean '…'?)` with the closest option, or an empty string."""
    near = get_close_matches(word[:60], list(options), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def brief(value: Any) -> str:
    """Format a value as JSON of at most 60 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
