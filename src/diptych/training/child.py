"""The process that trains: `python -m diptych.training.child RUN SETTINGS`, its settings as JSON.

It writes one JSON object a line to its standard output; whatever else prints there goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from diptych.artifacts.run import Run
from diptych.artifacts.store import json_text
from diptych.errors import DiptychError
from diptych.training.execute import Settings, execute
from diptych.training.replay import replay
from diptych.training.stopping import TERMINATED, Stopped, Stopping


def main(arguments: list[str]) -> int:
    """Train one run, or replay its divergence; returns the exit code."""
    directory, text = arguments
    settings = Settings(**json.loads(text))
    stopping = Stopping()
    stopping.listen()
    code = 0
    # What is left to say when nobody listens any more is not said.
    with suppress(BrokenPipeError), os.fdopen(os.dup(1), "w", encoding="utf-8") as reports:
        os.dup2(2, 1)

        def notify(kind: str, fields: dict[str, Any]) -> None:
            try:
                reports.write(json_text({"kind": kind, **fields}) + "\n")
                reports.flush()
            except BrokenPipeError:  # whoever started this process was killed
                stopping.request()

        try:
            run = Run.open(Path(directory))
            if settings.replays:
                notify("replay", replay(run, settings.threads, settings.workers))
            else:
                execute(run, settings, notify, stopping)
        except DiptychError as error:
            code = 2
            notify("error", {"type": type(error).__name__, "message": str(error)})
        except Stopped:
            code = TERMINATED
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
