"""Find the images that a table names: by their paths, or by what such paths must mean in this folder."""

from __future__ import annotations

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path

from diptych.data.paths import escape
from diptych.data.readers.layout import split_named
from diptych.data.readers.tree import folder_names, is_image, visible_entries
from diptych.errors import DataError


class Folder:
    """A folder of images, and what its subfolders hold, each read once."""

    def __init__(self, root: Path) -> None:
        """Read the names of its subfolders."""
        self.root, self._tops = root, ["", *folder_names(root)]
        self.files = lru_cache(maxsize=None)(self._files)

    def _files(self, folder: str) -> dict[str, list[str]]:
        """Return the files of a subfolder by name in lower case, and its images also without suffix."""
        found: dict[str, list[str]] = defaultdict(list)
        if os.path.isdir(self.root / folder):  # noqa: PTH112  (false if it cannot be searched)
            for entry in visible_entries(self.root / folder):
                for key in {entry.name, posixpath.splitext(entry.name)[0]} if is_image(entry.name) else {entry.name}:
                    found[key.lower()] += [entry.name] * entry.is_file()
        return found

    def has(self, name: str) -> bool:
        """Return whether a path is that of a file in this folder."""
        return not escape(name) and os.path.isfile(self.root / name)  # noqa: PTH113  (false for a name too long)

    def find(self, name: str, split: str) -> list[str]:
        """Return the files that a path without its suffix, or without its first folder, may mean; see `locate`."""
        if escape(name):
            return []
        parent, base = posixpath.split(name)
        tops = [top for top in self._tops if not split or (split_named(top) or split) == split]
        folders = [posixpath.join(top, parent) for top in tops]
        return [posixpath.join(folder, file) for folder in folders for file in self.files(folder).get(base.lower(), ())]

    def left_out(self, names: Sequence[str]) -> list[str]:
        """Return the images that are not among `names`, in the folders of these."""
        known = set(names)
        folders = sorted({posixpath.dirname(name) for name in names})
        files = [posixpath.join(folder, file) for folder in folders for file in {*chain(*self.files(folder).values())}]
        return sorted(file for file in files if is_image(file) and file not in known)


def locate(folder: Folder, texts: Sequence[str], splits: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the path of each image in a folder, in normal form, and what was inferred, as clauses.

    Paths are taken as they are if any of them is a file; then a missing file is one that cannot be read. If there is
    none, all may lack a suffix or a folder (`7` for `images/7.png`; not one of another split), or begin with folders
    of another machine.

    Raises:
        DataError: two files fit a path, or no file fits any.
    """
    names = [text.replace("\\", "/") for text in texts]
    names = [name if escape(name) else posixpath.normpath(name) for name in names]
    if any(map(folder.has, names)):
        return names, []
    found = [folder.find(name, split) for name, split in zip(names, splits, strict=True)]
    fitting = [(name, files) for name, files in zip(names, found, strict=True) if files]
    if not fitting:
        for name, split in zip(names, splits, strict=True):
            for place in [match.end() for match in re.finditer("/", name) if ".." not in name]:
                if folder.has(name[place:]) or folder.find(name[place:], split):
                    rest, inferred = locate(folder, [one.removeprefix(name[:place]) for one in names], splits)
                    return rest, [f"paths without {name[:place]!r}", *inferred]
        return names, []
    for name, files in fitting:
        if len(files) > 1:
            raise DataError(f"{name!r} may be {' or '.join(map(repr, files[:3]))}: write the paths in full.")
    inferred = [f"{name!r} is the file {file!r}" for name, (file,) in fitting[:1]]
    return [files[0] if files else name for name, files in zip(names, found, strict=True)], inferred
