"""An engine in a process of its own: arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from inspect import signature
from typing import Any, TypeVar

from diptych import engines
from diptych.engines.contract import Model
from diptych.processes import Worker, engine_environment, num_threads
from diptych.spec import ModelSpec

T = TypeVar("T")


class Session:
    """An engine with one model, which stays in the process; all threads by default.

    It has every function of `contract.Engine`; those that take a model use the session's.
    """

    def __init__(self, engine: str, threads: int | None = None) -> None:
        self._engine = engines.get(engine)
        self._engine.configure(threads or num_threads())
        self._model: Model = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(self._engine, name)
        takes_model = next(iter(signature(function).parameters), "") == "model"
        return partial(function, self._model) if takes_model else function

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Return the result of a function, which gets the engine and these arguments, in the session's process."""
        return function(self._engine, *args)

    def build(self, spec: ModelSpec, precision: str) -> None:
        """Build the model of all later calls."""
        self._model = self._engine.build(spec, precision)


@contextmanager
def session(engine: str, threads: int | None = None) -> Iterator[Session]:
    """Yield a stand-in for a `Session` in a process of its own, which ends with the block."""
    engines.check_installed(engine)
    imports, env = [f"diptych.engines.{engine}"], engine_environment(engine)
    with Worker(f"The {engine} process", imports=imports, env=env) as worker:
        yield worker.create(Session, engine, threads)


class Sessions(ExitStack, dict[str, Session]):
    """A session for each engine, started and passed to `prepare` at its first use; all end with the `with` block."""

    def __init__(self, threads: int | None = None, prepare: Callable[[Session], None] = lambda session: None) -> None:
        super().__init__()
        self._threads, self._prepare = threads, prepare

    def __missing__(self, engine: str) -> Session:
        self[engine] = self.enter_context(session(engine, self._threads))
        self._prepare(self[engine])
        return self[engine]
