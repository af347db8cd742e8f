"""From a dataclass to a command line: fields are options, their docstrings are the help."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from diptych.errors import UsageError
from diptych.options import field_docs, option
from diptych.spec import Recipe, recipes
from diptych.spec.codec import read_recipe
from diptych.vocabulary import bad_choice, unknown_option

T = TypeVar("T")
WIDTH = 100
_NUMBERS = {int: "a whole number", float: "a number"}


def positional(metavar: str, default: Any = MISSING) -> Any:
    """A field that is a positional argument."""
    return option(default, metavar=metavar, place="position")


def parse(kind: type[T], verb: str, args: Sequence[str], default: T | None = None) -> T:
    """The arguments of a verb; see `parse_given`."""
    return parse_given(kind, verb, args, default)[0]


def parse_given(kind: type[T], verb: str, args: Sequence[str], default: T | None = None) -> tuple[T, set[str]]:
    """The arguments of a verb, and the names of those that were given.

    Args:
        kind: a dataclass; fields that are dataclasses are groups of options.
        verb: its name on the command line.
        args: what follows the verb.
        default: holds the defaults of options without a value.

    Raises:
        UsageError: an option is unknown, missing or has a value that is not accepted.
    """
    flags = {flag: one for one in _options(kind, default) for flag in one.flags}
    parser = _Parser(verb, kind, {id(one): one for one in flags.values()}.values(), _positionals(kind, default))
    given = vars(parser.parse_intermixed_args([_known(verb, arg, flags) for arg in args]))
    return _made(kind, given, default), set(given)


def recipe_named(args: Sequence[str]) -> Recipe:
    """The recipe that `--recipe` names: its fields are the defaults of the options."""
    names = [after for before, after in pairwise(args) if before == "--recipe"]
    names += [arg.partition("=")[2] for arg in args if arg.startswith("--recipe=")]
    name = names[-1] if names else "default"
    return read_recipe(Path(name)) if name.endswith(".json") else recipes.recipe(name)


@dataclass(frozen=True)
class _Option:
    """A field of a dataclass as an argument."""

    field: Field[Any]
    hint: Any
    doc: str
    default: Any
    group: str

    @property
    def flags(self) -> tuple[str, ...]:
        flag = f"--{self.field.name.replace('_', '-')}"
        return (flag, flag.replace("--", "--no-", 1)) if self.hint is bool else (flag,)

    @property
    def settings(self) -> dict[str, Any]:
        """Keywords of `ArgumentParser.add_argument`."""
        settings: dict[str, Any] = {"help": (self.doc + self._shown_default()).replace("%", "%%")}
        if self.hint is bool:
            return {**settings, "action": argparse.BooleanOptionalAction if self.default is True else _OffByDefault}
        parts = [part for part in _alternatives(self.hint) if part is not NoneType]
        sequence = next((part for part in parts if get_origin(part) is tuple), None)
        text_parser = self.field.metadata.get("parse")
        if sequence and not text_parser:
            length = len(get_args(sequence))
            settings["nargs"] = length if get_args(sequence)[-1] is not ... else "+"
            parts = [get_args(sequence)[0], *(part for part in parts if part is not sequence)]
        choices = [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]
        kind = next((one for one in (float, int) if one in parts), Path if Path in parts else str)
        metavar = "|".join([kind.__name__.upper()] * (kind is not str or not choices) + list(map(str, choices)))
        return {
            **settings,
            "metavar": self.field.metadata.get("metavar") or metavar,
            "type": partial(_converted, self.flags[0], kind, choices, text_parser),
        }

    def _shown_default(self) -> str:
        if self.default is MISSING or self.default in (None, ()) or self.default is False or "(default" in self.doc:
            return ""
        if self.default is True:
            return " (default: yes)"
        value = " ".join(map(str, self.default)) if isinstance(self.default, tuple) else self.default
        return f" (default: {value})"


def _options(kind: type, default: Any, group: str = "options") -> Iterator[_Option]:
    for one, hint, value in _described(kind, default):
        if is_dataclass(hint):
            yield from _options(hint, None if value is MISSING else value, one.name.replace("_", " "))  # type: ignore[arg-type]
        elif one.metadata.get("place") != "position":
            yield _Option(one, hint, field_docs(kind).get(one.name, ""), value, group)


def _positionals(kind: type, default: Any) -> list[_Option]:
    return [
        _Option(one, hint, field_docs(kind).get(one.name, ""), value, "arguments")
        for one, hint, value in _described(kind, default)
        if one.metadata.get("place") == "position"
    ]


def _described(kind: type, default: Any) -> Iterator[tuple[Field[Any], Any, Any]]:
    """Every field of a dataclass with its type and its default."""
    hints = get_type_hints(kind)
    for one in fields(kind):  # type: ignore[arg-type]
        yield one, hints[one.name], one.default if default is None else getattr(default, one.name)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _converted(flag: str, kind: type, choices: Sequence[Any], text_parser: Any, text: str) -> Any:
    """The value of an option from its text.

    Raises:
        UsageError: says what is accepted.
    """
    for choice in choices:
        if text == str(choice):
            return choice
    if choices and kind is str:
        raise bad_choice(flag, text, list(map(str, choices)))
    try:
        return (text_parser or kind)(text)
    except ValueError as error:
        accepted = str(error) if text_parser else " or ".join([_NUMBERS[kind], *map(str, choices)])
        raise UsageError(f"{flag} must be {accepted}, got '{text}'.") from None


def _known(verb: str, arg: str, flags: dict[str, _Option]) -> str:
    """An argument with its dashes in place; raises UsageError for an option that does not exist."""
    name, equals, value = arg.partition("=")
    if not name.startswith("--") or name == "--help":
        return arg
    if name.replace("_", "-") not in flags:
        error = unknown_option(verb, name, flags)
        raise UsageError(f"{error} `diptych {verb} --help` lists them.")
    return name.replace("_", "-") + equals + value


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours and whose values are only those given."""

    def __init__(self, verb: str, kind: type, options: Any, positionals: Sequence[_Option]) -> None:
        names = " ".join(_metavar(one) for one in positionals)
        super().__init__(
            f"diptych {verb}",
            usage=" ".join(f"diptych {verb} {names} [OPTIONS]".split()),
            description=kind.__doc__,
            formatter_class=_Formatter,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )
        for one in positionals:
            settings = one.settings
            many = settings.get("nargs") == "+"
            optional = one.default is not MISSING
            self.add_argument(one.field.name, **{**settings, "nargs": "*" if many else "?" if optional else None})
        groups: dict[str, Any] = {"options": self}
        for one in options:
            if one.group not in groups:
                groups[one.group] = self.add_argument_group(one.group)
            settings = one.settings
            if settings.get("nargs") == "+":
                settings["action"] = "extend"
            required = one.default is MISSING
            groups[one.group].add_argument(one.flags[0], required=required, default=argparse.SUPPRESS, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        text = f": {message.removeprefix('argument ')}"
        if "are required: " in message:
            text = f" requires {message.partition(': ')[2]}"
        raise UsageError(f"{self.prog.removeprefix('diptych ')}{text}. `{self.prog} --help` says more.")


class _OffByDefault(argparse.BooleanOptionalAction):
    """A flag whose `--no-` form works, but is not worth a mention."""


class _Formatter(argparse.HelpFormatter):
    """Paragraphs stay paragraphs."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=min(shutil.get_terminal_size().columns, WIDTH))

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if isinstance(action, _OffByDefault):
            return action.option_strings[0]
        return super()._format_action_invocation(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = (" ".join(one.split()) for one in text.split("\n\n"))
        return "\n\n".join(super(_Formatter, self)._fill_text(one, width, indent) for one in paragraphs)


def _metavar(one: _Option) -> str:
    name = one.field.metadata["metavar"]
    return f"[{name}]" if one.default is not MISSING else name


def _made(kind: type[T], given: dict[str, Any], default: T | None) -> T:
    """An instance of a dataclass from the values given."""
    values: dict[str, Any] = {}
    for one, hint, value in _described(kind, default):
        if is_dataclass(hint):
            values[one.name] = _made(hint, given, None if value is MISSING else value)  # type: ignore[arg-type]
        elif one.name in given:
            parts = given[one.name]
            values[one.name] = _tuple(parts, hint) if isinstance(parts, list) else parts
        elif value is not MISSING:
            values[one.name] = value
    return kind(**values)


def _tuple(values: list[Any], hint: Any) -> Any:
    """Several values as a tuple, or the one word that stands for them, such as `none`."""
    words = [word for part in _alternatives(hint) if get_origin(part) is Literal for word in get_args(part)]
    return values[0] if len(values) == 1 and values[0] in words else tuple(values)
