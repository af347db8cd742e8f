"""Zip archives, looked over before anything in them is unpacked: whole, plain, and of the size that they promise."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from diptych.engines.contract import MOST_BYTES
from diptych.errors import ArtifactError

_MOST_ENTRIES = 20_000
_MOST_DIRECTORY = 4 * 2**20
_MOST_RATIO = 200
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1


def check_archive(path: Path) -> zipfile.ZipFile:
    """Open a zip archive (or what has one behind it) whose directory promises a sane size.

    Raises:
        ArtifactError: it is damaged, has too many entries, unpacks to too much, or has entries that no exporter writes.
    """
    try:
        if _directory_bytes(path) > _MOST_DIRECTORY:
            raise ArtifactError(f"'{path}' has more than {_MOST_ENTRIES:,} entries, which is more than is read.")
        archive = zipfile.ZipFile(path)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"Cannot read '{path}': it is no whole zip archive ({error}).") from error
    try:
        _check_size(path, archive.infolist())
        _check_entries(path, archive.infolist())
    except ArtifactError:
        archive.close()
        raise
    return archive


def _directory_bytes(path: Path) -> int:
    """Size of the directory, which zipfile reads whole; from the record that must end the file, or its large twin."""
    with path.open("rb") as file:
        file.seek(-min(98, path.stat().st_size), 2)
        end = file.read().rjust(98, b"\0")
    if end[76:80] != b"PK\5\6" or end[96:] != b"\0\0":
        raise zipfile.BadZipFile("its directory does not end it")
    large = end[56:60] == b"PK\6\7"
    return int.from_bytes(end[40:48] if large else end[88:92], "little")


def _check_size(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    unpacked, packed = sum(entry.file_size for entry in entries), path.stat().st_size
    if len(entries) > _MOST_ENTRIES or unpacked > min(MOST_BYTES, _MOST_RATIO * max(packed, 2**20)):
        raise ArtifactError(
            f"'{path}' unpacks to {unpacked:,} bytes in {len(entries):,} entries from {packed:,}; "
            f"at most {MOST_BYTES:,} bytes, {_MOST_ENTRIES:,} entries and {_MOST_RATIO} times are read."
        )


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    names = set()
    for entry in entries:
        name = entry.filename
        faults = {
            "stands there twice": name in names,
            "leads out of it": name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name),
            "is encrypted": entry.flag_bits & _ENCRYPTED,
            "is packed in an unusual way": entry.compress_type not in _PLAIN,
        }
        names.add(name)
        fault = next((words for words, holds in faults.items() if holds), None)
        if fault:
            raise ArtifactError(f"Cannot read '{path}': its entry {name!r:.60} {fault}.")
