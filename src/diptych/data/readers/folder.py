"""A folder of class folders: `root/<class>/<image>`, or `root/train|val|test/<class>/<image>`.

Classes are the class folders' names in sorted order, images are taken in the sorted order of their paths,
folders within a class folder included. Names that begin with a dot or an underscore are passed over, and so are
folders of runs beside the classes.
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
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""What a split may be called: by a folder, in the name of a table, in a column of one."""
_OF_A_RUN = ("run.json", "findings.json", "comparison.json")


def list_folder(root: Path) -> Listing:
    """Find every image of a folder.

    Args:
        root: the folder. It is divided into splits when it has a folder `train` that holds folders.

    Returns:
        The splits that the folder brings; only `train` when it is not divided.

    Raises:
        DataError: no classes, a class without images, or splits whose classes differ.
    """
    split_roots = _split_roots(root)
    class_names = _class_names(split_roots["train"])
    splits = {split: _listed(root, folder, class_names) for split, folder in split_roots.items()}
    return Listing(class_names, splits["train"], splits.get("validation"), splits.get("test"))


def _split_roots(root: Path) -> dict[str, Path]:
    train = root / "train"
    if not (os.path.isdir(train) and _folders(train)):  # noqa: PTH112
        return {"train": root}
    roots = {"train": train}
    for folder in _folders(root):
        split = SPLITS.get(folder.name)
        if split is None:
            raise DataError(f"{str(folder)!r} is no split: beside a folder train, {', '.join(SPLITS)} are known.")
        if roots.setdefault(split, folder) != folder:
            raise DataError(f"{str(root)!r} holds {roots[split].name} and {folder.name}: keep one of them.")
    return roots


def _folders(root: Path) -> list[Path]:
    return [root / name for name in folder_names(root)]


def folder_names(root: Path) -> list[str]:
    """The folders that a folder holds, sorted; hidden ones and those of runs left out.

    Raises:
        DataError: it cannot be read, or holds a folder whose name is not UTF-8.
    """
    entries = [entry for entry in _entries(root) if os.path.isdir(entry.path)]  # noqa: PTH112
    return [as_text(entry.path, entry.name) for entry in entries if not _holds_runs(entry.path)]


def _holds_runs(folder: str) -> bool:
    """Whether trainings, comparisons or checks left their folders in one, as in `runs/`."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_named_image(entry.name):
                    return False
                if any(os.path.isfile(f"{entry.path}/{name}") for name in _OF_A_RUN):  # noqa: PTH113
                    return True
    except OSError:  # whoever reads it says why
        pass
    return False


def _entries(root: Path | str) -> list[os.DirEntry[str]]:
    """What a folder holds, hidden things left out, sorted by name."""
    try:
        with os.scandir(root) as entries:
            return sorted((one for one in entries if not one.name.startswith((".", "_"))), key=lambda one: one.name)
    except OSError as error:
        raise DataError(f"Cannot read {str(root)!r:.200}: {error.strerror}.") from error


def _class_names(root: Path) -> tuple[str, ...]:
    class_names = tuple(folder.name for folder in _folders(root))
    if len(class_names) < 2:
        raise DataError(
            f"{str(root)!r} holds {len(class_names)} class folders, at least 2 are wanted: "
            "one folder for each class, with its images inside."
        )
    return class_names


def _listed(root: Path, folder: Path, class_names: tuple[str, ...]) -> ListedSplit:
    _check_classes(folder, class_names)
    prefix = "" if folder == root else f"{folder.name}/"
    found = [list(image_names(folder / name, f"{prefix}{name}/")) for name in class_names]
    for class_name, names in zip(class_names, found, strict=True):
        if not names:
            folder /= class_name
            raise DataError(f"Class folder {str(folder)!r} holds no images ({', '.join(sorted(SUFFIXES))}).")
    labels = np.repeat(np.arange(len(class_names), dtype=np.int64), list(map(len, found)))
    names_n = as_names(chain.from_iterable(found))
    return ListedSplit(Files(root, names_n), labels, names_n)


def _check_classes(root: Path, class_names: tuple[str, ...]) -> None:
    found = {folder.name for folder in _folders(root)}
    if found != set(class_names):
        missing, extra = sorted(set(class_names) - found), sorted(found - set(class_names))
        raise DataError(
            f"{str(root)!r} lacks the training classes {missing} and adds {extra}: "
            "every split must have the same class folders."
        )


def image_names(folder: Path | str, prefix: str = "", *, any_kind: bool = False) -> Iterator[str]:
    """Yield `prefix` and the path below a folder, with `/`, of each image in it, sorted by their parts.

    Links to files are followed, links to folders are not, so that nothing is met twice and no search goes round.

    Args:
        folder: where to search, however deep its folders lie.
        prefix: what every name begins with.
        any_kind: whether all that is named like an image counts, a folder or a broken link too.

    Raises:
        DataError: a folder cannot be read, or the name of an image is not UTF-8.
    """
    pending = [(prefix, iter(_entries(folder)))]
    while pending:
        prefix, entries = pending[-1]
        entry = next(entries, None)
        if entry is None:
            pending.pop()
        elif _is_named_image(entry.name) and (any_kind or _is_file(entry)):
            yield as_text(entry.path, prefix + entry.name)
        elif entry.is_dir(follow_symlinks=False):
            pending.append((f"{prefix}{entry.name}/", iter(_entries(entry.path))))


def _is_named_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  (a Path for every file takes longer)


def by_path(names: Sequence[str]) -> list[int]:
    """The places of paths below a folder, with `/`, in the order in which `image_names` would yield them."""
    return sorted(range(len(names)), key=[name.replace("/", "\0") for name in names].__getitem__)


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path)  # noqa: PTH113  (a link's target)
