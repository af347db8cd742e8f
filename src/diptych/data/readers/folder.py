"""A folder of class folders: `root/<class>/<image>`, or `root/train|val|test/<class>/<image>`.

Classes and images are sorted. ILSVRC2012 (ImageNet) is such a folder too: its official validation set is the test
split, and if that is flat, the development kit or Kaggle's CSV has the class of each image. Sources: the kit's
readme.txt; https://www.kaggle.com/c/imagenet-object-localization-challenge/data.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import resources
from itertools import chain
from pathlib import Path, PurePath

import numpy as np

from diptych.data.decode import SUFFIXES
from diptych.data.paths import as_text
from diptych.data.readers import Files, ListedSplit, Listing, as_names
from diptych.data.readers.remote import read_members
from diptych.errors import DataError, DownloadError, in_one_line

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Names of splits: of folders, in the names of tables, and in their split columns."""
_RUN_FILES = ("run.json", "findings.json", "comparison.json")

DEVKIT = "ILSVRC2012_devkit_t12"
DEVKIT_ARCHIVE = f"{DEVKIT}.tar.gz"
SOLUTION = "LOC_val_solution.csv"
_META, _TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
_TREES = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "ILSVRC2012")


def list_folder(root: Path) -> Listing:
    """List the images of a folder; it is divided into splits if it has a folder `train` that holds folders.

    Raises:
        DataError: there are not two classes, or a split has no images of one.
    """
    return _complete(survey_folder(root, any_kind=False), root, _split_folders(root))


def survey_folder(root: Path, *, any_kind: bool = True) -> Listing:
    """List everything in a folder that is named like an image, with classes that are empty or not in every split."""
    folders = _split_folders(root)
    class_names = tuple(sorted({name for folder in folders.values() for name in folder_names(root / folder)}))
    if len(class_names) < 2:
        wanted = "at least 2 class folders, each with the images of one class"
        raise DataError(f"{str(root)!r} must contain {wanted}, got {len(class_names)}.")
    return _list_classes(root, folders, class_names, any_kind=any_kind)


def _list_classes(
    root: Path, folders: Mapping[str, str], class_names: Sequence[str], *, any_kind: bool = False
) -> Listing:
    """List the class folders in the folder of each split."""
    splits = {}
    for split, folder in folders.items():
        paths = [f"{folder}/{name}".lstrip("/") for name in class_names]
        names = [
            list(image_names(root / path, f"{path}/", any_kind=any_kind)) if (root / path).is_dir() else []
            for path in paths
        ]
        splits[split] = _split_of(root, names)
    return Listing.of(tuple(class_names), splits)


def _split_of(root: Path, names: Sequence[Sequence[str]]) -> ListedSplit:
    """Build a split from the names of each class's images."""
    labels_n = np.repeat(np.arange(len(names), dtype=np.int64), list(map(len, names)))
    names_n = as_names(chain.from_iterable(names))
    return ListedSplit(Files(root, names_n), labels_n, names_n)


def _complete(listing: Listing, root: Path, folders: Mapping[str, str]) -> Listing:
    """Return the listing if it has images of every class in every split."""
    for split, listed in listing.splits.items():
        counts = np.bincount(listed.labels, minlength=len(listing.class_names))
        if not counts.all():
            path = root / folders[split] / listing.class_names[int(counts.argmin())]
            suffixes = ", ".join(sorted(SUFFIXES))
            raise DataError(f"Class folder {str(path)!r} has no images ({suffixes}): every split needs every class.")
    return listing


def folder_names(root: Path) -> list[str]:
    """Return the folders in a folder, sorted, without hidden ones and those of runs."""
    entries = [entry for entry in visible_entries(root) if os.path.isdir(entry.path)]  # noqa: PTH112
    return [as_text(entry.path, entry.name) for entry in entries if not _holds_runs(entry.path)]


def image_names(folder: Path | str, prefix: str = "", *, any_kind: bool = False) -> Iterator[str]:
    """Yield `prefix` and the path below a folder, with `/`, of each image in it, sorted by their parts.

    Links to files are followed, links to folders are not, so that nothing occurs twice and no search loops. With
    `any_kind`, everything that is named like an image counts, even a folder or a dangling link.
    """
    waiting = [(entry, prefix) for entry in reversed(visible_entries(folder))]  # folders may be nested a thousand deep
    while waiting:
        entry, prefix = waiting.pop()
        if is_image(entry.name) and (
            any_kind or entry.is_file(follow_symlinks=False) or os.path.isfile(entry.path)  # noqa: PTH113  (a link)
        ):
            yield as_text(entry.path, prefix + entry.name)
        elif entry.is_dir(follow_symlinks=False):
            waiting += [(inner, f"{prefix}{entry.name}/") for inner in reversed(visible_entries(entry.path))]


def by_path(names: Sequence[str]) -> list[int]:
    """Return the indices of paths, with `/`, in the order in which `image_names` would yield them."""
    return sorted(range(len(names)), key=[name.replace("/", "\0") for name in names].__getitem__)


def _split_folders(root: Path) -> dict[str, str]:
    """Return each split's folder below the root; everything is train if there is no folder of that name."""
    names = folder_names(root)
    if "train" not in names or not folder_names(root / "train"):
        return {"train": ""}
    folders = {"train": "train"}
    for name in names:
        split = SPLITS.get(name)
        if split is None:
            known = ", ".join(SPLITS)
            raise DataError(f"{str(root / name)!r} is not a split: the folders next to train must be named {known}.")
        if folders.setdefault(split, name) != name:
            raise DataError(f"{str(root)!r} has both {folders[split]} and {name}: keep one of them.")
    return folders


