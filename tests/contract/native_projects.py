"""Native projects in this process: their modules, with weights of ours."""

import linecache
import sys
from contextlib import contextmanager
from types import ModuleType

import torch

from diptych.comparison.parity import samples
from diptych.native import torch as pytorch


@contextmanager
def modules(project):
    """The modules `model`, `data` and `train` of a project; `train` is made only if `data` can be."""
    before = {name: sys.modules.pop(name, None) for name in ("model", "data", "train")}
    made = {}
    try:
        for name in ("model", "data", "train"):
            made[name] = sys.modules[name] = ModuleType(name)
            exec(_compiled(project, f"{name}.py"), made[name].__dict__)
        yield made
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module:
                sys.modules[name] = module


def defined_by(project, file="model.py"):
    """What one file of a project defines."""
    names = {"__name__": "code"}
    exec(_compiled(project, file), names)
    return names


def _compiled(project, file):
    """A file's code, whose source TensorFlow's autograph can read."""
    source, path = project.files[file], f"<{id(project)}/{file}>"
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    return compile(source, path, "exec")


def torch_net(project, spec, weights=None):
    """The PyTorch model, with canonical weights."""
    net, places = defined_by(project)["Net"](), pytorch.paths(spec)
    weights = samples.weights(spec, seed=0) if weights is None else weights
    named = {array.name: f"{places[spec.owner(array).name]}.{array.name.rpartition('.')[2]}" for array in spec.arrays}
    state = {name: torch.tensor(weights[array]).float() for array, name in named.items()}
    counters = {name for name in net.state_dict() if name.endswith("num_batches_tracked")}
    assert net.state_dict().keys() == state.keys() | counters
    net.load_state_dict(state, strict=False)
    return net


def keras_model(project, ours):
    """The Keras model, with the weights of the engine's model."""
    built = defined_by(project)["build_model"]()
    weighted = [layer for layer in built.layers if layer.weights]
    known = [ours.get_layer(layer.name) for layer in ours.spec.layers if ours.get_layer(layer.name).weights]
    by_name = {layer.name: layer for layer in weighted}
    assert len(known) == len(weighted)
    for place, layer in enumerate(known):
        by_name.get(layer.name, weighted[place]).set_weights(layer.get_weights())
    return built
