"""The result of a study: means, differences and the sentence, from made-up test accuracies."""

import pytest

from diptych.tuning.finalists import DEFAULT, result_of

GOOD, BAD = [0.94, 0.95], [0.93, 0.94]
RESULTS = [
    (
        {17: {"torch": [0.94, 0.938], "tensorflow": [0.939, 0.939]}, DEFAULT: {"torch": BAD, "tensorflow": BAD}},
        17,
        "tuned 93.9 ± 0.1%, default 93.5 ± 0.6%, PyTorch and TensorFlow alike (p = 1)",
    ),
    (
        {17: {"torch": GOOD, "tensorflow": BAD}, DEFAULT: {"torch": [0.92, 0.93], "tensorflow": [0.91, 0.92]}},
        17,
        "tuned 94.0 ± 0.8%, default 92.0 ± 0.8%, PyTorch and TensorFlow differ (p < 0.001)",
    ),
    (
        {DEFAULT: {"torch": [0.93], "tensorflow": [0.93]}},
        DEFAULT,
        "no trial beat the default recipe on validation, default 93.0 ± 0.0%",
    ),
    (
        {3: {"tensorflow": [0.94]}, DEFAULT: {"tensorflow": [0.93]}},
        3,
        "tuned 94.0%, default 93.0%, in TensorFlow only, as no other framework is installed",
    ),
]


@pytest.mark.parametrize(("tested", "chosen", "sentence"), RESULTS, ids=["alike", "differ", "default", "one"])
def test_the_result_is_a_sentence(tested, chosen, sentence):
    result = result_of(tested, chosen, resolution=1e-4)
    assert sentence == result["sentence"]
    assert tested[chosen] == {name: result["tuned"][name] for name in tested[chosen]}


def test_the_difference_is_paired_by_seed_and_framework():
    tested, chosen, _ = RESULTS[1]
    difference = result_of(tested, chosen, resolution=1e-4)["difference"]
    assert difference["mean"] == pytest.approx(0.02)
    assert 0.0199 < difference["low"] < 0.02 < difference["high"] < 0.0201
    assert result_of(RESULTS[3][0], 3, 1e-4)["difference"] is None
    assert {0.0} == {*result_of(RESULTS[2][0], DEFAULT, 1e-4)["difference"].values()}
