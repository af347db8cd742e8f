"""A folder of class folders: `root/<class>/<image>`, or `root/train|val|test/<class>/<image>`.

Classes are the class folders' names in sorted order; images come in the sorted order of their paths, nested folders
included. Names that begin with a dot or an underscore are skipped, and so are folders of runs beside the classes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from diptych.data.decode import SUFFIXES
from diptych.data.paths import as_text
from diptych.data.readers import Files, ListedSplit, Listing, as_names
from diptych.errors import DataError

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Names of a split: of a folder, in the name of a table, in a column of one."""
_RUN_FILES = ("run.json", "findings.json", "comparison.json")


def list_folder(root: Path) -> Listing:
    """List the images of a folder; it is divided into splits if it has a folder `train` that holds folders.

    Raises:
        DataError: there are not two classes, or a split has no images of one.
    """
    listing = survey_folder(root, any_kind=False)
    folders = _split_folders(root)
    for split, listed in listing.splits.items():
        counts = np.bincount(listed.labels, minlength=len(listing.class_names))
        if not counts.all():
            path = root / folders[split] / listing.class_names[int(counts.argmin())]
            suffixes = ", ".join(sorted(SUFFIXES))
            raise DataError(f"Class folder {str(path)!r} has no images ({suffixes}): every split needs every class.")
    return listing


def survey_folder(root: Path, *, any_kind: bool = True) -> Listing:
    """List everything in a folder that is named like an image, with classes that are empty or not in every split."""
    folders = _split_folders(root)
    class_names = tuple(sorted({name for folder in folders.values() for name in folder_names(root / folder)}))
    if len(class_names) < 2:
        raise DataError(
            f"{str(root)!r} must contain at least 2 class folders, each with the images of one class, "
            f"got {len(class_names)}."
        )
    splits = {}
    for split, folder in folders.items():
        prefix = f"{folder}/" if folder else ""
        names: list[list[str]] = []
        for name in class_names:
            path = root / folder / name
            names.append(list(image_names(path, f"{prefix}{name}/", any_kind=any_kind)) if path.is_dir() else [])
        labels = np.repeat(np.arange(len(class_names), dtype=np.int64), list(map(len, names)))
        names_n = as_names(chain.from_iterable(names))
        splits[split] = ListedSplit(Files(root, names_n), labels, names_n)
    return Listing.of(class_names, splits)


def folder_names(root: Path) -> list[str]:
    """Return the folders in a folder, sorted, without hidden ones and those of runs."""
    entries = [entry for entry in _entries(root) if os.path.isdir(entry.path)]  # noqa: PTH112
    return [as_text(entry.path, entry.name) for entry in entries if not _holds_runs(entry.path)]


def image_names(folder: Path | str, prefix: str = "", *, any_kind: bool = False) -> Iterator[str]:
    """Yield `prefix` and the path below a folder, with `/`, of each image in it, sorted by their parts.

    Links to files are followed, links to folders are not, so that nothing occurs twice and no search loops. With
    `any_kind`, everything that is named like an image counts, even a folder or a dangling link.
    """
    pending = [(prefix, iter(_entries(folder)))]
    while pending:
        prefix, entries = pending[-1]
        entry = next(entries, None)
        if entry is None:
            pending.pop()
        elif is_image(entry.name) and (
            any_kind or entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path)  # noqa: PTH113  (a link)
        ):
            yield as_text(entry.path, prefix + entry.name)
        elif entry.is_dir(follow_symlinks=False):
            pending.append((f"{prefix}{entry.name}/", iter(_entries(entry.path))))


def by_path(names: Sequence[str]) -> list[int]:
    """Return the indices of paths, with `/`, in the order in which `image_names` would yield them."""
    return sorted(range(len(names)), key=[name.replace("/", "\0") for name in names].__getitem__)


def _split_folders(root: Path) -> dict[str, str]:
    """Return each split's folder below the root; everything is train if there is no folder of that name."""
    names = folder_names(root)
    if "train" not in names or not folder_names(root / "train"):
        return {"train": ""}
    folders: dict[str, str] = {"train": "train"}
    for name in names:
        split = SPLITS.get(name)
        if split is None:
            known = ", ".join(SPLITS)
            raise DataError(f"{str(root / name)!r} is not a split: the folders beside train must be of {known}.")
        if folders.setdefault(split, name) != name:
            raise DataError(f"{str(root)!r} has both {folders[split]} and {name}: keep one of them.")
    return folders


def _holds_runs(folder: str) -> bool:
    """Return whether trainings, comparisons or checks left their folders in one, as in `runs/`."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_image(entry.name):
                    return False
                if any(os.path.isfile(f"{entry.path}/{name}") for name in _RUN_FILES):  # noqa: PTH113
                    return True
    except OSError:  # `_entries` reports it
        pass
    return False


def _entries(root: Path | str) -> list[os.DirEntry[str]]:
    """Return what a folder holds, without hidden things, sorted by name."""
    try:
        with os.scandir(root) as entries:
            return sorted((one for one in entries if not one.name.startswith((".", "_"))), key=lambda one: one.name)
    except OSError as error:
        raise DataError(f"Cannot read {str(root)!r:.200}: {error.strerror}.") from error


def is_image(name: str) -> bool:
    """Return whether a name ends like that of an image file."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  (a Path for every file takes longer)
