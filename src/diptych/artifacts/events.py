"""What happened in a run, as it happens: `events.jsonl`, one JSON object a line.

Each line is flushed, so `tail -f` and a crash both see every event but perhaps the last.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from diptych.artifacts.store import json_text
from diptych.errors import ArtifactError


class EventLog:
    """Appends events to a file; a half-written last line, left by a crash, is removed first."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as error:
            raise ArtifactError(f"Cannot write '{path}': {error.strerror}.") from error
        self._file.seek(0)
        content = self._file.read()
        self._file.truncate(content.rfind(b"\n") + 1)

    def write(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Append one event: its `kind`, the `time` in seconds since 1970, and `fields`."""
        line = json_text({"kind": kind, "time": time.time(), **fields})
        self._file.write(f"{line}\n".encode())
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_events(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Read a run's events in order, all or those of one `kind`; a half-written last line is left out.

    Raises ArtifactError when the file is missing or a line before the last is broken.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise ArtifactError(f"Cannot read '{path}': {error.strerror}.") from error
    events = [_event(path, number, line) for number, line in enumerate(lines, start=1)]
    return [event for event in events if kind is None or event["kind"] == kind]


def _event(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise ArtifactError(f"Cannot read '{path}': line {number} is not JSON ({error}).") from error
    if not isinstance(event, dict) or "kind" not in event:
        raise ArtifactError(f"Cannot read '{path}': line {number} is not an event with a 'kind'.")
    return event
