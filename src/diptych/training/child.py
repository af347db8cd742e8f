"""The process that trains: `python -m diptych.training.child RUN ENGINE THREADS [STOP_AFTER]`.

It writes one JSON object a line to its standard output; whatever else prints there goes to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from diptych.artifacts.run import Run
from diptych.artifacts.store import json_text
from diptych.errors import DiptychError
from diptych.training.job import execute


def main(arguments: list[str]) -> int:
    """Train one run; returns the exit code."""
    directory, engine, threads, *rest = arguments
    stop_after = int(rest[0]) if rest else None
    # Who started this process ends it, after Ctrl-C too, and what is being written is cleaned up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as reports:
        os.dup2(2, 1)

        def notify(kind: str, fields: dict[str, Any]) -> None:
            reports.write(json_text({"kind": kind, **fields}) + "\n")
            reports.flush()

        try:
            execute(Run.open(Path(directory)), engine, int(threads), notify, stop_after)
        except DiptychError as error:
            notify("error", {"type": type(error).__name__, "message": str(error)})
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
