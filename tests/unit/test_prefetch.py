"""Computing ahead in threads: same results, bounded, and stopped with the consumer."""

import gc
import threading
import time

import pytest

from diptych.data.batches import prefetched


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("diptych-prefetch")]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_have_the_order_of_the_tasks(workers):
    def slow_when_even(number):
        time.sleep(0.002 * (number % 2 == 0))
        return number**2

    assert [number**2 for number in range(20)] == list(prefetched(slow_when_even, range(20), workers, depth=4))


@pytest.mark.parametrize(("workers", "depth"), [(1, 1), (2, 3), (4, 2)])
def test_at_most_depth_results_are_computed_ahead(workers, depth):
    begun = []
    results = prefetched(begun.append, range(50), workers, depth)
    for num_taken in range(1, 20):
        next(results)
        time.sleep(0.001)
        assert len(begun) <= num_taken + depth
    results.close()


def test_closing_early_ends_the_threads_and_cancels_waiting_tasks():
    begun = []

    def slow(number):
        begun.append(number)
        time.sleep(0.01)

    results = prefetched(slow, range(50), workers=2, depth=20)
    next(results)
    assert threads()
    results.close()
    assert not threads()
    assert len(begun) < 10


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_raised_in_its_turn_and_ends_the_threads(workers):
    results = prefetched(lambda number: 12 // (3 - number), range(10), workers, depth=8)
    assert [4, 6, 12] == [next(results) for _ in range(3)]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not threads()


def test_without_workers_everything_happens_in_the_calling_thread():
    (thread,) = prefetched(lambda _: threading.current_thread(), [0], workers=0, depth=4)
    assert threading.current_thread() is thread


def test_an_abandoned_generator_may_be_collected_in_its_own_thread():
    abandoned, collected = threading.Event(), threading.Event()

    def collect(number):
        if number:
            abandoned.wait()
            gc.collect()
            collected.set()
        return number

    results = prefetched(collect, range(8), workers=1, depth=2)
    cycle = [results]
    cycle.append(cycle)
    next(results)
    gc.disable()
    try:
        del results, cycle
        abandoned.set()
        assert collected.wait(10)
    finally:
        gc.enable()
    deadline = time.monotonic() + 5
    while threads() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not threads()
