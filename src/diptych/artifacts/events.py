"""The events of a run: `events.jsonl`, one JSON object per line, synced to disk before training continues."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from diptych.artifacts.store import json_text, make_folder, read_bytes, refusal, sync, write_parts
from diptych.errors import ArtifactError


def append_event(path: Path, kind: str, fields: Mapping[str, Any]) -> None:
    """Append one event to a log: its `kind`, the `time` in seconds since 1970, and `fields`.

    Raises ArtifactError when the system refuses to write; earlier events stay complete, and this one is not there.
    """
    line, written = _line(kind, fields), 0
    try:
        make_folder(path.parent)
        with path.open("ab", buffering=0) as file:
            end = file.tell()
            try:
                while written < len(line):  # an unbuffered file writes what there is room for
                    written += file.write(line[written:])
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    file.truncate(end)
                raise
        if not end:
            sync(path.parent)
    except OSError as error:
        raise refusal(path, error, written, len(line)) from error


def rewind(path: Path, epochs: Sequence[Mapping[str, Any]]) -> None:
    """Rewind a log, which may be missing, to the records of a checkpoint before the training resumes from it.

    The log then has one event for each of the checkpoint's epochs: later epochs and an early stop are removed, missing
    ones are added. Broken lines are removed, too, and counted in a `damaged_events` event. The file is replaced as a
    whole, and only if it changes.
    """
    content = read_bytes(path) if path.exists() else b""
    missing = {record["epoch"]: record for record in epochs}
    kept, num_damaged = [], 0
    for line in content.split(b"\n")[:-1]:
        event = _event(line)
        if isinstance(event, str):
            num_damaged += 1
        elif event["kind"] != "early_stop" and (event["kind"] != "epoch" or missing.pop(event.get("epoch"), None)):
            kept.append(line + b"\n")
    kept += [_line("epoch", record) for record in missing.values()]
    if num_damaged:
        kept.append(_line("damaged_events", {"lines": num_damaged}))
    if (rewound := b"".join(kept)) != content:
        write_parts(path, rewound)


def read_events(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """Read a run's events in order, all or those of one `kind`, without a half-written last line.

    Raises ArtifactError when the file is missing or a line before the last is broken.
    """
    events = []
    for number, line in enumerate(read_bytes(path).split(b"\n")[:-1], start=1):
        event = _event(line)
        if isinstance(event, str):
            raise ArtifactError(f"Cannot read '{path}': line {number} {event}.")
        if kind in (None, event["kind"]):
            events.append(event)
    return events


def count_events(path: Path, kind: str) -> int:
    """Return the number of events of one `kind`, without broken lines; 0 if there is no log."""
    events = map(_event, read_bytes(path).split(b"\n")[:-1]) if path.exists() else ()
    return sum(isinstance(event, dict) and event["kind"] == kind for event in events)


def _line(kind: str, fields: Mapping[str, Any]) -> bytes:
    return f"{json_text({'kind': kind, 'time': time.time(), **fields})}\n".encode()


def _event(line: bytes) -> dict[str, Any] | str:
    """Return the event in a line, or what is wrong with the line."""
    try:
        event = json.loads(line)
    except ValueError as error:
        return f"is not JSON ({error})"
    return event if isinstance(event, dict) and "kind" in event else "is not an event with a 'kind'"
