"""ILSVRC2012, known as ImageNet: its official archives as they are, or a tree that somebody unpacked.

The archives are read where they lie. Images come in the order of (class, name) either way, so that a tree and the
archives have one fingerprint. The official validation set is what everybody tests with: it is the test split.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import wrap_file

from diptych.artifacts.store import read_npz, write_npz
from diptych.data.listing import Files, Listed, Listing, Names, as_names
from diptych.data.readers import devkit
from diptych.data.readers.folder import image_names
from diptych.data.readers.tarred import Tarred, find_images
from diptych.data.rows import cache_dir
from diptych.errors import ArtifactError, DataError, DownloadError

_TREES = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "ILSVRC2012")
_SUFFIX = ".jpeg"


@dataclass(frozen=True)
class Pins:
    """What the official archives are: the images' by name, size and SHA-256, the development kit by its SHA-256."""

    train: tuple[str, int, str]
    validation: tuple[str, int, str]
    devkit_sha256: str


def class_names() -> dict[str, str]:
    """The first lemma of each of the 1,000 synsets, by WordNet id; two that share it have the id behind it."""
    text = resources.files("diptych.data").joinpath("imagenet_synsets.txt").read_text(encoding="utf-8")
    lemmas = dict(line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    count = Counter(lemmas.values())
    return {wnid: lemma if count[lemma] == 1 else f"{lemma} ({wnid})" for wnid, lemma in lemmas.items()}


def read_imagenet(folder: Path, pins: Pins) -> Listing:
    """Find the images of ILSVRC2012.

    Args:
        folder: what holds `train/<WordNet id>/` and `val/` (flat, or divided in the same way), also as Kaggle ships
            it; or else the official archives. A tree may hold fewer classes: validation images of others are left out.
        pins: what the archives are.

    Raises:
        DownloadError: neither is there, or an archive is not the official one.
        DataError: a folder that is no class, a class without images, or nothing that says what a flat `val/` shows.
    """
    for place in _TREES:
        if (folder / place / "train").is_dir():
            return _read_tree(folder / place, folder)
    if (folder / pins.train[0]).is_file():
        return _read_archives(folder, pins)
    raise DownloadError(
        f"ImageNet may not be passed on: get {pins.train[0]}, {pins.validation[0]} and {devkit.ARCHIVE} from "
        f"https://image-net.org/download-images and put them into {str(folder)!r}, or unpack them there as "
        "train/<WordNet id>/*.JPEG and val/<WordNet id>/*.JPEG."
    )


def _read_tree(tree: Path, folder: Path) -> Listing:
    names = list(image_names(tree / "train", "train/"))
    wnids = [name.split("/")[1] for name in names]
    classes = _classes(wnids, str(tree / "train"))
    train = _listed(Files(tree, as_names(names)), wnids, classes)
    validation = next((place for place in ("val", "validation") if (tree / place).is_dir()), None)
    if validation is None:
        return Listing(tuple(classes.values()), train)
    names = list(image_names(tree / validation, f"{validation}/"))
    if all(name.count("/") > 1 for name in names):
        wnids = [name.split("/")[1] for name in names]
    else:
        wnids = _wnids_of(names, folder)
    return Listing(tuple(classes.values()), train, test=_test(Files(tree, as_names(names)), wnids, classes, tree))


def _read_archives(folder: Path, pins: Pins) -> Listing:
    train = _indexed(folder, *pins.train)
    wnids = [name.partition("/")[0] for name in train.names.tolist()]
    classes = _classes(wnids, str(train.archive))
    validation = _indexed(folder, *pins.validation)
    if (folder / devkit.ARCHIVE).is_file():
        _check_digest(folder / devkit.ARCHIVE, pins.devkit_sha256)
    validation_wnids = _wnids_of(validation.names.tolist(), folder)
    return Listing(
        tuple(classes.values()),
        _listed(train, wnids, classes, "train/"),
        test=_test(validation, validation_wnids, classes, folder, "val/"),
    )


def _classes(wnids: list[str], where: str) -> dict[str, str]:
    """The classes' names by WordNet id, in the order of the ids."""
    known, found = class_names(), sorted(set(wnids))
    unknown = [wnid for wnid in found if wnid not in known]
    if unknown or len(found) < 2:
        raise DataError(
            f"{where!r} holds {len(found)} classes, among them {', '.join(map(repr, unknown[:3])) or 'none unknown'}: "
            "wanted at least 2 of ILSVRC2012's 1,000, each called by its WordNet id, such as n01440764."
        )
    return {wnid: known[wnid] for wnid in found}


def _wnids_of(names: list[str], folder: Path) -> list[str]:
    truth = devkit.read_truth(folder)
    if truth is None:
        raise DownloadError(
            f"Nothing in {str(folder)!r} says what the validation images show: put {devkit.ARCHIVE} or "
            f"{devkit.SOLUTION} there."
        )
    wnids = [truth.get(_stem(name), "") for name in names]
    if "" in wnids:
        raise DataError(f"Nothing says of which class the validation image {names[wnids.index('')]!r} is.")
    return wnids


def _stem(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0]


def _test(
    encoded: Files | Tarred, wnids: list[str], classes: Mapping[str, str], where: Path, prefix: str = ""
) -> Listed:
    missing = sorted(classes.keys() - set(wnids))
    if missing:
        raise DataError(f"{str(where)!r} holds no validation images of {', '.join(missing[:3])}: wanted some of each.")
    return _listed(encoded, wnids, classes, prefix)


def _listed(encoded: Files | Tarred, wnids: list[str], classes: Mapping[str, str], prefix: str = "") -> Listed:
    """The images of the classes, in the order of (class, name)."""
    place_of = {wnid: place for place, wnid in enumerate(classes)}
    labels_n = np.array([place_of.get(wnid, -1) for wnid in wnids], dtype=np.int64)
    stems = as_names(name.rpartition("/")[2] for name in encoded.names.tolist())
    order = np.lexsort((stems, labels_n))
    order = order[labels_n[order] >= 0]
    chosen = encoded.take(order) if isinstance(encoded, Tarred) else Files(encoded.root, encoded.names[order])
    return Listed(chosen, labels_n[order], _ids(encoded.names[order], prefix))


def _ids(names: Names, prefix: str) -> Names:
    return np.strings.add(prefix, names) if prefix else names


def _indexed(folder: Path, name: str, size: int, sha256: str) -> Tarred:
    """The images of an archive; they are looked for once, when it is also compared with its pin."""
    path = folder / name
    if not path.is_file():
        raise DownloadError(f"{str(path)!r} is missing: put it there, from https://image-net.org/download-images.")
    if path.stat().st_size != size:
        raise DownloadError(
            f"{str(path)!r} is not the official file: it has {path.stat().st_size:,} bytes of {size:,}."
        )
    kept = cache_dir() / "imagenet" / f"{sha256}.npz"
    try:
        index = read_npz(kept)
        return Tarred(path, as_names(index["names"].tolist()), index["offsets"], index["sizes"])
    except (ArtifactError, KeyError):  # none yet, or a damaged one
        _check_digest(path, sha256)
    found = find_images(path, _SUFFIX)
    write_npz(kept, {"names": found.names, "offsets": found.offsets, "sizes": found.sizes})
    return found


def _check_digest(path: Path, sha256: str) -> None:
    with path.open("rb") as raw:
        size, is_quiet = path.stat().st_size, not sys.stderr.isatty()
        with wrap_file(
            raw, size, description=f"Checking {path.name}", console=Console(stderr=True), disable=is_quiet
        ) as shown:
            digest = hashlib.sha256()
            for chunk in iter(lambda: shown.read(2**20), b""):
                digest.update(chunk)
    if digest.hexdigest() != sha256:
        found = digest.hexdigest()
        raise DownloadError(f"{str(path)!r} is not the official file: its sha256 is {found}, wanted {sha256}.")
