"""Proofs of the ledger's rows on the loss: what the frameworks make of logits, soft targets and weights."""

import inspect

import keras
import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F

from diptych.comparison.parity import samples
from diptych.data.batches import Batch
from diptych.spec import Recipe

LOGITS = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, 0.5]])
TARGETS = np.eye(3)[[0, 1]]


def cross_entropy(logits_nk, targets_nk):
    """Each sample's loss, by the definition."""
    exponentials_nk = np.exp(logits_nk)
    probabilities_nk = exponentials_nk / exponentials_nk.sum(axis=1, keepdims=True)
    return -(targets_nk * np.log(probabilities_nk)).sum(axis=1)


def assert_loss(both, batch, expected):
    """Both engines find the loss that `expected` makes of the samples' losses."""
    spec = tiny.linear()
    for engine in both:
        model = tiny.loaded(engine, spec)
        losses_n = cross_entropy(engine.predict(model, batch.images), batch.targets)
        assert expected(losses_n) == pytest.approx(engine.gradients(model, batch)[0], rel=1e-12)


def batch_of(targets_nk, weights_n):
    images_nhwc = tiny.images(tiny.linear(), len(targets_nk))
    return Batch(images_nhwc, np.asarray(targets_nk, np.float32), np.asarray(weights_n, np.float32))


def test_losses_read_logits(both):
    expected = cross_entropy(LOGITS, TARGETS).mean()
    assert expected == pytest.approx(F.cross_entropy(torch.from_numpy(LOGITS), torch.tensor([0, 1])).item())
    assert not inspect.signature(keras.losses.CategoricalCrossentropy).parameters["from_logits"].default
    by_default = keras.losses.CategoricalCrossentropy()(TARGETS, LOGITS - LOGITS.min() + 1.0)
    assert abs(float(by_default) - expected) > 0.1

    assert_loss(both, batch_of(TARGETS, [1.0, 1.0]), lambda losses_n: losses_n.mean())


def test_smoothed_labels_reach_the_loss_as_soft_targets(both):
    smooth = 0.1 / 3 + 0.9 * TARGETS
    expected = cross_entropy(LOGITS, smooth).mean()
    by_index = F.cross_entropy(torch.from_numpy(LOGITS), torch.tensor([0, 1]), label_smoothing=0.1)
    assert expected == pytest.approx(by_index.item())
    assert "label_smoothing" in inspect.signature(keras.losses.CategoricalCrossentropy).parameters
    assert "label_smoothing" not in inspect.signature(keras.losses.SparseCategoricalCrossentropy).parameters

    soft = np.float32(smooth).astype(np.float64)
    np.testing.assert_allclose(smooth, soft, atol=1e-7)
    assert_loss(both, batch_of(smooth, [1.0, 1.0]), lambda losses_n: losses_n.mean())


def test_weighted_losses_are_divided_by_the_sum_of_weights(both):
    losses_n, weights_n = cross_entropy(LOGITS, TARGETS), np.array([1.0, 3.0])
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True)(TARGETS, LOGITS, sample_weight=weights_n)
    assert (losses_n * weights_n).sum() / 2 == pytest.approx(float(theirs))
    other = F.cross_entropy(
        torch.from_numpy(LOGITS), torch.tensor([0, 1]), weight=torch.tensor([1.0, 3.0, 9.0], dtype=torch.float64)
    )
    assert (losses_n * weights_n).sum() / 4 == pytest.approx(other.item())

    assert_loss(both, batch_of(TARGETS, weights_n), lambda losses_n: (losses_n * weights_n).sum() / 4)


def test_an_epochs_loss_counts_each_sample_by_its_weight(both):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    values = np.array([[1.0], [1.0], [1.0], [1.0], [3.0]], np.float32)
    history = model.fit(values, values, batch_size=4, shuffle=False, verbose=0)
    assert (4 * 1.0 + 9.0) / 5 == pytest.approx(history.history["loss"][0])
    loader = torch.utils.data.DataLoader(torch.from_numpy(values), batch_size=4)
    assert (1.0 + 9.0) / 2 == pytest.approx(float(np.mean([F.mse_loss(part, 0 * part) for part in loader])))

    spec = tiny.linear()
    batches = [*samples.batches(spec, 2, 6, seed=0), *samples.batches(spec, 1, 2, seed=1)]
    for engine in both:
        totals = tiny.train(engine, spec, Recipe(optimizer="sgd"), [0.0] * 3, batches=batches).totals
        logits_nk = engine.predict(tiny.loaded(engine, spec), np.concatenate([batch.images for batch in batches]))
        targets_nk = np.concatenate([batch.targets for batch in batches])
        weights_n = np.concatenate([batch.weights for batch in batches])
        assert (cross_entropy(logits_nk, targets_nk) * weights_n).sum() == pytest.approx(totals.loss, rel=1e-12)
        assert weights_n.sum() == pytest.approx(totals.weight, rel=1e-6)
        assert (14, int((logits_nk.argmax(1) == targets_nk.argmax(1)).sum())) == (totals.count, totals.correct)
