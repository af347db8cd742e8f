"""A folder of class folders as it lies, with what a training would refuse or pass over.

Classes that are empty or in some splits only are listed, and so are names of images that are no files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diptych.data.readers import Files, ListedSplit, Listing, as_names
from diptych.data.readers.folder import SPLITS, folder_names, image_names
from diptych.errors import DataError


def survey_folder(root: Path) -> Listing:
    """List everything in a folder that is named like an image.

    Raises:
        DataError: it cannot be read, holds no two class folders, or holds one split twice.
    """
    splits = _splits(root)
    class_names = tuple(sorted({name for folder in splits.values() for name in folder_names(root / folder)}))
    if len(class_names) < 2:
        raise DataError(
            f"{str(root)!r} holds {len(class_names)} class folders, at least 2 are wanted: "
            "one folder for each class, with its images inside."
        )
    listed = {split: _listed(root, folder, class_names) for split, folder in splits.items()}
    return Listing(class_names, listed["train"], listed.get("validation"), listed.get("test"))


def _splits(root: Path) -> dict[str, str]:
    """Each split's folder below the root; all is train where there is none of that name."""
    names = folder_names(root)
    if "train" not in names or not folder_names(root / "train"):
        return {"train": ""}
    splits: dict[str, str] = {}
    for name in names:
        split = SPLITS.get(name)
        if split is None or split in splits:
            known = f"beside a folder train, {', '.join(SPLITS)} are known, and one of a kind"
            raise DataError(f"{str(root / name)!r} is no split: {known}.")
        splits[split] = name
    return splits


def _listed(root: Path, folder: str, class_names: tuple[str, ...]) -> ListedSplit:
    prefix = f"{folder}/" if folder else ""
    found = [
        (name, label)
        for label, class_name in enumerate(class_names)
        if (root / folder / class_name).is_dir()
        for name in image_names(root / folder / class_name, f"{prefix}{class_name}/", any_kind=True)
    ]
    names_n = as_names(name for name, _ in found)
    return ListedSplit(Files(root, names_n), np.array([label for _, label in found], dtype=np.int64), names_n)
