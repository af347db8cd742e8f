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

# Whether TF32 is on, and the values of half the smallest normal number, before or after configuring engines.
SCRIPT = """
import json, sys
import numpy as np
from diptych import engines
import tensorflow as tf
import torch

for name in sys.argv[1:]:
    engines.get(name).configure(2)
tf32 = [
    tf.config.experimental.tensor_float_32_execution_enabled(),
    torch.backends.cuda.matmul.allow_tf32,
    torch.backends.cudnn.allow_tf32,
]
smallest = np.full(100_000, np.finfo(np.float32).tiny)
halves = [torch.from_numpy(smallest) * 0.5, tf.constant(smallest) * 0.5]
print(json.dumps([tf32, [sorted(set(values.numpy().tolist())) for values in halves]]))
"""


@pytest.fixture(scope="module")
def settings():
    """What `SCRIPT` reports in one process without and in another with configured engines."""
    environment = engine_environment("tensorflow")
    commands = ([sys.executable, "-c", SCRIPT, *names] for names in ((), engines.NAMES))
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for command in commands]
    return [json.loads(process.communicate()[0]) for process in processes]


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
