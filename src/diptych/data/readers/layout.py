"""Which folders are splits and which are classes, by the words in their names and by where images are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from os.path import commonprefix
from pathlib import PurePath
from typing import TypeAlias

from diptych.errors import DataError, first_of

Parts: TypeAlias = tuple[str, ...]
"""A folder below the root."""

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Words for splits, as Hugging Face has them: in names of folders and tables, and in split columns."""
NO_CLASS = {*SPLITS, "data", "image", "images", "img", "imgs", "part", "parts"}
"""Names of folders that are not those of classes."""
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
SPLIT = re.compile(rf"({'|'.join(SPLITS)})(set|data|images?|imgs?)?")
_UNLABELED = frozenset("unlabeled unlabelled unsup extra pred predict prediction submission sample samples".split())
_PART = re.compile(r"(part|batch|chunk|shard|session|camera|cam|day|set|group|series)s?[ _-]?\d+", re.IGNORECASE)
_NUMBERED = re.compile(r"(.*?[^ ._-])([ ._-]+\(?|(?<!\d)(?=\d))\d+\)?")


@dataclass(frozen=True)
class Layout:
    """The split and class of each class folder, what was decided, and what is not used.

    `filled` are the folders below `root` that contain images, `empty` those that contain none, at any depth, and `base`
    is the one that all images are below.
    """

    root: str
    filled: Collection[Parts]
    empty: Collection[Parts]
    base: Parts
    places: dict[Parts, tuple[str, str]] = field(default_factory=dict)
    inferred: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def place_of(self, folder: Parts) -> tuple[str, str] | None:
        """Return the split and class of a folder, a class folder or one below it, or None."""
        return next((self.places[folder[:n]] for n in range(len(folder) + 1) if folder[:n] in self.places), None)


def find_layout(root: str, filled: Collection[Parts], empty: Collection[Parts]) -> Layout:
    """Decide what the folders below `root` are, or raise DataError if it is ambiguous; docs/data.md has the rules."""
    base = _common(filled)
    if len({split_named(path[len(base)]) for path in filled if len(path) > len(base)} - {""}) < 2:
        base = base[: next((depth for depth, part in enumerate(base) if split_named(part)), None)]
    depth, inferred = len(base), [f"read from the folder {'/'.join(base)}"] if base else []
    heads = dict[str, list[Parts]]()
    for path in sorted(path for path in filled if len(path) > depth):
        heads.setdefault(path[depth], []).append(path)
    unused = [f"{'/'.join(path)}: no images" for path in empty if len(path) <= depth]
    unused += [f"images beside {', '.join(heads)}"] if heads and base in filled else []
    beside = [path for path in empty if path[:-1] == base]
    layout = Layout(root, filled, empty, base, {}, inferred, unused)
    splits = {name: split for name in heads if (split := split_named(name))}
    divided = [name for name in splits if any(_is_class(part) for path in heads[name] for part in path[depth + 1 :])]
    if divided or len(splits) == len(heads) > 0 or len({*splits.values()}) > 1:
        unused += [f"{path[-1]}: no images" for path in beside]
        if divided:
            _add_splits(layout, heads, divided)
        return layout
    inner = {name: {path[depth + 1] if len(path) > depth + 1 else "" for path in heads[name]} for name in heads}
    sure = [name for name in heads if len({*map(split_named, inner[name])}) > 1 and all(map(split_named, inner[name]))]
    if sure:
        if odd := [name for name in heads if not all(map(split_named, inner[name]))]:
            raise DataError(f"{root!r} has splits inside {sure[0]}, but none in {odd[0]}.")
        inferred.append("splits from folders in each class")
        layout.places.update({path[: depth + 2]: (split_named(path[depth + 1]), path[depth]) for path in filled})
        return layout
    counts = Counter(chain.from_iterable(inner.values()))
    nested = sorted({*counts} - {""})
    trees = [name for name in heads if "" not in inner[name]]
    flat = [name for name in heads if name not in trees and (name in splits or {*words(name)} & _UNLABELED)]
    if trees and flat and len(flat) + len(trees) == len(heads):
        wanted = f"rename {trees[0]} to train, or move {flat[0]} elsewhere"
        raise DataError(f"{root!r} has class folders in {trees[0]}, but only images in {flat[0]}: {wanted}.")
    _refuse_again(root, [*chain.from_iterable(heads.values())], depth)
    if len(heads) > 1 and (odd := [name for name in heads if name.lower() in NO_CLASS and name not in splits]):
        wanted = "name folders after classes, or use the one that contains class folders as DATA"
        raise DataError(f"{root!r} has the folders {first_of([*heads])}, and {odd[0]} names no class: {wanted}.")
    recur = 1 < len(trees) == len(heads) < 2 * min(counts.values())
    if recur and len(nested) > 1 and not all(map(_PART.fullmatch, nested)):
        of_inner = f"if {nested[0]} is a class, use one of {first_of(trees)} as DATA, or merge them"
        of_outer = f"if {trees[0]} is one, move the images of its folders into {trees[0]} itself"
        most = f"most of them with the folders {first_of(nested)}"
        raise DataError(f"{root!r} has {first_of(trees)}, {most}: {of_inner}; {of_outer}.")
    inferred += [f"folders in classes are part of them: {first_of(nested, 5)}"] if nested else []
    layout.places.update({(*base, name): ("train", name) for name in sorted([*heads, *(path[-1] for path in beside)])})
    return layout


