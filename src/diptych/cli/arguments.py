"""From a dataclass to a command line: fields are options, their docstrings are the help."""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, get_args, get_origin

from diptych.cli.output import NARROWEST
from diptych.errors import UsageError
from diptych.options import find_recipe, option
from diptych.spec import Recipe
from diptych.spec.typed import convert, field_docs, hints
from diptych.vocabulary import unknown_option

T = TypeVar("T")
WIDTH = 100


def positional(metavar: str, default: Any = MISSING) -> Any:
    """A field that is a positional argument."""
    return option(default, metavar=metavar, is_positional=True)


def parse(kind: type[T], verb: str, args: Sequence[str]) -> T:
    """The arguments of a verb; see `parse_given`."""
    return parse_given(kind, verb, args)[0]


def parse_given(kind: type[T], verb: str, args: Sequence[str], default: T | None = None) -> tuple[T, set[str]]:
    """The arguments of a verb as a `kind`, and the names of those that were given; raises UsageError for bad ones.

    Fields that are dataclasses are groups of options; `default` holds the defaults of options without a value.
    """
    parser = _Parser(verb, kind, default)
    given = vars(parser.parse_intermixed_args([parser.known(arg) for arg in args]))
    return _made(kind, given, default), set(given)


def recipe_named(args: Sequence[str]) -> Recipe:
    """The recipe that `--recipe` names: its fields are the defaults of the options."""
    names = [after for before, after in pairwise(args) if before == "--recipe"]
    names += [arg.partition("=")[2] for arg in args if arg.startswith("--recipe=")]
    return find_recipe(names[-1] if names else "default")


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours and whose values are only those given."""

    def __init__(self, verb: str, kind: type, default: Any) -> None:
        super().__init__(
            f"diptych {verb}",
            description=kind.__doc__,
            formatter_class=_Formatter,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )
        names: list[str] = []
        self._add(self, kind, default, names)
        self.usage = " ".join([f"diptych {verb}", *names, "[OPTIONS]"])

    def _add(self, group: Any, kind: type, default: Any, names: list[str]) -> None:
        """Add the fields of a dataclass to a group of options; `names` collects those of positional arguments."""
        docs = field_docs(kind)
        for one, hint, value in _described(kind, default):
            if is_dataclass(hint):
                title = one.name.replace("_", " ")
                inner = group if title == "options" else self.add_argument_group(title)
                self._add(inner, hint, None if value is MISSING else value, names)  # type: ignore[arg-type]
                continue
            text = _with_default(docs[one.name], value).replace("%", "%%")
            settings: dict[str, Any] = {"help": text, **_settings(one, hint, value)}
            required, many = value is MISSING, settings.get("nargs") == "+"
            if one.metadata.get("is_positional"):
                names.append(settings["metavar"] if required else f"[{settings['metavar']}]")
                self.add_argument(one.name, **{**settings, "nargs": "*" if many else None if required else "?"})
            else:
                action = {"action": "extend"} if many else {}
                group.add_argument(_flag(one), dest=one.name, required=required, **settings, **action)

    def known(self, arg: str) -> str:
        """An argument with its dashes in place; raises UsageError for an option that does not exist."""
        name, equals, value = arg.partition("=")
        if not name.startswith("--") or name == "--help":
            return arg
        flags = [flag for flag in self._option_string_actions if flag not in ("-h", "--help")]
        if name.replace("_", "-") not in flags:
            error = unknown_option(self.prog.removeprefix("diptych "), name, flags)
            raise UsageError(f"{error} `{self.prog} --help` lists them.")
        return name.replace("_", "-") + equals + value

    def _print_message(self, message: str, file: Any = None) -> None:
        print(message, end="", file=file, flush=True)  # argparse ignores errors

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        text = f": {message.removeprefix('argument ')}"
        if "are required: " in message:
            text = f" requires {message.partition(': ')[2]}"
        raise UsageError(f"{self.prog.removeprefix('diptych ')}{text}. See `{self.prog} --help`.")


class _Formatter(argparse.HelpFormatter):
    """Paragraphs stay paragraphs."""

    def __init__(self, prog: str) -> None:
        super().__init__(
            prog, max_help_position=26, width=sorted((NARROWEST, shutil.get_terminal_size().columns, WIDTH))[1]
        )

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = (" ".join(one.split()) for one in text.split("\n\n"))
        return "\n\n".join(super(_Formatter, self)._fill_text(one, width, indent) for one in paragraphs)


def _flag(one: Field[Any]) -> str:
    return f"--{one.name.rstrip('_').replace('_', '-')}"


def _settings(one: Field[Any], hint: Any, default: Any) -> dict[str, Any]:
    """Keywords of `ArgumentParser.add_argument` for a field."""
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction if default is True else "store_true"}
    leaves = _leaves(hint)
    choices = [str(leaf) for leaf in leaves if not isinstance(leaf, type)]
    kinds = [kind.__name__.upper() for kind in (float, int, Path, str) if kind in leaves]
    settings: dict[str, Any] = {
        "metavar": one.metadata.get("metavar") or "|".join([*kinds[:1], *dict.fromkeys(choices)])
    }
    sequences = [get_args(part) for part in (hint, *get_args(hint)) if get_origin(part) is tuple]
    if sequences and not one.metadata.get("parse"):
        settings["nargs"] = "+" if sequences[0][-1] is ... else len(sequences[0])
    return settings


def _with_default(doc: str, value: Any) -> str:
    """The help text with the default, which replaces one that depends on other settings."""
    if value is MISSING or value in (None, ()) or value is False:
        return doc
    text = " ".join(map(str, value)) if isinstance(value, tuple) else "yes" if value is True else value
    return f"{re.sub(r' [(]default: [^)]*[)]', '', doc)} (default: {text})"


def _described(kind: type, default: Any) -> Iterator[tuple[Field[Any], Any, Any]]:
    """Every field of a dataclass with its type and its default."""
    for one in fields(kind):  # type: ignore[arg-type]
        yield one, hints(kind)[one.name], one.default if default is None else getattr(default, one.name)


def _made(kind: type[T], given: dict[str, Any], default: T | None) -> T:
    """An instance of a dataclass from the values given."""
    values: dict[str, Any] = {}
    for one, hint, value in _described(kind, default):
        if is_dataclass(hint):
            values[one.name] = _made(hint, given, None if value is MISSING else value)  # type: ignore[arg-type]
        elif one.name in given:
            values[one.name] = _converted(one, hint, given[one.name])
        elif value is not MISSING:
            values[one.name] = value
    return kind(**values)


def _converted(one: Field[Any], hint: Any, given: Any) -> Any:
    """The value of an option from its text or texts; raises UsageError with what is accepted."""
    try:
        if parse := one.metadata.get("parse"):
            return convert(parse(given), hint)
        if not isinstance(given, list):
            return convert(_read(given, hint), hint)
        values = [_read(text, hint) for text in given]
        if len(values) == 1:
            with suppress(ValueError):  # a word that stands for a list, such as `none`
                return convert(values[0], hint)
        return convert(values, hint)
    except ValueError as error:
        name = one.metadata["metavar"] if one.metadata.get("is_positional") else _flag(one)
        raise UsageError(f"{name} {error}.") from None


def _read(text: Any, hint: Any) -> Any:
    """A text as the choice, number or path that it can be, else as it is."""
    leaves = _leaves(hint)
    for choice in leaves:
        if text == str(choice):
            return choice
    for kind in (int, float, Path):
        if kind in leaves and isinstance(text, str) and str not in leaves:
            with suppress(ValueError):
                return kind(text)
    return text


def _leaves(hint: Any) -> list[Any]:
    """The choices and the types without parts that a type consists of."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return list(parts)
    if origin is Annotated:
        return [parts[0]]
    return [leaf for part in parts if part is not ... for leaf in _leaves(part)] if parts else [hint]
