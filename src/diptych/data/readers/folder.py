"""A folder of class folders: `root/<class>/<image>`, or `root/train|val|test/<class>/<image>`.

Classes are the class folders' names in sorted order, images are taken in the sorted order of their paths,
folders within a class folder included. Names that begin with a dot or an underscore are passed over.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.data.decode import SUFFIXES, decode_file
from diptych.data.preprocess import resize
from diptych.data.splits import Parts, Split
from diptych.errors import DataError

SPLIT_FOLDERS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_FILES_PER_TASK = 32


def read_folder(root: Path, image_size: tuple[int, int], channels: int) -> Parts:
    """Decode every image of a folder and bring it to one size.

    Args:
        root: the folder. It is divided into splits when it has a folder `train` that holds folders.
        image_size: the (height, width) that every image gets.
        channels: 3 for RGB, 1 for grey.

    Returns:
        The splits that the folder brings; only `train` when it is not divided.

    Raises:
        DataError: no classes, a class without images, splits whose classes differ, or an image that
            cannot be decoded.
    """
    split_roots = _split_roots(root)
    class_names = _class_names(split_roots["train"])
    files = {split: _class_files(folder, class_names) for split, folder in split_roots.items()}
    splits = {split: _decode_split(per_class, image_size, channels) for split, per_class in files.items()}
    return Parts(class_names, splits["train"], splits.get("validation"), splits.get("test"))


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


def _decode_split(files_by_class: list[list[Path]], image_size: tuple[int, int], channels: int) -> Split:
    files = [file for class_files in files_by_class for file in class_files]
    images_nhwc = np.empty((len(files), *image_size, channels), dtype=np.uint8)

    def decode_some(start: int) -> None:
        for index in range(start, min(start + _FILES_PER_TASK, len(files))):
            images_nhwc[index] = resize(decode_file(files[index], channels), image_size)

    with ThreadPoolExecutor() as pool:  # OpenCV lets go of the interpreter lock while it decodes
        for _ in pool.map(decode_some, range(0, len(files), _FILES_PER_TASK)):
            pass
    return Split(images_nhwc, _labels([len(class_files) for class_files in files_by_class]))


def _labels(num_images_by_class: list[int]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(num_images_by_class), dtype=np.int64), num_images_by_class)
