"""EMNIST's balanced split: IDX files within one zip, their images stored with rows and columns exchanged.

The files were written column by column, so that an image read row by row lies on its side and is mirrored: "inverted
horizontally and rotated 90 degrees anti-clockwise", as TensorFlow Datasets describes it, which is transposed.
Source: Cohen, Afshar, Tapson, van Schaik 2017, https://arxiv.org/abs/1702.05373.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.data.readers.idx import paired, parse_idx, read_idx_pair
from diptych.data.readers.members import read_zip

ARCHIVE = "gzip.zip"
CLASS_NAMES = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt")
"""By label, as `emnist-balanced-mapping.txt` has them: letters whose capitals look alike are one class with those."""
FILES = tuple(
    f"emnist-balanced-{split}-{what}-ubyte.gz" for split in ("train", "test") for what in ("images-idx3", "labels-idx1")
)

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


def unpacked_files(folder: Path) -> tuple[Path, ...] | None:
    """The four files of the balanced split, if they all lie in a folder, in its `gzip/`, packed by gzip or plain."""
    for place in (folder, folder / "gzip"):
        for names in (FILES, tuple(name.removesuffix(".gz") for name in FILES)):
            paths = tuple(place / name for name in names)
            if all(path.is_file() for path in paths):
                return paths
    return None


def read_emnist(source: Path | tuple[Path, ...]) -> tuple[Batch, Batch]:
    """Read the training and test samples.

    Args:
        source: the zip, or what `unpacked_files` found.

    Returns:
        (images, labels) for training and for test. images: uint8, (N, 28, 28, 1), upright; labels: int64, (N,).

    Raises:
        DataError: a file is missing or damaged; see `read_idx_pair`.
    """
    if isinstance(source, tuple):
        pairs = [read_idx_pair(source[place], source[place + 1], len(CLASS_NAMES)) for place in (0, 2)]
    else:
        contents = read_zip(source, [f"gzip/{name}" for name in FILES])
        names = [f"{source}/gzip/{name}" for name in FILES]
        arrays = [
            parse_idx(io.BytesIO(content), name, num_axes=1 + 2 * ("images" in name))
            for content, name in zip(contents, names, strict=True)
        ]
        pairs = [
            paired(arrays[place], arrays[place + 1], (names[place], names[place + 1]), len(CLASS_NAMES))
            for place in (0, 2)
        ]
    train, test = [(upright(images_nwhc), labels_n) for images_nwhc, labels_n in pairs]
    return train, test


def upright(images_nwhc: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images that were stored column by column, as they were written: (N, W, H, C) to (N, H, W, C)."""
    return np.ascontiguousarray(images_nwhc.transpose(0, 2, 1, 3))
