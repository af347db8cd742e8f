"""Compute ahead of the consumer, in threads, without changing what it gets or in which order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


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
    pool = ThreadPoolExecutor(workers, thread_name_prefix="diptych-prefetch")
    pending: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            pending.append(pool.submit(compute, task))
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
