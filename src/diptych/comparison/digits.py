"""The ladder's last rung: a whole training on scikit-learn's digits ends in equal predictions."""

from __future__ import annotations

import numpy as np

from diptych.comparison import samples
from diptych.comparison.certificate import Rung
from diptych.comparison.difference import difference
from diptych.comparison.pair import Pair
from diptych.engines.worker import Worker
from diptych.spec import ModelSpec, Recipe
from diptych.spec.init import initial_weights
from diptych.training.schedule import learning_rates


def training(pair: Pair, spec: ModelSpec, epochs: int, seed: int) -> Rung:
    """Train in float64 with the usual recipe and its schedule, from the usual weights, then compare predictions.

    Args:
        pair: who computes.
        spec: a model without dropout; the digits are brought to its size.
        epochs: how long to train.
        seed: of the weights and of the order of the samples.
    """
    train, test = samples.digits(spec)
    recipe = Recipe(epochs=epochs)
    generator = np.random.default_rng(seed)
    by_epoch = [samples.epoch(train, spec.num_classes, recipe.batch_size, generator) for _ in range(epochs)]
    rates = [learning_rates(recipe, epoch, len(by_epoch[0])) for epoch in range(1, epochs + 1)]

    def trained(worker: Worker) -> np.ndarray:
        worker.build(spec, "float64")
        worker.load_weights(initial_weights(spec.arrays, seed))
        worker.make_optimizer(recipe)
        for batches, epoch_rates in zip(by_epoch, rates, strict=True):
            worker.train(batches, epoch_rates, seed)
        return worker.predict(np.asarray(test.images))

    return _compared(*pair.ask(trained), test.labels, epochs)


def _compared(ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray, epochs: int) -> Rung:
    """Both engines' logits, (N, K), as a rung that wants equal predictions."""
    chosen, other_chosen = ours.argmax(1), theirs.argmax(1)
    same = int((chosen == other_chosen).sum())
    accuracies = " and ".join(f"{(found == labels).mean():.3f}" for found in (chosen, other_chosen))
    logits_apart = difference({"logits": theirs}, {"logits": ours}, ["logits"]).relative
    note = (
        f"{epochs} epochs of digits: {same} of {len(labels)} test predictions are equal, "
        f"accuracy {accuracies}, logits differ by {logits_apart:.0e}."
    )
    apart = difference({"predictions": other_chosen}, {"predictions": chosen}, ["predictions"])
    return Rung.judged("training on digits", "float64", 0.0, apart, note)
