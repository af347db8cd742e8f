"""Models that are a chain of layers: from a perceptron to our default."""

from __future__ import annotations

from diptych.spec import layers as L
from diptych.spec.model import ModelSpec
from diptych.spec.zoo.graph import Graph

Floats = tuple[float, ...]


def mlp(input_shape: tuple[int, int, int], num_classes: int, mean: Floats, std: Floats) -> ModelSpec:
    """Perceptron with two hidden layers of 256 units: the baseline that any image model must beat."""
    graph = Graph(input_shape, mean, std)
    graph.add(L.Flatten, "flatten")
    for place in (1, 2):
        graph.add(L.Dense, f"fc{place}", units=256)
        graph.relu(f"relu{place}")
    graph.add(L.Dense, "fc3", units=num_classes)
    return graph.model("mlp")


def cifar_sequential(input_shape: tuple[int, int, int], num_classes: int, mean: Floats, std: Floats) -> ModelSpec:
    """Three valid 3×3 convolutions (32, 64, 64) and a dense layer of 64: the shape of TensorFlow's CNN tutorial."""
    graph = Graph(input_shape, mean, std)
    for place, filters in enumerate((32, 64, 64), start=1):
        if place > 1:
            graph.max_pool(f"pool{place - 1}")
        graph.conv(f"conv{place}", filters)
        graph.relu(f"relu{place}")
    graph.add(L.Flatten, "flatten")
    graph.add(L.Dense, "fc1", units=64)
    graph.relu("relu4")
    graph.add(L.Dense, "fc2", units=num_classes)
    return graph.model("cifar_sequential")


def fashion_cnn(input_shape: tuple[int, int, int], num_classes: int, mean: Floats, std: Floats) -> ModelSpec:
    """Two valid 3×3 convolutions (32, 64), each max-pooled, a dense layer of 128 and dropout.

    ReLU comes after the pooling: the two commute, and there is a quarter of the elements left to do it on.
    """
    graph = Graph(input_shape, mean, std)
    for place, filters in enumerate((32, 64), start=1):
        graph.conv(f"conv{place}", filters)
        graph.max_pool(f"pool{place}")
        graph.relu(f"relu{place}")
    graph.add(L.Flatten, "flatten")
    graph.add(L.Dense, "fc1", units=128)
    graph.relu("relu3")
    graph.add(L.Dropout, "dropout", rate=0.5)
    graph.add(L.Dense, "fc2", units=num_classes)
    return graph.model("fashion_cnn")


def cnn(input_shape: tuple[int, int, int], num_classes: int, mean: Floats, std: Floats) -> ModelSpec:
    """Our default for images of 28 to 64 pixels: three stages of two Conv-BatchNorm-ReLU blocks, pooled, then dense.

    A stage halves the map, as long as there is a map to halve, so small images work too. It pools before its last
    ReLU: the two commute, and there is a quarter of the elements left to do it on.
    """
    graph = Graph(input_shape, mean, std)
    side = min(input_shape[:2])
    for stage, filters in enumerate((32, 64, 128), start=1):
        for block in (1, 2):
            name = f"stage{stage}.{block}"
            graph.conv(f"{name}.conv", filters, padding=1, use_bias=False)
            graph.add(L.BatchNorm, f"{name}.norm")
            if block == 2 and side >= 4:
                graph.max_pool(f"stage{stage}.pool")
                side //= 2
            graph.relu(f"{name}.relu")
    graph.add(L.Flatten, "flatten")
    graph.add(L.Dropout, "dropout1", rate=0.3)
    graph.add(L.Dense, "fc1", units=128)
    graph.relu("relu")
    graph.add(L.Dropout, "dropout2", rate=0.3)
    graph.add(L.Dense, "fc2", units=num_classes)
    return graph.model("cnn")
