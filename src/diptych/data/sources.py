"""Resolve DATA, a name or a path, to a `Source`: what images there are, before any is decoded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.archives import Progress, is_archive, quiet
from diptych.data.cache import unpacked
from diptych.data.paths import folder_named_by, user_path
from diptych.data.readers import ListedSplit, Listing, arrays, layout, objects, parquet, remote, tables, tree
from diptych.data.readers import folder as class_folders
from diptych.data.readers.columns import role_of
from diptych.data.readers.csv_table import CsvTable
from diptych.data.readers.objects import FILE_IMAGE_SIZE
from diptych.data.rules import Finding
from diptych.data.signatures import describe_file
from diptych.errors import DataError, UsageError
from diptych.options import SourceOptions
from diptych.vocabulary import did_you_mean

_LISTS = tables.LISTS | {".json", ".mat", ".xls", ".xlsx"}
_TELLING = re.compile("train|test|val|split|fold|label|class|annotation")
KINDS = (
    "a folder of class folders; a CSV of paths and labels, or of labels and pixels; Parquet with an image column; "
    "a folder of such tables, or of IDX, MATLAB (SVHN) or CIFAR files; .npz with images and labels; a zip or tar of "
    "any of these"
)
"""What DATA may be besides a name."""


@dataclass(frozen=True, eq=False)
class Source:
    """What DATA refers to: its name, its images, whether a mirrored image keeps its class, and the default size."""

    name: str
    listing: Listing
    mirror: bool = False
    image_size: tuple[int, int] = FILE_IMAGE_SIZE


@dataclass(frozen=True)
class NamedDataset:
    """A published dataset, in a folder of its name in the data directory.

    `image_shape` is height, width and channels; `num_train` counts validation samples, too; `read` downloads what the
    folder lacks and lists the samples; `mirror` says whether a mirrored image keeps its class.
    """

    name: str
    description: str
    image_shape: tuple[int, int, int]
    num_classes: int
    num_train: int
    num_test: int
    read: Callable[[Path], Listing]
    mirror: bool = False


def _read_digits(_folder: Path) -> Listing:
    """Read the digits that ship with diptych: the test set of the UCI "Optical Recognition of Handwritten Digits".

    Source: https://doi.org/10.24432/C50P49, as in scikit-learn's `load_digits`.
    """
    with np.load(Path(__file__).with_name("digits.npz")) as stored:
        levels_nhwc, labels_n = stored["images"][..., np.newaxis], stored["labels"]
    images_nhwc = (levels_nhwc.astype(np.uint16) * 255 + 8) // 16  # 0–16 to 0–255, rounded
    return Listing(
        remote.class_names("digits"), ListedSplit.of_pixels(images_nhwc.astype(np.uint8), labels_n.astype(np.int64))
    )


_GRAY, _COLOR = (28, 28, 1), (32, 32, 3)
NAMED = {
    dataset.name: dataset
    for dataset in (
        NamedDataset("digits", "handwritten digits (Alpaydin, Kaynak 1998), needs no download", (8, 8, 1),
                     10, 1438, 359, _read_digits),
        NamedDataset("fashion-mnist", "articles of clothing (Xiao, Rasul, Vollgraf 2017)", _GRAY,
                     10, 60_000, 10_000, partial(arrays.list_idx, "fashion-mnist"), mirror=True),
        NamedDataset("mnist", "handwritten digits (LeCun, Cortes, Burges 1998)", _GRAY,
                     10, 60_000, 10_000, partial(arrays.list_idx, "mnist")),
        NamedDataset("kmnist", "cursive Japanese characters, hiragana (Clanuwat et al. 2018)", _GRAY,
                     10, 60_000, 10_000, partial(arrays.list_idx, "kmnist")),
        NamedDataset("emnist", "handwritten digits and letters, balanced split (Cohen et al. 2017)", _GRAY,
                     47, 112_800, 18_800, arrays.list_emnist),
        NamedDataset("cifar10", "animals and vehicles (Krizhevsky 2009)", _COLOR,
                     10, 50_000, 10_000, partial(arrays.list_cifar, (arrays.PYTHON, arrays.BINARY)), mirror=True),
        NamedDataset("cifar100", "animals, plants, things and people, 100 fine classes (Krizhevsky 2009)", _COLOR,
                     100, 50_000, 10_000, partial(arrays.list_cifar, [arrays.FINE]), mirror=True),
        NamedDataset("svhn", "house numbers, cropped digits (Netzer et al. 2011)", _COLOR,
                     10, 73_257, 26_032, arrays.list_svhn),
        NamedDataset("imagenet", "ILSVRC2012, 1,000 classes (Russakovsky et al. 2015), requires your own copy",
                     (224, 224, 3), 1000, 1_281_167, 50_000, class_folders.list_imagenet, mirror=True),
    )
}  # fmt: skip


def find(data: str, *, progress: Progress = quiet, **location: Any) -> Source:
    """Find what DATA refers to and list its images; an archive is unpacked into the cache and read like a folder.

    `location` are fields of `SourceOptions`, and `progress` is called meanwhile. Raises UsageError if there is no such
    dataset or path, or an option does not apply, and what the readers raise.
    """
    options = SourceOptions(**location)
    base = user_path(options.root, "--root") if options.root else None
    if base is not None and not base.is_dir():
        raise UsageError(f"--root {str(base)!r} is not a folder: expected the base folder of the table's paths.")
    options = replace(options, root=base)
    if data in NAMED:
        tables.refuse_options(data, options)
        return read_named(NAMED[data], _data_dir(options.data_dir))
    path = user_path(data, "DATA")
    if path.is_dir():
        return Source(path.name, _read_folder(path, options, progress))
    suffix = path.suffix.lower()
    if path.is_file() and (suffix in tables.SUFFIXES or (suffix in tables.LISTS and _may_fit(path))):
        split = "train" if layout.split_named(path.stem) == "train" else ""
        return Source(path.stem, tables.read_shards({split: [path]}, options))
    if path.suffix.lower() == ".npz" and path.is_file():
        tables.refuse_options(data, options)
        return Source(path.stem, objects.read_pixels(path))
    noun = describe_file(str(path)) or "an image"
    if noun != "an Office document" and is_archive(path):
        folder = unpacked(path, folder_named_by("DIPTYCH_CACHE"), progress=progress)
        try:
            listing = _read_folder(folder, options)
        except (DataError, UsageError) as error:  # name the file that was given, not the cache
            raise type(error)(str(error).replace(str(folder), str(path))) from error
        return Source(path.stem.removesuffix(".tar"), listing)
    known = f"DATA is one of {', '.join(NAMED)}, or a path: {KINDS}."
    if path.exists():
        hint = ", so its folder is DATA" if noun in ("an IDX file", "a MATLAB file", "a pickle") else ""
        hint = ": save its table as CSV UTF-8" if noun == "an Office document" else hint
        raise UsageError(f"Unsupported data source {data!r}: it is {noun}{hint}. {known}")
    if path.parent.parent.name == objects.FOLDER:
        raise UsageError(f"The Python object in {data!r} was removed from the cache: pass it again as `data`.")
    raise UsageError(f"No dataset, file or folder {data!r}{did_you_mean(data.lower(), NAMED)}. {known}")


def read_named(dataset: NamedDataset, data_dir: Path) -> Source:
    """Read a named dataset, and check its size; a subset of image files is named by its number of classes."""
    folder, name = data_dir / dataset.name, dataset.name
    listing = dataset.read(folder)
    counts, wanted = [len(split) for split in listing.splits.values()], [dataset.num_train, dataset.num_test]
    if isinstance(listing.train.images, np.ndarray):
        shape = listing.train.images.shape[1:]
        if sum(counts) != sum(wanted) or shape != dataset.image_shape:
            found = f"{sum(counts):,} images of {shape}, {name} has {sum(wanted):,} of {dataset.image_shape}"
            raise DataError(f"{str(folder)!r} has {found}: download its files again.")
    elif counts != wanted:
        name = f"{name}-{len(listing.class_names)}"
    return Source(name, listing, dataset.mirror, dataset.image_shape[:2])


def at_hand(data: str, data_dir: Path | None = None) -> bool:
    """Return whether a dataset can be read without downloading anything."""
    if data not in NAMED:
        return os.path.exists(os.path.expanduser(data))  # noqa: PTH110, PTH111  (false if it cannot be searched)
    folder = _data_dir(data_dir) / data
    return data == "digits" or (folder.is_dir() and any(folder.iterdir()))


def absolute(data: str | Path) -> str:
    """Return a path made absolute, or a dataset's name as it is."""
    if str(data) in NAMED:
        return str(data)
    path = user_path(data, "DATA")
    return str(path) if path.exists() else str(data)


