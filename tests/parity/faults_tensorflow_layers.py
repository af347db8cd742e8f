"""Faults in layers, masks and number formats of the TensorFlow engine: rules of other frameworks, and slips.

Each breaks it in this process until `patch.undo()`.
"""

from dataclasses import replace

from faulty_worker import patch


def dropout_keeps_rate():
    """Dropout keeps an element with the probability with which it should drop it."""
    from diptych.engines.tensorflow.model import Dropout

    init = Dropout.__init__

    def complement(self, layer, *rest, **named):
        init(self, replace(layer, rate=1.0 - layer.rate), *rest, **named)

    patch.setattr(Dropout, "__init__", complement)


def dropout_in_evaluation():
    """Dropout goes on in evaluation."""
    from diptych.engines.tensorflow.model import Dropout

    call = Dropout.call
    patch.setattr(Dropout, "call", lambda self, inputs, training=None: call(self, inputs, True))
    # Without it, Keras infers the shape from a call, and finds less than it does in evaluation.
    patch.setattr(Dropout, "compute_output_shape", lambda self, shape: shape, raising=False)


def same_mask_at_every_step():
    """A dropout mask depends on seed and layer only."""
    set_masks_with(lambda seed, step: (seed, 0))


def mask_ignores_seed():
    """A dropout mask depends on step and layer only."""
    set_masks_with(lambda seed, step: (0, step))


def set_masks_with(change):
    """Draw masks with another seed and step."""
    from diptych.engines.tensorflow import train

    draw = train.set_masks
    patch.setattr(train, "set_masks", lambda model, seed, step: draw(model, *change(seed, step)))


def samples_share_mask():
    """All samples of a batch have the mask of the first."""
    import tensorflow as tf

    from diptych.engines.tensorflow.model import Dropout

    def shared(self, inputs, training=None):
        if not training:
            return inputs
        return inputs * call(self, tf.ones_like(inputs[:1]), training)

    call = Dropout.call
    patch.setattr(Dropout, "call", shared)


def mask_of_keras_order():
    """Elements of a flattened map are numbered in Keras's order of axes."""
    from diptych.engines.tensorflow.model import Dropout

    init = Dropout.__init__
    patch.setattr(
        Dropout, "__init__", lambda self, layer, shape, order, **named: init(self, layer, shape, None, **named)
    )


def mask_not_in_gradient():
    """Dropout's gradient is that of the identity."""
    import tensorflow as tf

    from diptych.engines.tensorflow.model import Dropout

    def call(self, inputs, training=None):
        return inputs + tf.stop_gradient(drop(self, inputs, training) - inputs) if training else inputs

    drop = Dropout.call
    patch.setattr(Dropout, "call", call)


def channel_mode_drops_elements():
    """Dropout of channels drops elements."""
    from diptych.engines.tensorflow.model import Dropout

    def init(self, layer, *rest, **named):
        stock(self, replace(layer, mode="element") if layer.mode == "channel" else layer, *rest, **named)

    stock = Dropout.__init__
    patch.setattr(Dropout, "__init__", init)


def rate_in_256ths():
    """The rate of dropout is rounded to a multiple of 1/256."""
    from diptych.engines import masks

    patch.setattr(masks, "least", lambda rate: round(rate * 256) << 24)


def head_in_bfloat16():
    """In reduced precision, the head computes in it as the other layers do."""
    import keras

    from diptych.engines.tensorflow import model

    def short(spec, layer, policy, plain):
        if layer is not spec.layers[-1]:
            policies[spec] = policy
            return calls(spec, layer, policy, plain)
        return [*calls(spec, layer, policies[spec], plain), keras.layers.Activation("linear", dtype=policy)]

    policies, calls = {}, model._calls
    patch.setattr(model, "_calls", short)


def fused_epsilon():
    """The fused norm raises epsilon to at least 1.001e-5, as `tf.compat.v1.nn.fused_batch_norm` did."""
    import tensorflow as tf

    fused = tf.raw_ops.FusedBatchNormV3

    def raised(*, epsilon, **named):
        return fused(epsilon=max(epsilon, 1.001e-5), **named)

    patch.setattr(tf.raw_ops, "FusedBatchNormV3", raised)
