"""Residual networks in their CIFAR form (He et al. 2015, section 4.2), named so that published checkpoints fit."""

from __future__ import annotations

from functools import partial
from typing import Literal

from diptych.spec import layers as L
from diptych.spec.model import ModelSpec
from diptych.spec.zoo.graph import Graph

Shortcut = Literal["A", "B"]


def resnet(
    input_shape: tuple[int, int, int],
    num_classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    blocks: int,
    shortcut: Shortcut = "A",
) -> ModelSpec:
    """6·`blocks` + 2 weighted layers in three stages of 16, 32 and 64 filters.

    Where a stage shrinks the map, shortcut A takes every second pixel and pads the channels with zeros;
    B projects with a 1×1 convolution. Names follow the common PyTorch port (conv1, layer1.0.conv1, linear).
    """
    graph = Graph(input_shape, mean, std)
    graph.conv("conv1", 16, padding=1, use_bias=False)
    graph.add(L.BatchNorm, "bn1")
    graph.relu("relu")
    width = 16
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            _block(graph, f"layer{stage}.{block}", width, filters, stride, shortcut)
            width = filters
    graph.add(L.GlobalAvgPool, "pool")
    graph.add(L.Dense, "linear", units=num_classes)
    suffix = "" if shortcut == "A" else "_b"
    return graph.model(f"resnet{6 * blocks + 2}{suffix}")


def _block(graph: Graph, name: str, width: int, filters: int, stride: int, shortcut: Shortcut) -> None:
    start = graph.last
    graph.conv(f"{name}.conv1", filters, stride=stride, padding=1, use_bias=False)
    graph.add(L.BatchNorm, f"{name}.bn1")
    graph.relu(f"{name}.relu1")
    graph.conv(f"{name}.conv2", filters, padding=1, use_bias=False)
    residual = graph.add(L.BatchNorm, f"{name}.bn2")
    if stride > 1:
        start = _shrunk(graph, start, name, width, filters, stride, shortcut)
    graph.add(L.Add, f"{name}.add", inputs=(residual, start))
    graph.relu(f"{name}.relu2")


def _shrunk(graph: Graph, start: str, name: str, width: int, filters: int, stride: int, shortcut: Shortcut) -> str:
    if shortcut == "B":
        settings = {"filters": filters, "kernel": (1, 1), "strides": (stride, stride), "use_bias": False}
        projected = graph.add(L.Conv, f"{name}.shortcut.0", inputs=(start,), **settings)
        return graph.add(L.BatchNorm, f"{name}.shortcut.1", inputs=(projected,))
    picked = graph.add(L.AvgPool, f"{name}.pick", inputs=(start,), kernel=(1, 1), strides=(stride, stride))
    before = (filters - width) // 2
    return graph.add(L.PadChannels, f"{name}.pad", inputs=(picked,), before=before, after=filters - width - before)


resnet20 = partial(resnet, blocks=3)
resnet20_b = partial(resnet, blocks=3, shortcut="B")
resnet56 = partial(resnet, blocks=9)
resnet56_b = partial(resnet, blocks=9, shortcut="B")