def _holds_runs(folder: str) -> bool:
    """Return whether a folder contains diptych's runs, comparisons or checks, as `runs/` does."""
    with suppress(OSError), os.scandir(folder) as entries:  # `visible_entries` reports the error
        for entry in entries:
            if is_image(entry.name):
                return False
            if any(os.path.isfile(f"{entry.path}/{name}") for name in _RUN_FILES):  # noqa: PTH113
                return True
    return False


def visible_entries(root: Path | str) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, without hidden ones, sorted by name."""
    try:
        with os.scandir(root) as entries:
            return sorted((one for one in entries if not one.name.startswith((".", "_"))), key=lambda one: one.name)
    except OSError as error:
        raise DataError(f"Cannot read {str(root)!r:.200}: {error.strerror}.") from error


def is_image(name: str) -> bool:
    """Return whether a name ends like that of an image file."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  (a Path for every file takes longer)


def imagenet_names() -> dict[str, str]:
    """Return the first lemma of each of the 1,000 synsets, by WordNet id; if two share it, the id follows."""
    text = resources.files("diptych.data").joinpath("imagenet_synsets.txt").read_text(encoding="utf-8")
    lemmas = dict(line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    count = Counter(lemmas.values())
    return {wnid: lemma if count[lemma] == 1 else f"{lemma} ({wnid})" for wnid, lemma in lemmas.items()}


def list_imagenet(folder: Path) -> Listing:
    """List the images of ILSVRC2012.

    The folder has `train/<WordNet id>/` and `val/` (flat, or divided in the same way), also as Kaggle ships it. It may
    have fewer classes: validation images of other classes are skipped.
    """
    tree = next((folder / place for place in _TREES if (folder / place / "train").is_dir()), None)
    if tree is None:
        raise DownloadError(
            "ImageNet cannot be downloaded freely: get ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and "
            f"{DEVKIT_ARCHIVE} from https://image-net.org/download-images and unpack them into {str(folder)!r} as "
            "train/<WordNet id>/*.JPEG and val/*.JPEG; put the development kit next to them."
        )
    known, wnids = imagenet_names(), folder_names(tree / "train")
    unknown = ", ".join(repr(wnid) for wnid in wnids if wnid not in known)
    if unknown or len(wnids) < 2:
        raise DataError(
            f"{str(tree / 'train')!r} has {len(wnids)} classes, unknown: {unknown[:100] or 'none'}. There must be at "
            "least 2 of ILSVRC2012's 1,000, each named by its WordNet id, such as n01440764."
        )
    folders = {"train": "train"} | ({"test": "val"} if (tree / "val").is_dir() else {})
    listing = _list_classes(tree, folders, wnids)
    if "test" in folders and not folder_names(tree / "val"):
        listing = replace(listing, test=_list_flat(tree, wnids, _read_truth(folder)))
    return replace(_complete(listing, tree, folders), class_names=tuple(known[wnid] for wnid in wnids))


def _list_flat(tree: Path, wnids: Sequence[str], truth: Mapping[str, str]) -> ListedSplit:
    """List the images of one folder whose classes are known by their names."""
    names: dict[str, list[str]] = {wnid: [] for wnid in wnids}
    for name in image_names(tree / "val", "val/"):
        if (stem := PurePath(name).stem) not in truth:
            raise DataError(f"The class of the validation image {name!r} is not known.")
        names.get(truth[stem], []).append(name)
    return _split_of(tree, [*names.values()])


def _read_truth(folder: Path) -> dict[str, str]:
    """Return the WordNet id of each validation image, by its name without suffix."""
    for kit in (folder / DEVKIT_ARCHIVE, folder):
        if kit.is_file() or (kit / f"{DEVKIT}/{_TRUTH}").is_file():
            return _parse_devkit(read_members(kit, [f"{DEVKIT}/{_META}", f"{DEVKIT}/{_TRUTH}"]), str(kit))
    if (folder / SOLUTION).is_file():
        return _parse_solution(folder / SOLUTION)
    wanted = f"put {DEVKIT_ARCHIVE} or {SOLUTION} there"
    raise DownloadError(f"Cannot find the classes of the validation images in {str(folder)!r}: {wanted}.")


def _parse_devkit(members: Sequence[bytes], name: str) -> dict[str, str]:
    from scipy.io import loadmat  # slow to import

    meta, truth = members
    try:
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        rows = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], synsets["num_children"], strict=True)
        wnid_of = {str(int(number)): str(wnid) for number, wnid, num_children in rows if not num_children}
    except Exception as error:  # a damaged file may raise anything
        raise DataError(f"{name!r} is damaged: {_META} cannot be read ({in_one_line(error)}).") from error
    wnids = {}
    for number, synset in enumerate(truth.decode("ascii", "replace").split(), 1):
        if synset not in wnid_of:
            raise DataError(f"{name!r} is damaged: validation image {number} has the synset {synset[:20]!r}.")
        wnids[f"ILSVRC2012_val_{number:08}"] = wnid_of[synset]
    return wnids


def _parse_solution(path: Path) -> dict[str, str]:
    wnids = {}
    (content,) = read_members(path.parent, [path.name])
    for number, row in enumerate(csv.reader(content.decode("utf-8-sig", "replace").splitlines()), 1):
        if number == 1 or not row:
            continue
        if len(row) != 2 or not row[1].split():
            raise DataError(f"{str(path)!r}, line {number}: expected ImageId,PredictionString.")
        wnids[row[0]] = row[1].split()[0]
    return wnids
