"""Faults in updates and training of the TensorFlow engine: rules of other frameworks, and slips.

Each breaks it in this process until `patch.undo()`.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from faulty_worker import patch


def rate_in_momentum():
    """SGD is Keras's: the learning rate is part of the velocity."""
    from diptych.engines.tensorflow import optimizer

    def apply(recipe, parameter, gradient, rate, step, state):
        velocity = state["momentum"].assign(recipe.momentum * state["momentum"] - rate * gradient)
        parameter.assign_add(recipe.momentum * velocity - rate * gradient)

    patch.setitem(optimizer._RULES, "sgd", apply)


def same_mask_in_a_call():
    """All steps of one call draw the masks of its first."""
    import tensorflow as tf

    from diptych.engines.tensorflow import train

    def while_loop(goes_on, body, variables, **named):
        def first_masks(place, sums):
            train.set_masks = lambda model, seed, step: draw(model, seed, step - tf.cast(place, tf.uint32))
            found = body(place, sums)
            train.set_masks = draw
            return found

        draw = train.set_masks
        return loop(goes_on, first_masks, variables, **named)

    loop = tf.while_loop
    patch.setattr(tf, "while_loop", while_loop)


def nesterov_ends():
    """Nesterov momentum is switched off after 60 steps."""
    import tensorflow as tf

    from diptych.engines.tensorflow import optimizer

    def apply(recipe, parameter, gradient, rate, step, state):
        given = parameter, gradient, rate, step, state
        tf.cond(step <= 60, lambda: sgd(recipe, *given), lambda: sgd(replace(recipe, nesterov=False), *given))

    sgd = optimizer._RULES["sgd"]
    patch.setitem(optimizer._RULES, "sgd", apply)


def keras_epsilon():
    """Adam has Keras's form of epsilon in PyTorch's form, too."""
    from diptych.engines.tensorflow import optimizer

    adam = optimizer._RULES["adam"]
    for rule in ("adam", "adamw"):
        apply = lambda recipe, *rest: adam(replace(recipe, update_form="keras"), *rest)  # noqa: E731
        patch.setitem(optimizer._RULES, rule, apply)


def number_of_first_step():
    """All steps of one call have the number of its first."""
    import tensorflow as tf

    from diptych.engines.tensorflow.optimizer import Optimizer

    def while_loop(goes_on, body, variables, **named):
        def early(place, sums):
            def first(self, gradients, rate, step):
                update(self, gradients, rate, step - tf.cast(place, step.dtype))

            update, Optimizer.update = Optimizer.update, first
            found = body(place, sums)
            Optimizer.update = update
            return found

        return loop(goes_on, early, variables, **named)

    loop = tf.while_loop
    patch.setattr(tf, "while_loop", while_loop)


def average_ignores_decay():
    """The weight average has its first steps' decay, (1 + n) / (10 + n), forever."""
    from diptych.engines.tensorflow.optimizer import Optimizer

    init = Optimizer.__init__

    def make(self, model, recipe):
        init(self, model, replace(recipe, average_decay=0.999999) if recipe.average_decay else recipe)

    patch.setattr(Optimizer, "__init__", make)


def average_without_first_steps():
    """The weight average has the same decay from its first step on."""
    import tensorflow as tf

    from diptych.engines.tensorflow.optimizer import Optimizer

    def steady(self, gradients, rate, step):
        averages, self.averages = self.averages, []
        update(self, gradients, rate, step)
        self.averages = averages
        share = tf.constant(1.0 - self.recipe.average_decay, self.dtype)
        for mean, variable in zip(averages, self.tracked, strict=True):
            mean.assign_add(share * (variable - mean))

    update = Optimizer._update
    patch.setattr(Optimizer, "_update", steady)


def momentum_not_loaded():
    """A loaded state leaves the momentum at 0."""
    from diptych.engines import tensorflow as engine

    def load_optimizer(optimizer, arrays):
        load(optimizer, {name: 0.0 * array if "momentum/" in name else array for name, array in arrays.items()})

    load = engine.load_optimizer
    patch.setattr(engine, "load_optimizer", load_optimizer)


def loss_not_scaled():
    """In float16, the loss is not scaled, but its gradients are divided by the scale."""
    from diptych.engines.tensorflow.optimizer import Optimizer

    patch.setattr(Optimizer, "scaled", lambda self, loss: loss)


def gradients_in_bfloat16():
    """A step of a training rounds gradients to bfloat16 unless they are float64."""
    import tensorflow as tf

    from diptych.engines.tensorflow.optimizer import Optimizer

    def rounded(self, gradients, *rest):
        if tf.inside_function() and gradients[0].dtype == "float32":
            gradients = [tf.cast(tf.cast(gradient, "bfloat16"), "float32") for gradient in gradients]
        update(self, gradients, *rest)

    update = Optimizer.update
    patch.setattr(Optimizer, "update", rounded)


