"""The cropped digits of SVHN: MATLAB 5 files of `X`, (32, 32, 3, N), and `y`, (N, 1), where label 10 means 0.

Source: http://ufldl.stanford.edu/housenumbers/
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.errors import DataError, in_one_line


def read_svhn(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one file.

    Returns:
        images: uint8, (N, 32, 32, 3), RGB, and labels: int64, (N,), 0–9.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    from scipy.io import loadmat  # takes a moment to import

    try:
        found = loadmat(str(path), variable_names=("X", "y"))
    except Exception as error:  # a damaged file may raise anything
        raise DataError(f"Cannot read {str(path)!r} as a MATLAB 5 file: {in_one_line(error)}.") from error
    images_hwcn, labels_n1 = (np.asarray(found.get(name, ())) for name in ("X", "y"))
    num_images = images_hwcn.shape[-1]
    if images_hwcn.shape[:-1] != (32, 32, 3) or images_hwcn.dtype != np.uint8 or labels_n1.shape != (num_images, 1):
        raise DataError(
            f"{str(path)!r} holds X {images_hwcn.dtype} {images_hwcn.shape} and y {labels_n1.shape}, "
            "wanted X uint8 (32, 32, 3, N) and y (N, 1)."
        )
    labels_n = labels_n1[:, 0].astype(np.int64)
    wrong = np.flatnonzero((labels_n < 1) | (labels_n > 10))
    if wrong.size:
        raise DataError(f"{str(path)!r} has label {labels_n[wrong[0]]} for image {wrong[0]}, wanted 1 to 10.")
    return np.ascontiguousarray(images_hwcn.transpose(3, 0, 1, 2)), labels_n % 10
