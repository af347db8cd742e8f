"""What PyTorch users rely on besides the contract."""

import pytest
import tiny
import torch

from diptych.comparison.parity import samples
from diptych.errors import SpecError
from diptych.spec import layers as L
from diptych.spec.zoo import Graph


def test_plain_pytorch_loads_the_canonical_arrays_strictly(configured):
    engine, spec = configured["torch"], tiny.branching()
    model = engine.build(spec, "float64")
    arrays = samples.weights(spec, seed=0)
    counters = {name for name in model.state_dict() if name.endswith("num_batches_tracked")}
    assert {array.name for array in spec.arrays} == set(model.state_dict()) - counters

    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    state.update({name: torch.tensor(0) for name in counters})
    assert "<All keys matched successfully>" == str(model.load_state_dict(state, strict=True))
    tiny.assert_same_arrays(arrays, engine.read_weights(model))


def test_a_layer_named_like_a_part_of_a_module_is_rejected_by_name(configured):
    graph = Graph((8, 8, 1), mean=(0.5,), std=(0.25,))
    graph.add(L.Flatten, "forward")
    graph.add(L.Dense, "head", units=2)
    with pytest.raises(SpecError, match="Layer 'forward': 'forward' is an attribute"):
        configured["torch"].build(graph.model("clash"))
