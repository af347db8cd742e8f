"""From dataclasses to arguments: fields are options, their docstrings are the help."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from diptych.artifacts.store import json_text
from diptych.errors import UsageError
from diptych.spec.codec import did_you_mean

T = TypeVar("T")
MaybeInt: TypeAlias = Annotated[int | None, tyro.conf.arg(metavar="INT")]
MaybePath: TypeAlias = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]
MaybeEngine: TypeAlias = Annotated[Literal["torch", "tensorflow"] | None, tyro.conf.arg(metavar="torch|tensorflow")]
RunPath: TypeAlias = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
MaybeData: TypeAlias = Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]


def parsed(kind: type[T], verb: str, arguments: list[str], default: T | None = None) -> T:
    """The arguments of one verb.

    Raises:
        UsageError: an option is unknown, or its value none of its choices; says what may have been meant.
    """
    _check(verb, arguments, dict(_options(kind)))
    extra: dict[str, Any] = {} if default is None else {"default": default}
    found: T = tyro.cli(kind, prog=f"diptych {verb}", args=arguments, config=(tyro.conf.OmitArgPrefixes,), **extra)
    return found


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(json.loads(json_text(content)), indent=2, ensure_ascii=False))


def _options(kind: type) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every option of a dataclass and of those inside it, with its choices (none where any value may do)."""
    hints = get_type_hints(kind)
    for field in fields(kind):  # type: ignore[arg-type]
        if is_dataclass(hints[field.name]):
            yield from _options(hints[field.name])
        else:
            yield f"--{field.name.replace('_', '-')}", _choices(hints[field.name])


def _choices(hint: Any) -> tuple[str, ...]:
    if get_origin(hint) in (Union, UnionType):
        parts = [_choices(part) for part in get_args(hint) if part is not type(None)]
        return sum(parts, ()) if all(parts) else ()
    return tuple(map(str, get_args(hint))) if get_origin(hint) is Literal else ()


def _check(verb: str, arguments: list[str], options: dict[str, tuple[str, ...]]) -> None:
    for argument, after in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        if not name.startswith("--") or name == "--help":
            continue
        known = name.replace("_", "-")
        positive = known.replace("--no-", "--", 1)
        if known not in options and positive not in options:
            near = did_you_mean(known, options)
            raise UsageError(f"{verb} has no option '{name}'{near}. `diptych {verb} --help` lists them.")
        choices, given = options.get(known, ()), value if equals else after
        if choices and given not in choices:
            near = did_you_mean(given, choices)
            raise UsageError(f"{name} wants one of {', '.join(choices)}, got '{given}'{near}.")
