"""`verify` alone detects an engine that is broken on purpose, and its certificate names the place."""

import os
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
import specs
from faulty_worker import faulty_session
from planted_faults import FAULTS, MANY, TRAINING, TWO

from diptych.comparison.parity import verify
from diptych.engines import NAMES
from diptych.processes import Worker, engine_environment
from diptych.spec import Recipe

LAYERS = {"precisions": ("float64",), "optimizers": (), "digits_epochs": 0}
SGD = {**LAYERS, "optimizers": ("sgd",)}
# A few faults, with arguments that skip most of the comparisons in which they do not show.
SOME = {
    ("torch", "flatten_order"): LAYERS,
    ("torch", "mask_not_in_gradient"): LAYERS,
    ("torch", "mean_by_count"): LAYERS,
    ("torch", "momentum_rounded"): LAYERS,
    ("torch", "head_in_bfloat16"): {**LAYERS, "precisions": ("bfloat16",)},
    ("torch", "nesterov_ends"): SGD,
    ("torch", "rate_of_step_before"): {
        "recipe": Recipe(optimizer="sgd", schedule="step", warmup_epochs=0.5, precision="float64"),
        "steps": 2,
    },
    ("tensorflow", "multiplier_first"): LAYERS,
    ("tensorflow", "same_mask_at_every_step"): LAYERS,
    ("tensorflow", "fused_epsilon"): {**LAYERS, "precisions": ("float32",)},
    ("tensorflow", "rate_in_momentum"): {**SGD, "steps": 2},
    ("tensorflow", "average_of_step_before"): {**SGD, "steps": 2},
}


@pytest.fixture(scope="module")
def processes():
    """A process of each engine to be broken."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Worker(env=environment_of(name))) for name in NAMES}


def environment_of(engine):
    env = engine_environment(engine)
    return {**env, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), env["PYTHONPATH"]])}


def until(where):
    """Arguments that leave out most of what comes before or after this comparison, but for the layers."""
    _, name, _ = where.split(": ", 2)
    if "training" in name and name != TRAINING:
        return {"steps": 2}
    return {TWO: {"steps": 2, "digits_epochs": 0}, MANY: {"digits_epochs": 0}}.get(
        name, {"optimizers": (), "digits_epochs": 0}
    )


def assert_caught(engine, fault, pair, processes, **arguments):
    faulty = processes[engine].create(faulty_session, fault, engine)
    broken = tuple(faulty if name == engine else sound for name, sound in zip(NAMES, pair, strict=True))
    found = verify(specs.everything(), pair=broken, **arguments)
    assert not found.passed
    first = next(rung for rung in found.rungs if rung.departs_at)
    where = f"{first.precision}: {first.name}: {first.departs_at}"
    assert re.fullmatch(FAULTS[engine, fault], where), f"expected {FAULTS[engine, fault]}, got {found.to_text()}"
    assert f"'{first.name}' in {first.precision}, starting at '{first.departs_at}'" in found.verdict
    assert "NOT the same model" in found.to_text()


@pytest.mark.parametrize(("engine", "fault"), SOME)
def test_some_faults_are_caught_where_they_begin(pair, processes, engine, fault):
    assert_caught(engine, fault, pair, processes, **SOME[engine, fault])


@pytest.mark.long
@pytest.mark.parametrize(("engine", "fault"), FAULTS)
def test_a_fault_is_caught_where_it_begins(pair, processes, engine, fault):
    assert_caught(engine, fault, pair, processes, **until(FAULTS[engine, fault]))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_without_a_fault_everything_is_the_same(pair, seed):
    certificate = verify(specs.everything(), seed=seed, pair=pair)
    assert certificate.passed, certificate.to_text()


def test_the_corpus_has_sixty_faults_and_as_many_in_each_engine():
    counts = [sum(name == engine for name, _ in FAULTS) for engine in NAMES]
    assert min(counts) >= 30
    assert SOME.keys() < FAULTS.keys()
