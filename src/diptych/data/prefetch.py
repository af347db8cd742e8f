"""Compute in threads: ahead of the consumer without changing what it gets or in which order, or side by side."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from threading import current_thread
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
_PREFETCH = "diptych-prefetch"


def prefetched(
    compute: Callable[[Task], Result], tasks: Iterable[Task], workers: int, depth: int
) -> Generator[Result, None, None]:
    """Yield `compute(task)` for each task, in order; an error in a thread is raised here, in its turn.

    Closing the generator drops what was not begun and waits for what was.

    Args:
        compute: must not depend on the order of its calls.
        tasks: taken one by one, as results are consumed.
        workers: number of threads; with 0, each result is computed when it is asked for.
        depth: how many results may be ready or in the making beyond the one that was yielded last.
    """
    if not workers:
        yield from map(compute, tasks)
        return
    pool = ThreadPoolExecutor(workers, _PREFETCH)
    pending: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            pending.append(pool.submit(compute, task))
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # One of its own threads may be where the garbage collector finds a generator that nobody closed.
        pool.shutdown(wait=not current_thread().name.startswith(_PREFETCH), cancel_futures=True)


def each(
    compute: Callable[[int], None], count: int, tell: Callable[[int], None] | None = None, num_at_once: int = 32
) -> None:
    """Call `compute` for every number below `count`, side by side; an error in a thread is raised here.

    Args:
        compute: must not depend on the order of its calls.
        count: how many there are.
        tell: told of how many are done, now and then.
        num_at_once: how many a thread takes at a time.
    """

    def some(start: int) -> int:
        stop = min(start + num_at_once, count)
        for number in range(start, stop):
            compute(number)
        return stop

    for done in _pool().map(some, range(0, count, num_at_once)):
        if tell:
            tell(done)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads(), thread_name_prefix="diptych-decode")


def num_threads() -> int:
    """Processor threads that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
