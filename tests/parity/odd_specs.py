"""Small models that are odd but correct: dead units, ties, saturation, inputs of any scale, biases before norms."""

import specs
from tiny import graph

from diptych.spec import layers as L
from diptych.spec.zoo import Graph


def ordinary():
    """Conv with bias, BatchNorm, ReLU, MaxPool: the true gradient of each bias is 0."""
    model = graph((12, 12, 3))
    for place, filters in enumerate((8, 12), start=1):
        model.conv(f"conv{place}", filters, padding=1)
        model.add(L.BatchNorm, f"norm{place}")
        model.relu(f"relu{place}")
        model.max_pool(f"pool{place}")
    model.add(L.Flatten, "flatten")
    model.add(L.Dense, "hidden", units=16)
    model.add(L.BatchNorm, "norm")
    model.relu("relu")
    model.add(L.Dense, "head", units=5)
    return model.model("ordinary")


def resnet8(side=12):
    """ResNet-8 of MLPerf Tiny: biases before norms, TensorFlow's padding at stride 2, shortcuts without a norm."""
    model = Graph((side, side, 3), mean=(0.0,) * 3, std=(1 / 255,) * 3)
    settings = {"decay": 0.99, "epsilon": 1e-3, "running_variance": "biased"}
    model.conv("stem.conv", 16, padding=1)
    model.add(L.BatchNorm, "stem.norm", **settings)
    start = model.relu("stem.relu")
    for stage, filters in enumerate((16, 32, 64), start=1):
        stride = 1 if stage == 1 else 2
        padding = (side % 2 if stride == 2 else 1, 1) * 2
        model.add(L.Conv, f"{stage}.conv1", filters=filters, kernel=(3, 3), strides=(stride,) * 2, padding=padding)
        model.add(L.BatchNorm, f"{stage}.norm1", **settings)
        model.relu(f"{stage}.relu1")
        model.conv(f"{stage}.conv2", filters, padding=1)
        residual = model.add(L.BatchNorm, f"{stage}.norm2", **settings)
        if stride == 2:
            start = model.conv(f"{stage}.shortcut", filters, kernel=1, stride=2, inputs=(start,))
            side = -(-side // 2)
        model.add(L.Add, f"{stage}.add", inputs=(start, residual))
        start = model.relu(f"{stage}.relu2")
    model.add(L.AvgPool, "pool", kernel=(side, side), strides=(side, side))
    model.add(L.Flatten, "flatten")
    model.add(L.Dense, "head", units=10)
    return model.model("resnet8")


def dead_units():
    """Two of three channels that are 0 for every image after a ReLU, in front of norms and convolutions."""
    model = Graph((8, 8, 3), mean=(1000.0, 0.5, 1000.0), std=(1.0, 0.25, 1.0))
    model.conv("sums", 3, groups=3, padding=1, initializer="ones")
    model.relu("dead")
    model.add(L.BatchNorm, "norm")
    model.conv("conv", 6)
    model.add(L.BatchNorm, "after")
    model.relu("relu")
    model.add(L.GlobalAvgPool, "pool")
    model.add(L.Dense, "head", units=4)
    return model.model("dead_units")


def zero_kernels():
    """Kernels that are 0 at the start: a convolution before a norm, the last one of a residual, and the head."""
    model = graph((7, 9, 3))
    start = model.conv("stem", 6, padding=1)
    model.conv("zero1", 6, padding=1, initializer="zeros")
    model.add(L.BatchNorm, "norm")
    model.relu("relu")
    zero = model.conv("zero2", 6, padding=1, initializer="zeros", use_bias=False)
    model.add(L.Add, "add", inputs=(start, zero))
    model.max_pool("pool")
    model.add(L.Flatten, "flatten")
    model.add(L.Dense, "hidden", units=8)
    model.add(L.Activation, "silu", function="silu")
    model.add(L.Dense, "head", units=4, initializer="zeros")
    return model.model("zero_kernels")


def constant_channels():
    """Channels of zeros in front of norms, which divide by the square root of epsilon alone."""
    model = graph((6, 6, 2))
    model.add(L.PadChannels, "wider", before=1, after=2)
    model.add(L.BatchNorm, "norm1")
    model.conv("conv", 4)
    model.add(L.PadChannels, "wider2", before=0, after=3)
    model.add(L.BatchNorm, "norm2", running_variance="biased", epsilon=1e-7)
    model.relu("relu")
    model.add(L.Flatten, "flatten")
    model.add(L.Dense, "head", units=3)
    return model.model("constant_channels")


def depthwise_separable():
    """Blocks of MobileNet: depthwise and pointwise convolutions with biases, each with a norm."""
    model = graph((10, 10, 3))
    model.conv("stem", 8, stride=2, padding=1)
    for place, stride in enumerate((1, 2), start=1):
        model.conv(f"{place}.depthwise", 8 * place, stride=stride, padding=1, groups=8 * place)
        model.add(L.BatchNorm, f"{place}.norm1", epsilon=1e-3, decay=0.99)
        model.relu(f"{place}.relu1")
        model.conv(f"{place}.pointwise", 16 * place, kernel=1)
        model.add(L.BatchNorm, f"{place}.norm2", epsilon=1e-3, decay=0.99)
        model.relu(f"{place}.relu2")
    model.add(L.GlobalAvgPool, "pool")
    model.add(L.Dense, "head", units=6)
    return model.model("depthwise_separable")


def scaled(name, mean, std, normed):
    """Inputs of another order than 1, with or without norms behind the convolutions."""
    model = Graph((8, 8, 2), mean=(mean, mean), std=(std, std / 2))
    for place in (1, 2):
        model.conv(f"conv{place}", 6, padding=1)
        if normed:
            model.add(L.BatchNorm, f"norm{place}")
        model.relu(f"relu{place}")
    model.max_pool("pool")
    model.add(L.Flatten, "flatten")
    model.add(L.Dense, "head", units=4)
    return model.model(name)


def few_samples():
    """Norms of vectors and of 1×1 maps: seven numbers for each channel."""
    model = graph((5, 5, 3))
    model.conv("conv1", 6, kernel=5)
    model.add(L.BatchNorm, "norm1")
    model.add(L.Activation, "leaky", function="leaky_relu", slope=0.1)
    model.conv("conv2", 8, kernel=1)
    model.add(L.BatchNorm, "norm2", epsilon=1e-3)
    model.add(L.Flatten, "flatten")
    model.add(L.Dense, "dense", units=8)
    model.add(L.BatchNorm, "norm3", running_variance="biased")
    model.relu("relu")
    model.add(L.Dense, "head", units=4)
    model.add(L.BatchNorm, "logits")
    return model.model("few_samples")


def saturated():
    """Inputs of ±50 into tanh and sigmoid, whose slopes are then 0 or nearly so."""
    model = Graph((6, 6, 2), mean=(0.5, 0.4), std=(0.005, 0.004))
    model.conv("conv1", 5)
    model.add(L.Activation, "tanh", function="tanh")
    model.conv("conv2", 5, initializer="glorot_uniform", bias_initializer="ones")
    model.add(L.Activation, "sigmoid1", function="sigmoid")
    model.add(L.Flatten, "flatten")
    model.add(L.Dense, "dense", units=9)
    model.add(L.Activation, "sigmoid2", function="sigmoid")
    model.add(L.Dense, "head", units=3)
    return model.model("saturated")


def deep_chain():
    """Fourteen convolutions without a norm, of changing functions."""
    model = graph((7, 7, 3))
    for place in range(14):
        model.conv(f"conv{place}", 5, padding=1)
        function = ("relu", "silu", "leaky_relu", "gelu")[place % 4]
        model.add(L.Activation, f"{function}{place}", function=function, slope=0.2)
    model.add(L.GlobalAvgPool, "pool")
    model.add(L.Dense, "head", units=4)
    return model.model("deep_chain")


def one_pixel():
    """Images and maps of 1×1, padded in front of a larger kernel."""
    model = graph((1, 1, 3))
    model.conv("conv1", 6, kernel=1)
    model.add(L.AvgPool, "average", kernel=(2, 2), strides=(1, 1), padding=(1, 1, 1, 1))
    model.add(L.Activation, "gelu", function="gelu")
    model.conv("conv2", 6, kernel=3, padding=1)
    model.add(L.MaxPool, "largest", kernel=(2, 2), strides=(2, 2), padding=(1, 1, 1, 1))
    model.conv("conv3", 4, kernel=1)
    model.add(L.GlobalAvgPool, "pool")
    return model.model("one_pixel")


def one_class():
    """A single logit: the loss is 0, and so is every gradient."""
    model = graph((6, 6, 1))
    model.conv("conv", 4)
    model.add(L.BatchNorm, "norm")
    model.relu("relu")
    model.add(L.GlobalAvgPool, "pool")
    model.add(L.Dense, "head", units=1)
    return model.model("one_class")


def wide():
    """A dense layer of 4096 units, without a bias."""
    model = graph((4, 4, 3))
    model.add(L.Flatten, "flatten")
    model.add(L.Dense, "wide", units=4096, use_bias=False)
    model.relu("relu")
    model.add(L.Dense, "head", units=6)
    return model.model("wide")


def linear():
    """Softmax regression."""
    model = graph((5, 6, 3))
    model.add(L.Flatten, "flatten")
    model.add(L.Dense, "head", units=7)
    return model.model("linear")


def norms():
    """Norms with epsilons of 1e-12 and 1, without memory and with a long one, one after the other."""
    model = graph((8, 6, 3))
    model.add(L.BatchNorm, "norm0")
    model.conv("conv1", 6)
    model.add(L.BatchNorm, "norm1", epsilon=1e-12, decay=0.0)
    model.add(L.Activation, "tanh", function="tanh")
    model.conv("conv2", 6)
    model.add(L.BatchNorm, "norm2", epsilon=1.0, decay=0.9999, running_variance="biased")
    model.add(L.BatchNorm, "norm3", decay=0.0, running_variance="biased")
    model.relu("relu")
    model.add(L.GlobalAvgPool, "pool")
    model.add(L.Dense, "head", units=4)
    return model.model("norms")


def averages():
    """Padded averages, overlapping and with gaps, in front of norms and ReLU."""
    model = graph((9, 11, 3))
    model.add(L.AvgPool, "average1", kernel=(2, 3), strides=(1, 2), padding=(1, 1, 1, 1))
    model.conv("conv", 6, padding=1)
    model.add(L.BatchNorm, "norm")
    model.relu("relu")
    model.add(L.AvgPool, "average2", kernel=(3, 2), strides=(2, 3), padding=(1, 1, 1, 1))
    model.conv("pointwise", 5, kernel=1, use_bias=False)
    model.add(L.GlobalAvgPool, "pool")
    model.add(L.Dense, "head", units=3)
    return model.model("averages")


def repeated():
    """A map that is added to itself, and a vector that is joined to itself."""
    model = graph((6, 7, 3))
    twice = model.conv("conv", 4)
    model.add(L.Add, "twice", inputs=(twice, twice))
    model.relu("relu")
    vector = model.add(L.GlobalAvgPool, "pool")
    model.add(L.Concat, "both", inputs=(vector, vector))
    model.add(L.Dense, "head", units=4)
    return model.model("repeated")


ODD = (
    ordinary, resnet8, dead_units, zero_kernels, constant_channels, depthwise_separable, few_samples, saturated,
    deep_chain, one_pixel, one_class, wide, linear, norms, averages, repeated,
)  # fmt: skip


def odd_specs():
    """Every model of this file, and those that hold every layer."""
    inputs = {"tiny_inputs": (0.5, 1e4), "huge_inputs": (0.5, 1e-4), "far_mean": (100.0, 0.25)}
    changed = [scaled(f"{name}{'_normed' * normed}", *inputs[name], normed) for name in inputs for normed in (0, 1)]
    return [write() for write in (*specs.LAYERS, *ODD)] + changed
