"""Ten epochs of the default recipe, dropout and crops: equal in float64, except for rounding in float32."""

from dataclasses import replace

import pytest

from diptych.comparison.parity import start, verify
from diptych.spec import zoo
from diptych.spec.recipe import default


@pytest.fixture(scope="module", params=[1, 2], ids=lambda threads: f"{threads} threads")
def pair_of(request):
    """Workers with this number of threads each."""
    with start(request.param) as workers:
        yield workers


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_a_whole_training_is_equal_in_float64_and_differs_only_by_rounding_in_float32(pair_of, seed):
    model, recipe = zoo.model("cnn", (8, 8, 1)), replace(default(), crop_padding=2)
    found = verify(model, recipe=recipe, precisions=("float64",), thorough=True, seed=seed, pair=pair_of)
    assert found.passed, found.to_text()
    assert (359, 359) == found.predictions
    assert found.float64_difference < 1e-9
    first, *_, last = found.drift
    assert (1, 210) == (first["step"], last["step"])
    # The frameworks are no farther apart than PyTorch and PyTorch with another number of threads.
    assert first["engines"] < 1e-4
    assert last["engines"] < 2 * last["threads"]
    print(found.rungs[-1].note)
