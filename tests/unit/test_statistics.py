"""Each statistic is that of an independent implementation, and keeps its promise on simulated pairs."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as oracle_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from diptych.comparison import statistics
from diptych.errors import UsageError

NUM_SIMULATIONS = 10_000
# Three standard errors of a share of 5 % seen in 10,000 simulations.
ALLOWANCE = 3 * (0.05 * 0.95 / NUM_SIMULATIONS) ** 0.5
FIRST = (0.9301, 0.9288, 0.9312, 0.9295, 0.9290)
SECOND = (0.9296, 0.9294, 0.9307, 0.9301, 0.9277)


def simulated(num_pairs, mean, seed=0):
    """Accuracies of two arms whose paired difference is normal, (simulations, pairs) each."""
    generator = np.random.default_rng(seed)
    common = generator.normal(0.93, 0.002, (NUM_SIMULATIONS, num_pairs))
    return common, common + generator.normal(mean, 0.0015, (NUM_SIMULATIONS, num_pairs))


def rights(num_images, seed, difference=0.0, num_pairs=1):
    """Which images each of two models gets right, (pairs, images) each, about a tenth of them discordant."""
    generator = np.random.default_rng(seed)
    kinds = generator.choice(4, (num_pairs, num_images), p=[0.85, 0.05 - difference / 2, 0.05 + difference / 2, 0.05])
    return (kinds == 0) | (kinds == 1), (kinds == 0) | (kinds == 2)


def test_the_difference_is_that_of_a_paired_t_test():
    found = statistics.paired_difference(FIRST, SECOND)
    oracle = stats.ttest_rel(SECOND, FIRST)
    interval = oracle.confidence_interval(0.95)
    assert pytest.approx(np.mean(np.subtract(SECOND, FIRST)), rel=1e-12) == found.mean
    assert pytest.approx((interval.low, interval.high), rel=1e-12) == (found.interval.low, found.interval.high)
    assert pytest.approx(oracle.pvalue, rel=1e-12) == found.p_value


@pytest.mark.parametrize("margin", [1e-4, 5e-4, 5e-3])
def test_equivalence_is_that_of_two_one_sided_tests(margin):
    oracle, _, _ = ttost_paired(np.array(SECOND), np.array(FIRST), -margin, margin)
    assert pytest.approx(oracle, rel=1e-12) == statistics.equivalence(FIRST, SECOND, margin)


@pytest.mark.parametrize("num_pairs", [2, 3, 9, 34])
def test_what_could_be_found_is_what_a_power_analysis_says(num_pairs):
    wanted = TTestPower().solve_power(nobs=num_pairs, alpha=0.05, power=0.8)
    assert pytest.approx(0.0014 * wanted, rel=1e-5) == statistics.detectable_mean(0.0014, num_pairs)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (3, 3), (1, 9), (30, 12), (250, 260)])
def test_mcnemars_mid_p_is_the_exact_test_less_half_a_probability(only_first, only_second):
    first_n = np.repeat([True, True, False, False], [50, only_first, only_second, 5])
    second_n = np.repeat([True, False, True, False], [50, only_first, only_second, 5])
    exact = oracle_mcnemar([[50, only_first], [only_second, 5]], exact=True).pvalue
    wanted = exact - stats.binom.pmf(min(only_first, only_second), only_first + only_second, 0.5)
    if only_first == only_second:
        wanted = 1 - 0.5 * stats.binom.pmf(only_first, 2 * only_first, 0.5) if only_first else 1.0
    assert pytest.approx(wanted, rel=1e-12) == statistics.mcnemar(first_n, second_n)


@pytest.mark.parametrize("num_pairs", [3, 10])
def test_t_finds_a_difference_that_is_not_there_in_one_of_twenty(num_pairs):
    pairs = zip(*simulated(num_pairs, 0.0), strict=True)
    found = [statistics.paired_difference(first, second) for first, second in pairs]
    assert abs(np.mean([one.p_value < 0.05 for one in found]) - 0.05) < ALLOWANCE


@pytest.mark.parametrize("num_pairs", [3, 10])
def test_equivalence_is_found_in_one_of_twenty_at_the_margin(num_pairs):
    pairs = zip(*simulated(num_pairs, 0.005), strict=True)
    found = [statistics.equivalence(first, second, 0.005) < 0.05 for first, second in pairs]
    assert abs(np.mean(found) - 0.05) < ALLOWANCE


@pytest.mark.parametrize("mean", [0.0, 0.005])
def test_the_t_interval_holds_the_truth_in_nineteen_of_twenty(mean):
    pairs = zip(*simulated(3, mean), strict=True)
    intervals = [statistics.paired_difference(first, second).interval for first, second in pairs]
    assert abs(np.mean([one.low <= mean <= one.high for one in intervals]) - 0.95) < 0.01


@pytest.mark.parametrize("difference", [0.0, 0.01])
def test_the_image_interval_holds_the_truth_in_nineteen_of_twenty(difference):
    intervals = [
        statistics.image_interval(*rights(2000, seed, difference, num_pairs=2)) for seed in range(NUM_SIMULATIONS)
    ]
    assert abs(np.mean([one.low <= difference <= one.high for one in intervals]) - 0.95) < 0.01


def test_the_image_interval_is_what_resampling_approaches():
    first_sn, second_sn = rights(1000, 0, 0.01, num_pairs=3)
    drawn = np.random.default_rng(0).integers(0, 1000, (20_000, 1000))
    means = (second_sn.astype(float) - first_sn).mean(axis=0)[drawn].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    found = statistics.image_interval(first_sn, second_sn)
    assert abs(low - found.low) < 1e-3
    assert abs(high - found.high) < 1e-3


def test_mcnemar_finds_a_difference_that_is_not_there_in_one_of_twenty():
    found = [statistics.mcnemar(*(right[0] for right in rights(3000, seed))) < 0.05 for seed in range(NUM_SIMULATIONS)]
    assert abs(np.mean(found) - 0.05) < ALLOWANCE


@pytest.mark.parametrize("num_pairs", [2, 3])
@pytest.mark.parametrize("num_images", [360, 1000])
def test_counts_of_few_images_are_not_taken_for_certain(num_pairs, num_images):
    """Accuracies come in steps of one image, so equal differences are common and say little."""
    generator = np.random.default_rng(num_images)
    common = generator.binomial(num_images, 0.9, (NUM_SIMULATIONS, num_pairs))
    first, second = (common + generator.poisson(0.006 * num_images, common.shape) for _ in range(2))
    pairs = [(a / num_images, b / num_images) for a, b in zip(first, second, strict=True)]
    found = [statistics.paired_difference(a, b, 1 / num_images).p_value < 0.05 for a, b in pairs]
    assert np.mean(found) < 0.05 + ALLOWANCE
    margin = 0.006
    moved = [(a, b + margin) for a, b in pairs]
    equal = [statistics.equivalence(a, b, margin, 1 / num_images) < 0.05 for a, b in moved]
    assert np.mean(equal) < 0.05 + ALLOWANCE


def test_holms_correction_is_statsmodels():
    p_values = [0.04, 0.001, 0.3, 0.02, 0.02]
    assert statistics.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_runs_that_are_all_alike_are_equivalent_and_not_different():
    same = (0.93, 0.93, 0.93)
    found = statistics.paired_difference(same, same)
    assert (0.0, 0.0, 1.0) == (found.mean, found.deviation, found.p_value)
    assert 0.0 == statistics.equivalence(same, same, 0.005)


@pytest.mark.parametrize(("first", "second"), [((0.9,), (0.9,)), ((0.9, 0.9), (0.9,)), ((), ())])
def test_pairs_that_are_none_are_refused(first, second):
    with pytest.raises(UsageError, match="at least 2 of each arm"):
        statistics.paired_difference(first, second)


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan")])
def test_a_margin_of_nothing_is_refused(margin):
    with pytest.raises(UsageError, match="wants a number above 0"):
        statistics.equivalence(FIRST, SECOND, margin)
