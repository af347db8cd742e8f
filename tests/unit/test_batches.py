"""The stream of batches: what follows from what, the targets and weights of the images, and computing ahead."""

import gc
import threading
import time
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from diptych.data.batches import batch_bounds, class_weights, epoch_batches, order, prefetched
from diptych.data.datasets import Split
from diptych.errors import SpecError
from diptych.spec.recipe import Recipe

NUM_CLASSES = 4
PLAIN = Recipe(batch_size=8, flip="none", crop_padding=0)
EVERYTHING = Recipe(
    **{"batch_size": 8, "flip": "both", "crop_padding": 2, "rotation": 20.0, "cutout": 3, "mixup": 0.4, "cutmix": 1.0},
    **{"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "label_smoothing": 0.1, "class_weights": "balanced"},
)


def samples(num_samples=50, channels=3):
    """Noise whose first pixel names the sample; reading is all that it allows."""
    generator = np.random.default_rng(2)
    images_nhwc = generator.integers(0, 256, (num_samples, 7, 9, channels), dtype=np.uint8)
    images_nhwc[:, 0, 0, 0] = np.arange(num_samples)
    labels_n = generator.integers(0, NUM_CLASSES, num_samples)
    images_nhwc.flags.writeable = labels_n.flags.writeable = False
    return Split(images_nhwc, labels_n, np.arange(len(labels_n)))


def stream(recipe, split=None, seed=3, epoch=1, **settings):
    return epoch_batches(split or samples(), recipe, num_classes=NUM_CLASSES, seed=seed, epoch=epoch, **settings)


def digests(batches):
    arrays = ((batch.images, batch.targets, batch.weights) for batch in batches)
    return [sha256(b"".join(array.tobytes() for array in batch)).hexdigest() for batch in arrays]


def by_sample(recipe, split=None):
    """Every array of an epoch, its samples in the order of the split."""
    split = split or samples()
    batches = list(stream(recipe, split))
    places = np.argsort(order(len(split), 3, 1))
    return [np.concatenate([getattr(b, name) for b in batches])[places] for name in ("images", "targets", "weights")]


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
@pytest.mark.parametrize("first_step", [0, 1, 5, 7])
def test_an_epoch_is_the_same_for_any_number_of_workers_and_can_start_at_any_step(first_step, workers):
    whole = digests(stream(EVERYTHING, workers=0))
    assert whole[first_step:] == digests(stream(EVERYTHING, first_step=first_step, workers=workers))


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_a_sample_is_the_same_in_batches_of_any_size(batch_size):
    expected = by_sample(EVERYTHING)
    for array, other in zip(expected, by_sample(replace(EVERYTHING, batch_size=batch_size)), strict=True):
        np.testing.assert_array_equal(array, other)


def test_every_sample_occurs_once_in_the_order_of_the_epoch():
    batches = list(stream(PLAIN))
    assert order(50, 3, 1).tolist() == np.concatenate([batch.images[:, 0, 0, 0] for batch in batches]).tolist()
    labels_n = np.concatenate([batch.targets.argmax(axis=1) for batch in batches])
    np.testing.assert_array_equal(samples().labels[order(50, 3, 1)], labels_n)


def test_an_order_never_changes_between_versions():
    assert [1, 9, 2, 0, 3, 4, 6, 7, 8, 5] == order(10, seed=0, epoch=1).tolist()


@pytest.mark.parametrize(
    ("num_samples", "batch_size", "sizes"),
    [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 4, [3]), (1, 4, [1]), (3, 1, [1, 1, 1]), (5, 2, [2, 3])],
)
def test_a_single_last_sample_joins_the_batch_before(num_samples, batch_size, sizes):
    ends = np.cumsum(sizes).tolist()
    assert [slice(*bounds) for bounds in pairwise([0, *ends])] == batch_bounds(num_samples, batch_size)


