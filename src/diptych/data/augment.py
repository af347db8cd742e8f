"""Random changes to one image at a time, computed for a whole batch at once.

A sample's changes are a pure function of (recipe, seed, epoch, its index): every random number comes from `Draws`,
and no arithmetic here lets one sample's bytes depend on its neighbours (no BLAS, no floating-point sum whose
order could change with the batch's shape). In this order: flip, crop, rotation, colour, cutout.
"""

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from diptych.data.images import Images
from diptych.data.randomness import Draws
from diptych.spec.recipe import Flip, Recipe

Pixels = NDArray[np.uint8]


def augment(images: Images, recipe: Recipe, draws: Draws, mean_color: Pixels) -> Pixels:
    """Copy the drawn samples out of a split and change each at random.

    Args:
        images: uint8, (M, H, W, 1 or 3), the whole split; it is only read.
        recipe: says which changes and how large; its flip is not "auto".
        draws: the N samples' positions in the split, and their random numbers.
        mean_color: uint8, (C,), what cutout paints with.

    Returns:
        uint8, (N, H, W, C).
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
    """Rotate each image about its centre, counter-clockwise as seen, bilinear, with zeros (black) around it.

    Args:
        images_nhwc: uint8, (N, H, W, C).
        degrees_n: float64, (N,).

    Returns:
        uint8, (N, H, W, C), rounded to nearest; positions are rounded to 1/32 of a pixel, as OpenCV does.
    """
    height, width = images_nhwc.shape[1:3]
    center = ((width - 1) / 2, (height - 1) / 2)
    rotated_nhwc = np.empty_like(images_nhwc)
    # A loop, for once: at 32×32×3 OpenCV needs 9 µs an image, a gather of the whole batch in NumPy 180.
    for target_hwc, image_hwc, degrees in zip(rotated_nhwc, images_nhwc, degrees_n.tolist(), strict=True):
        cv2.warpAffine(image_hwc, cv2.getRotationMatrix2D(center, degrees, 1.0), (width, height), dst=target_hwc)
    return rotated_nhwc


def _shift_color(images_nhwc: Pixels, recipe: Recipe, draws: Draws) -> Pixels:
    """Change brightness, then contrast about the image's mean grey, then saturation; round and clip once, at the end.

    With nothing clipped in between, the three together are own · pixel + rest · grey + offset.
    """
    brightness, contrast, saturation = (
        1 + draws.symmetric(name, getattr(recipe, name))[:, np.newaxis, np.newaxis, np.newaxis]
        for name in ("brightness", "contrast", "saturation")
    )
    grey_nhw1 = _grey(images_nhwc)
    gain = brightness * contrast
    own, rest = gain * saturation, gain * (1 - saturation)
    offset = brightness * (1 - contrast) * grey_nhw1.mean(axis=(1, 2, 3), keepdims=True)
    shifted_nhwc = images_nhwc * own.astype(np.float32)
    shifted_nhwc += grey_nhw1 * rest.astype(np.float32) + offset.astype(np.float32)
    np.rint(shifted_nhwc, out=shifted_nhwc)
    return shifted_nhwc.clip(0, 255, out=shifted_nhwc).astype(np.uint8)


def _grey(images_nhwc: Pixels) -> Pixels:
    """Return ITU-R BT.601 luma, (N, H, W, 1), by one call on all rows of all images."""
    num_images, height, width, num_channels = images_nhwc.shape
    if num_channels == 1:
        return images_nhwc
    rows = images_nhwc.reshape(num_images * height, width, num_channels)
    grey: Pixels = cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY)
    return grey.reshape(num_images, height, width, 1)
