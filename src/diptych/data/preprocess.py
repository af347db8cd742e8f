"""Resizing, conversion of channels and statistics of images, the same for both frameworks.

Images stay uint8 here. Scaling to 0–1 and normalization are the first layer of every model, with the numbers from
`channel_statistics`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from diptych.errors import UsageError, in_one_line
from diptych.processes import num_threads

if TYPE_CHECKING:
    from diptych.data.images import Images

_FIXES = (  # the kind, and the least and the highest level of an array; what makes it uint8
    ("b", 0, 1, "images.astype('uint8') * 255"),
    ("f", 0, 1, "multiply by 255 and convert to uint8: (images * 255).round().astype('uint8')"),
    ("f", -1, 1, "scale it back: ((images + 1) * 127.5).round().astype('uint8')"),
    ("f", 0, 255, "images.round().astype('uint8')"),
    ("iuf", 0, 65535, "scale it, from 16 bits with (images * (255 / 65535)).astype('uint8')"),
)
CHUNK_IMAGES = 1024
GRAY_LEVEL = 1 / 255
RESIZING = "means of whole blocks of pixels, then bilinear"
"""The method of `resize`, for records and cards."""


def resize(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize images, (H, W, C) or (N, H, W, C), to (height, width), without keeping the aspect ratio.

    An axis that shrinks to a half or less is first averaged over blocks of whole pixels; a remainder of less than one
    block is cropped evenly at both ends. Then both axes are interpolated linearly between pixel centers. Averaging over
    fractions of pixels (OpenCV's INTER_AREA) looks hardly better and takes as long as decoding a JPEG.
    """
    if images.shape[-3:-1] == size:
        return images
    if images.ndim == 4:
        resized_nhwc = np.empty((len(images), *size, images.shape[-1]), dtype=np.uint8)
        for target_hwc, image_hwc in zip(resized_nhwc, images, strict=True):
            target_hwc[...] = resize(image_hwc, size)
        return resized_nhwc
    # differs: resize
    blocks = [max(1, before // after) for before, after in zip(images.shape, size, strict=False)]
    averaged = _block_means(images, blocks) if max(blocks) > 1 else images
    resized = np.asarray(cv2.resize(averaged, size[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    return resized.reshape(*size, -1)  # OpenCV drops a single channel's axis


def _block_means(image_hwc: NDArray[np.uint8], blocks: list[int]) -> NDArray[np.uint8]:
    height, width = (length // block for length, block in zip(image_hwc.shape, blocks, strict=False))
    top, left = (length % block // 2 for length, block in zip(image_hwc.shape, blocks, strict=False))
    whole_hwc = image_hwc[top : top + height * blocks[0], left : left + width * blocks[1]]
    # Linear interpolation half-way is the mean of two; OpenCV's averaging is fast for blocks of 2 × 2 only.
    interpolation = cv2.INTER_LINEAR if sorted(blocks) == [1, 2] else cv2.INTER_AREA
    means = np.asarray(cv2.resize(whole_hwc, (width, height), interpolation=interpolation), dtype=np.uint8)
    return means.reshape(height, width, -1)


def levels(values: Any, what: str, num_axes: int, remark: Callable[[str], object] = str) -> NDArray[np.uint8]:
    """Return an array or tensor as uint8, (H, W, 1 or 3) for three axes or (N, H, W, 1 or 3) for four.

    Gray images may lack the last axis. Whole numbers are converted, and PyTorch's tensors with channels first
    transposed. Raises UsageError, with the fix, for any other shape and for floats; `what` names the array.
    """
    array = as_array(values, what)
    low, high = (float(array.min()), float(array.max())) if array.size and array.dtype.kind in "biuf" else (0.0, 0.0)
    if array.dtype.kind not in "iu" or low < 0 or high > 255:
        kind = array.dtype.kind
        fixes = (fix for kinds, least, most, fix in _FIXES if kind in kinds and least <= low and high <= most)
        fix = next(fixes, "scale it to 0–255")
        raise UsageError(f"{what} is {array.dtype} in {low:g} to {high:g}: expected uint8 in 0–255; {fix}.")
    if array.dtype != np.uint8:
        remark(f"{array.dtype} images converted to uint8")
    if num_axes == 4 and high <= 1:
        remark("images whose highest level is 1 of 255")
    array = array.astype(np.uint8, copy=False)
    if array.ndim == num_axes - 1 and (num_axes == 4 or array.shape[-1] > 4):
        array = array[..., np.newaxis]
    axes, back = ("(N, H, W, C)", "(0, 2, 3, 1)") if num_axes == 4 else ("(H, W, C)", "(1, 2, 0)")
    fix = f"expected {axes} with 1 or 3 channels"
    if array.ndim == num_axes and array.size:
        if array.shape[-1] in (1, 3):
            return array
        if array.shape[-3] in (1, 3):
            if hasattr(values, "permute"):
                remark("tensors transposed from channels first to channels last")
                return np.ascontiguousarray(np.moveaxis(array, -3, -1))
            fix += f"; here they come first: images.transpose{back}"
        fix += "; drop the alpha channel: images[..., :3]" if array.shape[-1] == 4 else ""
    raise UsageError(f"{what} has the shape {array.shape}: {fix}.")


def as_array(values: Any, what: str) -> NDArray[Any]:
    """Return what NumPy makes of an object; raises UsageError, which calls it `what`."""
    try:
        return np.asarray(values)
    except Exception as error:  # a tensor on a GPU, lists of several lengths
        raise UsageError(f"{what} cannot be read as an array: {in_one_line(error)}.") from error


def to_channels(images_nhwc: NDArray[np.uint8], num_channels: int) -> NDArray[np.uint8]:
    """Make gray images RGB by repeating the channel, or RGB images, (N, H, W, 3), gray by ITU-R BT.601 luma."""
    num_images, height, width, given = images_nhwc.shape
    if given == num_channels:
        return images_nhwc
    if given == 1 or not num_images:
        return np.repeat(images_nhwc[..., :1], num_channels, axis=3)
    rows = images_nhwc.reshape(num_images * height, width, given)  # one call for all images
    return np.asarray(cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY)).reshape(num_images, height, width, 1)


def channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each channel's mean and population standard deviation on a scale of 0–1, exact for any N >= 1.

    A deviation is at least one gray level, so that a blank channel can be divided by it.
    """
    count = int(np.prod(images.shape[:3]))
    moments = channel_moments(images).tolist()
    mean = tuple(total / (255 * count) for total in moments[0])
    variances = ((count * squares - total**2) / (255 * count) ** 2 for total, squares in zip(*moments, strict=True))
    return mean, tuple(max(math.sqrt(variance), GRAY_LEVEL) for variance in variances)


def channel_moments(images: Images) -> NDArray[np.int64]:
    """Return the sums of each channel's levels and of their squares: int64, (2, C)."""
    moments: NDArray[np.int64] | None = getattr(images, "moments", None)
    if moments is not None:  # stored images have them
        return np.asarray(moments.sum(axis=0))
    counts_cl = np.zeros((images.shape[-1], 256), dtype=np.int64)
    for start in range(0, len(images), CHUNK_IMAGES):
        chunk_nhwc = images[start : start + CHUNK_IMAGES]
        for channel in range(len(counts_cl)):
            counts_cl[channel] += np.bincount(chunk_nhwc[..., channel].ravel(), minlength=256)
    levels_l = np.arange(256)
    return np.stack([counts_cl @ levels_l, counts_cl @ levels_l**2])


def each(compute: Callable[[int], None], count: int, progress: Callable[[int], None] | None = None) -> None:
    """Call `compute` for every number below `count`, in threads and any order; raise the first error.

    `progress` is called with the number of finished calls.
    """
    num_at_once = min(32, 1 + count // (4 * num_threads()))

    def compute_some(start: int) -> int:
        stop = min(start + num_at_once, count)
        for number in range(start, stop):
            compute(number)
        return stop

    for done in _pool().map(compute_some, range(0, count, num_at_once)):
        if progress:
            progress(done)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads(), thread_name_prefix="diptych-decode")
