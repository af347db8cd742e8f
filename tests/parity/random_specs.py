"""Random models, each a function of its seed: small graphs of every layer with every option, branches and joins."""

from typing import get_args

import numpy as np
from hypothesis import strategies as st

from diptych.spec import layers as L
from diptych.spec.arithmetic import output_shape
from diptych.spec.zoo import Graph

MAX_LAYERS, MAX_CHANNELS = 15, 12
OF_ANY = (L.BatchNorm, L.BatchNorm, L.Activation, L.Activation, L.Dropout, L.Add, L.Concat, L.PadChannels)
OF_MAPS = (*(L.Conv,) * 5, L.MaxPool, L.AvgPool, L.GlobalAvgPool, L.Flatten)
OF_VECTORS = (L.Dense,) * 3
# Kernels of zeros or ones make neighbors equal, and rounding decides which is the largest; `odd_specs.py` has some.
KERNELS = ("he_normal", "glorot_uniform", "uniform_fan_in")


def random_spec(seed):
    """The model of a seed: images of 6 to 12 pixels, maps of at most 12 channels, at most 15 layers."""
    return _Draft(seed).finished(f"random{seed}")


SPECS = st.integers(0, 2**32 - 1).map(random_spec)


class _Draft:
    """A graph under construction, with the shapes of its layers and those that no layer reads yet."""

    def __init__(self, seed):
        self.drawn = np.random.default_rng(seed)
        channels = self.one_of((1, 2, 3, 3))
        # Inputs are of order 1 for most seeds, and between 0.05 and 20 for the others.
        scale = 10 ** self.drawn.uniform(-1.3, 1.3) if self.chance(0.2) else 1.0
        mean, std = self.drawn.uniform(0.3, 0.7, channels), self.drawn.uniform(0.2, 0.4, channels) / scale
        shape = (*self.drawn.integers(6, 13, 2).tolist(), channels)
        self.graph = Graph(shape, tuple(mean.round(3).tolist()), tuple(std.round(4).tolist()))
        self.shapes, self.unread = {"normalize": shape}, ["normalize"]
        # A new layer may leave another one unread; at the end, all unread outputs become vectors and are joined.
        most = self.drawn.integers(8, MAX_LAYERS + 1)
        while len(self.shapes) + len(self.unread) + 4 <= most:
            source = self.one_of(self.unread if self.chance(0.75) else list(self.shapes))
            kinds = OF_ANY + (OF_MAPS if len(self.shapes[source]) == 3 else OF_VECTORS)
            self.draw(self.one_of(kinds), source)

    def chance(self, share):
        return self.drawn.random() < share

    def one_of(self, values):
        return values[self.drawn.integers(len(values))]

    def add(self, kind, *inputs, **settings):
        name = self.graph.add(kind, f"{kind.__name__.lower()}{len(self.shapes)}", inputs=inputs, **settings)
        self.shapes[name] = output_shape(self.graph.layers[-1], tuple(self.shapes[source] for source in inputs))
        self.unread = [other for other in self.unread if other not in inputs] + [name]

    def draw(self, kind, source):
        """Add a layer that reads `source`, with random settings, unless it fits nowhere."""
        *sides, channels = self.shapes[source]
        if kind is L.Conv:
            self.add(kind, source, **self.conv(sides, channels), **self.initial())
        elif kind in (L.MaxPool, L.AvgPool):
            self.add(kind, source, **self.pool(sides))
        elif kind is L.Dense:
            self.add(kind, source, units=self.whole(2, 24), **self.initial())
        elif kind is L.BatchNorm:
            running_variance = self.one_of(get_args(L.RunningVariance))
            decay, epsilon = self.one_of((0.9, 0.99, 0.5, 0.0)), self.one_of((1e-5, 1e-5, 1e-3, 1e-7, 0.1))
            self.add(kind, source, decay=decay, epsilon=epsilon, running_variance=running_variance)
        elif kind is L.Activation:
            function = self.one_of(("relu", *get_args(L.Function)))
            self.add(kind, source, function=function, slope=self.one_of((0.01, 0.3, 0.0, 1.5)))
        elif kind is L.Dropout:
            modes = [mode for mode in get_args(L.DropoutMode) if sides or mode != "channel"]
            self.add(kind, source, rate=self.one_of((0.5, 0.1, 0.0)), mode=self.one_of(modes))
        elif kind is L.PadChannels:
            before, after = self.whole(0, 2), self.whole(0, 2)
            if channels + before + after <= MAX_CHANNELS or not sides:
                self.add(kind, source, before=before, after=after)
        elif kind in (L.Add, L.Concat):
            self.join(kind, source)
        else:
            self.add(kind, source)

    def whole(self, least, most):
        return int(self.drawn.integers(least, most + 1))

    def initial(self):
        biased = {"use_bias": self.chance(0.7), "bias_initializer": self.one_of(get_args(L.Initializer))}
        return {"initializer": self.one_of(KERNELS), **biased}

    def conv(self, sides, channels):
        kernel, strides = (self.whole(1, 3), self.whole(1, 4)), self.one_of(((1, 1), (1, 1), (2, 2), (2, 1), (1, 3)))
        if self.chance(0.5):  # the map keeps its size, if the strides are 1
            top, left = (kernel[0] - 1) // 2, (kernel[1] - 1) // 2
            padding = (top, kernel[0] - 1 - top, left, kernel[1] - 1 - left)
        else:
            padding = tuple(self.whole(0, 2) for _ in range(4))
        top, bottom, left, right = padding
        kernel = (min(kernel[0], sides[0] + top + bottom), min(kernel[1], sides[1] + left + right))
        groups = self.one_of([count for count in (1, 1, 1, 2, 3, channels) if channels % count == 0])
        filters = groups * self.whole(1, MAX_CHANNELS // groups) if groups <= MAX_CHANNELS else groups
        return {"filters": filters, "kernel": kernel, "strides": strides, "padding": padding, "groups": groups}

    def pool(self, sides):
        kernel = tuple(self.whole(1, min(side, 3)) for side in sides)
        rows, columns = (self.whole(0, size // 2) for size in kernel)
        return {
            "kernel": kernel,
            "strides": (self.whole(1, 2), self.whole(1, 3)),
            "padding": (rows, rows, columns, columns),
        }

    def join(self, kind, source):
        """Join `source` to one or two layers of its shape, or for Concat of its sides; seldom to itself."""
        shape, alike = self.shapes[source], slice(None) if kind is L.Add else slice(-1)
        others = [name for name in self.shapes if self.shapes[name][alike] == shape[alike] and name != source]
        names = self.drawn.permutation([source] if self.chance(0.1) else others)[: self.whole(1, 2)].tolist()
        channels = sum(self.shapes[name][-1] for name in (source, *names))
        if names and (kind is L.Add or len(shape) == 1 or channels <= MAX_CHANNELS):
            self.add(kind, *self.drawn.permutation([source, *names]).tolist())

    def finished(self, name):
        """The model: all unread layers as vectors, joined, and a last layer."""
        if len(self.unread) == 1 and len(self.shapes[self.unread[0]]) == 3 and self.chance(0.2):
            self.add(L.Conv, self.unread[0], filters=self.whole(2, 6), kernel=(1, 1), **self.initial())
            self.add(L.GlobalAvgPool, self.unread[0])
            return self.graph.model(name)
        for source in list(self.unread):
            if len(self.shapes[source]) == 3:
                self.add(self.one_of((L.GlobalAvgPool, L.Flatten)), source)
        if len(self.unread) > 1:
            self.add(L.Concat, *self.unread)
        self.add(L.Dense, self.unread[0], units=self.whole(2, 6), **self.initial())
        return self.graph.model(name)
