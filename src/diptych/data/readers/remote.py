"""Files of published datasets: downloaded, checked by SHA-256, and read out of their archives."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from diptych.artifacts.locks import settle, staging
from diptych.data.archives import read_archive
from diptych.data.paths import read_file
from diptych.errors import DataError, DownloadError, in_one_line

_CHUNK_BYTES = 2**20
_TIMEOUT_SECONDS = 30


def stated(file: str, mark: str = "\t") -> list[list[str]]:
    """Return the cells of each line of a text file in `data/`, without comments."""
    lines = resources.files("diptych.data").joinpath(file).read_text(encoding="utf-8").splitlines()
    return [line.split(mark) for line in lines if not line.startswith("#")]


def published(dataset: str) -> list["RemoteFile"]:
    """Return the files of a published dataset."""
    return [
        RemoteFile(name, int(size), sha256, tuple(folder + name for folder in folders))
        for owner, name, size, sha256, *folders in stated("published.txt", " ")
        if owner == dataset
    ]


def class_names(dataset: str) -> tuple[str, ...]:
    """Return the classes of a published dataset, in the order of its labels."""
    return next(tuple(names) for owner, *names in stated("class_names.txt") if owner == dataset)


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name on disk, size in bytes, digest in hexadecimal, and URLs in the order to try."""

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...]


def fetch(files: Sequence[RemoteFile], folder: Path) -> tuple[Path, ...]:
    """Return the paths of files in a folder, and download those that are missing; all have the published digest.

    Raises DownloadError if a file cannot be downloaded, or if the existing file is not the published one.
    """
    paths = tuple(folder / file.name for file in files)
    for file, path in zip(files, paths, strict=True):
        if not path.exists():
            if faults := _download(file, path):
                names = ", ".join(file.name for file in files)
                remedy = f"Without a network, put {names} into {str(folder)!r}"
                raise DownloadError(f"Cannot download {file.name} ({'; '.join(faults)}). {remedy}.")
        elif fault := _fault(path, file):
            raise DownloadError(f"{str(path)!r} is not the published file: {fault}. Remove it to download it again.")
    return paths


def read_members(source: Path, names: Sequence[str]) -> list[bytes]:
    """Read files by their names in a folder or archive; nothing is unpacked to disk."""
    if source.is_dir():
        return [read_file(source / name) for name in names]
    contents = read_archive(source, names)
    missing = [name for name in names if name not in contents]
    if missing:
        raise DataError(f"{str(source)!r} does not contain {', '.join(missing)}: download it again.")
    return [contents[name] for name in names]


def _download(file: RemoteFile, path: Path) -> list[str]:
    """Download a file from the first address that works; return the faults if none does."""
    import requests  # takes a moment, as rich does, and most datasets are on disk
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress

    console, faults = Console(stderr=True), []
    bars = Progress(*Progress.get_default_columns(), DownloadColumn(), console=console, disable=not console.is_terminal)
    with staging(path.parent) as folder, bars:
        staged, bar = folder / file.name, bars.add_task(file.name, total=file.size)
        for url in file.urls:
            bars.reset(bar)
            try:
                with requests.get(url, stream=True, timeout=_TIMEOUT_SECONDS) as response, staged.open("wb") as stream:
                    response.raise_for_status()
                    for chunk in response.iter_content(_CHUNK_BYTES):
                        stream.write(chunk)
                        bars.advance(bar, len(chunk))
                fault = _fault(staged, file)
            except OSError as error:  # requests' errors are OSErrors
                fault = in_one_line(error)
            if fault is None:
                settle(staged, path)
                return []
            faults.append(f"{url}: {fault}")
    return faults


def _fault(path: Path, file: RemoteFile) -> str | None:
    """Return how a file differs from the published one."""
    if not path.is_file():
        return "it is not a file"
    if (size := path.stat().st_size) != file.size:
        return f"it has {size:,} bytes, expected {file.size:,}"
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return None if digest == file.sha256 else f"its SHA-256 is {digest}, expected {file.sha256}"
