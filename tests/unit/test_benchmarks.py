"""What the benchmark of the default recipe concludes from its measurements."""

import sys
from math import inf
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import defaults

CURVE = (0.5, 0.85, 0.92, 0.91, *(0.9,) * 16)


def record(contender, accuracies, epochs, seed=0):
    seconds = [10.0 * place for place in range(1, len(accuracies) + 1)]
    return {"contender": contender, "epochs": epochs, "seed": seed, "accuracies": accuracies, "seconds": seconds}


def ours(accuracies):
    return [record("ours", [accuracy], epochs) for epochs, accuracy in accuracies.items()]


@pytest.mark.parametrize(
    ("expected", "records"),
    [
        ([(30.0, 3)], [record("plain 64", CURVE, 20)]),
        ([(30.0, 3)], [record("plain 64", CURVE[:4], 4)]),
        ([(inf, inf)], [record("plain 64", (0.5,) * 20, 20)]),
        ([], [record("plain 64", CURVE[:2], 2)]),
        ([(30.0, 3), (inf, inf)], [record("plain 64", CURVE, 20), record("plain 64", (0.1,) * 20, 20, seed=1)]),
        ([(10.0, 2)], ours({1: 0.8, 2: 0.91, 4: 0.93})),
        ([], ours({2: 0.91, 4: 0.93})),
        ([], ours({1: 0.8, 2: 0.85, 3: 0.89})),
        ([(inf, inf)], ours(dict.fromkeys(defaults.SEARCHED, 0.8))),
    ],
)
def test_time_to_an_accuracy_is_that_of_the_first_epoch_or_smallest_budget(expected, records):
    assert expected == defaults.seconds_to(records, 0.9)


def test_accuracy_after_some_epochs_is_read_from_the_longest_plain_training():
    assert [0.85] == defaults.accuracy_after([record("plain 64", CURVE, 20), record("plain 64", (0.4, 0.5), 2)], 2)
    assert [0.93] == defaults.accuracy_after(ours({2: 0.91, 4: 0.93}), 4)
    assert [] == defaults.accuracy_after(ours({2: 0.91, 4: 0.93}), 8)
