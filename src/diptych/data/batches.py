"""The stream of batches: a pure function of (data, recipe, seed, epoch), whichever engine reads it.

Each batch depends only on the epoch's order and its own step, so that threads can prepare batches in parallel and an
epoch can start at any step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from threading import current_thread

import numpy as np
from numpy.typing import NDArray

from diptych.data.augment import Draws, Pixels, augment, blend, own_shares, partners
from diptych.data.datasets import Split
from diptych.data.images import Images, StoredImages
from diptych.data.preprocess import channel_moments
from diptych.errors import SpecError
from diptych.processes import num_threads
from diptych.spec.recipe import Recipe

_PREFETCH = "diptych-prefetch"


@dataclass(frozen=True)
class Batch:
    """The samples of one step."""

    images: np.ndarray
    """uint8, (N, H, W, C), 0–255."""
    targets: np.ndarray
    """float32, (N, K), each row a distribution over the classes."""
    weights: np.ndarray
    """float32, (N,), each sample's share in the loss."""


def epoch_batches(
    split: Split,
    recipe: Recipe,
    *,
    num_classes: int,
    seed: int,
    epoch: int,
    first_step: int = 0,
    workers: int | None = None,
) -> Generator[Batch, None, None]:
    """Yield the batches of one epoch of the training samples, from `first_step`, in order; `close` it to stop early.

    `workers` threads, by default `usual_workers`, prepare batches; with 0, each is prepared when requested. Raises
    SpecError if flips or crops are yet to be resolved (`Recipe.for_data`), or if class weights do not fit the
    `num_classes` targets.
    """
    if recipe.flip == "auto" or recipe.crop_padding is None:
        raise SpecError(
            "Recipe: 'flip' and 'crop_padding' must be set here, because their defaults depend on the data."
        )
    draws = Draws(seed, epoch, order(len(split.labels), seed, epoch))
    weights_k = class_weights(recipe, split.labels, num_classes)
    mean_color = np.zeros(split.images.shape[-1], dtype=np.uint8)
    if recipe.cutout:
        mean_color[:] = np.rint(channel_moments(split.images)[0] / np.prod(split.images.shape[:3]))

    def samples(draws: Draws) -> tuple[Pixels, NDArray[np.float32], NDArray[np.float32]]:
        labels_n = split.labels[draws.indices]
        targets_nk = (labels_n[:, np.newaxis] == np.arange(num_classes)).astype(np.float32)
        return augment(split.images, recipe, draws, mean_color), targets_nk, weights_k[labels_n]

    def batch(bounds: slice) -> Batch:
        own = Draws(seed, epoch, draws.indices[bounds])
        images_nhwc, targets_nk, weights_n = samples(own)
        if recipe.mixup or recipe.cutmix:
            others_nhwc, other_targets_nk, other_weights_n = samples(partners(own, len(split.labels)))
            pixel_share, share_n = own_shares(recipe, own, images_nhwc.shape[1:3])
            images_nhwc = blend(images_nhwc, others_nhwc, pixel_share)
            targets_nk = other_targets_nk + share_n[:, np.newaxis] * (targets_nk - other_targets_nk)
            weights_n = other_weights_n + share_n * (weights_n - other_weights_n)
        smoothed_nk = (1 - recipe.label_smoothing) * targets_nk + recipe.label_smoothing / num_classes
        return Batch(images_nhwc, smoothed_nk.astype(np.float32), weights_n.astype(np.float32))

    bounds = batch_bounds(len(split.labels), recipe.batch)[first_step:]
    return prefetched(batch, bounds, usual_workers(split.images) if workers is None else workers)


def usual_workers(images: Images) -> int:
    """Return the number of threads that prepare batches: one, or one per CPU if images are streamed.

    A single one leaves the decoding threads idle while it augments.
    """
    return num_threads() if isinstance(images, StoredImages) and images.cached is None else 1


def batch_bounds(num_samples: int, batch_size: int) -> list[slice]:
    """Return the slice of the epoch's order that each batch takes.

    The last batch is smaller where the samples do not divide evenly; if it would have a single sample, that sample
    joins the batch before it, because a batch norm has no variance of one value (`norm-one-value` in the ledger).
    """
    starts = list(range(0, num_samples, batch_size))
    # differs: norm-one-value
    if len(starts) > 1 and batch_size > 1 and num_samples - starts[-1] == 1:
        starts.pop()
    return [slice(start, stop) for start, stop in pairwise([*starts, num_samples])]


def order(num_samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the samples' indices in the order of an epoch: int64, (N,), sorted by a random word of each."""
    # differs: shuffle
    in_split = np.arange(num_samples)
    return np.argsort(Draws(seed, epoch, in_split).words("order"), kind="stable")


def class_weights(recipe: Recipe, labels: NDArray[np.int64], num_classes: int) -> NDArray[np.float32]:
    """Return the weight of each class in the loss, float32, (K,).

    "balanced" is scikit-learn's rule, samples / (classes · samples of the class); a class without samples weighs 1.
    Raises SpecError if the recipe's class weights are not K positive numbers.
    """
    given = recipe.class_weights
    if given == "none":
        return np.ones(num_classes, dtype=np.float32)
    if given == "balanced":
        counts_k = np.bincount(labels, minlength=num_classes)
        balanced_k = len(labels) / (num_classes * np.maximum(counts_k, 1))
        return np.where(counts_k > 0, balanced_k, 1).astype(np.float32)
    if len(given) != num_classes or not all(0 < weight < np.inf for weight in given):
        raise SpecError(
            f"Recipe: 'class_weights' must have one number > 0 for each of the {num_classes} classes, got {given}."
        )
    return np.array(given, dtype=np.float32)


def prefetched(
    compute: Callable[[slice], Batch], tasks: Iterable[slice], workers: int, depth: int = 4
) -> Generator[Batch, None, None]:
    """Yield `compute(task)` for each task, in order, at most `depth` computed ahead in threads.

    With 0 workers, each result is computed when it is requested. An error is raised when its turn comes. Closing the
    generator cancels tasks that have not started and waits for the others.
    """
    if not workers:
        yield from map(compute, tasks)
        return
    pool = ThreadPoolExecutor(workers, _PREFETCH)
    pending: deque[Future[Batch]] = deque()
    try:
        for task in tasks:
            pending.append(pool.submit(compute, task))
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # The garbage collector may close an abandoned generator in one of the pool's own threads.
        pool.shutdown(wait=not current_thread().name.startswith(_PREFETCH), cancel_futures=True)
