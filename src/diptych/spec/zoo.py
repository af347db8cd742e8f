"""Built-in models by name, and `Graph`, which builds a model layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

from diptych.errors import SpecError
from diptych.spec import layers as L
from diptych.spec.layers import Layer
from diptych.spec.model import ModelSpec
from diptych.vocabulary import did_you_mean

ImageShape: TypeAlias = tuple[int, int, int]
Floats: TypeAlias = tuple[float, ...]


class Graph:
    """A model under construction: each layer reads the previous one unless `inputs` are given.

    Example:
        >>> graph = Graph((28, 28, 1), mean=(0.5,), std=(0.25,))
        >>> graph.add(L.Flatten, "flatten")
        'flatten'
        >>> graph.add(L.Dense, "linear", units=10)
        'linear'
        >>> graph.model("softmax_regression").num_parameters
        7850
    """

    def __init__(self, input_shape: ImageShape, mean: Floats, std: Floats) -> None:
        self.input_shape = input_shape
        self.layers: list[Layer] = []
        self.add(L.Normalize, "normalize", inputs=("input",), mean=mean, std=std)

    def add(self, kind: Callable[..., Layer], name: str, *, inputs: tuple[str, ...] = (), **settings: Any) -> str:
        """Append a layer that reads `inputs` (or the last layer) and return its name."""
        self.layers.append(kind(name=name, inputs=inputs or (self.layers[-1].name,), **settings))
        return name

    def conv(self, name: str, filters: int, kernel: int = 3, stride: int = 1, padding: int = 0, **settings: Any) -> str:
        """Append a convolution with a square kernel and equal padding on all four sides."""
        shape: dict[str, Any] = {"kernel": (kernel, kernel), "strides": (stride, stride), "padding": (padding,) * 4}
        return self.add(L.Conv, name, filters=filters, **shape, **settings)

    def max_pool(self, name: str, size: int = 2) -> str:
        """Append max pooling over adjacent square windows."""
        return self.add(L.MaxPool, name, kernel=(size, size), strides=(size, size))

    def relu(self, name: str) -> str:
        """Append a ReLU."""
        return self.add(L.Activation, name, function="relu")

    def model(self, name: str) -> ModelSpec:
        """Return the finished model."""
        return ModelSpec(name, self.input_shape, tuple(self.layers))


def mlp(graph: Graph, num_classes: int) -> None:
    """Perceptron with two hidden layers of 256 units: the baseline."""
    graph.add(L.Flatten, "flatten")
    for place in (1, 2):
        graph.add(L.Dense, f"fc{place}", units=256)
        graph.relu(f"relu{place}")
    graph.add(L.Dense, "fc3", units=num_classes)


def cifar_sequential(graph: Graph, num_classes: int) -> None:
    """Three unpadded 3×3 convolutions (32, 64, 64) and a dense layer of 64: the CNN of TensorFlow's tutorial."""
    for place, filters in enumerate((32, 64, 64), start=1):
        if place > 1:
            graph.max_pool(f"pool{place - 1}")
        graph.conv(f"conv{place}", filters)
        graph.relu(f"relu{place}")
    graph.add(L.Flatten, "flatten")
    graph.add(L.Dense, "fc1", units=64)
    graph.relu("relu4")
    graph.add(L.Dense, "fc2", units=num_classes)


def fashion_cnn(graph: Graph, num_classes: int) -> None:
    """Two unpadded 3×3 convolutions (32, 64), each max-pooled, a dense layer of 128 and dropout.

    ReLU follows the pooling: the two commute, and pooling leaves a quarter of the elements.
    """
    for place, filters in enumerate((32, 64), start=1):
        graph.conv(f"conv{place}", filters)
        graph.max_pool(f"pool{place}")
        graph.relu(f"relu{place}")
    graph.add(L.Flatten, "flatten")
    graph.add(L.Dense, "fc1", units=128)
    graph.relu("relu3")
    graph.add(L.Dropout, "dropout", rate=0.5)
    graph.add(L.Dense, "fc2", units=num_classes)


