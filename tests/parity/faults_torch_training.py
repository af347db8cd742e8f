"""Faults in updates and training of the PyTorch engine: rules of other frameworks, and slips.

Each breaks it in this process until `patch.undo()`.
"""

from dataclasses import replace

from faulty_worker import patch


def mean_by_count():
    """The loss with class weights is divided by the number of samples, as in Keras."""
    from diptych.engines.torch import train

    loss_of = train.loss_of
    patch.setattr(train, "loss_of", lambda *args: loss_of(*args) * args[2].mean())


def clip_each():
    """Every gradient is clipped by itself, as by Keras's clipnorm."""
    from torch.nn import utils

    clip = utils.clip_grad_norm_
    patch.setattr(utils, "clip_grad_norm_", lambda tensors, most: [clip([tensor], most) for tensor in tensors])


def decay_everything():
    """Biases and norms decay, too."""
    from diptych.engines import torch as engine

    make = engine.make_optimizer
    patch.setattr(engine, "make_optimizer", lambda net, recipe: make(net, replace(recipe, no_decay=())))


def masks_of_first_epoch():
    """Every epoch draws the masks of the first one again."""
    from diptych.engines import torch as engine
    from diptych.engines.contract import NO_STEPS

    def train_epoch(model, optimizer, batches, rates, seed, so_far=NO_STEPS, stops=lambda: False):
        first = optimizer.step - so_far.steps
        draw = engine.train.set_masks
        engine.train.set_masks = lambda model, seed, step: draw(model, seed, step - first)
        try:
            return epoch(model, optimizer, batches, rates, seed, so_far, stops)
        finally:
            engine.train.set_masks = draw

    epoch = engine.train_epoch
    patch.setattr(engine, "train_epoch", train_epoch)


def nesterov_ends():
    """Nesterov momentum is switched off after 60 steps."""
    from diptych.engines.torch.optimizer import Optimizer

    def set_step(self, rate):
        stock(self, rate)
        if self.recipe.optimizer == "sgd" and self.step >= 60:
            for group in self.rule.param_groups:
                group["nesterov"] = False

    stock = Optimizer._set_step
    patch.setattr(Optimizer, "_set_step", set_step)


def keras_epsilon():
    """Adam has Keras's form of epsilon in PyTorch's form, too."""
    from diptych.engines.torch.optimizer import Optimizer

    def set_step(self, rate):
        if self.recipe.optimizer in ("adam", "adamw"):
            self.recipe = replace(self.recipe, update_form="keras")
        stock(self, rate)

    stock = Optimizer._set_step
    patch.setattr(Optimizer, "_set_step", set_step)


def average_ignores_decay():
    """The weight average has its first steps' decay, (1 + n) / (10 + n), forever."""
    from diptych.engines.torch.optimizer import Optimizer

    update = Optimizer.update

    def always(self, rate):
        recipe, self.recipe = self.recipe, replace(self.recipe, average_decay=self.recipe.average_decay and 0.999999)
        update(self, rate)
        self.recipe = recipe

    patch.setattr(Optimizer, "update", always)


def averages_not_loaded():
    """A loaded state leaves the weight averages as they are."""
    from diptych.engines import torch as engine

    def load_optimizer(optimizer, arrays):
        averages = [mean.clone() for mean in optimizer.averages]
        load(optimizer, arrays)
        for mean, kept in zip(optimizer.averages, averages, strict=True):
            mean.copy_(kept)

    load = engine.load_optimizer
    patch.setattr(engine, "load_optimizer", load_optimizer)


def loss_in_bfloat16():
    """The loss takes logits rounded to bfloat16 unless they are float64."""
    import torch

    from diptych.engines.torch import train

    def loss_of_short(logits_nk, *rest):
        short = logits_nk if logits_nk.dtype == torch.float64 else logits_nk.bfloat16().float()
        return loss_of(short, *rest)

    loss_of = train.loss_of
    patch.setattr(train, "loss_of", loss_of_short)


def rate_of_step_before():
    """A step has the learning rate of the step before."""
    from diptych.engines import torch as engine

    def train_epoch(model, optimizer, batches, rates, *rest, **named):
        optimizer.last_rate, late = rates[-1], [getattr(optimizer, "last_rate", rates[0]), *rates[:-1]]
        return epoch(model, optimizer, batches, late, *rest, **named)

    epoch = engine.train_epoch
    patch.setattr(engine, "train_epoch", train_epoch)


def best_weights_follow():
    """The best weights are views of the model's, and go on training."""
    from diptych.training.trainer import Trainer

    def views(self):
        if self.job.recipe.average_decay:
            return weights(self)
        tensors = self.engine.weights.variables(self.model)
        return {array.name: tensors[array.name].detach().numpy() for array in self.job.spec.arrays}

    weights = Trainer.weights
    patch.setattr(Trainer, "weights", views)


def best_of_equals_is_last():
    """Among epochs of the same validation accuracy, the last is the best."""
    from diptych.training.trainer import Trainer

    def close_epoch(self, loss, accuracy):
        record = close(self, loss, accuracy)
        best = max((one["validation_accuracy"] or 0.0 for one in self.epochs), default=0.0)
        if self.job.recipe.keep_best and (accuracy or 0.0) >= best:
            self.best, self.best_epoch = self.weights(), len(self.epochs)
        return record

    close = Trainer.close_epoch
    patch.setattr(Trainer, "close_epoch", close_epoch)


def rmsprop_centered():
    """RMSprop subtracts the mean of the gradients from that of their squares."""
    import torch

    from diptych.engines.torch import optimizer

    def rule(decayed, others, recipe):
        found = make(decayed, others, recipe)
        if recipe.optimizer == "rmsprop" and recipe.update_form == "torch":
            for group in found.param_groups:
                group["centered"] = True
                for parameter in group["params"]:
                    found.state[parameter]["grad_avg"] = torch.zeros_like(parameter)
        return found

    make = optimizer._rule
    patch.setattr(optimizer, "_rule", rule)
