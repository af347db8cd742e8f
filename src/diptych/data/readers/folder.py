"""A folder of class folders: `root/<class>/<image>`, or `root/train|val|test/<class>/<image>`.

Classes are the class folders' names in sorted order, images are taken in the sorted order of their paths,
folders within a class folder included. Names that begin with a dot or an underscore are passed over.
"""

from pathlib import Path

import numpy as np

from diptych.data.decode import SUFFIXES
from diptych.data.listing import Files, Listed, Listing
from diptych.errors import DataError

SPLIT_FOLDERS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


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
    if not (train.is_dir() and _folders(train)):
        return {"train": root}
    roots = {"train": train}
    for folder in _folders(root):
        split = SPLIT_FOLDERS.get(folder.name)
        if split is None:
            raise DataError(
                f"{str(folder)!r} is no split: beside a folder train, {', '.join(SPLIT_FOLDERS)} are known."
            )
        if roots.setdefault(split, folder) != folder:
            raise DataError(f"{str(root)!r} holds {roots[split].name} and {folder.name}: keep one of them.")
    return roots


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith((".", "_")))
    except OSError as error:
        raise DataError(f"Cannot read {str(root)!r}: {error.strerror}.") from error


def _class_names(root: Path) -> tuple[str, ...]:
    class_names = tuple(folder.name for folder in _folders(root))
    if len(class_names) < 2:
        raise DataError(
            f"{str(root)!r} holds {len(class_names)} class folders, at least 2 are wanted: "
            "one folder for each class, with its images inside."
        )
    return class_names


def _listed(root: Path, folder: Path, class_names: tuple[str, ...]) -> Listed:
    files_by_class = _class_files(folder, class_names)
    names = np.array([file.relative_to(root).as_posix() for files in files_by_class for file in files], dtype=np.str_)
    labels = np.repeat(np.arange(len(class_names), dtype=np.int64), [len(files) for files in files_by_class])
    return Listed(Files(root, names), labels, names)


def _class_files(root: Path, class_names: tuple[str, ...]) -> list[list[Path]]:
    found = {folder.name for folder in _folders(root)}
    if found != set(class_names):
        missing, extra = sorted(set(class_names) - found), sorted(found - set(class_names))
        raise DataError(
            f"{str(root)!r} lacks the training classes {missing} and adds {extra}: "
            "every split must have the same class folders."
        )
    return [_image_files(root / name) for name in class_names]


def _image_files(folder: Path) -> list[Path]:
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith((".", "_")) and path.is_file()
    )
    if not files:
        raise DataError(f"Class folder {str(folder)!r} holds no images ({', '.join(sorted(SUFFIXES))}).")
    return files
