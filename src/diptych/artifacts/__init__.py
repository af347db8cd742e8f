"""Files that a training leaves behind: the run directory, its events, and how files are written."""

from diptych.artifacts.events import EventLog, read_events, rewind
from diptych.artifacts.locks import locked, remove, settle, staging
from diptych.artifacts.run import Predictions, Run
from diptych.artifacts.store import (
    atomic_write,
    json_text,
    read_arrays,
    read_json,
    read_npz,
    sha256_of,
    write_arrays,
    write_json,
    write_npz,
)

__all__ = [
    "EventLog",
    "Predictions",
    "Run",
    "atomic_write",
    "json_text",
    "locked",
    "read_arrays",
    "read_events",
    "read_json",
    "read_npz",
    "remove",
    "rewind",
    "settle",
    "sha256_of",
    "staging",
    "write_arrays",
    "write_json",
    "write_npz",
]
