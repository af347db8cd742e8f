"""Statistics equal those of other implementations; relative differences of arrays have the right scale."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as oracle_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from diptych.comparison import statistics
from diptych.comparison.parity.certificate import Rung, differences

FIRST = (0.9301, 0.9288, 0.9312, 0.9295, 0.9290)
SECOND = (0.9296, 0.9294, 0.9307, 0.9301, 0.9277)


def rights(num_images, seed, difference=0.0, num_pairs=1):
    """Correctness of two models, (pairs, images) each; they differ on about a tenth of the images."""
    generator = np.random.default_rng(seed)
    kinds = generator.choice(4, (num_pairs, num_images), p=[0.85, 0.05 - difference / 2, 0.05 + difference / 2, 0.05])
    return (kinds == 0) | (kinds == 1), (kinds == 0) | (kinds == 2)


def equivalence(first, second, margin, resolution=0.0):
    return statistics.equivalence(statistics.paired_difference(first, second, resolution), margin)


def test_the_difference_is_a_paired_t_test():
    found = statistics.paired_difference(FIRST, SECOND)
    oracle = stats.ttest_rel(SECOND, FIRST)
    interval = oracle.confidence_interval(0.95)
    assert pytest.approx(np.mean(np.subtract(SECOND, FIRST)), rel=1e-12) == found.mean
    assert pytest.approx((interval.low, interval.high), rel=1e-12) == (found.low, found.high)
    assert pytest.approx(oracle.pvalue, rel=1e-12) == found.p_value


@pytest.mark.parametrize("margin", [1e-4, 5e-4, 5e-3])
def test_equivalence_is_two_one_sided_tests(margin):
    oracle, _, _ = ttost_paired(np.array(SECOND), np.array(FIRST), -margin, margin)
    assert pytest.approx(oracle, rel=1e-12) == equivalence(FIRST, SECOND, margin)


@pytest.mark.parametrize("num_pairs", [2, 3, 9, 34])
def test_the_detectable_difference_is_that_of_a_power_analysis(num_pairs):
    wanted = TTestPower().solve_power(nobs=num_pairs, alpha=0.05, power=0.8)
    assert pytest.approx(0.0014 * wanted, rel=1e-5) == statistics.detectable_mean(0.0014, num_pairs)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (3, 3), (1, 9), (30, 12), (250, 260)])
def test_mcnemars_mid_p_is_the_exact_p_minus_half_a_probability(only_first, only_second):
    first_n = np.repeat([True, True, False, False], [50, only_first, only_second, 5])
    second_n = np.repeat([True, False, True, False], [50, only_first, only_second, 5])
    exact = oracle_mcnemar([[50, only_first], [only_second, 5]], exact=True).pvalue
    wanted = exact - stats.binom.pmf(min(only_first, only_second), only_first + only_second, 0.5)
    if only_first == only_second:
        wanted = 1 - 0.5 * stats.binom.pmf(only_first, 2 * only_first, 0.5) if only_first else 1.0
    assert pytest.approx(wanted, rel=1e-12) == statistics.mcnemar(first_n, second_n)


def test_the_image_interval_is_the_limit_of_resampling():
    first_sn, second_sn = rights(1000, 0, 0.01, num_pairs=3)
    drawn = np.random.default_rng(0).integers(0, 1000, (5_000, 1000))
    means = (second_sn.astype(float) - first_sn).mean(axis=0)[drawn].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    assert (low, high) == pytest.approx(statistics.image_interval(first_sn, second_sn), abs=1.5e-3)


@pytest.mark.parametrize("num_pairs", [2, 3])
@pytest.mark.parametrize("num_images", [360, 1000])
def test_equal_differences_of_coarse_accuracies_are_not_certain(num_pairs, num_images):
    """Accuracies change in steps of one image, so equal differences are common and mean little."""
    generator, margin, num_simulations = np.random.default_rng(num_images), 0.006, 500
    common = generator.binomial(num_images, 0.9, (num_simulations, num_pairs))
    first, second = (common + generator.poisson(margin * num_images, common.shape) for _ in range(2))
    runs = [(a / num_images, b / num_images) for a, b in zip(first, second, strict=True)]
    different = [statistics.paired_difference(a, b, 1 / num_images).p_value < 0.05 for a, b in runs]
    equal = [equivalence(a, b + margin, margin, 1 / num_images) < 0.05 for a, b in runs]
    # Three standard errors above the level.
    assert max(np.mean(different), np.mean(equal)) < 0.05 + 3 * (0.05 * 0.95 / num_simulations) ** 0.5


def test_holms_correction_equals_statsmodels():
    p_values = [0.04, 0.001, 0.3, 0.02, 0.02]
    assert statistics.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_identical_runs_are_equivalent_and_not_different():
    same = (0.93, 0.93, 0.93)
    found = statistics.paired_difference(same, same)
    assert (0.0, 0.0, 1.0) == (found.mean, found.deviation, found.p_value)
    assert equivalence(same, same, 0.005, 1 / 1000) < 0.05


def judged(ours, theirs, tolerance=0.0):
    return Rung.judged("rung", "float64", tolerance, differences(ours, theirs))


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
