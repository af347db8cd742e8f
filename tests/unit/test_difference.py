"""How far two sets of arrays lie apart, and where that begins."""

import numpy as np
import pytest

from diptych.comparison.parity.certificate import difference


def test_equal_arrays_lie_nothing_apart_even_when_all_are_zero():
    zeros = {"dead": np.zeros(3)}
    found = difference(zeros, zeros, ["dead"])
    assert (0.0, 0.0, None) == (found.relative, found.absolute, found.departs_at(0.0))


def test_the_relative_difference_is_of_norms_and_the_absolute_one_of_elements():
    found = difference({"a": np.array([3.0, 4.5])}, {"a": np.array([3.0, 4.0])}, ["a"])
    assert 0.1 == pytest.approx(found.relative)
    assert 0.5 == found.absolute


def test_the_first_departure_follows_the_given_order_not_the_size():
    wanted = {"early": np.ones(2), "late": np.ones(2)}
    found = difference({"early": np.full(2, 1.1), "late": np.full(2, 9.0)}, wanted, ["early", "late"])
    assert "late" == found.worst
    assert "early" == found.departs_at(0.05)
    assert "late" == found.departs_at(0.5)


@pytest.mark.parametrize(
    "ours", [{}, {"a": np.ones(3)}, {"a": np.ones((2, 1))}, {"a": np.array([1.0, np.nan])}, {"a": np.full(2, np.inf)}]
)
def test_what_is_missing_misshapen_or_not_finite_departs_at_any_tolerance(ours):
    found = difference(ours, {"a": np.ones(2)}, ["a"])
    assert np.inf == found.relative
    assert "a" == found.departs_at(1e300)


def test_an_array_of_nothing_but_rounding_is_measured_against_its_group():
    wanted = {"kernel": np.ones(4), "scale": np.ones(4), "bias": np.full(4, 1e-17)}
    found = difference({**wanted, "bias": np.full(4, -1e-17)}, wanted, wanted)
    assert 2e-15 == pytest.approx(found.relative)


def test_groups_have_scales_of_their_own():
    wanted = {"first_moment/a": np.ones(2), "second_moment/a": np.full(2, 1e-12)}
    found = difference({**wanted, "second_moment/a": np.full(2, 2e-12)}, wanted, wanted)
    assert 1.0 == pytest.approx(found.relative)
