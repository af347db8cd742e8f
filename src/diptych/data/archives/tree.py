"""Writes members below one folder and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from diptych.data.archives.limits import Limits, unsafe
from diptych.data.archives.members import Member
from diptych.data.archives.names import folded, is_leftover, parts

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755


class Tree:
    """A fresh folder and what has been written into it: only new files and folders, never links."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.num_files = 0
        self._limits = limits
        self._files: dict[str, str] = {}
        """Names by their folded form."""
        self._folders: dict[str, str] = {}
        self._made: set[str] = set()
        self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._root)

    def add(self, member: Member) -> None:
        """Write one member, with the folders that it lies in; pass over what macOS leaves.

        Raises:
            Fault: its name is not let in, or is that of another member.
            OSError: the system does not let it be written.
        """
        found = parts(member.name, self._limits)
        if not found and not member.is_folder:
            raise unsafe(member.name, "is a file in place of the whole")
        if not found or is_leftover(found):
            return
        self._make_folders(found if member.is_folder else found[:-1])
        if not member.is_folder:
            self._write("/".join(found), member)

    def _make_folders(self, found: list[str]) -> None:
        for depth in range(len(found), 0, -1):  # mostly, the last one is there
            if "/".join(found[:depth]) in self._made:
                break
        else:
            depth = 0
        for end in range(depth + 1, len(found) + 1):
            name = "/".join(found[:end])
            self._claim(name, self._folders, self._files)
            os.mkdir(name, _FOLDER_MODE, dir_fd=self._root)
            self._made.add(name)

    def _claim(self, name: str, same: dict[str, str], others: dict[str, str]) -> None:
        key = folded(name)
        if key in others:
            raise unsafe(name, "is both a file and a folder")
        if known := same.get(key):
            fault = "is there twice" if known == name else f"differs from {known!a:.100} in case or accents only"
            raise unsafe(name, fault)
        same[key] = name

    def _write(self, name: str, member: Member) -> None:
        self._claim(name, self._files, self._folders)
        descriptor = os.open(name, _NEW_FILE, _FILE_MODE, dir_fd=self._root)
        try:
            for piece in member.content:
                rest = memoryview(piece)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)
        self.num_files += 1
