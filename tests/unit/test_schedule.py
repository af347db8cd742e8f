"""Learning rates against their closed forms, and stopping rules against histories read by eye."""

from math import cos, pi

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.spec import Recipe
from diptych.training.schedule import learning_rates, plateaus, should_stop

STEPS = 8


def whole(recipe, steps=STEPS):
    """The rates of every step of a training."""
    return [rate for epoch in range(1, recipe.epochs + 1) for rate in learning_rates(recipe, epoch, steps)]


def recipe_of(schedule, epochs=10, **settings):
    return Recipe(schedule=schedule, epochs=epochs, learning_rate=0.5, **settings)


def test_warm_up_rises_in_equal_steps_and_ends_at_the_peak():
    rates = whole(recipe_of("constant", epochs=3, warmup_epochs=1.5))
    assert pytest.approx([0.5 * step / 12 for step in range(1, 13)]) == rates[:12]
    assert [0.5] * 12 == rates[12:]


def test_the_step_schedule_multiplies_after_the_epochs_it_names():
    rates = whole(recipe_of("step", step_epochs=(5, 2), step_factor=0.1))
    assert pytest.approx([0.5] * 2 * STEPS + [0.05] * 3 * STEPS + [0.005] * 5 * STEPS) == rates


def test_cosine_follows_its_formula():
    rates = whole(recipe_of("cosine", final_factor=0.1))
    expected = [0.5 * (0.1 + 0.9 * (1 + cos(pi * step / 80)) / 2) for step in range(80)]
    assert pytest.approx(expected) == rates
    rates = whole(recipe_of("cosine", final_factor=0.2, warmup_epochs=2.0))
    assert pytest.approx([0.5 / 16, 0.5, 0.5 * (1 + 0.2) / 2]) == [rates[0], rates[16], rates[16 + 32]]


def test_one_cycle_rises_from_a_twentyfifth_and_then_falls_to_its_end():
    recipe = recipe_of("one_cycle", rise=0.25, final_factor=0.01)
    rates = [*whole(recipe), *learning_rates(recipe, 11, STEPS)]
    expected = {0: 1 / 25, 10: (1 + 1 / 25) / 2, 20: 1, 20 + 30: (1 + 0.01) / 2, 80: 0.01}
    assert pytest.approx([0.5 * share for share in expected.values()]) == [rates[step] for step in expected]
    assert [20] == [step for step, rate in enumerate(rates) if rate == max(rates)]


@given(
    st.sampled_from(["constant", "step", "cosine", "one_cycle", "plateau"]),
    st.integers(1, 12),
    st.integers(1, 30),
    st.floats(0.0, 3.0, allow_subnormal=False),
    st.floats(0.01, 1.0, allow_subnormal=False),
)
def test_every_rate_of_every_schedule_is_above_0_and_at_most_the_peak(schedule, epochs, steps, warmup, rise):
    rates = whole(recipe_of(schedule, epochs=epochs, warmup_epochs=warmup, rise=rise), steps)
    assert epochs * steps == len(rates)
    assert 0 < min(rates)
    assert max(rates) <= 0.5


@pytest.mark.parametrize(
    ("expected", "losses"),
    [
        (0, []),
        (0, [1.0, 2.0]),
        (2, [1.0, 2.0, 2.0, 2.0, 2.0]),
        (1, [1.0, 2.0, 2.0, 0.5, 2.0]),
        (2, [1.0, 2.0, 2.0, 0.5, 0.6, 0.7]),
        (0, [1.0, 2.0, 0.9, 1.0, 0.8]),
    ],
)
def test_a_plateau_is_two_epochs_in_a_row_without_a_new_lowest_loss(expected, losses):
    assert expected == plateaus(losses, patience=2)


def test_the_plateau_schedule_multiplies_once_for_each_plateau():
    recipe = recipe_of("plateau", plateau_patience=2, step_factor=0.5)
    assert [0.5] * 3 == learning_rates(recipe, 3, 3, [1.0, 2.0])
    assert [0.25] * 3 == learning_rates(recipe, 4, 3, [1.0, 2.0, 2.0])
    assert [0.125] * 3 == learning_rates(recipe, 6, 3, [1.0, 2.0, 2.0, 2.0, 2.0])


@pytest.mark.parametrize(
    ("expected", "patience", "losses"),
    [
        (False, 2, []),
        (False, 2, [1.0, 2.0]),
        (True, 2, [1.0, 1.0, 1.0]),
        (False, 2, [3.0, 2.0, 1.0, 2.0]),
        (True, 2, [3.0, 2.0, 1.0, 2.0, 3.0]),
        (False, 0, [1.0, 2.0, 3.0, 4.0]),
    ],
)
def test_a_training_stops_when_the_lowest_loss_lies_patience_epochs_back(expected, patience, losses):
    assert expected == should_stop(losses, patience)
