"""Open zip archives from untrusted sources: whole, plain, and no larger unpacked than they should be."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from diptych.engines.contract import MOST_BYTES
from diptych.errors import ArtifactError

_MAX_ENTRIES = 20_000
_MAX_DIRECTORY = 4 * 2**20
_MAX_RATIO = 200
_ENCRYPTED = 1


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip archive, which may follow other data, after checking its directory.

    Raises:
        ArtifactError: It is damaged, has too many entries, unpacks to too much, or has unusual entries.
    """
    try:
        if _directory_bytes(path) > _MAX_DIRECTORY:
            raise ArtifactError(f"'{path}' has more than {_MAX_ENTRIES:,} entries, the most that are read.")
        archive = zipfile.ZipFile(path)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"Cannot read '{path}': the zip archive is corrupt or truncated ({error}).") from error
    try:
        _check(path, archive.infolist())
    except ArtifactError:
        archive.close()
        raise
    return archive


def _directory_bytes(path: Path) -> int:
    """Size of the directory, which zipfile loads whole, from the record at the end of the file or its Zip64 twin."""
    with path.open("rb") as file:
        file.seek(-min(98, path.stat().st_size), 2)
        end = file.read().rjust(98, b"\0")
    if end[76:80] != b"PK\5\6" or end[96:] != b"\0\0":
        raise zipfile.BadZipFile("it does not end with its directory")
    is_zip64 = end[56:60] == b"PK\6\7"
    return int.from_bytes(end[40:48] if is_zip64 else end[88:92], "little")


def _check(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    unpacked, packed = sum(entry.file_size for entry in entries), path.stat().st_size
    if len(entries) > _MAX_ENTRIES or unpacked > min(MOST_BYTES, _MAX_RATIO * max(packed, 2**20)):
        raise ArtifactError(
            f"'{path}' unpacks to {unpacked:,} bytes in {len(entries):,} entries from {packed:,}; "
            f"the limits are {MOST_BYTES:,} bytes, {_MAX_ENTRIES:,} entries and {_MAX_RATIO} times its size."
        )
    names = set()
    for entry in entries:
        name = entry.filename
        faults = {
            "is duplicated": name in names,
            "points outside the archive": name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name),
            "is encrypted": entry.flag_bits & _ENCRYPTED,
            "has an unsupported compression": entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
        }
        names.add(name)
        fault = next((text for text, holds in faults.items() if holds), None)
        if fault:
            raise ArtifactError(f"Cannot read '{path}': its entry {name!r:.60} {fault}.")
