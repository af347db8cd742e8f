"""The image files in a folder, by name or first bytes, what is left out, and which of them a table names."""

from __future__ import annotations

import os
import posixpath
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from unicodedata import normalize

from diptych.data.paths import as_text, escape
from diptych.data.readers.labels import whole
from diptych.data.readers.layout import split_named
from diptych.data.signatures import SUFFIXES, describe_file
from diptych.errors import DataError

_JUNK = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "__pycache__"))
_RUN_FILES = ("run.json", "findings.json", "comparison.json")


@dataclass
class Rest:
    """What `image_names` finds besides images: folders, and what it leaves out, as (folder, what it is, its suffix).

    `covered` are the folders that it reads, with `/` at the end, so that links do not lead to them again.
    """

    covered: list[str]
    folders: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    progress: Callable[[str, int, int], None] = lambda doing, done, total: None

    def enters(self, link: str) -> bool:
        """Return whether a link leads to a folder that shares nothing with those covered, which it then joins."""
        target = os.path.realpath(link) + "/"
        if any(target.startswith(one) or one.startswith(target) for one in self.covered):
            return False
        self.covered.append(target)
        return True

    def describe(self, counts: Callable[[str], bool]) -> str:
        """Return "2 text files (.md, .txt), 1 video (.mp4)" for what is left out of folders that count."""
        kinds = dict[str, Counter[str]]()
        for folder, noun, suffix in self.left_out:
            if counts(folder) or noun.startswith("a folder"):
                kinds.setdefault(noun.partition(" ")[2], Counter())[suffix] += 1
        return ", ".join(
            f"{suffixes.total():,} {noun}{'s' * (suffixes.total() > 1)}"
            + (f" ({', '.join(sorted(filter(None, suffixes))[:3])})" if any(suffixes) else "")
            for noun, suffixes in sorted(kinds.items())
        )


def folder_names(root: Path) -> list[str]:
    """Return the folders in a folder, sorted, without hidden ones and those of runs."""
    entries = [entry for entry in visible_entries(root) if os.path.isdir(entry.path)]  # noqa: PTH112
    return [as_text(entry.path, entry.name) for entry in entries if not _holds_runs(entry.path)]


def image_names(folder: Path | str, prefix: str = "", rest: Rest | None = None) -> Iterator[str]:
    """Yield `prefix` and the path below a folder, with `/`, of each image in it, sorted by their parts.

    Whatever is named like an image counts, even a dangling link; of other files, the first bytes decide. Links to
    files are followed, and links to folders if these are nowhere else in the data. What is left out is added to `rest`.
    """
    rest = Rest([os.path.realpath(folder) + "/"]) if rest is None else rest
    waiting = [(entry, prefix) for entry in reversed(visible_entries(folder, "."))]  # may be nested a thousand deep
    numbers = count(1)
    while waiting:
        entry, prefix = waiting.pop()
        if (number := next(numbers)) % 1000 == 0:
            rest.progress("Listing", number, 0)
        name, is_link, noun = prefix + entry.name, entry.is_symlink(), ""
        if entry.is_dir(follow_symlinks=False) or (is_link and os.path.isdir(entry.path)):  # noqa: PTH112
            inside = visible_entries(entry.path, ".")
            if entry.name.startswith("_") or (is_link and not rest.enters(entry.path)):
                noun = "a folder link" if is_link else "a folder that begins with _"
            elif inside or not is_image(entry.name):
                if not _holds_runs(entry.path):
                    rest.folders.append(as_text(entry.path, name))
                    waiting += [(inner, f"{name}/") for inner in reversed(inside)]
                continue
        else:
            noun = describe_file(entry.path)
        if noun:
            rest.left_out.append((prefix[:-1], noun, os.path.splitext(name)[1].lower()))  # noqa: PTH122
        else:
            yield as_text(entry.path, name)


def by_path(names: Sequence[str]) -> list[int]:
    """Return the indices of paths, with `/`, in the order in which `image_names` would yield them."""
    return sorted(range(len(names)), key=[name.replace("/", "\0") for name in names].__getitem__)