def _read_folder(folder: Path, options: SourceOptions, progress: Progress = quiet) -> Listing:
    inside = _unwrap(folder)
    paths = _find_tables(inside)
    metadata = [path for path in paths if path.stem == "metadata"]
    is_tree = not paths or _is_tree(inside, paths)
    # Where there is metadata, folders are no labels for Hugging Face (`datasets`, folder_based_builder).
    use_metadata = metadata and (not is_tree or tables.has_labels(metadata[0], options))
    chosen = metadata if use_metadata else [] if is_tree else paths
    unused = {*_files(inside, tables.SUFFIXES), *paths}.difference(chosen)
    if chosen:
        listing = tables.read_tables(chosen, options)
    else:
        tables.refuse_options(str(folder), options)
        if not (pixels := arrays.list_array_files(inside)):
            unused |= {path for path in _files(inside, _LISTS) if _TELLING.search(path.stem.lower())}
        listing = pixels or class_folders.list_folder(folder, progress)
    where = f"beside {chosen[0].name}" if chosen else "beside class folders"
    findings = [Finding("not-used", f"{path.name}, {where}") for path in sorted(unused)]
    return replace(listing, findings=(*listing.findings, *findings))


def _find_tables(folder: Path) -> list[Path]:
    """Return the Parquet files at the top of a folder or in its `data/`, or else other tables or lists at its top.

    If there are none, those in the folders of splits count. Kaggle's form for predictions is none.
    """
    top = [path for path in _files(folder, tables.SUFFIXES) if "submission" not in path.stem.lower()]
    shards = [path for path in top if path.suffix.lower() == parquet.SUFFIX]
    lists = [path for path in _files(folder, tables.LISTS) if layout.split_named(path.stem) and _may_fit(path)]
    if found := shards or _files(folder / "data", {parquet.SUFFIX}) or top or lists:
        return found
    splits = [folder / name for name in tree.folder_names(folder) if layout.split_named(name)]
    return [path for parent in splits for path in _files(parent, tables.SUFFIXES)]