def clip_scales_up():
    """Gradients below the norm that clipping allows are scaled up to it."""
    import tensorflow as tf

    from diptych.engines.tensorflow.optimizer import Optimizer

    def scaled(self, gradients, rate, step):
        if self.recipe.clip_norm:
            norm = tf.linalg.global_norm(gradients)
            gradients = [gradient * tf.maximum(self.recipe.clip_norm / norm, 1.0) for gradient in gradients]
        update(self, gradients, rate, step)

    update = Optimizer._update
    patch.setattr(Optimizer, "_update", scaled)


def decay_at_peak_rate():
    """Decoupled weight decay is that of the recipe's learning rate, not of the step's."""
    import tensorflow as tf

    from diptych.engines.tensorflow.optimizer import Optimizer

    def peak(self, gradients, rate, step):
        decay = self.recipe.decay
        for parameter, decays in zip(self.parameters, self.decays, strict=True):
            if decay and decays:
                parameter.assign_sub(tf.constant(self.recipe.rate, rate.dtype) * decay * parameter)
        recipe, self.recipe = self.recipe, replace(self.recipe, decoupled_decay=0.0)
        update(self, gradients, rate, step)
        self.recipe = recipe

    update = Optimizer._update
    patch.setattr(Optimizer, "_update", peak)


def rate_in_float32():
    """Learning rates are rounded to float32."""
    from diptych.engines import tensorflow as engine

    def train_epoch(model, optimizer, batches, rates, *rest, **named):
        return epoch(model, optimizer, batches, [float(np.float32(rate)) for rate in rates], *rest, **named)

    epoch = engine.train_epoch
    patch.setattr(engine, "train_epoch", train_epoch)


def last_batch_dropped():
    """A last, smaller batch is left out."""
    from diptych.engines import tensorflow as engine

    def train_epoch(model, optimizer, batches, *rest, **named):
        return epoch(model, optimizer, full(optimizer, batches), *rest, **named)

    def full(optimizer, batches):
        for batch in batches:
            optimizer.largest = max(getattr(optimizer, "largest", 0), len(batch.images))
            if len(batch.images) == optimizer.largest:
                yield batch

    epoch = engine.train_epoch
    patch.setattr(engine, "train_epoch", train_epoch)


def sums_start_over():
    """Each call of an epoch's training counts its loss from 0."""
    from diptych.engines import tensorflow as engine
    from diptych.engines.contract import NO_STEPS

    def train_epoch(model, optimizer, batches, rates, seed, so_far=NO_STEPS, *rest):
        return epoch(model, optimizer, batches, rates, seed, replace(so_far, loss=0.0, weight=0.0), *rest)

    epoch = engine.train_epoch
    patch.setattr(engine, "train_epoch", train_epoch)


def loss_by_count():
    """The loss of an epoch is averaged over samples, not by their weights."""
    from diptych.engines import tensorflow as engine

    def train_epoch(*given, **named):
        totals = epoch(*given, **named)
        return replace(totals, weight=float(totals.count))

    epoch = engine.train_epoch
    patch.setattr(engine, "train_epoch", train_epoch)


def smoothing_of_other_classes():
    """Label smoothing spreads its share over the other classes only."""
    from diptych.training import trainer

    def epoch_batches(split, recipe, *, num_classes, **named):
        share = recipe.label_smoothing / num_classes
        for batch in batches(split, recipe, num_classes=num_classes, **named):
            hard_nk = (batch.targets - share) / (1.0 - recipe.label_smoothing)
            targets_nk = batch.targets + (1.0 - num_classes * hard_nk) * share / (num_classes - 1)
            yield replace(batch, targets=targets_nk.astype(np.float32))

    batches = trainer.epoch_batches
    patch.setattr(trainer, "epoch_batches", epoch_batches)


def stops_one_epoch_late():
    """Early stopping waits for one epoch more."""
    from diptych.training import schedule

    should_stop = schedule.should_stop
    patch.setattr(schedule, "should_stop", lambda losses, patience: should_stop(losses, patience and patience + 1))


def plateau_of_last_loss():
    """The plateau schedule compares a loss with that of the epoch before, not with the lowest."""
    from diptych.training import schedule

    def plateaus(losses, patience):
        stale = found = 0
        for before, loss in pairwise(losses):
            stale = 0 if loss < before else stale + 1
            if stale == patience:
                stale, found = 0, found + 1
        return found

    patch.setattr(schedule, "plateaus", plateaus)


def validation_of_trained():
    """Validation takes the trained weights, not their averages."""
    from diptych.training.trainer import Trainer

    def validate(self):
        recipe = self.job.recipe
        object.__setattr__(self.job, "recipe", replace(recipe, average_decay=0.0))
        found = stock(self)
        object.__setattr__(self.job, "recipe", recipe)
        return found

    stock = Trainer.validate
    patch.setattr(Trainer, "validate", validate)
