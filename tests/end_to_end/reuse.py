"""Processes that a command has ended with and the next one uses: a framework takes seconds to start.

Commands in this process share them as long as environment and working directory stay the same. A command that a test
starts in a process of its own (`commands.process`, `commands.start`) starts its own, as a user's does, and so does a
measurement, which needs a fresh process and is the only one that imports nothing beforehand.
"""

import tempfile
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

from diptych.processes import ProcessFailed, Worker, engine_environment


@contextmanager
def processes_reused(idle):
    """Let each `Worker` that ends well serve the next one that would start the same process; `idle` keeps them."""
    start, close = Worker.__init__, Worker.close

    def start_or_reuse(self, name="The process", *, imports=(), env=None):
        env = engine_environment() if env is None else env
        key = (Path.cwd(), {**env, "PYTEST_CURRENT_TEST": ""}) if imports else None
        kept = next((worker for worker in idle if key and worker["key"] == key), None)
        if kept:
            idle.remove(kept)
            self.__dict__ |= {**kept, "name": name}
        else:
            start(self, name, imports=imports, env=env)
        self.key, self.ended = key, False

    def close_or_keep(self):
        if getattr(self, "ended", False):
            return
        self.ended = True
        if getattr(self, "key", None):  # none if another test's fixture started it
            with suppress(ProcessFailed):  # it has died
                self._log.close()
                self._log = BytesIO()
                self.call(int, log=tempfile.TemporaryFile("a+b"))  # noqa: SIM115  (no longer to the log of a run)
                idle.append({**vars(self)})
                if len(idle) > 3:
                    end(idle.pop(0))
                return
        close(self)

    Worker.__init__, Worker.close = start_or_reuse, close_or_keep
    try:
        yield
    finally:
        Worker.__init__, Worker.close = start, close


def end(kept):
    """End a process that nobody uses."""
    worker = object.__new__(Worker)
    worker.__dict__ |= {**kept, "ended": False, "key": None}
    worker.close()
