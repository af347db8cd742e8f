"""An engine in a process of its own: what goes in comes out, errors keep their type, a death is told."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

from diptych.comparison.parity import samples
from diptych.engines.frames import read_frame, write_frame
from diptych.engines.worker import Worker, Workers, environment, num_threads
from diptych.errors import ArtifactError, EngineError, UsageError
from diptych.spec import Recipe, zoo


@pytest.fixture(scope="module")
def worker(engine_name):
    with Worker(engine_name, threads=1) as started:
        yield started


@pytest.fixture
def spec():
    return zoo.model("mlp", (4, 3, 1), num_classes=3)


@pytest.fixture
def batches(spec):
    return samples.batches(spec, num_batches=2, batch_size=4, seed=0)


@pytest.fixture
def loaded(worker, spec):
    worker.build(spec, "float64")
    worker.load_weights(samples.weights(spec, seed=0))
    return worker


def dying_worker(tmp_path, code):
    script = tmp_path / "dying.py"
    script.write_text(code)
    return Worker("torch", command=[sys.executable, str(script)])


def test_a_frame_brings_floats_and_arrays_to_the_last_bit():
    header = {"rate": 0.1 + 0.2, "text": "é", "lost": float("inf")}
    arrays = {
        "step": np.array(3, np.int64),
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "pixels": np.zeros((0, 2), np.uint8),
    }
    stream = io.BytesIO()
    write_frame(stream, header, arrays)
    stream.seek(0)
    found, found_arrays = read_frame(stream)
    assert header == found
    assert arrays.keys() == found_arrays.keys()
    for name, array in arrays.items():
        assert (array.dtype, array.shape) == (found_arrays[name].dtype, found_arrays[name].shape)
        np.testing.assert_array_equal(found_arrays[name], array)


def test_a_frame_cut_short_is_no_frame():
    stream = io.BytesIO()
    write_frame(stream, {"verb": "predict"}, {"images": np.zeros(4)})
    with pytest.raises(EOFError, match=r"ended after \d+ of \d+ bytes"):
        read_frame(io.BytesIO(stream.getvalue()[:-1]))


def test_a_worker_says_with_what_it_computes(worker, engine_name):
    runtime = worker.runtime()
    assert (engine_name, 1) == (runtime["engine"], runtime["threads"])


def test_weights_come_back_to_the_last_bit(loaded, spec):
    weights = samples.weights(spec, seed=0)
    found = loaded.read_weights()
    assert weights.keys() == found.keys()
    assert all(np.array_equal(weights[name], found[name]) for name in weights)


def test_a_worker_gives_every_layer_logits_and_gradients(loaded, spec, batches):
    outputs = loaded.layer_outputs(batches[0].images, training=False)
    assert {layer.name for layer in spec.layers} == outputs.keys()
    np.testing.assert_allclose(loaded.predict(batches[0].images), outputs["fc3"], rtol=1e-12)
    loss, gradients = loaded.gradients(batches[0])
    assert {array.name for array in spec.trainable} == gradients.keys()
    assert loss > 0


def test_a_training_goes_on_where_the_last_one_ended(loaded, spec, batches):
    loaded.make_optimizer(Recipe(optimizer="adam"))
    at_once = loaded.train(batches, [0.01, 0.02], seed=0)
    loaded.load_weights(samples.weights(spec, seed=0))
    loaded.make_optimizer(Recipe(optimizer="adam"))
    loaded.train(batches[:1], [0.01], seed=0)
    in_turn = loaded.train(batches[1:], [0.02], seed=0)
    assert 2 == at_once.state["step"] == in_turn.state["step"]
    assert (8, 4) == (at_once.totals.count, in_turn.totals.count)
    np.testing.assert_allclose(in_turn.weights["fc1.weight"], at_once.weights["fc1.weight"], rtol=1e-12)


def test_an_error_of_ours_keeps_its_type_and_the_worker_lives_on(loaded, spec):
    with pytest.raises(ArtifactError, match="Cannot load the weights of mlp: 0 arrays came, 6 were wanted"):
        loaded.load_weights({})
    assert {array.name for array in spec.arrays} == loaded.read_weights().keys()


def test_an_error_of_the_framework_is_one_line_with_what_it_printed_as_a_note(loaded, engine_name):
    with pytest.raises(EngineError, match=f"^{engine_name} failed at 'predict': .*Error: ") as caught:
        loaded.predict(np.zeros((2, 9, 9, 1), np.uint8))
    assert 1 == len(str(caught.value).splitlines())
    assert f"The {engine_name} worker printed:" == caught.value.__notes__[0].splitlines()[0]
    assert "Error: " in caught.value.__notes__[0]


def test_a_worker_that_is_killed_says_so(engine_name):
    with Worker(engine_name) as doomed:
        doomed._process.kill()
        with pytest.raises(EngineError, match=f"The {engine_name} worker was killed by SIGKILL while .* 'runtime'"):
            doomed.runtime()


def test_a_worker_that_ends_tells_its_code_and_last_words(tmp_path):
    code = "import sys; print('out of memory', file=sys.stderr); sys.exit(3)"
    with dying_worker(tmp_path, code) as doomed, pytest.raises(EngineError) as caught:
        doomed.runtime()
    assert (
        "The torch worker ended with code 3 while it was asked to 'runtime'; its last line was: out of memory"
        == str(caught.value)
    )


def test_a_worker_ends_when_nobody_asks_any_more(engine_name):
    with Worker(engine_name) as left_alone:
        left_alone._process.stdin.close()
        assert 0 == left_alone._process.wait(timeout=30)
        left_alone._process.stdin = None


def test_workers_are_started_once_prepared_once_and_end_together(engine_name):
    prepared = []
    with Workers(threads=1, prepare=prepared.append) as workers:
        worker = workers[engine_name]
        assert worker is workers[engine_name]
        assert [worker] == prepared
        assert worker._process.poll() is None
    assert worker._process.poll() is not None


def test_an_unknown_engine_is_refused_before_anything_starts():
    with pytest.raises(UsageError, match=r"Unknown engine 'tensorfow' \(did you mean 'tensorflow'\?\)"):
        Worker("tensorfow")


def test_a_worker_finds_the_diptych_that_started_it(monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    code = "import diptych; print(diptych.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment("torch"), capture_output=True, text=True, check=True
    )
    import diptych

    assert diptych.__file__ == found.stdout.strip()


def test_memory_is_kept_unless_the_user_tuned_it(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert "glibc.malloc.mmap_threshold=4294967296" in environment("torch")["GLIBC_TUNABLES"]
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    assert "glibc.malloc.arena_max=1" == environment("torch")["GLIBC_TUNABLES"]


def test_keras_computes_with_tensorflow_whatever_the_user_set(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert "tensorflow" == environment("tensorflow")["KERAS_BACKEND"]
    assert "jax" == environment("torch")["KERAS_BACKEND"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to cores")
def test_threads_are_the_cores_that_the_process_may_use():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from diptych.engines.worker import num_threads; print(num_threads())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment("torch"), capture_output=True, text=True, check=True
    )
    assert "1" == found.stdout.strip()
    assert len(os.sched_getaffinity(0)) == num_threads()
