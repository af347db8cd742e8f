"""A folder of class folders: `root/<class>/<image>`, or `root/train|val|test/<class>/<image>`; `layout` tells which.

Classes and images are sorted. ILSVRC2012 (ImageNet) is such a folder too: its official validation set is the test
split, and if that is flat, the development kit or Kaggle's CSV has the class of each image. Sources: the kit's
readme.txt; https://www.kaggle.com/c/imagenet-object-localization-challenge/data.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path, PurePath
from unicodedata import normalize

import numpy as np

from diptych.data.archives import Progress, quiet
from diptych.data.readers import Files, ListedSplit, Listing, as_names
from diptych.data.readers.layout import Layout, Parts, find_layout, labels_in
from diptych.data.readers.remote import read_members, stated
from diptych.data.readers.tree import Rest, folder_names, image_names
from diptych.data.rules import Finding
from diptych.errors import DataError, DownloadError, first_of, in_one_line

DEVKIT = "ILSVRC2012_devkit_t12"
DEVKIT_ARCHIVE = f"{DEVKIT}.tar.gz"
SOLUTION = "LOC_val_solution.csv"
_META, _TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
_TREES = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "ILSVRC2012")


def list_folder(root: Path, progress: Progress = quiet) -> Listing:
    """List the images of class folders, which may be divided into splits, and what is left out.

    Raises DataError if there are not two classes, if hardly any file is an image, and see `find_layout`.
    """
    names, layout, rest = survey(root, progress)
    if len(rest.left_out) > max(1000, 5 * len(names)):
        holds = f"it has {len(names):,} images and {rest.describe(lambda folder: True)}"
        raise DataError(f"{str(root)!r} is not a dataset: {holds}. Name the folder that contains the class folders.")
    labels = sorted({label for _, label in layout.places.values()}, reverse=True)
    forms = {normalize("NFC", label): label for label in labels}  # may be composed in one split, not in another
    class_names = sorted(forms.values())
    filled = sorted({place[1] for folder in layout.filled if (place := layout.place_of(folder))})
    if len(filled) < 2:
        wanted = "at least 2 class folders, each with the images of one class"
        others = "".join(f", {found}" for found in filter(None, [rest.describe(lambda _: True)]))
        holds = labels_in(names) or f"It contains {len(names):,} images{others}."
        raise DataError(f"{str(root)!r} must contain {wanted}, got {first_of(filled, 5) or 'none'}. {holds}")
    index, start = {name: number for number, name in enumerate(class_names)}, len("/".join((*layout.base, "")))
    found: dict[str, list[list[str]]] = {split: [[] for _ in index] for split, _ in layout.places.values()}
    for folder, inside in groupby(names, key=_folder):
        if place := layout.place_of(folder):
            found[place[0]][index[forms[normalize("NFC", place[1])]]] += (name[start:] for name in inside)
    inferred = f"{len(class_names)} classes from folder names: {first_of(class_names, 5)}", *layout.inferred
    findings = [Finding("not-used", reason) for reason in layout.unused]
    if left_out := rest.describe(lambda folder: layout.place_of(_folder(f"{folder}/")) is not None):
        findings.append(Finding("left-out", left_out))
    splits = {split: _split_of(root.joinpath(*layout.base), by_class) for split, by_class in found.items()}
    return Listing.of(tuple(class_names), splits, inferred=inferred, findings=tuple(findings))


def survey(root: Path, progress: Progress = quiet) -> tuple[list[str], Layout, Rest]:
    """Return the paths of all images in a folder, what its folders are, and what else is there."""
    rest = Rest([os.path.realpath(root) + "/"], progress=progress)
    names = list(image_names(root, "", rest))
    filled = set(map(_folder, names))
    parents = {folder[:depth] for folder in filled for depth in range(len(folder) + 1)}
    empty = [folder for folder in (_folder(f"{name}/") for name in rest.folders) if folder not in parents]
    return names, find_layout(str(root), filled, empty), rest


def _folder(name: str) -> Parts:
    return tuple(name.split("/")[:-1])


def _split_of(root: Path, names: Sequence[Sequence[str]]) -> ListedSplit:
    """Build a split from the names of each class's images."""
    labels_n = np.repeat(np.arange(len(names), dtype=np.int64), list(map(len, names)))
    names_n = as_names(chain.from_iterable(names))
    return ListedSplit(Files(root, names_n), labels_n, names_n)


def imagenet_names() -> dict[str, str]:
    """Return the first lemma of each of the 1,000 synsets, by WordNet id; if two share it, the id follows."""
    lemmas = dict(stated("imagenet_synsets.txt"))
    count = Counter(lemmas.values())
    return {wnid: lemma if count[lemma] == 1 else f"{lemma} ({wnid})" for wnid, lemma in lemmas.items()}


def list_imagenet(folder: Path) -> Listing:
    """List the images of ILSVRC2012.

    The folder has `train/<WordNet id>/` and `val/` (flat, or divided in the same way), also as Kaggle ships it. It may
    have fewer classes: validation images of other classes are skipped.
    """
    home = next((folder / place for place in _TREES if (folder / place / "train").is_dir()), None)
    if home is None:
        raise DownloadError(
            "ImageNet cannot be downloaded freely: get ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and "
            f"{DEVKIT_ARCHIVE} from https://image-net.org/download-images and unpack them into {str(folder)!r} as "
            "train/<WordNet id>/*.JPEG and val/*.JPEG; put the development kit next to them."
        )
    known, wnids = imagenet_names(), folder_names(home / "train")
    unknown = ", ".join(repr(wnid) for wnid in wnids if wnid not in known)
    if unknown or len(wnids) < 2:
        raise DataError(
            f"{str(home / 'train')!r} has {len(wnids)} classes, unknown: {unknown[:100] or 'none'}. There must be at "
            "least 2 of ILSVRC2012's 1,000, each named by its WordNet id, such as n01440764."
        )
    tested = folder_names(home / "val") if (home / "val").is_dir() else None
    places = {"train": [f"train/{wnid}" for wnid in wnids]}
    if tested:
        places["test"] = [f"val/{wnid}" if wnid in tested else "" for wnid in wnids]
    splits = {
        split: _split_of(home, [list(image_names(home / folder, f"{folder}/")) if folder else [] for folder in folders])
        for split, folders in places.items()
    }
    listing = Listing.of(tuple(known[wnid] for wnid in wnids), splits)
    return listing if tested != [] else replace(listing, test=_list_flat(home, wnids, _read_truth(folder)))


def _list_flat(home: Path, wnids: Sequence[str], truth: Mapping[str, str]) -> ListedSplit:
    """List the images of one folder whose classes are known by their names."""
    names: dict[str, list[str]] = {wnid: [] for wnid in wnids}
    for name in image_names(home / "val", "val/"):
        if (stem := PurePath(name).stem) not in truth:
            raise DataError(f"The class of the validation image {name!r} is not known.")
        names.get(truth[stem], []).append(name)
    return _split_of(home, [*names.values()])


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