def _holds_runs(folder: str) -> bool:
    """Return whether a folder contains diptych's runs, comparisons or checks, as `runs/` does."""
    with suppress(OSError), os.scandir(folder) as entries:  # `visible_entries` reports the error
        for entry in entries:
            if is_image(entry.name):
                return False
            if any(os.path.isfile(f"{entry.path}/{name}") for name in _RUN_FILES):  # noqa: PTH113
                return True
    return False


def visible_entries(root: Path | str, hidden: str = "._") -> list[os.DirEntry[str]]:
    """Return the entries of a folder, without those whose names start like hidden ones, sorted by name."""
    try:
        with os.scandir(root) as entries:
            visible = (one for one in entries if not one.name.startswith((*hidden,)) and one.name.lower() not in _JUNK)
            return sorted(visible, key=lambda one: one.name)
    except OSError as error:
        raise DataError(f"Cannot read {str(root)!r:.200}: {error.strerror}.") from error


def is_image(name: str) -> bool:
    """Return whether a name ends like that of an image file."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  (a Path for every file takes longer)


@dataclass
class Folder:
    """A folder of images, which is searched once, if paths do not name them in full."""

    root: Path

    @cached_property
    def images(self) -> dict[str, list[str]]:
        """The paths of all images by name, with and without suffix, also in lower case; the least deep ones first."""
        found: dict[str, list[str]] = defaultdict(list)
        for path in sorted(image_names(self.root), key=lambda path: path.count("/")):
            base = posixpath.basename(path)
            for key in {one for name in (base, posixpath.splitext(base)[0]) for one in (name, name.lower())}:
                found[key].append(path)
        return found

    def has(self, name: str) -> bool:
        """Return whether a path is that of a file in this folder."""
        return not escape(name) and os.path.isfile(self.root / name)  # noqa: PTH113  (false for a name too long)

    def find(self, name: str, split: str) -> list[str]:
        """Return the images that a path may mean: as `7` or `/my/images/7.png` may mean `images/7.png`."""
        parent, _, base = f"/{name}".rpartition("/")
        for key in (base, base.lower(), whole(base)):
            ranks = dict[str, tuple[int, int]]()
            for path in self.images.get(key, ()):
                ends, num = (f"/{path}".rpartition("/")[0] + "/", f"{parent}/"), path.count("/")
                is_alike = ends[0].endswith(ends[1]) or ends[1].endswith(ends[0])
                if is_alike and (not split or (split_named(path.split("/")[0]) or split) == split):
                    ranks[path] = (
                        -min(num, parent.count("/")),
                        num,
                    )  # the most folders in common, then the fewest others
            if ranks:
                return [path for path, rank in ranks.items() if rank == min(ranks.values())]
        return []

    def left_out(self, names: Sequence[str]) -> list[str]:
        """Return the images that are not among `names`, in the folders of these."""
        known = set(names)
        folders = [one for one in {*map(posixpath.dirname, names)} if os.path.isdir(self.root / one)]  # noqa: PTH112
        files = [posixpath.join(one, entry.name) for one in folders for entry in visible_entries(self.root / one)]
        return sorted(file for file in files if is_image(file) and file not in known and self.has(file))


def locate(folder: Folder, texts: Sequence[str], splits: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the path of each image in a folder, in normal form, and what was inferred, as clauses.

    Paths are taken as they are if any of them is a file; then a missing file is one that cannot be read. If there is
    none, all may lack a suffix or folders (not those of another split), or begin with folders of another machine. Names
    may be composed or decomposed Unicode. Raises DataError if two files fit a path.
    """
    names = [text.replace("\\", "/") for text in texts]
    names = [name if escape(name) else posixpath.normpath(name) for name in names]
    forms = {name: [name, normalize("NFC", name), normalize("NFD", name)] for name in names if not name.isascii()}
    names = [next(filter(folder.has, forms[name]), name) if name in forms else name for name in names]
    if any(map(folder.has, names)):
        return names, []
    found = [[] if ".." in name else folder.find(name, split) for name, split in zip(names, splits, strict=True)]
    fitting = [(name, files) for name, files in zip(names, found, strict=True) if files]
    for name, files in fitting:
        if len(files) > 1:
            raise DataError(f"{name!r} may be {' or '.join(map(repr, sorted(files)[:3]))}: write the paths in full.")
    inferred = [f"{name!r} is the file {files[0]!r}" for name, files in fitting[:1]]
    return [files[0] if files else name for name, files in zip(names, found, strict=True)], inferred
