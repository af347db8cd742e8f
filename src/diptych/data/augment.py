"""Random changes to one image at a time, computed for a whole batch at once.

A sample's changes are a pure function of (recipe, seed, epoch, its index): every random number comes from `Draws`,
and no arithmetic here lets one sample's bytes depend on its neighbours (no BLAS, no floating-point sum whose
order could change with the batch's shape). In this order: flip, crop, rotation, colour, cutout.
"""

from typing import Any

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from diptych.data.randomness import Draws
from diptych.spec.recipe import Flip, Recipe

Images = NDArray[np.uint8]

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def augment(images_nhwc: Images, recipe: Recipe, draws: Draws, mean_color: Images) -> Images:
    """Copy the drawn samples out of a split and change each at random.

    Args:
        images_nhwc: uint8, (M, H, W, 1 or 3), the whole split; it is only read.
        recipe: says which changes and how large; its flip is not "auto".
        draws: the N samples' positions in the split, and their random numbers.
        mean_color: uint8, (C,), what cutout paints with.

    Returns:
        uint8, (N, H, W, C).
    """
    chosen_nhwc = images_nhwc.take(draws.indices, axis=0)
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
    """Mark a box about a random pixel of each image; what lies over the border is lost.

    This is the box of cutout (DeVries and Taylor 2017) and of cutmix (Yun et al. 2019).

    Args:
        heights_n: int64, (N,), in pixels.
        widths_n: int64, (N,), in pixels.
        size: height and width of the images.
        draws: where the boxes go.
        purpose: names the two streams used.

    Returns:
        bool, (N, H, W), true inside the box.
    """
    rows_nh = _interval(draws.below(f"{purpose} row", size[0]), heights_n, size[0])
    columns_nw = _interval(draws.below(f"{purpose} column", size[1]), widths_n, size[1])
    return rows_nh[:, :, np.newaxis] & columns_nw[:, np.newaxis, :]


def _interval(centers_n: NDArray[np.int64], lengths_n: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    offsets = np.arange(size) - (centers_n - lengths_n // 2)[:, np.newaxis]
    return (offsets >= 0) & (offsets < lengths_n[:, np.newaxis])


def _flip_in_place(images_nhwc: Images, flip: Flip, draws: Draws) -> None:
    if flip in ("horizontal", "both"):
        flipped = draws.coin("horizontal flip")
        if flipped.any():  # OpenCV returns None for no rows
            images = images_nhwc[flipped]
            rows = images.reshape(-1, *images.shape[2:])
            images_nhwc[flipped] = cv2.flip(rows, 1).reshape(images.shape)  # 20 times NumPy's speed on RGB
    if flip in ("vertical", "both"):
        flipped = draws.coin("vertical flip")
        images_nhwc[flipped] = images_nhwc[flipped, ::-1]


def _crop(images_nhwc: Images, padding: int, draws: Draws) -> Images:
    """Pad with zeros (black), as He et al. (2016) did after normalising, and cut a window of the old size."""
    num_images, height, width, num_channels = images_nhwc.shape
    padded_nhwc = np.zeros((num_images, height + 2 * padding, width + 2 * padding, num_channels), dtype=np.uint8)
    padded_nhwc[:, padding:-padding, padding:-padding] = images_nhwc
    tops_n = draws.below("crop top", 2 * padding + 1)
    lefts_n = draws.below("crop left", 2 * padding + 1)
    rows = padded_nhwc.reshape(num_images, height + 2 * padding, -1)
    windows = sliding_window_view(rows, (height, width * num_channels), axis=(1, 2))
    cut: Images = windows[np.arange(num_images), tops_n, lefts_n * num_channels]
    return cut.reshape(images_nhwc.shape)


def rotate(images_nhwc: Images, degrees_n: NDArray[np.float64]) -> Images:
    """Rotate each image about its centre, counter-clockwise as seen, bilinear, with zeros (black) around it.

    Args:
        images_nhwc: uint8, (N, H, W, C).
        degrees_n: float64, (N,).

    Returns:
        uint8, (N, H, W, C), rounded to nearest.
    """
    num_images, height, width, num_channels = images_nhwc.shape
    rows_nhw, columns_nhw = _rotated_grid(np.deg2rad(degrees_n), height, width)
    tops_nhw, row_shares = _split_coordinate(rows_nhw, height)
    lefts_nhw, column_shares = _split_coordinate(columns_nhw, width)
    padded_nhwc = np.zeros((num_images, height + 2, width + 2, num_channels), dtype=np.uint8)
    padded_nhwc[:, 1:-1, 1:-1] = images_nhwc
    pixels = padded_nhwc.reshape(-1, num_channels)
    images = np.arange(num_images)[:, np.newaxis, np.newaxis]
    corners = (images * (height + 2) + tops_nhw) * (width + 2) + lefts_nhw
    upper = _mix(pixels[corners], pixels[corners + 1], column_shares)
    lower = _mix(pixels[corners + width + 2], pixels[corners + width + 3], column_shares)
    return _to_uint8(_mix(upper, lower, row_shares))


def _rotated_grid(
    radians_n: NDArray[np.float64], height: int, width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the row and the column that each pixel of the rotated image comes from, (N, H, W) each."""
    cosines, sines = (f(radians_n)[:, np.newaxis, np.newaxis] for f in (np.cos, np.sin))
    down = np.arange(height)[:, np.newaxis] - (height - 1) / 2
    right = np.arange(width) - (width - 1) / 2
    rows_nhw = cosines * down + sines * right + (height - 1) / 2
    columns_nhw = cosines * right - sines * down + (width - 1) / 2
    return rows_nhw, columns_nhw


def _split_coordinate(positions: NDArray[np.float64], size: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the pixel before each position, in the image with one more all around, and the next one's share."""
    padded = np.clip(positions + 1, 0, size + 1)
    before = np.minimum(padded.astype(np.int64), size)
    return before, (padded - before).astype(np.float32)[..., np.newaxis]


def _mix(before: NDArray[Any], after: NDArray[Any], after_share: NDArray[np.float32]) -> NDArray[np.float32]:
    mixed: NDArray[np.float32] = before + after_share * (after - before.astype(np.float32))
    return mixed


def _shift_color(images_nhwc: Images, recipe: Recipe, draws: Draws) -> Images:
    """Change brightness, then contrast about the image's mean grey, then saturation; round and clip once, at the end.

    The first two together are gain · pixel + offset, and the mean grey after brightness is known without
    looking again, as nothing is clipped in between.
    """
    brightness, contrast, saturation = (
        1 + draws.symmetric(name, getattr(recipe, name))[:, np.newaxis, np.newaxis, np.newaxis]
        for name in ("brightness", "contrast", "saturation")
    )
    height, width = images_nhwc.shape[1:3]
    mean_n11c = images_nhwc.sum(axis=(1, 2), dtype=np.int64, keepdims=True) / (height * width)
    offset = brightness * (1 - contrast) * _grey(mean_n11c)
    shifted = images_nhwc * (brightness * contrast).astype(np.float32) + offset.astype(np.float32)
    grey = _grey(shifted)
    return _to_uint8(_mix(grey, shifted, saturation.astype(np.float32)))


def _grey(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.shape[-1] == 1:
        return pixels
    red, green, blue = (weight * pixels[..., [channel]] for channel, weight in enumerate(_LUMA))
    return red + green + blue


def _to_uint8(pixels: NDArray[np.float32]) -> Images:
    return np.rint(pixels).clip(0, 255).astype(np.uint8)
