"""Proofs of the ledger's rows on how the frameworks compute: settings that are stated here and inherited nowhere."""

import inspect
import json
import subprocess
import sys

import keras
import torch

from diptych import engines
from diptych.processes import engine_environment

SETTINGS = """
import json
from diptych import engines
import tensorflow as tf
import torch

def tf32():
    return [
        tf.config.experimental.tensor_float_32_execution_enabled(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
    ]

before = tf32()
for name in engines.NAMES:
    engines.get(name).configure(1)
print(json.dumps([before, tf32()]))
"""

DENORMALS = """
import json, sys
import numpy as np
from diptych import engines
import tensorflow as tf
import torch

for name in sys.argv[1:]:
    engines.get(name).configure(2)
smallest = np.full(100_000, np.finfo(np.float32).tiny)
theirs = [torch.from_numpy(smallest) * 0.5, tf.constant(smallest) * 0.5]
print(json.dumps([sorted(set(values.numpy().tolist())) for values in theirs]))
"""


def alone(script, *arguments):
    """What a script prints, in a process of its own, where nothing has been configured yet."""
    command = [sys.executable, "-c", script, *arguments]
    finished = subprocess.run(command, env=engine_environment("tensorflow"), capture_output=True, text=True, check=True)
    return json.loads(finished.stdout)


def test_tf32_is_off_in_both():
    before, after = alone(SETTINGS)
    assert [True, False, True] == before
    assert [False, False, False] == after


def test_denormal_numbers_are_zero_in_both():
    pytorch, tensorflow = alone(DENORMALS)
    assert 0.0 not in pytorch
    assert [0.0] == tensorflow

    assert [[0.0], [0.0]] == alone(DENORMALS, *engines.NAMES)


def test_compilation_is_a_recorded_choice(both):
    assert "auto" == inspect.signature(keras.Model.compile).parameters["jit_compile"].default
    assert torch.nn.Linear(1, 1)._compiled_call_impl is None

    for engine, name in zip(both, engines.NAMES, strict=True):
        runtime = engine.runtime()
        assert (name, False) == (runtime["engine"], runtime["compiled"])
