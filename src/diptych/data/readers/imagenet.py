"""ILSVRC2012, known as ImageNet: a tree of class folders that somebody unpacked.

Images come in the order of (class, name). The official validation set is what everybody tests with: it is the test
split. If its folder is flat, the development kit or Kaggle's CSV says the class of each image. Sources: the kit's
readme.txt; https://www.kaggle.com/c/imagenet-object-localization-challenge/data.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from diptych.data.readers import Files, ListedSplit, Listing, as_names
from diptych.data.readers.folder import image_names
from diptych.data.readers.remote import read_members
from diptych.errors import DataError, DownloadError, in_one_line

DEVKIT = "ILSVRC2012_devkit_t12"
DEVKIT_ARCHIVE = f"{DEVKIT}.tar.gz"
SOLUTION = "LOC_val_solution.csv"
_META, _TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
_TREES = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "ILSVRC2012")


def class_names() -> dict[str, str]:
    """Return the first lemma of each of the 1,000 synsets, by WordNet id; two that share it have the id behind it."""
    text = resources.files("diptych.data").joinpath("imagenet_synsets.txt").read_text(encoding="utf-8")
    lemmas = dict(line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    count = Counter(lemmas.values())
    return {wnid: lemma if count[lemma] == 1 else f"{lemma} ({wnid})" for wnid, lemma in lemmas.items()}


def list_imagenet(folder: Path) -> Listing:
    """List the images of ILSVRC2012.

    The folder has `train/<WordNet id>/` and `val/` (flat, or divided in the same way), also as Kaggle ships it. It may
    have fewer classes: validation images of other classes are skipped.
    """
    trees = [folder / place for place in _TREES if (folder / place / "train").is_dir()]
    if not trees:
        raise DownloadError(
            "ImageNet cannot be downloaded freely: get ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and "
            f"{DEVKIT_ARCHIVE} from https://image-net.org/download-images and unpack them into {str(folder)!r} as "
            "train/<WordNet id>/*.JPEG and val/*.JPEG; leave the development kit beside them."
        )
    tree = trees[0]
    names = list(image_names(tree / "train", "train/"))
    wnids = [name.split("/")[1] for name in names]
    classes = _classes(wnids, str(tree / "train"))
    splits = {"train": _listed(tree, names, wnids, classes)}
    validation = next((place for place in ("val", "validation") if (tree / place).is_dir()), None)
    if validation:
        names = list(image_names(tree / validation, f"{validation}/"))
        is_divided = all(name.count("/") > 1 for name in names)
        wnids = [name.split("/")[1] for name in names] if is_divided else _wnids_of(names, folder)
        if missing := sorted(classes.keys() - set(wnids)):
            raise DataError(f"{str(tree)!r} has no validation images of {', '.join(missing[:3])}: add some of each.")
        splits["test"] = _listed(tree, names, wnids, classes)
    return Listing.of(tuple(classes.values()), splits)


def _classes(wnids: list[str], where: str) -> dict[str, str]:
    """Return the classes' names by WordNet id, in the order of the ids."""
    known, ids = class_names(), sorted(set(wnids))
    unknown = [wnid for wnid in ids if wnid not in known]
    if unknown or len(ids) < 2:
        raise DataError(
            f"{where!r} has {len(ids)} classes, unknown: {', '.join(map(repr, unknown[:3])) or 'none'}. There must be "
            "at least 2 of ILSVRC2012's 1,000, each named by its WordNet id, such as n01440764."
        )
    return {wnid: known[wnid] for wnid in ids}


def _listed(tree: Path, names: list[str], wnids: list[str], classes: Mapping[str, str]) -> ListedSplit:
    """Return the images of the classes, in the order of (class, name)."""
    number_of = {wnid: number for number, wnid in enumerate(classes)}
    labels_n = np.array([number_of.get(wnid, -1) for wnid in wnids], dtype=np.int64)
    order = np.lexsort((as_names(name.rpartition("/")[2] for name in names), labels_n))
    order = order[labels_n[order] >= 0]
    names_n = as_names(names)[order]
    return ListedSplit(Files(tree, names_n), labels_n[order], names_n)


def _wnids_of(names: list[str], folder: Path) -> list[str]:
    """Return the WordNet id of each validation image."""
    truth = _read_truth(folder)
    if truth is None:
        raise DownloadError(
            f"Nothing in {str(folder)!r} says the classes of the validation images: put {DEVKIT_ARCHIVE} or "
            f"{SOLUTION} there."
        )
    wnids = [truth.get(name.rpartition("/")[2].partition(".")[0], "") for name in names]
    if "" in wnids:
        raise DataError(f"The class of the validation image {names[wnids.index('')]!r} is not known.")
    return wnids


def _read_truth(folder: Path) -> dict[str, str] | None:
    """Return the WordNet id of each validation image, by its name without suffix, if some file says it."""
    if (folder / DEVKIT_ARCHIVE).is_file():
        members = read_members(folder / DEVKIT_ARCHIVE, [f"{DEVKIT}/{_META}", f"{DEVKIT}/{_TRUTH}"])
        return _parse_devkit(members, str(folder / DEVKIT_ARCHIVE))
    for kit in (folder / DEVKIT, folder):
        if (kit / _TRUTH).is_file():
            return _parse_devkit(read_members(kit, [_META, _TRUTH]), str(kit))
    return _parse_solution(folder / SOLUTION) if (folder / SOLUTION).is_file() else None


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
