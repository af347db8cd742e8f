"""Optimizers: `torch.optim`, also in Keras's form, with both weight decays and the weight average."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from diptych.engines import contract
from diptych.engines.contract import Arrays
from diptych.engines.torch.model import Network
from diptych.engines.torch.weights import from_numpy, to_numpy, variables
from diptych.spec import Recipe

# The name of each slot in the state of `torch.optim`.
_NATIVE = {"momentum": "momentum_buffer", "square": "square_avg"}
_NATIVE |= {"first_moment": "exp_avg", "second_moment": "exp_avg_sq"}


class Optimizer:
    """An optimizer of a model's weights with its state, step count and weight average."""

    def __init__(self, model: Network, recipe: Recipe) -> None:
        tensors = variables(model)
        arrays = model.spec.arrays
        trainable = {array.name: tensors[array.name] for array in model.spec.trainable}
        self.spec = model.spec
        self.recipe = recipe
        self.step = 0
        self.parameters = list(trainable.values())
        # differs: weight-decay
        self.decayed = [tensors[array.name] for array in model.spec.trainable if array.role not in recipe.no_decay]
        others = [tensors[array.name] for array in model.spec.trainable if array.role in recipe.no_decay]
        self.rule = _rule(self.decayed, others, recipe)
        self.tracked = [tensors[array.name] for array in arrays] if recipe.average_decay else []
        self.averages = [tensor.detach().clone() for tensor in self.tracked]
        self.slots = _slots(self.rule, trainable, recipe)
        self.slots.update({f"average/{array.name}": mean for array, mean in zip(arrays, self.averages, strict=False)})
        self.loss_scale = torch.tensor([contract.FIRST_LOSS_SCALE, 0.0], device=self.parameters[0].device)
        if recipe.precision == "float16":
            self.slots["loss_scale"] = self.loss_scale

    def scaled(self, loss: Tensor) -> Tensor:
        """Return the loss to differentiate: in float16, scaled so that small gradients do not underflow."""
        return loss * self.loss_scale[0] if self.recipe.precision == "float16" else loss

    def update(self, rate: float) -> None:
        """Update the weights from the gradients of `backward`."""
        recipe = self.recipe
        if recipe.precision == "float16" and not self._unscale():
            # The step counts without an update, so that both engines' step counts equal the number of batches.
            self.step += 1
            self._count()
            return
        if recipe.clip_norm:
            # differs: gradient-clipping
            torch.nn.utils.clip_grad_norm_(self.parameters, recipe.clip_norm)
        if recipe.decay:
            with torch.no_grad():
                torch._foreach_mul_(self.decayed, 1.0 - rate * recipe.decay)
        self._set_step(rate)
        self.rule.step()
        self.step += 1
        if self.averages:
            with torch.no_grad():
                # differs: weight-average
                share = max(1.0 - recipe.average_decay, 9.0 / (10.0 + self.step))
                torch._foreach_lerp_(self.averages, self.tracked, share)

    def _set_step(self, rate: float) -> None:
        """Set the hyperparameters of this step in `torch.optim`, also those that give SGD and Adam Keras's form."""
        recipe, keras_form = self.recipe, self.recipe.update_form == "keras"
        settings: dict[str, float] = {"lr": rate}
        l2 = recipe.l2
        if keras_form and recipe.optimizer == "sgd":
            # differs: sgd-velocity
            # Keras's velocity is PyTorch's buffer of rate-scaled gradients, with the opposite sign.
            torch._foreach_mul_([parameter.grad for parameter in self.parameters], rate)
            settings, l2 = {"lr": 1.0}, rate * l2
        if keras_form and recipe.optimizer in ("adam", "adamw"):
            # differs: adam-epsilon
            settings["eps"] = recipe.epsilon / sqrt(1.0 - recipe.beta2 ** (self.step + 1))
        for group in self.rule.param_groups:
            group.update(settings, weight_decay=l2 if group["decays"] else 0.0)

    @torch.no_grad()
    def _unscale(self) -> bool:
        """Divide the gradients by the loss scale, adapt the scale, and return whether the gradients are finite."""
        slopes = [parameter.grad for parameter in self.parameters]
        torch._foreach_div_(slopes, float(self.loss_scale[0]))
        finite = all(bool(slope.isfinite().all()) for slope in slopes)
        scale, steps = self.loss_scale.tolist()
        if not finite:
            scale, steps = scale / 2, 0
        elif steps + 1 == contract.STEPS_TO_GROW:
            scale, steps = scale * 2, 0
        else:
            steps += 1
        self.loss_scale.copy_(torch.tensor([scale, steps]))
        return finite

    def _count(self) -> None:
        """Set the step count of `torch.optim`."""
        for state in self.rule.state.values():
            if "step" in state:
                state["step"].fill_(self.step)