def _add_splits(layout: Layout, heads: Mapping[str, Sequence[Parts]], divided: Sequence[str]) -> None:
    """Add the class folders in folders that are named after splits, and say what is beside them."""
    depth, known, used = len(layout.base) + 1, set[str](), dict[str, str]()
    for name in sorted(divided, key=lambda name: split_named(name) != "train"):
        inside = [path for path in heads[name] if len(path) > depth]
        prefix = _common(inside)
        prefix = prefix[:depth] if known & {*prefix[depth:]} else prefix
        if (before := used.setdefault(split_named(name), name)) != name:
            raise DataError(f"{layout.root!r} has both {before} and {name}: keep one of them.")
        _refuse_again(layout.root, inside, len(prefix))
        for path in (*inside, *(path for path in layout.empty if path[:-1] == prefix)):
            layout.places[path[: len(prefix) + 1]] = split_named(name), path[len(prefix)]
        known |= {path[len(prefix)] for path in inside}
        layout.unused.extend([f"images beside the class folders in {name}"] if len(inside) < len(heads[name]) else [])
    for name in [name for name in heads if name not in divided]:
        is_split = known & {path[depth] for path in heads[name] if len(path) > depth}
        if not split_named(name) and (is_split or (len(used) < 2 and not {*words(name)} & _UNLABELED)):
            wanted = f"name it after a split ({', '.join(SPLITS)}), or move it elsewhere"
            beside = f"but {', '.join(divided)} beside it, with class folders inside, is: {wanted}"
            raise DataError(f"'{'/'.join((layout.root, *layout.base, name))}' is not a split, {beside}.")
        why = " without class folders, so without labels" if split_named(name) else ", but the name of no split"
        layout.unused.append(f"{name}: images{why}")
    layout.inferred.append(f"splits from folders {', '.join(f'{used[split]} ({split})' for split in used)}")


def _refuse_again(root: str, paths: Sequence[Parts], depth: int) -> None:
    """Raise an error if a class folder contains a folder named like another class."""
    names = {path[depth] for path in paths}
    for path in paths:
        if not names.isdisjoint({*path[depth + 1 : depth + 2]} - {path[depth]}):
            again = f"'{root}/{'/'.join(path[: depth + 1])}' is beside folders that it contains again"
            raise DataError(f"{again}, such as {path[depth + 1]}: move it elsewhere.")


def labels_in(names: Sequence[str]) -> str:
    """Return what to do with files if their names seem to carry labels, or ""."""
    by_folder = dict[str, list[str]]()
    for name in names:
        by_folder.setdefault(name.rpartition("/")[0], []).append(name)
    for some in by_folder.values():
        labels = Counter(match[1] for name in some if (match := _NUMBERED.fullmatch(PurePath(name).stem)))
        if labels.total() >= 0.9 * len(some) and 1 < len(labels) <= len(some) / 2:
            counts = first_of([f"{count:,} × {label!r}" for label, count in labels.items()], 5)
            fix = "move those of each label into a folder of its own, or list them in a CSV with the columns path,label"
            return f"The names of files seem to carry labels ({counts}, as in {some[0]!r}): {fix}."
    return ""


def _common(paths: Collection[Parts]) -> Parts:
    """Return the folder that all paths are below."""
    return tuple(commonprefix([*paths])[: max(min(map(len, paths), default=0) - 1, 0)])  # noqa: RUF071  (of tuples)


def _is_class(name: str) -> bool:
    """Return whether a folder in one of a split may be that of a class."""
    return name.lower() not in NO_CLASS and not split_named(name)


def words(name: str) -> list[str]:
    """Return the words of a name, in lower case."""
    return [word.lower() for word in _WORD.findall(name)]


def split_named(name: str) -> str:
    """Return the split that a word of a name means; "" if none does, or several differ."""
    splits = {SPLITS[match[1]] for word in words(name) if (match := SPLIT.fullmatch(word))}
    return splits.pop() if len(splits) == 1 else ""
