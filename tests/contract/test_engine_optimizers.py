"""Each update rule against its published formula in NumPy, on a model whose gradient is a line."""

import numpy as np
import pytest
import tiny

from diptych.comparison.parity import samples
from diptych.spec import Recipe

RATES = (0.1, 0.02, 0.05, 0.08)
RECIPES = {
    "sgd": Recipe(optimizer="sgd", momentum=0.0),
    "sgd, momentum": Recipe(optimizer="sgd", nesterov=False),
    "sgd, nesterov": Recipe(optimizer="sgd"),
    "sgd, l2": Recipe(optimizer="sgd", l2=0.2, no_decay=()),
    "sgd, clipped": Recipe(optimizer="sgd", clip_norm=0.3),
    "adam": Recipe(optimizer="adam", beta1=0.8, beta2=0.95, epsilon=1e-3),
    "adam, both decays": Recipe(optimizer="adam", l2=0.2, decoupled_decay=0.3),
    "adamw": Recipe(optimizer="adamw", decoupled_decay=0.5),
    "adamw, averaged": Recipe(optimizer="adamw", average_decay=0.3),
    "rmsprop": Recipe(optimizer="rmsprop", momentum=0.0, rho=0.9),
    "rmsprop, momentum": Recipe(optimizer="rmsprop", epsilon=1e-3),
    "sgd, keras": Recipe(optimizer="sgd", momentum=0.0, update_form="keras"),
    "sgd, keras, momentum": Recipe(optimizer="sgd", nesterov=False, update_form="keras"),
    "sgd, keras, nesterov, l2": Recipe(optimizer="sgd", l2=0.2, no_decay=("bias",), clip_norm=0.3, update_form="keras"),
    "adam, keras": Recipe(optimizer="adam", epsilon=1e-3, l2=0.2, update_form="keras"),
    "adamw, keras": Recipe(optimizer="adamw", epsilon=1e-3, update_form="keras"),
    "rmsprop, keras": Recipe(optimizer="rmsprop", momentum=0.0, epsilon=1e-3, update_form="keras"),
    "rmsprop, keras, momentum": Recipe(optimizer="rmsprop", epsilon=1e-3, l2=0.2, update_form="keras"),
}


@pytest.fixture(params=RECIPES)
def recipe(request):
    return RECIPES[request.param]


def test_an_update_is_the_published_one(engine, recipe):
    spec = tiny.linear()
    batches = samples.batches(spec, len(RATES), 6, seed=0)
    model, optimizer, totals = tiny.train(engine, spec, recipe, RATES, batches=batches)
    reference = Reference(samples.weights(spec, seed=0), recipe)
    losses = [reference.step(batch, rate) for batch, rate in zip(batches, RATES, strict=True)]
    tiny.assert_same_arrays(reference.weights, engine.read_weights(model), rtol=1e-11, atol=1e-13)
    state = engine.read_optimizer(optimizer)
    assert len(RATES) == state.pop("step")
    tiny.assert_same_arrays(reference.state, state, rtol=1e-11, atol=1e-13)
    expected = sum(loss * batch.weights.sum(dtype=float) for loss, batch in zip(losses, batches, strict=True))
    assert expected == pytest.approx(totals.loss, rel=1e-11)


class Reference:
    """Softmax regression trained in NumPy; its optimizer's state goes by the canonical names."""

    def __init__(self, weights, recipe):
        self.weights = dict(weights)
        self.recipe = recipe
        self.num_steps = 0
        names = {"sgd": ["momentum"], "rmsprop": ["square", "momentum"]}
        slots = names.get(recipe.optimizer, ["first_moment", "second_moment"])
        kept = [slot for slot in slots if slot != "momentum" or recipe.momentum]
        self.state = {f"{slot}/{name}": np.zeros_like(array) for slot in kept for name, array in weights.items()}
        if recipe.average_decay:
            self.state.update({f"average/{name}": array for name, array in weights.items()})

    def step(self, batch, rate):
        """One step; the loss before it."""
        recipe = self.recipe
        self.num_steps += 1
        loss, gradients = tiny.linear_gradients(self.weights, batch)
        norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
        share = min(1.0, recipe.clip_norm / (norm + 1e-6)) if recipe.clip_norm else 1.0
        for name, gradient in gradients.items():
            decays = "kernel" if name.endswith("weight") else "bias"
            if decays not in recipe.no_decay:
                self.weights[name] = self.weights[name] * (1.0 - rate * recipe.decay)
                slope = share * gradient + recipe.l2 * self.weights[name]
            else:
                slope = share * gradient
            self.weights[name] = self.weights[name] - self._move(name, slope, rate)
            self._average(name)
        return loss

    def _move(self, name, slope, rate):
        """PyTorch's momentum gathers directions, Keras's gathers moves."""
        inside, outside = (rate, 1.0) if self.recipe.update_form == "keras" else (1.0, rate)
        match self.recipe.optimizer:
            case "sgd":
                return outside * self._sgd(name, inside * slope)
            case "rmsprop":
                return outside * self._rmsprop(name, slope, inside)
            case _:
                return rate * self._adam(name, slope)

    def _sgd(self, name, slope):
        """Sutskever et al. 2013."""
        if not self.recipe.momentum:
            return slope
        velocity = self._keep("momentum", name, lambda old: self.recipe.momentum * old + slope)
        return slope + self.recipe.momentum * velocity if self.recipe.nesterov else velocity

    def _adam(self, name, slope):
        """Kingma and Ba 2015, algorithm 1; Keras has its epsilon hat, of the line before section 2.1."""
        beta1, beta2 = self.recipe.beta1, self.recipe.beta2
        first = self._keep("first_moment", name, lambda old: beta1 * old + (1.0 - beta1) * slope)
        second = self._keep("second_moment", name, lambda old: beta2 * old + (1.0 - beta2) * slope**2)
        first_corrected = first / (1.0 - beta1**self.num_steps)
        second_corrected = second / (1.0 - beta2**self.num_steps)
        if self.recipe.update_form == "keras":
            return np.sqrt(1.0 - beta2**self.num_steps) * first_corrected / (np.sqrt(second) + self.recipe.epsilon)
        return first_corrected / (np.sqrt(second_corrected) + self.recipe.epsilon)

    def _rmsprop(self, name, slope, rate):
        """Tieleman and Hinton 2012, lecture 6.5, with momentum as Graves 2013 has it."""
        rho = self.recipe.rho
        square = self._keep("square", name, lambda old: rho * old + (1.0 - rho) * slope**2)
        if self.recipe.update_form == "keras":
            direction = rate * slope / np.sqrt(square + self.recipe.epsilon)
        else:
            direction = rate * slope / (np.sqrt(square) + self.recipe.epsilon)
        if not self.recipe.momentum:
            return direction
        return self._keep("momentum", name, lambda old: self.recipe.momentum * old + direction)

    def _average(self, name):
        if self.recipe.average_decay:
            decay = min(self.recipe.average_decay, (1.0 + self.num_steps) / (10.0 + self.num_steps))
            self._keep("average", name, lambda old: decay * old + (1.0 - decay) * self.weights[name])

    def _keep(self, slot, name, change):
        key = f"{slot}/{name}"
        self.state[key] = change(self.state[key])
        return self.state[key]
