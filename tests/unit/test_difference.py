"""The relative difference of two sets of arrays, and the first array beyond a tolerance."""

import numpy as np
import pytest

from diptych.comparison.parity.certificate import Rung, differences


def judged(ours, theirs, tolerance=0.0):
    return Rung.judged("rung", "float64", tolerance, differences(ours, theirs, theirs))


def test_equal_arrays_do_not_differ_even_if_all_are_zero():
    zeros = {"dead": np.zeros(3)}
    result = judged(zeros, zeros)
    assert (0.0, 0.0, None) == (result.relative, result.absolute, result.departs_at)


def test_the_relative_difference_is_of_norms_and_the_absolute_one_of_elements():
    result = judged({"a": np.array([3.0, 4.5])}, {"a": np.array([3.0, 4.0])})
    assert (pytest.approx(0.1), 0.5) == (result.relative, result.absolute)


def test_the_first_array_beyond_a_tolerance_depends_on_the_order_not_on_the_size():
    expected = {"early": np.ones(2), "late": np.ones(2)}
    ours = {"early": np.full(2, 1.1), "late": np.full(2, 9.0)}
    strict, lax = judged(ours, expected, 0.05), judged(ours, expected, 0.5)
    assert ("late", "early", "late") == (strict.worst, strict.departs_at, lax.departs_at)


@pytest.mark.parametrize(
    "ours", [{}, {"a": np.ones(3)}, {"a": np.ones((2, 1))}, {"a": np.array([1.0, np.nan])}, {"a": np.full(2, np.inf)}]
)
def test_an_array_that_is_missing_misshapen_or_not_finite_exceeds_any_tolerance(ours):
    result = judged(ours, {"a": np.ones(2)}, 1e300)
    assert (np.inf, "a") == (result.relative, result.departs_at)


@pytest.mark.parametrize(
    ("name", "ours", "others", "relative"),
    [
        # Rounding of an array that should be zero is compared with the other arrays of its group.
        ("bias", (-1e-17, 1e-17), {"kernel": 1.0, "scale": 1.0}, 2e-15),
        ("second_moment/a", (2e-12, 1e-12), {"first_moment/a": 1.0}, 1.0),
    ],
)
def test_a_small_array_is_compared_with_the_scale_of_its_own_group(name, ours, others, relative):
    expected = {**{other: np.full(4, value) for other, value in others.items()}, name: np.full(4, ours[1])}
    result = judged({**expected, name: np.full(4, ours[0])}, expected)
    assert relative == pytest.approx(result.relative)
