"""Faults in the TensorFlow engine: slips of hand-written code, or of a framework.

Each breaks it in this process until `patch.undo()`. Its docstring says what is wrong and, after a colon, the only
cases in which it shows.
"""

from dataclasses import replace

import numpy as np
from faulty_worker import patch

from diptych.spec import layers as L


def relu_to_six():
    """ReLU is capped at 6, as in MobileNet: only for large outputs."""
    import keras

    init = keras.layers.ReLU.__init__
    patch.setattr(keras.layers.ReLU, "__init__", lambda self, **named: init(self, max_value=6.0, **named))


def max_pool_pads_zeros():
    """MaxPool pads with zeros: only where a window at the edge is all negative."""
    from keras import ops

    pad = ops.pad
    patch.setattr(ops, "pad", lambda maps, pad_width, constant_values=None: pad(maps, pad_width))


def multiplier_first():
    """Filters of a depthwise convolution are ordered by multiplier, then channel: only for several per channel."""
    import keras
    import tensorflow as tf

    def call(self, maps):
        output = convolve(self, maps)
        split = tf.reshape(output, (*tf.unstack(tf.shape(output))[:3], -1, self.depth_multiplier))
        return tf.reshape(tf.linalg.matrix_transpose(split), tf.shape(output))

    convolve = keras.layers.DepthwiseConv2D.call
    patch.setattr(keras.layers.DepthwiseConv2D, "call", call)


def pad_channels_swapped():
    """PadChannels swaps its sides: only where they differ."""
    from diptych.engines.tensorflow import model

    def swapped(layer, *rest):
        return pads(replace(layer, before=layer.after, after=layer.before), *rest)

    pads = model._pad_channels
    patch.setattr(model, "_pad_channels", swapped)


def flatten_rows_first():
    """A Flatten that not only Dense layers read keeps height, width, channel order."""
    import keras

    init = keras.layers.Permute.__init__
    patch.setattr(keras.layers.Permute, "__init__", lambda self, dims, **named: init(self, (1, 2, 3), **named))


def silu_gate_constant():
    """SiLU's gradient leaves out the slope of the sigmoid."""
    import tensorflow as tf

    patch.setattr(tf.nn, "silu", lambda values: values * tf.stop_gradient(tf.sigmoid(values)))


def gelu_fast():
    """GELU is tanh's approximation: only below float64."""
    import tensorflow as tf

    gelu = tf.nn.gelu
    patch.setattr(tf.nn, "gelu", lambda values, approximate: gelu(values, approximate=True))


def slope_rounded():
    """Leaky ReLU's slope is rounded to float16: only below float64."""
    import keras

    def short(self, negative_slope, **named):
        init(self, float(np.float16(negative_slope)), **named)

    init = keras.layers.LeakyReLU.__init__
    patch.setattr(keras.layers.LeakyReLU, "__init__", short)


def variance_by_samples():
    """A running variance is corrected by the number of samples, not values: in float32 only for biased norms."""
    import tensorflow as tf

    from diptych.engines.tensorflow.model import BatchNorm

    patch.setattr(BatchNorm, "_count", lambda self, inputs: tf.cast(tf.shape(inputs)[0], self.variable_dtype))


def statistics_in_bfloat16():
    """Running statistics are rounded to bfloat16: only in reduced precision."""
    import tensorflow as tf

    from diptych.engines.tensorflow.model import BatchNorm

    def call(self, inputs, training=None, mask=None):
        output = norm(self, inputs, training)
        if training and self.compute_dtype in ("bfloat16", "float16"):
            for running in (self.moving_mean, self.moving_variance):
                running.assign(tf.cast(tf.cast(running.value, "bfloat16"), "float32"))
        return output

    norm = BatchNorm.call
    patch.setattr(BatchNorm, "call", call)


def hidden_dense_in_float32():
    """Dense layers before the head compute in float32 in a model of reduced precision."""
    import keras

    def init(self, units, dtype, **named):
        stock(self, units, dtype="float32" if dtype.startswith("mixed") else dtype, **named)

    stock = keras.layers.Dense.__init__
    patch.setattr(keras.layers.Dense, "__init__", init)


def probabilities_clipped():
    """The loss clips probabilities to 1e-7, as Keras without `from_logits`: only for confident predictions."""
    import tensorflow as tf

    from diptych.engines.tensorflow import train

    def loss_of(logits_nk, targets_nk, weights_n):
        clipped_nk = tf.clip_by_value(tf.nn.softmax(logits_nk), 1e-7, 1.0 - 1e-7)
        losses_n = -tf.reduce_sum(targets_nk * tf.math.log(clipped_nk), 1)
        return tf.reduce_sum(losses_n * weights_n) / tf.reduce_sum(weights_n)

    patch.setattr(train, "loss_of", loss_of)


