"""What DATA can be, and what is behind it: a name, or a path to files of some kind."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diptych.data.archives import is_archive, unpacked
from diptych.data.listing import Listing
from diptych.data.named import DIGITS, NAMED, NamedDataset, read_named
from diptych.data.paths import USUAL, user_path
from diptych.data.readers import tables
from diptych.data.readers.folder import list_folder
from diptych.data.rows import Tell, cache_dir, quiet
from diptych.data.splits import Parts
from diptych.errors import DataError, UsageError

FILE_IMAGE_SIZE = (64, 64)
KINDS = (
    "a folder of class folders; a CSV of paths and labels, or of labels and pixels; Parquet with an image column; "
    "a folder of such tables; a zip or tar of any of these"
)
"""What DATA may be besides a name."""


@dataclass(frozen=True, eq=False)
class Found:
    """What DATA means.

    Attributes:
        name: what to call it.
        content: its image files, or its images where it brings pixels.
        mirror: whether a mirrored image keeps its class.
        image_size: the (height, width) that image files are brought to unless another is asked for.
    """

    name: str
    content: Listing | Parts
    mirror: bool = False
    image_size: tuple[int, int] = FILE_IMAGE_SIZE


def names() -> list[NamedDataset]:
    """Return the datasets that have a name, smallest first."""
    return list(NAMED.values())


def is_named(data: str) -> bool:
    """Whether DATA is the name of a published dataset, and no path."""
    return data in NAMED


def find(
    data: str,
    *,
    data_dir: Path | None = None,
    root: Path | None = None,
    pixel_shape: tuple[int, int, int] | None = None,
    list_classes: Callable[[Path], Listing] = list_folder,
    tell: Tell = quiet,
) -> Found:
    """Find what DATA names; image files are listed, and decoded later. See `datasets.read` for the arguments.

    A folder is read as class folders where it, or its `train`, holds two folders of images; else as tables, where it
    has some (see `tables.find_tables`). An archive is unpacked into the cache and read like a folder; folders that
    hold nothing but one other folder are passed through.

    Args:
        data: see there.
        data_dir: see there.
        root: see there.
        pixel_shape: see there.
        list_classes: what lists a folder of class folders.
        tell: told of what is being done with an archive, of how many bytes are done, and of how many there are.

    Raises:
        UsageError: no such dataset or path, one that cannot be looked at, or a root or a pixel shape where none is
            wanted.
        DataError: files that are missing, damaged or contradictory; see the readers.
    """
    root = root and user_path(root, "--root")
    if root is not None and not root.is_dir():
        raise UsageError(f"--root {str(root)!r} is no folder: wanted the one that the table's paths are relative to.")
    if pixel_shape is not None and (min(pixel_shape) < 1 or pixel_shape[2] not in (1, 3)):
        raise UsageError(f"Pixel shape {pixel_shape} makes no sense: wanted a height, a width, and 1 or 3 channels.")
    if data in NAMED:
        _check_unasked(data, root, pixel_shape)
        return _named(NAMED[data], _data_dir(data_dir))
    path = user_path(data, "DATA")
    if path.is_dir():
        return Found(path.name, _read_folder(path, root, pixel_shape, list_classes))
    if path.suffix.lower() in tables.SUFFIXES and path.is_file():
        return Found(path.stem, tables.read_table(path, root, pixel_shape))
    if is_archive(path):
        whole = unpacked(path, cache_dir(), progress=tell)
        try:
            content = _read_folder(_without_wrapping(whole), root, pixel_shape, list_classes)
        except (DataError, UsageError) as error:  # told of the file that was given, not of the cache
            raise type(error)(str(error).replace(str(whole), str(path))) from error
        return Found(_archive_name(path), content)
    raise UsageError(_unknown(data))


def at_hand(data: str, data_dir: Path | None = None) -> bool:
    """Whether a dataset can be read without fetching anything."""
    if data not in NAMED:
        return os.path.exists(os.path.expanduser(data))  # noqa: PTH110, PTH111  (false for what cannot be looked at)
    folder = _data_dir(data_dir) / data
    return NAMED[data] is DIGITS or (folder.is_dir() and any(folder.iterdir()))


def absolute(data: str | Path) -> str:
    """A path made absolute, so that it is found from anywhere; a dataset's name as it is.

    Raises:
        UsageError: see `paths.user_path`.
    """
    if str(data) in NAMED:
        return str(data)
    path = user_path(data, "DATA")
    return str(path) if path.exists() else str(data)


def _named(dataset: NamedDataset, data_dir: Path) -> Found:
    name, content = read_named(dataset, data_dir)
    height, width, _ = dataset.image_shape
    return Found(name, content, dataset.mirror, (height, width))


def _read_folder(
    folder: Path, root: Path | None, pixel_shape: tuple[int, int, int] | None, list_classes: Callable[[Path], Listing]
) -> Listing | Parts:
    found = tables.find_tables(folder)
    if found and not tables.is_tree(folder):
        return tables.read_tables(found, root, pixel_shape)
    _check_unasked(str(folder), root, pixel_shape)
    return list_classes(folder)


def _check_unasked(data: str, root: Path | None, pixel_shape: tuple[int, int, int] | None) -> None:
    for option, value, wanted in (("--root", root, "paths"), ("--pixel-shape", pixel_shape, "pixels")):
        if value is not None:
            raise UsageError(f"{option} is for a table of {wanted}; {data!r} is none.")


def _without_wrapping(folder: Path) -> Path:
    """What an archive is about: the first folder that is class folders or tables, or holds more than one folder."""
    while not (tables.find_tables(folder) or tables.is_tree(folder)):
        inside = [path for path in folder.iterdir() if not path.name.startswith((".", "_"))]
        if len(inside) != 1 or not inside[0].is_dir():
            break
        folder = inside[0]
    return folder


def _archive_name(path: Path) -> str:
    stem = path.stem
    return stem.removesuffix(".tar") if stem.endswith(".tar") else stem


def _data_dir(told: Path | None) -> Path:
    if told is not None:
        return user_path(told, "--data-dir")
    said = os.environ.get("DIPTYCH_DATA")
    return user_path(said or USUAL, "DIPTYCH_DATA" if said else "the folder of data (DIPTYCH_DATA names another)")


def _unknown(data: str) -> str:
    known = f"DATA is one of {', '.join(NAMED)}, or a path: {KINDS}."
    if user_path(data, "DATA").exists():
        return f"{data!r} is nothing that images are read from. {known}"
    close = difflib.get_close_matches(data.lower(), NAMED, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"No dataset, file or folder {data!r}: {hint}{known}"
