"""Help is there at once, complete, and changes on purpose only."""

import time
from dataclasses import fields
from importlib import import_module

import pytest
from commands import diptych, process
from golden import golden

from diptych import __version__
from diptych.cli import VERBS
from diptych.spec import Recipe

MOST_SECONDS = 0.3


@pytest.fixture(autouse=True)
def terminal_of_100_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


def without_trailing_blanks(text):
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_changes_on_purpose_only(verb):
    told = diptych(verb, "--help")
    assert (0, "") == (told.code, told.err)
    shown = without_trailing_blanks(told.out)
    assert golden(f"help_{verb}.txt", shown) == shown


def test_the_help_of_a_check_changes_on_purpose_only():
    told = diptych("data", "check", "--help")
    assert (0, "") == (told.code, told.err)
    shown = without_trailing_blanks(told.out)
    assert golden("help_data_check.txt", shown) == shown


def test_the_help_of_the_whole_changes_on_purpose_only():
    told = diptych("--help")
    assert (0, "") == (told.code, told.err)
    assert golden("help_diptych.txt", told.out) == told.out


@pytest.mark.parametrize("arguments", [(), ("-h",), ("help",)])
def test_whoever_asks_nothing_gets_the_help(arguments):
    assert diptych("--help") == diptych(*arguments)


def test_every_verb_is_a_file_of_its_own_and_listed_with_a_summary():
    out = diptych("--help").out
    for verb, summary in VERBS.items():
        assert import_module(f"diptych.cli.{verb}").main.__doc__
        assert any(line.split(maxsplit=1) == [verb, summary] for line in out.splitlines() if line.strip())


def test_every_field_of_the_recipe_is_an_option_of_train():
    out = diptych("train", "--help").out
    missing = [field.name for field in fields(Recipe) if f"--{field.name.replace('_', '-')}" not in out]
    assert [] == missing


def test_the_defaults_shown_are_those_of_the_recipe_named():
    shown = {name: diptych("train", "--recipe", name, "--help").out for name in ("default", "resnet_cifar")}
    assert "(default: 10)" in shown["default"]
    assert "(default: 164)" in shown["resnet_cifar"]


def test_the_version_is_told():
    assert f"diptych {__version__}\n" == diptych("--version").out


def test_help_takes_less_than_a_third_of_a_second():
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert 0 == process("--help").code
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < MOST_SECONDS