def group_keeps_rate():
    """All steps of one call use the rate of its first: only when calls take several steps at changing rates."""
    from diptych.engines.tensorflow import train

    def constant(*given):
        for group, rates in groups(*given):
            yield group, rates[:1] * len(rates)

    groups = train._groups
    patch.setattr(train, "_groups", constant)


def grouped_without_decay():
    """Kernels of convolutions in groups have no weight decay, as in MobileNet."""
    from diptych.engines.tensorflow.optimizer import Optimizer

    def init(self, model, recipe):
        stock(self, model, recipe)
        owners = [model.spec.owner(array) for array in model.spec.trainable]
        grouped = [isinstance(owner, L.Conv) and owner.groups > 1 for owner in owners]
        self.decays = [decays and not one for decays, one in zip(self.decays, grouped, strict=True)]

    stock = Optimizer.__init__
    patch.setattr(Optimizer, "__init__", init)


def epsilon_raised():
    """Adam's epsilon is at least `keras.config.epsilon()`, 1e-7: only in float32, for small gradients."""
    from diptych.engines.tensorflow import optimizer

    def apply(recipe, parameter, gradient, *rest):
        least = 1e-7 if gradient.dtype == "float32" else 0.0
        adam(replace(recipe, epsilon=max(recipe.epsilon, least)), parameter, gradient, *rest)

    adam = optimizer._RULES["adam"]
    for rule in ("adam", "adamw"):
        patch.setitem(optimizer._RULES, rule, apply)


def clip_without_constant():
    """Clipping divides by the norm, not by 1e-6 more, as in `tf.clip_by_global_norm`: only in float64."""
    import tensorflow as tf

    norm = tf.linalg.global_norm
    patch.setattr(tf.linalg, "global_norm", lambda gradients: norm(gradients) - 1e-6)


def slots_in_wrong_order():
    """The state of a Dense kernel behind a Flatten is loaded without reordering its rows: only with a loaded state."""
    import tensorflow as tf

    from diptych.engines.tensorflow import optimizer

    def from_numpy(spec, array, variable, values):
        if values.ndim == 2:
            variable.assign(tf.cast(values.T, variable.dtype))
        else:
            stock(spec, array, variable, values)

    stock = optimizer.from_numpy
    patch.setattr(optimizer, "from_numpy", from_numpy)


def average_of_step_before():
    """The weight average takes the weights from before the update."""
    import tensorflow as tf

    from diptych.engines.tensorflow.optimizer import Optimizer

    def early(self, gradients, rate, step):
        averages, self.averages = self.averages, []
        decay = tf.minimum(tf.cast(self.recipe.average_decay, step.dtype), (1.0 + step) / (10.0 + step))
        for mean, variable in zip(averages, self.tracked, strict=True):
            mean.assign_add((1.0 - decay) * (variable - mean))
        update(self, gradients, rate, step)
        self.averages = averages

    update = Optimizer._update
    patch.setattr(Optimizer, "_update", early)


def overflow_keeps_count():
    """An overflow halves the loss scale, but the count of steps towards its growth goes on: only in float16."""
    import tensorflow as tf

    from diptych.engines.tensorflow.optimizer import Optimizer

    def counting(self, gradients):
        count = self.loss_scale[1] + 1.0
        slopes, finite = unscale(self, gradients)
        self.loss_scale.assign(tf.where(finite, self.loss_scale, tf.stack([self.loss_scale[0], count])))
        return slopes, finite

    unscale = Optimizer._unscale
    patch.setattr(Optimizer, "_unscale", counting)


def partial_batch_filled():
    """A last, smaller batch is filled with its own first samples to the size of the others."""
    from diptych.engines import tensorflow as engine

    def full(batches):
        size = 0
        for batch in batches:
            size = max(size, len(batch.images))
            places = np.arange(size) % len(batch.images)
            yield type(batch)(*(getattr(batch, name)[places] for name in ("images", "targets", "weights")))

    def train_epoch(model, optimizer, batches, *rest, **named):
        return stock(model, optimizer, full(batches), *rest, **named)

    stock = engine.train_epoch
    patch.setattr(engine, "train_epoch", train_epoch)


def statistics_frozen():
    """Running statistics are constants of the first prediction: only in predictions after training on."""
    from diptych.engines import tensorflow as engine

    def frozen(model, images):
        now = engine.read_weights(model)
        first.setdefault(model, {array.name: now[array.name] for array in model.spec.arrays if not array.trainable})
        engine.load_weights(model, now | first[model])
        logits = predict(model, images)
        engine.load_weights(model, now)
        return logits

    first, predict = {}, engine.predict
    patch.setattr(engine, "predict", frozen)
