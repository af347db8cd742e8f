"""Types and ranges of dataclass fields, for values from Python, JSON and the command line."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from contextlib import suppress
from dataclasses import is_dataclass
from functools import cache
from itertools import pairwise
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from diptych.errors import DiptychError, SpecError
from diptych.files import expanded
from diptych.vocabulary import did_you_mean

# A number, its range as text, and a test for it.
Count: TypeAlias = Annotated[int, ">= 1", lambda n: n >= 1]
Threads: TypeAlias = Annotated[int, "in [1, 1024]", lambda n: 1 <= n <= 1024]
Workers: TypeAlias = Annotated[int, "in [0, 1024]", lambda n: 0 <= n <= 1024]
Natural: TypeAlias = Annotated[int, ">= 0", lambda n: n >= 0]
Positive: TypeAlias = Annotated[float, "> 0", lambda x: x > 0]
NonNegative: TypeAlias = Annotated[float, ">= 0", lambda x: x >= 0]
Share: TypeAlias = Annotated[float, "in [0, 1)", lambda x: 0 <= x < 1]
Part: TypeAlias = Annotated[float, "in (0, 1)", lambda x: 0 < x < 1]
Fraction: TypeAlias = Annotated[float, "in [0, 1]", lambda x: 0 <= x <= 1]
Factor: TypeAlias = Annotated[float, "in (0, 1]", lambda x: 0 < x <= 1]

_NUMBERS = {int: Integral, float: Real}
_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


def check_types(instance: Any, where: str = "", error: type[DiptychError] = SpecError) -> None:
    """Convert each field of `instance` to its annotated type; raise `error`, which starts with `where`, otherwise."""
    for name, hint in hints(type(instance)).items():  # type: ignore[arg-type]
        try:
            value = convert(getattr(instance, name), hint)
        except ValueError as reason:
            raise error(f"{where}'{name}' {reason}.") from None
        object.__setattr__(instance, name, value)  # frozen for other code


@cache
def hints(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields, with their ranges."""
    return get_type_hints(kind, include_extras=True)


def convert(value: Any, hint: Any) -> Any:  # noqa: PLR0912  (one branch for each form of a type)
    """Convert `value` to the type `hint`: lists to tuples, integers to floats, NumPy numbers to Python's.

    Raise ValueError, which says what the value must be, if it cannot be converted; UsageError for an unusable path.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if isinstance(value, str | Path):
        value = _text(value, is_path=Path in (hint, *parts))
    if origin is Annotated:
        kind, accepted, is_valid = parts
        number = convert(value, kind)
        if not is_valid(number):
            raise ValueError(f"must be {_WORDS[kind]} {accepted}, got {brief(value)}")
        return number
    if origin in (Union, UnionType):
        *others, last = (kind for kind in parts if value is None or kind is not NoneType)
        for kind in others:
            with suppress(ValueError):
                return convert(value, kind)
        return convert(value, last)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"must be a list, got {brief(value)}")
        if parts[-1] is Ellipsis:
            parts = parts[:1] * len(value)
        if len(value) != len(parts):
            raise ValueError(f"must have {len(parts)} values, got {len(value)}")
        return tuple(convert(item, kind) for item, kind in zip(value, parts, strict=True))
    if origin is Literal:
        if value in parts:
            return value
        choices = [str(choice) for choice in parts]
        meant = did_you_mean(str(value), choices)
        raise ValueError(f"must be one of {', '.join(choices)}, got {brief(value)}{meant}")
    if hint in _NUMBERS and isinstance(value, _NUMBERS[hint]) and not isinstance(value, bool):
        with suppress(OverflowError):  # an integer too large for a float
            return hint(value)
    if hint not in _NUMBERS and isinstance(value, hint):
        return value
    raise ValueError(f"must be {_WORDS.get(hint, hint.__name__)}, got {brief(value)}")


def _text(value: str | Path, *, is_path: bool) -> str | Path:
    """Return a text that can be written to a record, and a path with `~` expanded."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        raise ValueError(f"must be UTF-8, got {brief(str(value))}") from None
    return type(value)(expanded(value)) if is_path and str(value) else value


def brief(value: Any) -> str:
    """Format a value as JSON of at most 60 characters, a text in single quotes."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def field_docs(kind: type) -> dict[str, str]:
    """The docstring of each field of a dataclass, on one line."""
    docs: dict[str, str] = {}
    for base in reversed([one for one in kind.__mro__ if is_dataclass(one)]):
        for one, doc in pairwise(_classes(base.__module__)[base.__name__].body):
            if isinstance(one, ast.AnnAssign) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
                docs[ast.unparse(one.target)] = " ".join(str(doc.value.value).split())
    return docs


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
