"""Run functions in another process: each framework gets one of its own, so that the two never meet.

A `Worker` starts a Python process that answers pickled calls on a socket until the other end closes. It does not run
the user's script again, so that script needs no `if __name__ == "__main__"` guard.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar, cast

from diptych.errors import DiptychError, EngineError, in_one_line

R = TypeVar("R")
Notify = Callable[[str, dict[str, Any]], object]
"""Called with the kind and the fields of an event; True asks the sender to stop."""

# The exit code of a process that SIGTERM ended.
TERMINATED = 128 + signal.SIGTERM

# Without it glibc returns each activation's memory to the system and faults it in again: a step of a small CNN took
# 1.7 times as long.
_KEEP_MEMORY = (
    "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296:glibc.malloc.top_pad=268435456"
)
# OpenMP threads that wait spin 300,000 times by default (milliseconds), which keeps a busy machine's other threads from
# their cores: two threads were 20 times slower than one. benchmarks/busy.py compares the values.
_DEFAULTS = {"GLIBC_TUNABLES": _KEEP_MEMORY, "GOMP_SPINCOUNT": "3000", "TF_CPP_MIN_LOG_LEVEL": "2"}
_SETTINGS: dict[str | None, dict[str, str]] = {
    None: {},
    "torch": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},  # without it a GPU's matrix products may differ between runs
    "tensorflow": {"KERAS_BACKEND": "tensorflow"},
}
_TAIL_LINES = 40
_SERVE = "import sys; from diptych.processes import serve; serve(int(sys.argv[1]), sys.argv[2:])"


def num_threads() -> int:
    """Return how many processor threads this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Return how many bytes of memory this process may use: the machine's, or what its container has."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # ValueError: `max`
            found.append(int(Path(path).read_text(encoding="ascii")))
    return min(found)


class ProcessFailed(EngineError):  # noqa: N818  (what happened, as the message says)
    """A process died, or raised an error that is not one of diptych's."""


