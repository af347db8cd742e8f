"""What a training depends on, and what its record says of the machine."""

import os
from dataclasses import replace
from time import sleep

import numpy as np
import pytest

import diptych
from diptych.data import datasets
from diptych.spec import Recipe, zoo
from diptych.training.machine import computes_bfloat16, machine, times, versions
from diptych.training.provenance import differences, keeps_batches, origin

SPEC = zoo.model("mlp", (8, 8, 1), 10, (0.5,), (0.5,))
RECIPE = Recipe(batch_size=64, precision="float32", learning_rate=0.1)
DIGITS = datasets.load("digits")


def origin_of(dataset=DIGITS, spec=SPEC, seed=0, engine="torch", version="2.6.1+cpu", **recipe):
    return origin(dataset, spec, replace(RECIPE, **recipe), {"engine": engine, "version": version}, seed)


def with_another_pixel():
    images = np.array(DIGITS.train.images)
    images[0, 0, 0] ^= 1
    return replace(DIGITS, train=replace(DIGITS.train, images=images))


@pytest.mark.parametrize(
    ("changed", "expected", "same_batches"),
    [
        ({}, [], True),
        ({"dataset": with_another_pixel()}, [f"the data's fingerprint was {DIGITS.fingerprint[:40]}…, is "], True),
        (
            {"dataset": replace(DIGITS, train=DIGITS.train.take(np.arange(1000)))},
            ["the data's fingerprint was ", f"the training samples were {len(DIGITS.train)}, are 1000"],
            False,
        ),
        (
            {"dataset": replace(DIGITS, class_names=("zero", *DIGITS.class_names[1:]))},
            ["the data's fingerprint was ", "the classes were 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, are zero, 1, 2, 3, 4, 5"],
            True,
        ),
        ({"spec": zoo.model("mlp", (8, 8, 1), 10, (0.5,), (0.25,))}, ["the spec's digest was "], True),
        ({"precision": "bfloat16"}, ["precision was float32, is bfloat16"], True),
        ({"learning_rate": 0.2}, ["learning_rate was 0.1, is 0.2"], True),
        ({"step_epochs": (2, 4)}, ["step_epochs was 5, 8, is 2, 4"], True),
        ({"batch_size": 7}, ["batch_size was 64, is 7"], False),
        ({"seed": 1}, ["the seed was 0, is 1"], False),
        ({"version": "2.9.0"}, [], True),
        ({"version": "3.0.0"}, ["torch was 2.6.1+cpu, is 3.0.0"], True),
        ({"engine": "tensorflow", "version": "3.0.0"}, [], True),
    ],
)
def test_each_change_is_named(changed, expected, same_batches):
    then, now = origin_of(), origin_of(**changed)
    actual = list(differences(then, now))
    assert expected == [words[: len(start)] for words, start in zip(actual, expected, strict=True)]
    assert same_batches == keeps_batches(then, now)


def test_machine_and_versions_are_those_in_use():
    found = machine()
    assert (os.cpu_count(), True) == (found["cores"], bool(found["processor"]))
    assert (diptych.__version__, np.__version__) == (versions()["diptych"], versions()["numpy"])


@pytest.mark.parametrize(
    ("line", "expected"),
    [("flags\t: fpu avx512_bf16", True), ("Features\t: fp bf16", True), ("flags\t: fpu avx2", False), ("", False)],
)
def test_bfloat16_is_claimed_exactly_where_the_processor_lists_it(monkeypatch, line, expected):
    monkeypatch.setattr("pathlib.Path.read_text", lambda path, **settings: f"processor\t: 0\n{line}\n")
    assert expected == computes_bfloat16.__wrapped__()


def test_a_call_is_timed_until_the_time_is_over_after_a_warm_up():
    calls = []
    assert 1 < len(times(lambda: calls.append(sleep(1e-4)), 0.05)) < len(calls)