def _files(folder: Path, suffixes: Set[str]) -> list[Path]:
    if not os.path.isdir(folder):  # noqa: PTH112  (false if it cannot be searched)
        return []
    paths = [Path(entry.path) for entry in tree.visible_entries(folder, ".")]
    return [path for path in paths if path.suffix.lower() in suffixes and path.is_file()]


def _is_tree(folder: Path, paths: Sequence[Path]) -> bool:
    """Return whether a folder with tables holds two class folders; see docs/data.md for what counts as one."""
    fits = any(map(_may_fit, paths))
    try:
        _, found, _ = class_folders.survey(folder)
    except DataError:
        if not fits:
            raise
        return False
    besides = layout.NO_CLASS if fits else {*layout.SPLITS}
    placed = [(path, place[1]) for path in found.filled if (place := found.place_of(path))]
    labels = {label for path, label in placed if path[0] != label or not besides.intersection(layout.words(label))}
    return len(labels) > 1 and (not found.base or len({split for split, _ in found.places.values()}) > 1)


def _may_fit(path: Path) -> bool:
    """Return whether a table is Parquet, or its first lines name an image or are pixels, or cannot be read."""
    try:
        table = None if path.suffix.lower() == parquet.SUFFIX else CsvTable.open(path)
    except DataError:
        return True
    if table is None or table.holds_pixels or any(map(tree.is_image, (*table.columns, *table.first))):
        return True
    names = [cell for one, cell in zip(table.columns, table.first, strict=False) if role_of(one) in ("image", "id")]
    return any(tree.Folder(path.parent).find(name, "") for name in names)


def _unwrap(folder: Path) -> Path:
    """Descend while a folder contains only another one, and no tables."""
    while not _find_tables(folder):
        inside = tree.visible_entries(folder)
        if len(inside) != 1 or not inside[0].is_dir():
            break
        folder = Path(inside[0].path)
    return folder


def _data_dir(given: str | Path | None) -> Path:
    return user_path(given, "--data-dir") if given else folder_named_by("DIPTYCH_DATA")
