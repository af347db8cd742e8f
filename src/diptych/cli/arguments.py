"""From dataclasses to arguments: fields are options, their docstrings are the help."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import tyro

from diptych.artifacts.store import json_text

T = TypeVar("T")


def parsed(kind: type[T], verb: str, arguments: list[str], default: T | None = None) -> T:
    """The arguments of one verb; a wrong one is explained, and the program exits with 2."""
    extra: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(kind, prog=f"diptych {verb}", args=arguments, config=(tyro.conf.OmitArgPrefixes,), **extra)


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(json.loads(json_text(content)), indent=2, ensure_ascii=False))
