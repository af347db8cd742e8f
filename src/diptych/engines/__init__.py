"""Engines by name; the only place that selects a framework."""

from __future__ import annotations

from importlib import import_module, util
from typing import TYPE_CHECKING, cast

from diptych.errors import MissingEngine, UsageError
from diptych.vocabulary import did_you_mean

if TYPE_CHECKING:
    from diptych.engines.contract import Engine
    from diptych.options import Device

NAMES = ("torch", "tensorflow")


def get(name: str) -> Engine:
    """Return the engine called `name` and import its framework; see `check_installed` for errors."""
    check_installed(name)
    return cast("Engine", import_module(f"diptych.engines.{name}"))


def configure(name: str, threads: int, device: Device) -> None:
    """Import an engine and configure it; see `Engine.configure`."""
    get(name).configure(threads, device)


def check_installed(name: str) -> None:
    """Raise MissingEngine if an engine's framework is not installed, and UsageError for an unknown name."""
    if name not in NAMES:
        raise UsageError(f"Unknown engine '{name}'{did_you_mean(name, NAMES)}; expected {' or '.join(NAMES)}.")
    if util.find_spec(name) is None:
        command = f"pip install 'diptych[{name}]'"
        raise MissingEngine(f"The {name} engine needs {name}, which is not installed. Install it with: {command}")


def installed() -> tuple[str, ...]:
    """Return the names of the engines whose framework is installed."""
    return tuple(name for name in NAMES if util.find_spec(name) is not None)
