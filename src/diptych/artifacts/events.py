"""The events of a run: `events.jsonl`, one JSON object per line.

Each line is on the disk before the training continues, so `tail -f` shows every event and a crash loses none.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from diptych.artifacts.store import atomic_write, json_text, make_folder, read_bytes, refusal, sync
from diptych.errors import ArtifactError


class EventLog:
    """Appends events to a file, after removing a half-written last line that a crash left."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            make_folder(path.parent)
            with path.open("a+b") as file:
                file.seek(0)
                self._end = file.read().rfind(b"\n") + 1
                file.truncate(self._end)
            sync(path.parent)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise refusal(path, error) from error

    def write(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Append one event: its `kind`, the `time` in seconds since 1970, and `fields`.

        Raises:
            ArtifactError: the system refuses to write; the events before are whole, this one is not there.
        """
        line, written = _line(kind, fields), 0
        try:
            while written < len(line):  # an unbuffered file writes what there is room for
                written += self._file.write(line[written:])
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._end)
            raise refusal(self._path, error, written, len(line)) from error
        self._end += len(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def rewind(path: Path, epochs: Sequence[Mapping[str, Any]]) -> None:
    """Rewind a log to a checkpoint before the training resumes from it.

    The log then has one event for each of the checkpoint's epochs: later epochs and an early stop are removed, missing
    ones are added. Broken lines are removed, too, and counted in a `damaged_events` event. The file is replaced as a
    whole, and only if it changes.

    Args:
        path: the log, which may be missing.
        epochs: the checkpoint's records in order, each with its number as `epoch`.
    """
    *lines, torn = read_bytes(path).split(b"\n") if path.exists() else [b""]
    missing = {record["epoch"]: record for record in epochs}
    kept, num_damaged = [], 0
    for number, line in enumerate(lines, start=1):
        try:
            event = _event(path, number, line)
        except ArtifactError:
            num_damaged += 1
            continue
        if event["kind"] == "early_stop" or (event["kind"] == "epoch" and not missing.pop(event.get("epoch"), None)):
            continue
        kept.append(line + b"\n")
    added = [_line("epoch", record) for record in missing.values()]
    if num_damaged:
        added.append(_line("damaged_events", {"lines": num_damaged}))
    if added or torn or len(kept) < len(lines):
        with atomic_write(path) as file:
            file.writelines(kept + added)


def read_events(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Read a run's events in order, all or those of one `kind`, without a half-written last line.

    Raises ArtifactError when the file is missing or a line before the last is broken.
    """
    events = [_event(path, number, line) for number, line in enumerate(_lines(path), start=1)]
    return [event for event in events if kind is None or event["kind"] == kind]


def count_events(path: Path, kind: str) -> int:
    """Return the number of events of one `kind`, without broken lines; 0 if there is no log."""
    count = 0
    for number, line in enumerate(_lines(path) if path.exists() else [], start=1):
        with suppress(ArtifactError):
            count += _event(path, number, line)["kind"] == kind
    return count


def _lines(path: Path) -> list[bytes]:
    """Return the whole lines of a log."""
    return read_bytes(path).split(b"\n")[:-1]


def _line(kind: str, fields: Mapping[str, Any]) -> bytes:
    return f"{json_text({'kind': kind, 'time': time.time(), **fields})}\n".encode()


def _event(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise ArtifactError(f"Cannot read '{path}': line {number} is not JSON ({error}).") from error
    if not isinstance(event, dict) or "kind" not in event:
        raise ArtifactError(f"Cannot read '{path}': line {number} is not an event with a 'kind'.")
    return event