def cnn(graph: Graph, num_classes: int, *, width: float = 1.0, depth: int = 2) -> None:
    """The default for images of 28 to 64 pixels: three stages of two Conv-BatchNorm-ReLU blocks, pooled, then dense.

    A stage halves maps of at least 4 pixels, so smaller images work too. It pools before its last ReLU: the two
    commute, and pooling leaves a quarter of the elements. `width` scales filters and units, `depth` is the number of
    blocks in a stage.
    """
    side, scaled = min(graph.input_shape[:2]), [max(1, round(width * size)) for size in (32, 64, 128)]
    for stage, filters in enumerate(scaled, start=1):
        for block in range(1, depth + 1):
            name = f"stage{stage}.{block}"
            graph.conv(f"{name}.conv", filters, padding=1, use_bias=False)
            graph.add(L.BatchNorm, f"{name}.norm")
            if block == depth and side >= 4:
                graph.max_pool(f"stage{stage}.pool")
                side //= 2
            graph.relu(f"{name}.relu")
    graph.add(L.Flatten, "flatten")
    graph.add(L.Dropout, "dropout1", rate=0.3)
    graph.add(L.Dense, "fc1", units=scaled[-1])
    graph.relu("relu")
    graph.add(L.Dropout, "dropout2", rate=0.3)
    graph.add(L.Dense, "fc2", units=num_classes)


def resnet(graph: Graph, num_classes: int, *, blocks: int, shortcut: Literal["A", "B"] = "A") -> None:
    """Residual network for CIFAR (He et al. 2015, section 4.2): 6·`blocks` + 2 weighted layers, 16, 32 and 64 filters.

    Where a stage halves the map, shortcut A takes every second pixel and pads the channels with zeros; B projects with
    a 1×1 convolution. Names follow the common PyTorch port (conv1, layer1.0.conv1, linear), so its checkpoints load.
    """
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


def _block(graph: Graph, name: str, width: int, filters: int, stride: int, shortcut: str) -> None:
    start = graph.layers[-1].name
    graph.conv(f"{name}.conv1", filters, stride=stride, padding=1, use_bias=False)
    graph.add(L.BatchNorm, f"{name}.bn1")
    graph.relu(f"{name}.relu1")
    graph.conv(f"{name}.conv2", filters, padding=1, use_bias=False)
    residual = graph.add(L.BatchNorm, f"{name}.bn2")
    if stride > 1 and shortcut == "B":
        projected = graph.conv(f"{name}.shortcut.0", filters, 1, stride, inputs=(start,), use_bias=False)
        start = graph.add(L.BatchNorm, f"{name}.shortcut.1", inputs=(projected,))
    elif stride > 1:
        picked = graph.add(L.AvgPool, f"{name}.pick", inputs=(start,), kernel=(1, 1), strides=(stride, stride))
        before = (filters - width) // 2
        after = filters - width - before
        start = graph.add(L.PadChannels, f"{name}.pad", inputs=(picked,), before=before, after=after)
    graph.add(L.Add, f"{name}.add", inputs=(residual, start))
    graph.relu(f"{name}.relu2")


MODELS: dict[str, tuple[Callable[..., None], str]] = {
    "mlp": (mlp, "two hidden layers of 256 units: the baseline"),
    "cifar_sequential": (cifar_sequential, "conv 32, 64, 64, dense 64: TensorFlow's tutorial CNN"),
    "fashion_cnn": (fashion_cnn, "conv 32, 64, dense 128, dropout"),
    "cnn": (cnn, "six conv-norm-ReLU blocks, dropout, dense: the default"),
    "resnet20": (partial(resnet, blocks=3), "He et al. 2015, CIFAR form, parameter-free shortcuts (A)"),
    "resnet20_b": (partial(resnet, blocks=3, shortcut="B"), "resnet20 with projection shortcuts (B)"),
    "resnet56": (partial(resnet, blocks=9), "He et al. 2015, CIFAR form, parameter-free shortcuts (A)"),
    "resnet56_b": (partial(resnet, blocks=9, shortcut="B"), "resnet56 with projection shortcuts (B)"),
}


def model(
    name: str,
    input_shape: ImageShape = (32, 32, 3),
    num_classes: int = 10,
    mean: Floats | None = None,
    std: Floats | None = None,
    **settings: Any,
) -> ModelSpec:
    """Return a built-in model for images of `input_shape` (height, width, channels).

    `mean` and `std` are per channel, in units of 0 to 1; `settings` are the model's own, see `cnn`. Raise SpecError if
    the name is unknown, or the images are too small for a layer of the model.
    """
    if name not in MODELS:
        raise SpecError(f"Unknown model '{name}'{did_you_mean(name, MODELS)}. `diptych models` lists them.")
    height, width, channels = input_shape
    graph = Graph((height, width, channels), mean or (0.5,) * channels, std or (0.25,) * channels)
    MODELS[name][0](graph, num_classes, **settings)
    try:
        return graph.model(name)
    except SpecError as error:
        raise SpecError(f"{error} Images are {height} × {width}; set image_size to resize them.") from error
