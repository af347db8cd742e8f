"""Random changes to images, computed for a whole batch at once: augmentation, mixup and cutmix.

A sample's changes are a pure function of (recipe, seed, epoch, its index): every random number comes from `Draws`,
and no arithmetic lets one sample's bytes depend on its neighbors (no BLAS, no floating-point sum whose order could
change with the batch's shape). The order is flip, crop, rotation, color, cutout, then mixing. The partner in a mixture
is any sample of the split, not one of the batch, so that a mixture follows from (seed, epoch, index) alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from diptych.data.images import Images
from diptych.data.preprocess import to_channels
from diptych.spec.recipe import Flip, Recipe

Pixels = NDArray[np.uint8]
Shares = tuple[NDArray[np.float32], NDArray[np.float64]]


def words(key: int, counters: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hash int64 counters, from 1, to 64 random bits each, uint64, in the stream `key`, below 2**64.

    Word n is the n-th output of SplitMix64 seeded with `key`: Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators" (2014), with the constants of Vigna's https://prng.di.unimi.it/splitmix64.c.
    """
    state: NDArray[Any] = counters.astype(np.uint64) * 0x9E3779B97F4A7C15 + key
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB
    return np.asarray(state ^ (state >> 31))


@dataclass(frozen=True, eq=False)
class Draws:
    """The random numbers of some samples, by their int64 (N,) indices, in one epoch; a stream for each purpose.

    A stateful generator's numbers would depend on the batch and the number of workers, and NumPy's distributions may
    change between versions (NEP 19).
    """

    seed: int
    epoch: int
    indices: NDArray[np.int64]

    def words(self, purpose: str) -> NDArray[np.uint64]:
        """64 random bits per sample: uint64, (N,)."""
        digest = sha256(f"{self.seed}/{self.epoch}/{purpose}".encode()).digest()
        return words(int.from_bytes(digest[:8], "little"), self.indices + 1)

    def uniform(self, purpose: str) -> NDArray[np.float64]:
        """A number in [0, 1) per sample, a multiple of 2**-53: float64, (N,)."""
        return (self.words(purpose) >> 11).astype(np.float64) * 2.0**-53

    def symmetric(self, purpose: str, limit: float) -> NDArray[np.float64]:
        """A number in [-limit, limit) per sample: float64, (N,)."""
        return limit * (2 * self.uniform(purpose) - 1)

    def below(self, purpose: str, limit: int) -> NDArray[np.int64]:
        """An integer in [0, limit) per sample: int64, (N,)."""
        return (self.uniform(purpose) * limit).astype(np.int64)

    def coin(self, purpose: str) -> NDArray[np.bool_]:
        """True for about half of the samples: bool, (N,)."""
        return self.uniform(purpose) < 0.5


def augment(images: Images, recipe: Recipe, draws: Draws, mean_color: Pixels) -> Pixels:
    """Copy the drawn samples out of a split, uint8, (M, H, W, C), and change each at random: uint8, (N, H, W, C).

    `mean_color`, uint8, (C,), is the color of cutout.
    """
    # differs: augmentation
    chosen_nhwc = np.ascontiguousarray(images[draws.indices])
    _flip_in_place(chosen_nhwc, recipe.flip, draws)
    if recipe.crop_padding:
        chosen_nhwc = _crop(chosen_nhwc, recipe.crop_padding, draws)
    if recipe.rotation:
        chosen_nhwc = rotate(chosen_nhwc, draws.symmetric("rotation", recipe.rotation))
    if recipe.brightness or recipe.contrast or recipe.saturation:
        chosen_nhwc = _shift_color(chosen_nhwc, recipe, draws)
    if recipe.cutout:
        side_n = np.full(len(chosen_nhwc), recipe.cutout)
        chosen_nhwc[box_mask(side_n, side_n, chosen_nhwc.shape[1:3], draws, "cutout")] = mean_color
    return chosen_nhwc


def box_mask(
    heights_n: NDArray[np.int64], widths_n: NDArray[np.int64], size: tuple[int, ...], draws: Draws, purpose: str
) -> NDArray[np.bool_]:
    """Mark a box of cutout (DeVries and Taylor 2017) or cutmix (Yun et al. 2019) around a random pixel of each image.

    Sizes are in pixels, `purpose` names the two random streams; the result is bool, (N, H, W), true inside.
    """
    rows_nh = _interval(draws.below(f"{purpose} row", size[0]), heights_n, size[0])
    columns_nw = _interval(draws.below(f"{purpose} column", size[1]), widths_n, size[1])
    return rows_nh[:, :, np.newaxis] & columns_nw[:, np.newaxis, :]


