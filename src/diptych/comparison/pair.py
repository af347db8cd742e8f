"""Two workers that are asked the same and answer at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from diptych import engines
from diptych.data.prefetch import num_threads
from diptych.engines.worker import Worker

T = TypeVar("T")


@dataclass(frozen=True)
class Pair:
    """A worker of each engine, in the order of `engines.NAMES`."""

    workers: tuple[Worker, Worker]

    def ask(self, verb: Callable[[Worker], T]) -> tuple[T, T]:
        """What `verb` gives with each worker; both compute at once."""
        with ThreadPoolExecutor(2) as threads:
            first, second = threads.map(verb, self.workers)
        return first, second


@contextmanager
def started() -> Iterator[Pair]:
    """A pair that shares the processor evenly, for as long as the block runs.

    Raises:
        MissingEngine: a framework is not installed.
    """
    threads = max(1, num_threads() // 2)
    with ExitStack() as stack:
        first, second = (stack.enter_context(Worker(name, threads)) for name in engines.NAMES)
        yield Pair((first, second))