class KerasRMSprop(torch.optim.RMSprop):
    """RMSprop in Keras's form: epsilon is inside the root, and momentum includes the rate."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update the weights from the gradients of `backward`."""
        # differs: rmsprop-epsilon, sgd-velocity
        for group in self.param_groups:
            weights = group["params"]
            slopes = [weight.grad for weight in weights]
            if group["weight_decay"]:
                slopes = torch._foreach_add(slopes, weights, alpha=group["weight_decay"])
            squares = [self.state[weight]["square_avg"] for weight in weights]
            torch._foreach_mul_(squares, group["alpha"])
            torch._foreach_addcmul_(squares, slopes, slopes, 1.0 - group["alpha"])
            roots = torch._foreach_sqrt(torch._foreach_add(squares, group["eps"]))
            moves = torch._foreach_div(torch._foreach_mul(slopes, group["lr"]), roots)
            if group["momentum"]:
                buffers = [self.state[weight]["momentum_buffer"] for weight in weights]
                torch._foreach_mul_(buffers, group["momentum"])
                torch._foreach_add_(buffers, moves)
                moves = buffers
            torch._foreach_sub_(weights, moves)


def make_optimizer(model: Network, recipe: Recipe) -> Optimizer:
    """Create the optimizer of `recipe` for the weights of `model`, at step 0."""
    return Optimizer(model, recipe)


def read_optimizer(optimizer: Optimizer) -> Arrays:
    """Return the optimizer's state: `step`, and `<slot>/<array name>` for each slot, in canonical layout."""
    arrays = {name: to_numpy(tensor) for name, tensor in optimizer.slots.items()}
    return {"step": np.array(optimizer.step, np.int64), **arrays}


def load_optimizer(optimizer: Optimizer, arrays: Mapping[str, np.ndarray]) -> None:
    """Load a state that either engine returned; raise ArtifactError if names or shapes do not match."""
    recipe = optimizer.recipe
    contract.check_arrays(arrays, contract.optimizer_arrays(optimizer.spec, recipe), f"the state of {recipe.optimizer}")
    for name, tensor in optimizer.slots.items():
        from_numpy(tensor, arrays[name])
    optimizer.step = int(arrays["step"])
    optimizer._count()


def apply_gradients(optimizer: Optimizer, gradients: Arrays, rate: float) -> None:
    """Update the weights once; in float16 the gradients are those of the scaled loss."""
    for array, parameter in zip(optimizer.spec.trainable, optimizer.parameters, strict=True):
        parameter.grad = torch.zeros_like(parameter)
        from_numpy(parameter.grad, gradients[array.name])
    optimizer.update(rate)


def _rule(decayed: list[Tensor], others: list[Tensor], recipe: Recipe) -> torch.optim.Optimizer:
    groups = [{"params": decayed, "decays": True}, {"params": others, "decays": False}]
    groups = [group for group in groups if group["params"]]
    match recipe.optimizer:
        case "sgd":
            nesterov = recipe.nesterov and recipe.momentum > 0
            return torch.optim.SGD(groups, lr=0.0, momentum=recipe.momentum, nesterov=nesterov, fused=True)
        case "adam" | "adamw":
            # differs: adam-epsilon, adam-complements
            betas = (recipe.beta1, recipe.beta2)
            return torch.optim.Adam(groups, lr=0.0, betas=betas, eps=recipe.epsilon, fused=True)
        case "rmsprop":
            # differs: rmsprop-epsilon
            settings = {"alpha": recipe.rho, "eps": recipe.epsilon, "momentum": recipe.momentum}
            kind = KerasRMSprop if recipe.update_form == "keras" else torch.optim.RMSprop
            return kind(groups, lr=0.0, **settings, foreach=True)


def _slots(rule: torch.optim.Optimizer, trainable: dict[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """Create every parameter's state, so that it can be read and loaded before the first step."""
    slots = {}
    for name, parameter in trainable.items():
        state = rule.state[parameter]
        if recipe.optimizer != "sgd":
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        for slot in contract.optimizer_slots(recipe):
            state[_NATIVE[slot]] = slots[f"{slot}/{name}"] = torch.zeros_like(parameter)
    return slots