def _interval(centers_n: NDArray[np.int64], lengths_n: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    offsets = np.arange(size) - (centers_n - lengths_n // 2)[:, np.newaxis]
    return (offsets >= 0) & (offsets < lengths_n[:, np.newaxis])


def _flip_in_place(images_nhwc: Pixels, flip: Flip, draws: Draws) -> None:
    if flip in ("horizontal", "both"):
        flipped = draws.coin("horizontal flip")
        if flipped.any():  # OpenCV returns None for no rows
            images = images_nhwc[flipped]
            rows = images.reshape(-1, *images.shape[2:])
            images_nhwc[flipped] = cv2.flip(rows, 1).reshape(images.shape)  # 20 times NumPy's speed on RGB
    if flip in ("vertical", "both"):
        flipped = draws.coin("vertical flip")
        images_nhwc[flipped] = images_nhwc[flipped, ::-1]


def _crop(images_nhwc: Pixels, padding: int, draws: Draws) -> Pixels:
    """Pad with zeros (black) and cut a window of the old size at random (He et al. 2016, section 4.2)."""
    num_images, height, width, num_channels = images_nhwc.shape
    padded_nhwc = np.zeros((num_images, height + 2 * padding, width + 2 * padding, num_channels), dtype=np.uint8)
    padded_nhwc[:, padding:-padding, padding:-padding] = images_nhwc
    tops_n = draws.below("crop top", 2 * padding + 1)
    lefts_n = draws.below("crop left", 2 * padding + 1)
    rows = padded_nhwc.reshape(num_images, height + 2 * padding, -1)
    windows = sliding_window_view(rows, (height, width * num_channels), axis=(1, 2))
    cut: Pixels = windows[np.arange(num_images), tops_n, lefts_n * num_channels]
    return cut.reshape(images_nhwc.shape)


def rotate(images_nhwc: Pixels, degrees_n: NDArray[np.float64]) -> Pixels:
    """Rotate each image about its center, counterclockwise as seen, bilinear, with zeros (black) around it.

    Results are rounded to nearest; positions are rounded to 1/32 of a pixel, as OpenCV does.
    """
    height, width = images_nhwc.shape[1:3]
    center = ((width - 1) / 2, (height - 1) / 2)
    rotated_nhwc = np.empty_like(images_nhwc)
    # A loop: at 32×32×3 OpenCV needs 9 µs an image, a gather of the whole batch in NumPy 180.
    for target_hwc, image_hwc, degrees in zip(rotated_nhwc, images_nhwc, degrees_n.tolist(), strict=True):
        cv2.warpAffine(image_hwc, cv2.getRotationMatrix2D(center, degrees, 1.0), (width, height), dst=target_hwc)
    return rotated_nhwc


def _shift_color(images_nhwc: Pixels, recipe: Recipe, draws: Draws) -> Pixels:
    """Change brightness, then contrast about the image's mean gray, then saturation; round and clip once, at the end.

    With nothing clipped in between, the three together are own · pixel + rest · gray + offset.
    """
    brightness, contrast, saturation = (
        1 + draws.symmetric(name, getattr(recipe, name))[:, np.newaxis, np.newaxis, np.newaxis]
        for name in ("brightness", "contrast", "saturation")
    )
    gray_nhw1 = to_channels(images_nhwc, 1)
    gain = brightness * contrast
    own, rest = gain * saturation, gain * (1 - saturation)
    offset = brightness * (1 - contrast) * gray_nhw1.mean(axis=(1, 2, 3), keepdims=True)
    shifted_nhwc = images_nhwc * own.astype(np.float32)
    shifted_nhwc += gray_nhw1 * rest.astype(np.float32) + offset.astype(np.float32)
    np.rint(shifted_nhwc, out=shifted_nhwc)
    return shifted_nhwc.clip(0, 255, out=shifted_nhwc).astype(np.uint8)


def partners(draws: Draws, num_samples: int) -> Draws:
    """Draw a partner for each sample among the `num_samples` of the split, with the partner's own random numbers."""
    return Draws(draws.seed, draws.epoch, draws.below("partner", num_samples))


def own_shares(recipe: Recipe, draws: Draws, size: tuple[int, int]) -> Shares:
    """Draw the share that each sample keeps: the same for all pixels in mixup, all pixels outside a box in cutmix.

    With both on, a coin decides for each sample. The shares follow Beta(alpha, alpha), with the recipe's mixup and
    cutmix as alphas. Returns the share of each pixel, float32, (N, H or 1, W or 1, 1), and of each label, float64,
    (N,), which is the mean of the pixels'.
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
    """Mix uint8 images with others pixel by pixel, rounded to nearest; `own_share`, 0–1, is broadcast."""
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
    from scipy.special import betaincinv  # slow to import

    return np.asarray(betaincinv(alpha, alpha, uniform_n))
