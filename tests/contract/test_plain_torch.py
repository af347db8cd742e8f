"""What PyTorch users do with a built model: copy, pickle, trace, script, export, compile and change it."""

import copy
import io
import pickle
from dataclasses import replace

import pytest
import tiny
import torch
from torch import nn

import diptych
from diptych.engines.torch.model import DropPath
from diptych.errors import SpecError

pytestmark = pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated


def reloaded(script):
    torch.jit.save(script, content := io.BytesIO())
    return torch.jit.load(io.BytesIO(content.getvalue()))


WAYS = {
    "deepcopy": lambda model, images: copy.deepcopy(model),
    "pickle": lambda model, images: pickle.loads(pickle.dumps(model)),
    "trace": lambda model, images: torch.jit.trace(model, (images,)),
    "script": lambda model, images: reloaded(torch.jit.script(model)),
    "symbolic trace": lambda model, images: torch.fx.symbolic_trace(model),
    "export": lambda model, images: torch.export.export(model, (images,)).module(),
    "compile": lambda model, images: torch.compile(model, backend="eager", fullgraph=True),
}


def branching():
    """Every layer, with PyTorch's running variance."""
    spec = tiny.branching()
    unbiased = {True: {"running_variance": "unbiased"}, False: {}}
    return replace(spec, layers=tuple(replace(layer, **unbiased[layer.name == "norm"]) for layer in spec.layers))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [tiny.conv_net, tiny.dropouts, branching])
def test_a_built_model_passes_through_pytorchs_own_tools(make, way):
    model, images_nhwc = diptych.build(make(), "torch").eval(), torch.from_numpy(tiny.images(make(), 4))
    torch.testing.assert_close(WAYS[way](model, images_nhwc)(images_nhwc), model(images_nhwc))


def test_a_layer_replaced_by_name_is_used():
    model = diptych.build(branching(), "torch").eval()
    images_nhwc = torch.from_numpy(tiny.images(branching(), 4))
    before = model(images_nhwc)
    model.gelu = nn.Identity()
    assert not torch.allclose(before, model(images_nhwc))
    model.head = nn.Linear(model.head.in_features, 7)
    assert (4, 7) == model(images_nhwc).shape == torch.jit.script(model)(images_nhwc).shape


@pytest.mark.parametrize(("make", "precision"), [(tiny.branching, "float32"), (tiny.conv_net, "bfloat16")])
def test_what_torchscript_cannot_express_is_an_error(make, precision):
    with pytest.raises(SpecError, match=r"use torch\.jit\.trace"):
        torch.jit.script(diptych.build(make(), "torch", precision=precision))


@pytest.mark.parametrize("make", [tiny.conv_net, tiny.dropouts])
def test_a_scripted_model_still_switches_between_training_and_inference(make):
    model, images_nhwc = diptych.build(make(), "torch").eval(), torch.from_numpy(tiny.images(make(), 6))
    script = torch.jit.script(model)
    trained = script.train()(images_nhwc)
    assert not torch.equal(trained, script(images_nhwc))  # with other masks
    if make is tiny.conv_net:
        assert 2 == script.stem.norm.num_batches_tracked
    torch.testing.assert_close(script.eval()(images_nhwc), model(images_nhwc))


DROPOUTS = {  # the module of each dropout, the shape of its input, and whether it drops whole samples and channels
    "map": (nn.Dropout, (64, 6, 5, 5), (False, False)),
    "vector": (nn.Dropout, (64, 150), (False, True)),
    "channels": (nn.Dropout2d, (64, 6, 5, 5), (False, True)),
    "path": (DropPath, (64, 6, 5, 5), (True, True)),
    "samples": (DropPath, (64, 150), (True, True)),
}


@pytest.mark.parametrize("name", DROPOUTS)
def test_a_built_model_has_pytorchs_own_dropout(name):
    kind, shape, whole = DROPOUTS[name]
    dropout, ones = diptych.build(tiny.dropouts(), "torch").get_submodule(name), torch.ones(shape)
    dropped = dropout.train()(ones)
    assert kind is type(dropout)
    assert {0.0, float(torch.tensor(1 / 0.6))} == set(dropped.unique().tolist())
    samples, channels = dropped.flatten(1), dropped.reshape(*shape[:2], -1)
    assert whole == (bool((samples == samples[:, :1]).all()), bool((channels == channels[..., :1]).all()))
    assert torch.equal(ones, dropout.eval()(ones))


def test_autocast_and_half_precision_reach_every_layer():
    model = diptych.build(tiny.conv_net(), "torch").eval()
    images_nhwc, formats = torch.from_numpy(tiny.images(tiny.conv_net(), 4)), []
    model.stem.conv.register_forward_hook(lambda module, inputs, output: formats.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        model(images_nhwc)
    logits_nk = model.to(torch.float16)(images_nhwc)
    assert [torch.bfloat16, torch.float16, torch.float16] == [*formats, logits_nk.dtype]
