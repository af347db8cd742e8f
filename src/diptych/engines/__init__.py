"""Engines by name: the one place where a framework is chosen."""

from __future__ import annotations

from importlib import import_module, util
from typing import cast

from diptych.engines.contract import Engine
from diptych.errors import MissingEngine, UsageError
from diptych.spec.typed import did_you_mean

NAMES = ("torch", "tensorflow")


def get(name: str) -> Engine:
    """The engine called `name`; imports its framework.

    Raises:
        UsageError: there is no such engine.
        MissingEngine: its framework is not installed; says what to install.
    """
    check_installed(name)
    return cast(Engine, import_module(f"diptych.engines.{name}"))


def check_installed(name: str) -> None:
    """Refuse an engine that cannot run here, without importing its framework.

    Raises:
        UsageError: there is no such engine.
        MissingEngine: its framework is not installed; says what to install.
    """
    if name not in NAMES:
        raise UsageError(f"Unknown engine '{name}'{did_you_mean(name, NAMES)}; there are {' and '.join(NAMES)}.")
    if util.find_spec(name) is None:
        raise MissingEngine(
            f"The {name} engine needs {name}, which is not installed here. "
            f"Install it with: pip install 'diptych[{name}]'"
        )


def installed() -> tuple[str, ...]:
    """Names of the engines whose framework is installed here."""
    return tuple(name for name in NAMES if util.find_spec(name) is not None)
