"""What PyTorch users rely on: state dicts, also as people publish them; tests/hostile has the harmful ones."""

import pickle
from argparse import Namespace
from collections import OrderedDict
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional as F

from diptych.comparison.parity import samples
from diptych.deployment.file_types import find_card
from diptych.deployment.transfer import read_weights
from diptych.engines import torch as engine
from diptych.errors import ArtifactError, SpecError
from diptych.spec import layers as L
from diptych.spec import zoo


class Block(nn.Module):
    """As the ports of He et al. 2015 for CIFAR write it."""

    def __init__(self, width, filters, stride, option):
        super().__init__()
        self.conv1 = nn.Conv2d(width, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.option, self.stride, self.margin = option, stride, (filters - width) // 2
        self.shortcut = nn.Sequential()
        if stride > 1 and option == "B":
            self.shortcut = nn.Sequential(nn.Conv2d(width, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))

    def forward(self, maps):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(maps)))))
        if self.stride > 1 and self.option == "A":
            maps = F.pad(maps[:, :, ::2, ::2], (0, 0, 0, 0, self.margin, self.margin))
        return F.relu(out + self.shortcut(maps))


class Port(nn.Module):
    def __init__(self, blocks, option):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
        for place, (width, filters, stride) in enumerate(widths, start=1):
            rest = [Block(filters, filters, 1, option) for _ in range(blocks - 1)]
            self.add_module(f"layer{place}", nn.Sequential(Block(width, filters, stride, option), *rest))
        self.linear = nn.Linear(64, 10)

    def forward(self, images):
        maps = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(images))))))
        return self.linear(maps.mean((2, 3)))


