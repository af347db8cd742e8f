"""Fetch a dataset's files: pinned by size and SHA-256, resumed where they broke off, never half in place.

A file appears under its own name only when it is whole and is the one its publisher released. Until then
it grows under that name with `.part` behind it, which the next attempt continues.
"""

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib import request

from rich.console import Console
from rich.progress import wrap_file

from diptych.errors import DownloadError

CHUNK_BYTES = 2**20
TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class RemoteFile:
    """A file as its publisher released it.

    Attributes:
        name: the file's name on disk.
        size: its bytes.
        sha256: its digest, in lower-case hexadecimal.
        urls: where it may be had, in the order to try.
    """

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...]


def https_opener() -> request.OpenerDirector:
    """Return an opener that speaks https and nothing else, also when it is redirected."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.UnknownHandler(),
        request.HTTPSHandler(),
        request.HTTPRedirectHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def fetch(files: Sequence[RemoteFile], folder: Path, opener: request.OpenerDirector | None = None) -> tuple[Path, ...]:
    """Make sure that a folder holds some files, downloading those that it lacks.

    Args:
        files: what to have.
        folder: where to have it; made when it is missing and something must be downloaded.
        opener: what opens the addresses; `https_opener()` unless given.

    Returns:
        The files' paths, in the order given. All of them have the pinned size and digest.

    Raises:
        DownloadError: a file cannot be fetched, or the file already there is another one.
    """
    opener = opener or https_opener()
    paths = tuple(folder / file.name for file in files)
    for file, path in zip(files, paths, strict=True):
        if not path.exists():
            _download(file, path, opener, f"put {', '.join(file.name for file in files)} into {str(folder)!r}")
        elif fault := _fault(path, file):
            raise DownloadError(f"{str(path)!r} is not the published file: {fault}. Remove it to fetch it again.")
    return paths


def _download(file: RemoteFile, path: Path, opener: request.OpenerDirector, by_hand: str) -> None:
    part = path.with_name(path.name + ".part")
    faults = []
    for url in file.urls:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _continue(part, url, file.size, opener)
        except (OSError, HTTPException) as error:
            faults.append(f"{url}: {error or type(error).__name__}")
            continue
        fault = _fault(part, file)
        if not fault:
            part.replace(path)
            return
        part.unlink()
        faults.append(f"{url}: {fault}")
    raise DownloadError(f"Cannot fetch {file.name} ({'; '.join(faults)}). Without a network, {by_hand}.")


def _continue(part: Path, url: str, size: int, opener: request.OpenerDirector) -> None:
    """Bring `part` to `size` bytes, beginning where it ends; raise OSError when it stays short of that."""
    have = part.stat().st_size if part.exists() else 0
    if have == size:
        return
    headers = {"Range": f"bytes={have}-"} if 0 < have < size else {}
    with opener.open(request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS) as response:
        is_continued = response.status == 206
        num_wanted = size - have if is_continued else size
        with part.open("ab" if is_continued else "wb") as stream:
            _copy(response, stream, num_wanted, part.stem)
            stream.flush()
            os.fsync(stream.fileno())
            if stream.tell() < size:
                raise ConnectionError(f"the connection ended at byte {stream.tell():,} of {size:,}")


def _copy(source: BinaryIO, target: BinaryIO, num_wanted: int, name: str) -> None:
    """Copy what is wanted, and one byte more if there is one, which gives away a file that is too long."""
    left = num_wanted + 1
    console, is_quiet = Console(stderr=True), not sys.stderr.isatty()
    with wrap_file(source, num_wanted, description=name, console=console, disable=is_quiet) as shown:
        while left and (chunk := shown.read(min(CHUNK_BYTES, left))):
            target.write(chunk)
            left -= len(chunk)


def _fault(path: Path, file: RemoteFile) -> str | None:
    """Say what keeps the file at `path` from being the published one, if anything does."""
    if not path.is_file():
        return "it is no file"
    size = path.stat().st_size
    if size != file.size:
        return f"it has {'more' if size > file.size else 'fewer'} than {file.size:,} bytes"
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return None if digest == file.sha256 else f"its sha256 is {digest}, wanted {file.sha256}"
