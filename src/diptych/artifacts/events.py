"""What happened in a run, as it happens: `events.jsonl`, one JSON object a line.

Each line is safe on the disk before the next thing happens, so `tail -f` and a crash both see every event.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from diptych.artifacts.store import atomic_write, json_text, make_folder, refusal, sync_folder
from diptych.errors import ArtifactError


class EventLog:
    """Appends events to a file; a half-written last line, left by a crash, is removed first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            make_folder(path.parent)
            with path.open("a+b") as file:
                file.seek(0)
                self._end = file.read().rfind(b"\n") + 1
                file.truncate(self._end)
            sync_folder(path.parent)
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
    """Bring a log to where a checkpoint stands, before a training goes on from there.

    Of each of the checkpoint's epochs there is then one event: what came later goes, with an early stop that followed
    from it, and what a crash kept from being written is added. Lines that are no events go too; `damaged_events`
    says how many. The file is replaced as a whole, and only where it has to change.

    Args:
        path: of the log; it need not be there.
        epochs: the checkpoint's records, the first epoch's first, each with its number as `epoch`.
    """
    try:
        *lines, torn = path.read_bytes().split(b"\n") if path.exists() else [b""]
    except OSError as error:
        raise ArtifactError(f"Cannot read '{path}': {error.strerror}.") from error
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
    """Read a run's events in order, all or those of one `kind`; a half-written last line is left out.

    Raises ArtifactError when the file is missing or a line before the last is broken.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise ArtifactError(f"Cannot read '{path}': {error.strerror}.") from error
    events = [_event(path, number, line) for number, line in enumerate(lines, start=1)]
    return [event for event in events if kind is None or event["kind"] == kind]


def count_events(path: Path, kind: str) -> int:
    """Events of one `kind`, without lines that are broken; 0 where there is no log.

    Raises ArtifactError when the log cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    except OSError as error:
        raise ArtifactError(f"Cannot read '{path}': {error.strerror}.") from error
    found = 0
    for number, line in enumerate(lines, start=1):
        with suppress(ArtifactError):
            found += _event(path, number, line)["kind"] == kind
    return found


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