def randomized(model):
    """The model with running statistics other than zeros and ones."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.7, 1.5)
    return model.eval()


@pytest.mark.parametrize(("option", "name"), [("A", "resnet20"), ("B", "resnet20_b")])
def test_a_published_checkpoint_gives_the_logits_of_its_own_code(option, name, tmp_path):
    model, spec = randomized(Port(3, option)), zoo.model(name)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    # What the ports' training scripts save, from several GPUs.
    state = OrderedDict((f"module.{name}", tensor) for name, tensor in model.state_dict().items())
    saved = {"state_dict": state, "epoch": 199, "best_prec1": 92.6, "args": {"lr": 0.1}}
    torch.save({**saved, "optimizer": optimizer.state_dict()}, tmp_path / "resnet20.th")
    images_nhwc = tiny.images(spec, 8)
    normalized = (torch.from_numpy(images_nhwc).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.no_grad():
        wanted_nk = model(normalized).numpy()
    assert find_card(tmp_path / "resnet20.th") is None
    built = engine.build(spec)
    engine.load_weights(built, read_weights(tmp_path / "resnet20.th", spec))
    np.testing.assert_allclose(engine.predict(built, images_nhwc), wanted_nk, atol=1e-5)


@pytest.mark.parametrize(
    "save",
    [
        torch.save,
        lambda state, path: torch.save({"net": state, "acc": torch.tensor(92.6), "epoch": 3}, path),
        lambda state, path: torch.save({"model_state_dict": state}, path, _use_new_zipfile_serialization=False),
        lambda state, path: torch.save({name: tensor.bfloat16() for name, tensor in state.items()}, path),
    ],
    ids=["bare", "wrapped", "before 2020", "bfloat16"],
)
def test_every_way_to_save_a_state_dict_is_read(save, tmp_path):
    spec = tiny.conv_net()
    state = tiny.loaded(engine, spec, "float32").state_dict()
    rounded = {name: tensor.bfloat16().float() for name, tensor in state.items()}
    save(rounded, tmp_path / "model.pt")
    assert find_card(tmp_path / "model.pt") is None
    found = read_weights(tmp_path / "model.pt", spec)
    tiny.assert_same_arrays({name: rounded[name].numpy() for name in found}, found)


OTHERS = {
    "model": (Port(1, "A"), r"asks for \S+\.Port, and loading it could execute code"),
    "list": ([torch.zeros(3)], "expected a state dict, got a list"),
    "nothing": ({"epoch": 3}, "it contains no state dict"),
    "sparse": ({"w": torch.eye(3).to_sparse()}, "'w' is not a plain tensor"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_file_with_more_or_less_than_weights_is_rejected_in_one_line(case, tmp_path):
    content, fault = OTHERS[case]
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ArtifactError, match=fault) as caught:
        read_weights(tmp_path / "model.pt", tiny.linear())
    assert "\n" not in str(caught.value)


class Stack(nn.Module):
    """Layers of one shape, defined in another order than they are used."""

    def __init__(self):
        super().__init__()
        for name in ("stem", "post", "pre", "head"):
            self.add_module(name, nn.Linear(8, 8))


def test_the_order_of_definition_is_no_evidence(tmp_path):
    torch.save(Stack().state_dict(), tmp_path / "model.pth")
    graph = zoo.Graph((2, 4, 1), mean=(0.5,), std=(0.25,))
    graph.add(L.Flatten, "flatten")
    for place in range(4):
        graph.add(L.Dense, f"fc{place}", units=8)
    spec = graph.model("stack")
    with pytest.raises(ArtifactError, match=r"'stem' .* --map stem=fc0 or .*=fc3, and likewise for post, pre, head in"):
        read_weights(tmp_path / "model.pth", spec)
    numbered = ("features.10", "features.3", "features.12", "features.0")  # numbers are
    state = dict(zip(("stem", "post", "pre", "head"), numbered, strict=True))
    renamed = {
        f"{state[name.split('.')[0]]}.{name.split('.')[1]}": tensor for name, tensor in Stack().state_dict().items()
    }
    torch.save(renamed, tmp_path / "numbered.pth")
    found = read_weights(tmp_path / "numbered.pth", spec)
    for target, source in zip(
        ("fc0", "fc1", "fc2", "fc3"), sorted(numbered, key=lambda name: int(name[9:])), strict=True
    ):
        np.testing.assert_array_equal(renamed[f"{source}.bias"].numpy(), found[f"{target}.bias"])


MATRIX = {"head.weight": torch.ones(3, 4), "head.bias": torch.zeros(3)}
AVERAGED = {name: tensor + 1 for name, tensor in MATRIX.items()}
ADAM = {"state": {0: {"exp_avg": torch.ones(3, 4)}, "head.weight": {"exp_avg": torch.ones(3, 4)}}}
SCRIPT = SimpleNamespace(out=Path("runs"), since=datetime(2026, 1, 1), best=[np.float32(1), np.int64(2), np.bool_(1)])
SCRIPT.history = np.arange(3.0)
CHECKPOINTS = {  # content, key, the bias and the remark, or the error
    "lightning": (
        {"state_dict": MATRIX, "optimizer_states": [ADAM], "epoch": 3},
        None,
        0,
        "'state_dict'; not used: opt",
    ),
    "in two folds": ({"model": {"net": MATRIX}, "optimizer": ADAM}, None, 0, "'model.net'; not used: optimizer"),
    "arguments": ({"net": MATRIX, "args": Namespace(lr=0.1), "acc": np.float64(0.9)}, None, 0, "not used: args, acc"),
    "values": ({"net": MATRIX, "args": SCRIPT}, None, 0, "not used: args"),
    "averaged": ({"state_dict": MATRIX, "state_dict_ema": AVERAGED}, "state_dict_ema", 1, "not used: state_dict"),
    "two": ({"model": MATRIX, "ema": AVERAGED}, None, "2 state dicts: choose with --key model or --key ema", ""),
    "beside": ({**MATRIX, "ema": AVERAGED}, None, "choose with --key . or --key ema", ""),
    "no such key": ({"model": MATRIX}, "ema", "no state dict 'ema'; expected --key model", ""),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_the_only_state_dict_of_a_checkpoint_or_the_named_one_is_read(case, tmp_path):
    content, key, expected, remark = CHECKPOINTS[case]
    torch.save(content, tmp_path / "model.ckpt")
    if isinstance(expected, str):
        with pytest.raises(ArtifactError, match=expected):
            engine.read_file(tmp_path / "model.ckpt", key)
    else:
        stored = engine.read_file(tmp_path / "model.ckpt", key)
        np.testing.assert_array_equal(np.full(3, expected), stored.arrays["head.bias"])
        assert remark in stored.remarks[0]


def test_plain_pytorch_loads_the_canonical_arrays_strictly():
    spec = tiny.branching()
    model = pickle.loads(pickle.dumps(engine.build(spec, "float64")))
    arrays = samples.weights(spec, seed=0)
    counters = {name for name in model.state_dict() if name.endswith("num_batches_tracked")}
    assert {array.name for array in spec.arrays} == set(model.state_dict()) - counters

    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    state.update({name: torch.tensor(0) for name in counters})
    assert "<All keys matched successfully>" == str(model.load_state_dict(state, strict=True))
    tiny.assert_same_arrays(arrays, engine.read_weights(model))


def test_a_layer_named_like_a_part_of_a_module_is_rejected_by_name():
    graph = zoo.Graph((8, 8, 1), mean=(0.5,), std=(0.25,))
    graph.add(L.Flatten, "forward")
    graph.add(L.Dense, "head", units=2)
    with pytest.raises(SpecError, match="Layer 'forward': 'forward' is an attribute"):
        engine.build(graph.model("clash"))


def test_a_plain_loop_trains_the_model():
    spec = tiny.conv_net()
    model, losses = engine.build(spec), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(torch.from_numpy(tiny.images(spec, 8))), torch.arange(8) % tiny.NUM_CLASSES)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
