"""Which class each of ILSVRC2012's validation images is of, from whichever file says it.

The development kit holds the number of each image's synset, and a MATLAB 5 table of synsets. Kaggle's edition holds a
CSV instead. Sources: the kit's readme.txt; https://www.kaggle.com/c/imagenet-object-localization-challenge/data.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from diptych.data.readers.members import read_tar_gz
from diptych.errors import DataError, in_one_line

ARCHIVE = "ILSVRC2012_devkit_t12.tar.gz"
FOLDER = "ILSVRC2012_devkit_t12"
SOLUTION = "LOC_val_solution.csv"
_META, _TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"


def read_truth(folder: Path) -> dict[str, str] | None:
    """The WordNet id of each validation image, by its name without suffix; None where nothing in the folder says it.

    Raises:
        DataError: what is there is damaged.
    """
    if (folder / ARCHIVE).is_file():
        meta, truth = read_tar_gz(folder / ARCHIVE, [f"{FOLDER}/{_META}", f"{FOLDER}/{_TRUTH}"])
        return _from_devkit(meta, truth, str(folder / ARCHIVE))
    for kit in (folder / FOLDER, folder):
        if (kit / _TRUTH).is_file():
            return _from_devkit(_bytes(kit / _META), _bytes(kit / _TRUTH), str(kit))
    if (folder / SOLUTION).is_file():
        return _from_solution(folder / SOLUTION)
    return None


def _from_devkit(meta: bytes, truth: bytes, name: str) -> dict[str, str]:
    wnid_of = _synsets(meta, name)
    found = {}
    for number, line in enumerate(truth.decode("ascii", "replace").split(), 1):
        if line not in wnid_of:
            raise DataError(f"{name!r} is damaged: validation image {number} is of synset {line[:20]!r}.")
        found[f"ILSVRC2012_val_{number:08}"] = wnid_of[line]
    return found


def _synsets(meta: bytes, name: str) -> Mapping[str, str]:
    """The WordNet ids of the classes (the synsets without children) by their number."""
    from scipy.io import loadmat  # takes a moment to import

    try:
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        rows = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], synsets["num_children"], strict=True)
        return {str(int(number)): str(wnid) for number, wnid, num_children in rows if not num_children}
    except Exception as error:  # a damaged file may raise anything
        raise DataError(f"{name!r} is damaged: {_META} cannot be read ({in_one_line(error)}).") from error


def _from_solution(path: Path) -> dict[str, str]:
    found = {}
    for number, row in enumerate(csv.reader(_bytes(path).decode("utf-8-sig", "replace").splitlines()), 1):
        if number == 1 or not row:
            continue
        if len(row) != 2 or not row[1].split():
            raise DataError(f"{str(path)!r}, line {number}, is not of the form ImageId,PredictionString.")
        found[row[0]] = row[1].split()[0]
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {str(path)!r}: {error.strerror}.") from error
