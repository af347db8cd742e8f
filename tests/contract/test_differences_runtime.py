"""Proofs of the ledger's rows on the runtime: settings that both engines make explicitly."""

import inspect
import json
import subprocess
import sys

import keras
import pytest
import torch

from diptych import engines
from diptych.processes import engine_environment


def measured():
    """Whether TF32 is on, and the values of half the smallest normal number."""
    import numpy as np
    import tensorflow as tf
    import torch

    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    tf32 = [tf.config.experimental.tensor_float_32_execution_enabled(), matmul, cudnn]
    smallest = np.full(100_000, 2.0**-126, np.float32)
    halves = [torch.from_numpy(smallest) * 0.5, tf.constant(smallest) * 0.5]
    return [tf32, [sorted(set(values.numpy().tolist())) for values in halves]]


@pytest.fixture(scope="module")
def settings(both):
    """What `measured` returns in a fresh process, and here, where both engines are configured."""
    code = f"import json\n{inspect.getsource(measured)}\nprint(json.dumps(measured()))"
    environment = engine_environment("tensorflow")
    return json.loads(subprocess.check_output([sys.executable, "-c", code], env=environment)), measured()


def test_tf32_is_off_in_both(settings):
    (before, _), (after, _) = settings
    assert [True, False, True] == before
    assert [False, False, False] == after


def test_denormal_numbers_are_zero_in_both(settings):
    (_, (pytorch, tensorflow)), (_, after) = settings
    assert 0.0 not in pytorch
    assert [0.0] == tensorflow
    assert [[0.0], [0.0]] == after


def test_compilation_is_a_recorded_choice(both):
    assert "auto" == inspect.signature(keras.Model.compile).parameters["jit_compile"].default
    assert torch.nn.Linear(1, 1)._compiled_call_impl is None

    for engine, name in zip(both, engines.NAMES, strict=True):
        runtime = engine.runtime()
        assert (name, False) == (runtime["engine"], runtime["compiled"])
        assert {"version", "device", "threads", "numpy"} <= runtime.keys()


def test_tensorflow_that_is_in_use_keeps_its_threads_and_warns(both, settings):
    _, engine = both
    threads = engine.runtime()["threads"]
    with pytest.warns(UserWarning, match=f"already in use, so it does not switch to {threads + 1} threads"):
        engine.configure(threads + 1)
    assert threads == engine.runtime()["threads"]