def test_mixup_blends_two_samples_after_their_augmentation():
    changes = {"flip": "both", "crop_padding": 2, "brightness": 0.3}
    own_nhwc = by_sample(replace(PLAIN, **changes))[0].astype(float)
    mixed_nhwc, targets_nk, _ = by_sample(replace(PLAIN, mixup=1.0, **changes))
    labels_n = samples().labels
    for index in range(50):
        share = targets_nk[index, labels_n[index]]
        others = np.flatnonzero((labels_n != labels_n[index]) & (targets_nk[index, labels_n] > 0))
        if len(others):
            expected = share * own_nhwc[index] + (1 - share) * own_nhwc[others]
            assert np.abs(expected - mixed_nhwc[index]).max(axis=(1, 2, 3)).min() <= 0.51


def test_cutout_paints_with_the_splits_mean_color():
    split = samples()
    images_nhwc = by_sample(replace(PLAIN, cutout=3), split)[0]
    changed = images_nhwc[(images_nhwc != split.images).any(axis=-1)]
    mean_c = np.rint(split.images.mean(axis=(0, 1, 2)))
    assert 50 < len(changed)
    np.testing.assert_array_equal(np.tile(mean_c, (len(changed), 1)), changed)


def test_balanced_class_weights_are_those_of_scikit_learn():
    labels_n = np.array([0] * 50 + [1] * 30 + [2] * 15 + [3] * 5)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels_n)
    np.testing.assert_allclose(expected, class_weights(EVERYTHING, labels_n, 4), rtol=1e-6)


@pytest.mark.parametrize("weights", [(1.0, 2.0, 3.0), (1.0, 2.0, 3.0, 0.0), (1.0, 2.0, 3.0, float("nan"))])
def test_a_recipe_that_does_not_fit_the_data_is_an_error(weights):
    with pytest.raises(SpecError, match=r"one number > 0 for each of the 4 classes, got \(1.0, 2.0, 3.0"):
        stream(replace(PLAIN, class_weights=weights))
    for unset in ({"flip": "auto"}, {"crop_padding": None}):
        with pytest.raises(SpecError, match="'flip' and 'crop_padding' must be set here"):
            stream(replace(PLAIN, **unset))


def test_a_mixed_sample_is_weighted_by_its_classes_before_smoothing():
    recipe = replace(PLAIN, mixup=1.0, class_weights=(1.0, 2.0, 3.0, 4.5))
    targets_nk = by_sample(recipe)[1]
    weights_n = by_sample(replace(recipe, label_smoothing=0.3))[2]
    np.testing.assert_allclose(targets_nk @ [1, 2, 3, 4.5], weights_n, rtol=1e-6)


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("diptych-prefetch")]


@pytest.mark.parametrize(("workers", "depth"), [(1, 1), (2, 3), (4, 2)])
def test_at_most_depth_results_are_computed_ahead(workers, depth):
    begun = []
    results = prefetched(begun.append, range(50), workers, depth)
    for num_taken in range(1, 20):
        next(results)
        time.sleep(0.001)
        assert len(begun) <= num_taken + depth
    results.close()


def test_closing_early_ends_the_threads_and_cancels_waiting_tasks():
    begun = []
    results = prefetched(lambda number: begun.append(number) or time.sleep(0.01), range(50), workers=2, depth=20)
    next(results)
    assert threads()
    results.close()
    assert not threads()
    assert len(begun) < 10


@pytest.mark.parametrize("workers", [0, 3])
def test_results_and_errors_have_the_order_of_the_tasks_and_an_error_ends_the_threads(workers):
    def slow_when_even(number):
        time.sleep(0.002 * (number % 2 == 0))
        return 12 // (3 - number)

    results = prefetched(slow_when_even, range(10), workers, depth=8)
    assert [4, 6, 12] == [next(results) for _ in range(3)]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not threads()


def test_an_abandoned_generator_may_be_collected_in_its_own_thread():
    abandoned, collected = threading.Event(), threading.Event()

    def collect(number):
        if number:
            abandoned.wait()
            gc.collect()
            collected.set()
        return number

    results = prefetched(collect, range(8), workers=1, depth=2)
    cycle = [results]
    cycle.append(cycle)
    next(results)
    gc.disable()
    try:
        del results, cycle
        abandoned.set()
        assert collected.wait(10)
    finally:
        gc.enable()
    deadline = time.monotonic() + 5
    while threads() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not threads()
