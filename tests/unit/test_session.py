"""An engine in a process of its own: arrays in, arrays out."""

import os
import subprocess
import sys

import numpy as np
import pytest

import diptych
from diptych.comparison.parity import samples
from diptych.engines.session import Sessions, session
from diptych.errors import ArtifactError, EngineError, UsageError
from diptych.processes import engine_environment, num_threads
from diptych.spec import Recipe, zoo


@pytest.fixture(scope="module")
def started(engine_name):
    with session(engine_name, threads=1) as started:
        yield started


@pytest.fixture
def spec():
    return zoo.model("mlp", (4, 3, 1), num_classes=3)


@pytest.fixture
def batches(spec):
    return samples.batches(spec, num_batches=2, batch_size=4, seed=0)


@pytest.fixture
def loaded(started, spec):
    started.build(spec, "float64")
    started.load_weights(samples.weights(spec, seed=0))
    return started


def test_weights_return_to_the_last_bit(loaded, spec, engine_name):
    assert (engine_name, 1) == tuple(loaded.runtime()[name] for name in ("engine", "threads"))
    weights, back = samples.weights(spec, seed=0), loaded.read_weights()
    assert weights.keys() == back.keys()
    assert all(weights[name].tobytes() == back[name].astype(weights[name].dtype).tobytes() for name in weights)


def test_a_session_returns_every_layer_logits_and_gradients(loaded, spec, batches):
    outputs = loaded.layer_outputs(batches[0].images, training=False)
    assert {layer.name for layer in spec.layers} == outputs.keys()
    np.testing.assert_allclose(loaded.predict(batches[0].images), outputs["fc3"], rtol=1e-12)
    loss, gradients = loaded.gradients(batches[0])
    assert {array.name for array in spec.trainable} == gradients.keys()
    assert loss > 0


def test_a_training_continues_where_the_last_one_ended(loaded, spec, batches):
    loaded.make_optimizer(Recipe(optimizer="adam"))
    at_once = loaded.train(batches, [0.01, 0.02], seed=0)
    loaded.load_weights(samples.weights(spec, seed=0))
    loaded.make_optimizer(Recipe(optimizer="adam"))
    loaded.train(batches[:1], [0.01], seed=0)
    in_turn = loaded.train(batches[1:], [0.02], seed=0)
    assert 2 == at_once.state["step"] == in_turn.state["step"]
    assert (8, 4) == (at_once.totals.count, in_turn.totals.count)
    np.testing.assert_allclose(in_turn.weights["fc1.weight"], at_once.weights["fc1.weight"], rtol=1e-12)


def test_a_session_survives_errors(loaded, spec, engine_name):
    with pytest.raises(ArtifactError, match="Cannot load"):
        loaded.load_weights({})
    with pytest.raises(EngineError, match=f"^The {engine_name} process failed: .*Error: "):
        loaded.predict(np.zeros((2, 9, 9, 1), np.uint8))
    assert {array.name for array in spec.arrays} == loaded.read_weights().keys()


def test_sessions_start_when_first_used_and_end_together(engine_name):
    prepared = []
    with Sessions(threads=1, prepare=prepared.append) as sessions:
        first = sessions[engine_name]
        assert first is sessions[engine_name]
        assert [first] == prepared
    with pytest.raises((EngineError, OSError, ValueError)):
        first.runtime()


def test_an_unknown_engine_is_refused_before_anything_starts():
    with pytest.raises(UsageError, match=r"Unknown engine 'tensorfow' \(did you mean 'tensorflow'\?\)"):
        session("tensorfow").__enter__()


def run(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=engine_environment("torch"), capture_output=True, text=True, check=True).stdout


def test_a_process_imports_the_diptych_that_started_it(monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert f"{diptych.__file__}\n" == run("import diptych; print(diptych.__file__)")


def test_an_environment_respects_the_user_but_for_the_backend_of_keras(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert "glibc.malloc.mmap_threshold=4294967296" in engine_environment("torch")["GLIBC_TUNABLES"]
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert "glibc.malloc.arena_max=1" == engine_environment("torch")["GLIBC_TUNABLES"]
    assert ["tensorflow", "jax"] == [engine_environment(name)["KERAS_BACKEND"] for name in ("tensorflow", "torch")]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to cores")
def test_threads_are_the_cores_that_the_process_may_use():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from diptych.processes import num_threads; print(num_threads())"
    )
    assert "1\n" == run(code)
    assert len(os.sched_getaffinity(0)) == num_threads()
