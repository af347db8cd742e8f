"""Help is fast and complete, and changes only on purpose."""

import os

import pytest
from commands import diptych, golden, process

from diptych import __version__
from diptych.cli import VERBS

MOST_SECONDS = {(): 0.3, ("train",): 0.6}


@pytest.fixture(autouse=True)
def terminal_of_100_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("verb", [*VERBS, "data check", ""])
def test_help_changes_only_on_purpose(verb):
    result = diptych(*verb.split(), "--help")
    assert (0, "") == (result.code, result.err)
    name = verb.replace(" ", "_") or "diptych"
    assert golden(f"help_{name}.txt", result.out) == result.out


@pytest.mark.parametrize("group", [(), ("data",)])
@pytest.mark.parametrize("args", [(), ("-h",), ("help",)])
def test_without_a_verb_the_help_is_printed(group, args):
    assert diptych(*group, "--help") == diptych(*group, *args)


def test_the_defaults_shown_are_those_of_the_recipe_named():
    shown = {name: diptych("train", "--recipe", name, "--help").out for name in ("default", "resnet_cifar")}
    assert "(default: 10)" in shown["default"]
    assert "(default: 164)" in shown["resnet_cifar"]


def test_version_is_printed():
    assert f"diptych {__version__}\n" == diptych("--version").out


@pytest.mark.parametrize("args", MOST_SECONDS)
def test_help_is_fast(args):
    before = sum(os.times()[2:4])
    assert 0 == process(*args, "--help").code
    seconds = sum(os.times()[2:4]) - before  # processor time of the child, which a busy machine does not change much
    assert seconds < MOST_SECONDS[args]