class Worker:
    """A Python process that runs one function at a time and ends with this one."""

    def __init__(
        self, name: str = "The process", *, imports: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> None:
        """Start the process, which errors call `name`, without waiting; it imports `imports` before its first call."""
        self.name = name
        self._log: BinaryIO = cast(BinaryIO, tempfile.TemporaryFile("a+b"))  # noqa: SIM115  (closed by `close`)
        self._start = 0
        self._socket, theirs = socket.socketpair()
        self._connection = Connection(os.dup(self._socket.fileno()))
        with theirs:
            self._process = subprocess.Popen(
                # Without `-P` a file in the working directory could stand in for a module of the same name.
                [sys.executable, "-P", "-c", _SERVE, str(theirs.fileno()), *imports],
                env=engine_environment() if env is None else env,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[theirs.fileno()],
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the process and wait for its end."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._socket.close()
        self._log.close()

    def terminate(self) -> None:
        """Send SIGTERM: a function that saves its state does so, and the call of it fails."""
        self._process.terminate()

    def call(
        self,
        function: Callable[..., R],
        *args: Any,
        notify: Notify | None = None,
        pass_fds: Sequence[int] = (),
        log: BinaryIO | None = None,
        **kwargs: Any,
    ) -> R:
        """Run a function that the process can import with pickled arguments, and return its result.

        An exception here, such as KeyboardInterrupt, sends SIGTERM and waits for the function to end; a second one
        does not wait. If `notify` is given, the function gets one, too, which calls this one and returns whether it
        says True. The process keeps `pass_fds` open until the function ends; `log`, opened with `a+b`, gets what it
        prints from now on and has printed before. Raises a DiptychError as the function did, and ProcessFailed if it
        raised something else, or the process died.
        """
        if log:
            self._start = log.seek(0, os.SEEK_END)
            if not self._log.closed:  # as that of an earlier call may be
                self._log.seek(0)
                log.write(self._log.read())
                log.flush()
                self._log.close()
            self._log = log
        fds = [*pass_fds, *([log.fileno()] if log else [])]
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # reading says how the process died
                self._connection.send((function, args, kwargs, notify is not None, len(fds), log is not None))
                if fds:
                    socket.send_fds(self._socket, [b"\0"], fds)
            kind, content = self._answer(notify)
        except ProcessFailed:
            raise
        except BaseException:
            self._process.terminate()
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
            # The process may just die now, and a message may have been cut.
            with suppress(ProcessFailed, pickle.UnpicklingError, ValueError):
                self._answer(None)
            raise
        if kind == "error":
            raise content if isinstance(content, DiptychError) else self._failed(f"failed: {content}")
        return cast(R, content)

    def create(self, make: Callable[..., R], *args: Any) -> R:
        """Return a stand-in for an object that the process makes when one of its methods is first called."""
        return cast(R, _StandIn(self, make, *args))

    def _answer(self, notify: Notify | None) -> tuple[str, Any]:
        """Pass on messages, then return "result" or "error", and the function's."""
        while True:
            try:
                kind, content = self._connection.recv()
            except (EOFError, OSError) as error:
                raise self._failed(_how(self._process.wait())) from error
            if kind != "notify":
                return kind, content
            stops = notify is not None and notify(*content) is True
            with suppress(OSError):  # reading says how the process died
                self._connection.send(stops)

    def _failed(self, how: str) -> ProcessFailed:
        self._log.seek(self._start)
        lines = [text for line in self._log if (text := line.decode(errors="replace").rstrip())]
        last = f": {lines[-1].strip():.500}" if lines and not how.startswith("failed") else ""
        error = ProcessFailed(f"{self.name} {how}{last or '.'}")
        if lines:
            error.add_note("\n".join([f"{self.name} printed:", *lines[-_TAIL_LINES:]]))
        return error


class _StandIn:
    def __init__(self, worker: Worker, *recipe: Any) -> None:
        self._worker, self._recipe = worker, recipe

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return partial(self._worker.call, _invoke, self._recipe, method)


def engine_environment(engine: str | None = None) -> dict[str, str]:
    """Return this process's environment, with the variables that a process for `engine` must start with."""
    variables = {**_DEFAULTS, **os.environ, **_SETTINGS[engine], "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
    source = str(Path(__file__).parents[1])
    paths = [] if source == sysconfig.get_path("purelib") else [source]
    # An empty entry, as in `PYTHONPATH=$PYTHONPATH:lib`, is the working directory: no code there may run.
    paths += [path for path in variables.pop("PYTHONPATH", "").split(os.pathsep) if os.path.normpath(path) != "."]
    if paths:
        variables["PYTHONPATH"] = os.pathsep.join(paths)
    return variables


def serve(fd: int, imports: Sequence[str]) -> None:
    """Answer calls on a socket until its other end closes."""
    for number in (signal.SIGINT, signal.SIGHUP):  # the parent gets them, too, and decides
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=[fd], daemon=True).start()
    for module in imports:
        with suppress(Exception):  # the call that needs it raises it
            import_module(module)
    with socket.socket(fileno=fd) as stream, Connection(os.dup(fd)) as connection, suppress(EOFError, OSError):
        while True:
            _serve_one(stream, connection)


def _serve_one(stream: socket.socket, connection: Connection) -> None:
    def notify(kind: str, fields: dict[str, Any]) -> bool:
        with suppress(OSError, EOFError):  # SIGTERM is on its way
            connection.send(("notify", (kind, fields)))
            return bool(connection.recv())
        return False

    request = connection.recv_bytes()
    fds: Sequence[int] = ()
    try:
        function, args, kwargs, notifies, num_fds, logs = pickle.loads(request)  # noqa: S301  (both ends are ours)
        if num_fds:
            fds = socket.recv_fds(stream, 1, num_fds)[1]
        if logs:
            os.dup2(fds[-1], 1)
            os.dup2(fds[-1], 2)
        if notifies:
            kwargs["notify"] = notify
        answer = "result", function(*args, **kwargs)
    except DiptychError as error:
        answer = "error", error
    except Exception as error:  # a framework can raise anything
        traceback.print_exc()
        answer = "error", in_one_line(error)
    for passed in fds:
        os.close(passed)
    connection.send(answer)


def _invoke(recipe: tuple[Any, ...], method: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(_made(*recipe), method)(*args, **kwargs)


@cache
def _made(make: Callable[..., Any], *args: Any) -> Any:
    """Return the object that all stand-ins with these arguments share."""
    return make(*args)


def _end_with_parent(fd: int) -> None:
    """Send the main thread SIGTERM when the parent has gone."""
    closed = select.poll()
    closed.register(fd, 0)  # POLLHUP is always reported
    closed.poll()
    signal.pthread_kill(cast(int, threading.main_thread().ident), signal.SIGTERM)


def _how(code: int) -> str:
    """How a process ended, by its exit code."""
    if code == TERMINATED:
        return "was ended by SIGTERM"
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL, as the system does when memory runs out"
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
