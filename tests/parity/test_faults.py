"""An engine that is broken on purpose is caught, and the certificate names where."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest
import tiny
from faulty_worker import faulty_session

from diptych.comparison.parity import verify
from diptych.engines import NAMES
from diptych.processes import Worker, engine_environment
from diptych.spec import layers as L

FORWARD, STATISTICS = "forward pass in evaluation", "running statistics after one step"
CAUGHT = {
    "norm_epsilon": ((), FORWARD, "norm1"),
    "shifted_pad": ((), FORWARD, "conv2"),
    "tanh_gelu": ((), FORWARD, "gelu"),
    "pad_in_divisor": ((), FORWARD, "pool"),
    "flatten_order": ((), FORWARD, "flatten"),
    "mean_by_count": ((), "loss", "loss"),
    "wrong_backward": ((), "gradients", "norm2.bias"),
    "clip_each": (("sgd",), "one step of sgd", "conv1.weight"),
    "rate_in_momentum": (("sgd",), "one step of sgd", "momentum/conv1.weight"),
    "decay_everything": (("adam",), "one step of adam", "conv1.bias"),
    "biased_variance": (("adam",), STATISTICS, "adam/norm1.running_var"),
}


@pytest.fixture(scope="module")
def processes():
    """A process of each engine to be broken."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Worker(env=environment_of(name))) for name in NAMES}


def environment_of(engine):
    env = engine_environment(engine)
    return {**env, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), env["PYTHONPATH"]])}


def spec():
    """Every layer that a fault below is about."""
    graph = tiny.graph((9, 7, 3))
    graph.conv("conv1", 4, padding=1)
    graph.add(L.BatchNorm, "norm1")
    graph.add(L.Conv, "conv2", filters=6, kernel=(3, 3), strides=(2, 2), padding=(1, 0, 1, 0), use_bias=False)
    graph.add(L.BatchNorm, "norm2")
    graph.add(L.Activation, "gelu", function="gelu")
    graph.add(L.AvgPool, "pool", kernel=(2, 2), strides=(2, 2), padding=(1, 1, 1, 1))
    graph.add(L.Flatten, "flatten")
    graph.add(L.Dense, "head", units=5)
    return graph.model("fault_finder")


@pytest.mark.parametrize("fault", CAUGHT)
def test_a_fault_is_caught_where_it_begins(pair, processes, fault):
    engine = "tensorflow" if fault == "rate_in_momentum" else "torch"
    faulty = processes[engine].create(faulty_session, fault, engine)
    broken = tuple(faulty if name == engine else sound for name, sound in zip(NAMES, pair, strict=True))
    optimizers, *where = CAUGHT[fault]
    settings = {"optimizers": optimizers, "precisions": ("float64",), "steps": 2, "digits_epochs": 0}
    found = verify(spec(), pair=broken, **settings)
    first = next(rung for rung in found.rungs if rung.departs_at)
    assert where == [first.name, first.departs_at], found.to_text()
    assert f"starting at '{first.departs_at}'" in found.verdict
    assert "NOT the same model" in found.to_text()
