"""An engine in a process of its own: arrays in, arrays out."""

import numpy as np
import pytest

from diptych.comparison.parity import samples
from diptych.engines.session import Sessions, session
from diptych.errors import ArtifactError, EngineError
from diptych.spec import Recipe, zoo

SPEC = zoo.model("mlp", (4, 3, 1), num_classes=3)
WEIGHTS, BATCHES = samples.weights(SPEC, seed=0), samples.batches(SPEC, num_batches=2, batch_size=4, seed=0)


@pytest.fixture(scope="module")
def started(engine_name):
    with session(engine_name, threads=1) as started:
        yield started


@pytest.fixture
def loaded(started):
    started.build(SPEC, "float64")
    started.load_weights(WEIGHTS)
    return started


def test_an_engines_functions_get_the_sessions_model(loaded, engine_name):
    assert (engine_name, 1) == tuple(loaded.runtime()[name] for name in ("engine", "threads"))
    back = loaded.read_weights()
    assert WEIGHTS.keys() == back.keys()
    assert all(WEIGHTS[name].tobytes() == back[name].astype(WEIGHTS[name].dtype).tobytes() for name in WEIGHTS)
    outputs = loaded.layer_outputs(BATCHES[0].images, training=False)
    np.testing.assert_allclose(loaded.predict(BATCHES[0].images), outputs["fc3"], rtol=1e-12)


def test_a_training_continues_where_the_last_one_ended(loaded):
    loaded.make_optimizer(Recipe(optimizer="adam"))
    at_once = loaded.train(BATCHES, [0.01, 0.02], seed=0)
    loaded.load_weights(WEIGHTS)
    loaded.make_optimizer(Recipe(optimizer="adam"))
    loaded.train(BATCHES[:1], [0.01], seed=0)
    in_turn = loaded.train(BATCHES[1:], [0.02], seed=0)
    assert 2 == at_once.state["step"] == in_turn.state["step"]
    assert (8, 4) == (at_once.totals.count, in_turn.totals.count)
    np.testing.assert_allclose(in_turn.weights["fc1.weight"], at_once.weights["fc1.weight"], rtol=1e-12)


def test_a_session_survives_errors(loaded, engine_name):
    with pytest.raises(ArtifactError, match="Cannot load"):
        loaded.load_weights({})
    with pytest.raises(EngineError, match=f"^The {engine_name} process failed: .*Error: "):
        loaded.predict(np.zeros((2, 9, 9, 1), np.uint8))
    assert WEIGHTS.keys() == loaded.read_weights().keys()


def test_sessions_start_when_first_used_and_end_together(engine_name):
    prepared = []
    with Sessions(threads=1, prepare=prepared.append) as sessions:
        first = sessions[engine_name]
        assert first is sessions[engine_name]
        assert [first] == prepared
    with pytest.raises((EngineError, OSError, ValueError)):
        first.runtime()
