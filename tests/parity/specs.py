"""Small models that between them hold every layer with every option."""

from tiny import graph

from diptych.spec import layers as L


def grouped_and_depthwise():
    """Convolutions in groups, with multipliers, unequal strides, even kernels and pads that differ on each side."""
    model = graph((11, 8, 3))
    model.add(L.Conv, "asymmetric", filters=8, kernel=(3, 3), strides=(2, 2), padding=(0, 1, 0, 1))
    model.add(L.BatchNorm, "norm1")
    model.add(L.Activation, "tanh1", function="tanh")
    model.add(L.Conv, "grouped", filters=12, kernel=(3, 3), padding=(1, 1, 1, 1), groups=4)
    model.add(L.Activation, "tanh2", function="tanh")
    model.add(L.Conv, "depthwise", filters=24, kernel=(3, 3), strides=(1, 1), padding=(1, 1, 1, 1), groups=12)
    model.add(L.BatchNorm, "norm2", epsilon=1e-3, decay=0.7, running_variance="biased")
    model.add(L.Conv, "uneven", filters=48, kernel=(2, 3), strides=(2, 1), padding=(2, 0, 1, 0), groups=24)
    model.add(L.Activation, "tanh3", function="tanh")
    model.add(L.Conv, "even", filters=6, kernel=(2, 4), padding=(1, 0, 2, 1), use_bias=False)
    model.add(L.Conv, "shrinking", filters=96, kernel=(3, 3), strides=(2, 2), padding=(1, 0, 0, 1), groups=6)
    model.add(L.Conv, "pointwise", filters=5, kernel=(1, 1), strides=(3, 3), initializer="glorot_uniform")
    model.add(L.Flatten, "flatten")
    model.add(L.Dense, "head", units=3, initializer="uniform_fan_in", bias_initializer="uniform_fan_in")
    return model.model("grouped_and_depthwise")


def padded_pools():
    """Pools with padding, overlap and unequal sides, on a map that is not square."""
    model = graph((13, 10, 2))
    stem = model.conv("stem", 6, padding=2)
    model.add(L.MaxPool, "largest", kernel=(3, 2), strides=(2, 1), padding=(1, 1, 1, 1))
    model.conv("conv", 5, padding=1)
    model.add(L.AvgPool, "average", kernel=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1))
    model.add(L.AvgPool, "plain", kernel=(2, 3), strides=(1, 2))
    left = model.add(L.GlobalAvgPool, "left")
    model.add(L.AvgPool, "wide", inputs=(stem,), kernel=(4, 5), strides=(3, 4), padding=(2, 2, 0, 0))
    model.add(L.MaxPool, "last", kernel=(2, 2), strides=(2, 1), padding=(1, 1, 0, 0))
    right = model.add(L.Flatten, "right")
    model.add(L.Concat, "both", inputs=(left, right))
    model.add(L.Dense, "head", units=4)
    return model.model("padded_pools")


def branches():
    """Sums of three, joined maps and vectors, padded channels, and norms of vectors behind biases."""
    model = graph((6, 9, 3))
    first = model.conv("first", 4, padding=1)
    second = model.add(L.BatchNorm, "second.norm", decay=0.0)
    third = model.add(L.Activation, "second.silu", function="silu")
    model.add(L.Add, "sum", inputs=(first, second, third))
    widened = model.add(L.PadChannels, "widened", before=1, after=2)
    model.add(L.Concat, "maps", inputs=(third, widened, first))
    model.add(L.Conv, "mixed", filters=6, kernel=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1))
    vector = model.add(L.GlobalAvgPool, "pool")
    model.add(L.Dense, "hidden", units=7)
    model.add(L.BatchNorm, "norm", running_variance="biased")
    hidden = model.add(L.Activation, "leaky", function="leaky_relu", slope=0.2)
    padded = model.add(L.PadChannels, "padded", inputs=(vector,), before=0, after=1)
    model.add(L.Concat, "vectors", inputs=(padded, hidden, vector))
    model.add(L.Dense, "head", units=5, use_bias=False)
    return model.model("branches")


def flattened_many_ways():
    """Flattened maps that reach Dense layers directly, through elementwise layers, and beside other readers."""
    model = graph((5, 4, 3))
    maps = model.conv("maps", 6)
    model.add(L.Flatten, "private")
    model.add(L.Dropout, "dropped", rate=0.5)
    model.add(L.Activation, "gelu", function="gelu")
    alone = model.add(L.Dense, "alone", units=3)
    shared = model.add(L.Flatten, "shared", inputs=(maps,))
    directly = model.add(L.Dense, "directly", inputs=(shared,), units=3)
    model.add(L.Activation, "sigmoid", inputs=(shared,), function="sigmoid")
    through = model.add(L.Dense, "through", units=4)
    normed = model.add(L.BatchNorm, "normed", inputs=(shared,))
    model.add(L.Concat, "all", inputs=(alone, directly, through, shared, normed))
    model.add(L.Flatten, "again")
    model.add(L.Dense, "head", units=4)
    return model.model("flattened_many_ways")


def everything():
    """Every kind of layer with every option, at the size at which all of `verify` takes seconds."""
    model = graph((9, 8, 3))
    model.conv("stem", 6, padding=1)
    model.add(L.BatchNorm, "norm1")
    silu = model.add(L.Activation, "silu", function="silu")
    model.conv("grouped", 6, padding=1, groups=3)
    model.add(L.Activation, "gelu", function="gelu")
    model.add(L.Dropout, "elements", rate=0.2)
    model.conv("depthwise", 12, padding=1, groups=6)
    model.add(L.BatchNorm, "norm2", decay=0.7, running_variance="biased")
    model.relu("relu")
    model.add(L.Dropout, "channels", rate=0.1, mode="channel")
    model.add(L.Conv, "uneven", filters=10, kernel=(3, 3), strides=(2, 2), padding=(1, 0, 1, 0), use_bias=False)
    model.add(L.Activation, "tanh", function="tanh")
    model.add(L.MaxPool, "largest", kernel=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1))
    path = model.add(L.Dropout, "path", rate=0.2, mode="sample")
    average = model.add(L.AvgPool, "average", inputs=(silu,), kernel=(3, 3), strides=(5, 5), padding=(1, 1, 1, 1))
    model.add(L.PadChannels, "widened", before=1, after=3)
    shortcut = model.relu("dead")  # its padding is 0
    both = model.add(L.Add, "sum", inputs=(path, shortcut))
    model.add(L.Concat, "maps", inputs=(both, average, path))
    joined = model.conv("joined", 6, kernel=1)
    pooled = model.add(L.GlobalAvgPool, "pool")
    model.add(L.Flatten, "flatten", inputs=(both,))
    model.add(L.Dropout, "features", rate=0.3)
    model.add(L.Activation, "leaky", function="leaky_relu", slope=0.2)
    dense = model.add(L.Dense, "dense", units=7)
    model.add(L.Flatten, "shared", inputs=(joined,))
    normed = model.add(L.BatchNorm, "norm3")
    model.add(L.Concat, "vectors", inputs=(pooled, dense, normed))
    model.add(L.Dense, "hidden", units=8)
    model.add(L.Activation, "sigmoid", function="sigmoid")
    model.add(L.Dropout, "units", rate=0.5)
    model.add(L.Dense, "head", units=10)
    return model.model("everything")


LAYERS = (grouped_and_depthwise, padded_pools, branches, flattened_many_ways, everything)
