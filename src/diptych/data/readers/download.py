"""Download the files of published datasets, checked by SHA-256; a file appears only when it is complete."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import DownloadColumn, Progress

from diptych.artifacts.locks import settle, staging
from diptych.errors import DownloadError, in_one_line

_CHUNK_BYTES = 2**20
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        name: its name on disk.
        size: its number of bytes.
        sha256: its digest, in lower-case hexadecimal.
        urls: addresses, tried in this order.
    """

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...]


def fetch(files: Sequence[RemoteFile], folder: Path) -> tuple[Path, ...]:
    """Return the paths of files in a folder, and download those that are missing.

    Args:
        files: the files.
        folder: created if it does not exist and something is missing.

    Returns:
        The paths, in the same order; all files have the published size and digest.

    Raises:
        DownloadError: a file cannot be downloaded, or the existing file is not the published one.
        ArtifactError: the folder cannot be written.
    """
    paths = tuple(folder / file.name for file in files)
    for file, path in zip(files, paths, strict=True):
        if not path.exists():
            faults = _download(file, path)
            if faults:
                names = ", ".join(file.name for file in files)
                raise DownloadError(
                    f"Cannot download {file.name} ({'; '.join(faults)}). Without a network, put {names} into "
                    f"{str(folder)!r}."
                )
        elif fault := _fault(path, file):
            raise DownloadError(f"{str(path)!r} is not the published file: {fault}. Remove it to download it again.")
    return paths


def _download(file: RemoteFile, path: Path) -> list[str]:
    """Download a file from the first address that works; return the faults if none does."""
    import pooch  # takes a moment, and most datasets are on disk

    pooch.get_logger().setLevel("WARNING")
    console, faults = Console(stderr=True), []
    bars = Progress(*Progress.get_default_columns(), DownloadColumn(), console=console, disable=not console.is_terminal)
    with staging(path.parent) as folder, bars:
        for url in file.urls:
            downloader = pooch.HTTPDownloader(_Bar(bars, file), _CHUNK_BYTES, timeout=_TIMEOUT_SECONDS)
            try:
                pooch.retrieve(url, f"sha256:{file.sha256}", file.name, folder, downloader=downloader)
                settle(folder / file.name, path)
            except (OSError, ValueError) as error:  # requests' errors are OSErrors; ValueError is another digest
                faults.append(f"{url}: {in_one_line(error)}")
            else:
                return []
    return faults


class _Bar:
    """The progress bar that pooch expects, drawn by rich."""

    def __init__(self, bars: Progress, file: RemoteFile) -> None:
        self.total = file.size
        self._bars, self._task = bars, bars.add_task(file.name, total=file.size)

    def update(self, num_bytes: int) -> None:
        self._bars.advance(self._task, num_bytes)

    def reset(self) -> None:
        self._bars.reset(self._task)

    def close(self) -> None:
        pass


def _fault(path: Path, file: RemoteFile) -> str | None:
    """Return how a file differs from the published one."""
    if not path.is_file():
        return "it is not a file"
    if (size := path.stat().st_size) != file.size:
        return f"it has {size:,} bytes, expected {file.size:,}"
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return None if digest == file.sha256 else f"its SHA-256 is {digest}, expected {file.sha256}"
