"""What a JSON file of a run has to hold, checked where it is read: it may come from anybody and from any version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.errors import ArtifactError

ADVICE = "Put the file back as it was written, or use the diptych that wrote it."


def check(content: Any, wanted: Mapping[str, Any], path: Path, where: str = "") -> None:
    """Refuse content that lacks an entry, or has one of another kind.

    Args:
        content: what a file holds, or a part of it.
        wanted: kinds by entry; a mapping where an entry is to hold entries itself.
        path: of the file.
        where: the part's place in the file.

    Raises:
        ArtifactError: names the file, the entry, and what came.
    """
    if not isinstance(content, Mapping):
        raise ArtifactError(f"Cannot read '{path}': {where or 'it'} wants entries, got {brief(content)}. {ADVICE}")
    for name, kind in wanted.items():
        place = f"{where}.{name}" if where else name
        if name not in content:
            raise ArtifactError(f"Cannot read '{path}': '{place}' is missing. {ADVICE}")
        if isinstance(kind, Mapping):
            check(content[name], kind, path, place)
        elif not isinstance(content[name], kind) or (isinstance(content[name], bool) and kind is not bool):
            raise ArtifactError(
                f"Cannot read '{path}': '{place}' is {brief(content[name])}, which it cannot be. {ADVICE}"
            )


def check_all(contents: Sequence[Any], wanted: Mapping[str, Any], path: Path, where: str) -> None:
    """Refuse a list with an entry that `check` refuses."""
    for place, content in enumerate(contents):
        check(content, wanted, path, f"{where}[{place}]")


def brief(value: Any) -> str:
    """A value, cut to 40 characters."""
    return f"{value!r:.40}"
