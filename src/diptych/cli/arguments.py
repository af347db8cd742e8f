"""From dataclasses to arguments: fields are options, their docstrings are the help."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, fields, is_dataclass
from itertools import takewhile, zip_longest
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from diptych.errors import UsageError
from diptych.spec.typed import did_you_mean

T = TypeVar("T")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RULE = re.compile("[─╰-]{4}")
MaybeInt: TypeAlias = Annotated[int | None, tyro.conf.arg(metavar="INT")]
MaybePath: TypeAlias = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]
MaybeEngine: TypeAlias = Annotated[Literal["torch", "tensorflow"] | None, tyro.conf.arg(metavar="torch|tensorflow")]
RunPath: TypeAlias = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
ModelPath: TypeAlias = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|FILE")]
MaybeData: TypeAlias = Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]


def parsed(kind: type[T], verb: str, arguments: list[str], default: T | None = None) -> T:
    """The arguments of one verb.

    Raises:
        UsageError: an argument is unknown, missing, or not what the option takes; says what may have been meant.
    """
    _check(verb, arguments, dict(_options(kind)))
    extra: dict[str, Any] = {} if default is None else {"default": default}
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            found: T = tyro.cli(
                kind, prog=f"diptych {verb}", args=arguments, config=(tyro.conf.OmitArgPrefixes,), **extra
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise UsageError(f"{verb}: {_gist(said.getvalue())} `diptych {verb} --help` says more.") from None
    return found


def given_once(arguments: list[str], option: str) -> None:
    """Refuse an option with several values that is given twice, of which the first would be lost.

    Raises:
        UsageError: says how to write it.
    """
    if sum(argument.partition("=")[0] == option for argument in arguments) > 1:
        raise UsageError(f"{option} is given twice; name all its values after one {option}.")


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    from diptych.artifacts.store import json_text  # imports NumPy, which lists need as little as --help does

    print(json.dumps(json.loads(json_text(content)), indent=2, ensure_ascii=False))


@dataclass(frozen=True)
class _Option:
    """What one option takes: one of `choices`, or a number of kind `number`; anything where there is neither."""

    choices: tuple[str, ...]
    number: type | None


def _options(kind: type) -> Iterator[tuple[str, _Option]]:
    """Every option of a dataclass and of those inside it, by name."""
    hints = get_type_hints(kind)
    for field in fields(kind):  # type: ignore[arg-type]
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from _options(hint)  # type: ignore[arg-type]
        else:
            yield f"--{field.name.replace('_', '-')}", _Option(_choices(hint), _number(hint))


def _alternatives(hint: Any) -> tuple[Any, ...]:
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return tuple(part for part in parts if part is not NoneType)


def _choices(hint: Any) -> tuple[str, ...]:
    parts = _alternatives(hint)
    literal = all(get_origin(part) is Literal for part in parts)
    return tuple(str(choice) for part in parts for choice in get_args(part)) if literal else ()


def _number(hint: Any) -> type | None:
    return next((kind for kind in (int, float) if _alternatives(hint) == (kind,)), None)


def _check(verb: str, arguments: list[str], options: dict[str, _Option]) -> None:
    for argument, after in zip_longest(arguments, arguments[1:], fillvalue=""):
        name, equals, value = argument.partition("=")
        if not name.startswith("--") or name == "--help":
            continue
        known = name.replace("_", "-")
        positive = known.replace("--no-", "--", 1)
        if known not in options and positive not in options:
            near = did_you_mean(known, options)
            raise UsageError(f"{verb} has no option '{name}'{near}. `diptych {verb} --help` lists them.")
        if known in options:
            _check_value(name, value if equals else after, options[known])


def _check_value(name: str, given: str, option: _Option) -> None:
    if option.choices and given not in option.choices:
        near = did_you_mean(given, option.choices)
        raise UsageError(f"{name} wants one of {', '.join(option.choices)}, got '{given}'{near}.")
    if option.number and given != "None":
        try:
            option.number(given)
        except ValueError:
            wanted = "a whole number" if option.number is int else "a number"
            raise UsageError(f"{name} wants {wanted}, got '{given}'.") from None


def _gist(box: str) -> str:
    """The first paragraph of what tyro printed in a box, drawn with lines or with hyphens, on one line."""
    lines = [line.strip("│ ") for line in _COLOUR.sub("", box).splitlines()[1:]]
    below_title = lines[1:] if _RULE.match(lines[0]) else lines
    paragraph = " ".join(takewhile(lambda line: line and not _RULE.match(line), below_title))
    gist = re.sub(r"\.? \(required\) ?", "; ", " ".join(paragraph.split())).rstrip(".; ")
    return re.sub(r"^Missing from .+?: (\S+)", r"wants \1:", gist) + "."
