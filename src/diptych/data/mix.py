"""Mixup and cutmix: each sample gives a share of its pixels and of its label to a partner.

The partner is any sample of the split, not one of the batch, so that a mixture, too, follows from
(seed, epoch, index) alone.
"""

import numpy as np
import scipy  # which imports its parts as they are used: `special` takes a third of a second
from numpy.typing import NDArray

from diptych.data.augment import Pixels, box_mask
from diptych.data.randomness import Draws
from diptych.spec.recipe import Recipe

Shares = tuple[NDArray[np.float32], NDArray[np.float64]]


def is_mixed(recipe: Recipe) -> bool:
    """Whether the recipe mixes samples at all."""
    return bool(recipe.mixup or recipe.cutmix)


def partners(draws: Draws, num_samples: int) -> Draws:
    """Choose a partner for each sample among the `num_samples` of the split, with the partner's own random numbers."""
    return Draws(draws.seed, draws.epoch, draws.below("partner", num_samples))


def own_shares(recipe: Recipe, draws: Draws, size: tuple[int, int]) -> Shares:
    """Draw what each sample keeps of itself: all pixels alike for mixup, all outside a box for cutmix.

    With both on, a coin decides for each sample.

    Args:
        recipe: mixup and cutmix are the alphas of the share's distribution, Beta(alpha, alpha).
        draws: the samples' random numbers.
        size: height and width of the images.

    Returns:
        The share of each pixel, float32, (N, H or 1, W or 1, 1), and of each label, float64, (N,). The label's
        is the mean of the pixels': for cutmix, exactly the share of pixels outside the box.
    """
    if not recipe.cutmix:
        return _mixup_shares(recipe.mixup, draws)
    if not recipe.mixup:
        return _cutmix_shares(recipe.cutmix, draws, size)
    is_blend_n = draws.coin("mixup or cutmix")
    blend_pixels, blend_labels_n = _mixup_shares(recipe.mixup, draws)
    patch_pixels, patch_labels_n = _cutmix_shares(recipe.cutmix, draws, size)
    pixels = np.where(is_blend_n[:, np.newaxis, np.newaxis, np.newaxis], blend_pixels, patch_pixels)
    return pixels, np.where(is_blend_n, blend_labels_n, patch_labels_n)


def blend(images_nhwc: Pixels, others_nhwc: Pixels, own_share: NDArray[np.float32]) -> Pixels:
    """Mix images with others pixel by pixel, rounded to nearest.

    Args:
        images_nhwc: uint8, (N, H, W, C).
        others_nhwc: uint8, (N, H, W, C).
        own_share: float32, what stays of `images_nhwc`, 0–1, broadcast against them.

    Returns:
        uint8, (N, H, W, C).
    """
    mixed_nhwc = images_nhwc.astype(np.float32)
    mixed_nhwc -= others_nhwc
    mixed_nhwc *= own_share
    mixed_nhwc += others_nhwc
    return np.rint(mixed_nhwc, out=mixed_nhwc).astype(np.uint8)


def _mixup_shares(alpha: float, draws: Draws) -> Shares:
    share_n = _beta(alpha, draws.uniform("mixup share"))
    return share_n[:, np.newaxis, np.newaxis, np.newaxis].astype(np.float32), share_n


def _cutmix_shares(alpha: float, draws: Draws, size: tuple[int, int]) -> Shares:
    side_n = np.sqrt(1 - _beta(alpha, draws.uniform("cutmix share")))
    heights_n, widths_n = (np.rint(length * side_n).astype(np.int64) for length in size)
    is_own_nhw = ~box_mask(heights_n, widths_n, size, draws, "cutmix")
    return is_own_nhw[..., np.newaxis].astype(np.float32), is_own_nhw.mean(axis=(1, 2))


def _beta(alpha: float, uniform_n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn uniform numbers into Beta(alpha, alpha) ones by the inverse of its distribution function."""
    share_n: NDArray[np.float64] = scipy.special.betaincinv(alpha, alpha, uniform_n)
    return share_n
