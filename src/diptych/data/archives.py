"""Unpack zip and tar archives from any source: whole, inside one folder and within limits, or not at all.

zipfile and tarfile read the formats. Files are written here: `extractall` would also create links and devices, and has
no limits.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias

from diptych.artifacts.locks import staging
from diptych.artifacts.store import sync
from diptych.data.paths import escape
from diptych.errors import DataError, in_one_line

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the current activity, the number of bytes or images done, and their total."""
IN_BYTES = HASHING, UNPACKING = "Hashing", "Unpacking"
"""Work that is counted in bytes rather than images."""

_CHUNK = 2**18
_MIB = 2**20  # between two reports of progress; also the largest header
_MAX_DEPTH = 32
_MAX_BYTES = 2**30  # read into memory; CIFAR-10's binary batches take 184 MB
_TRUSTED = "if you trust it, unpack it yourself and pass the folder"
_DECOMPRESSORS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_BAD_LETTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SKIPPED = re.compile(r"__MACOSX(/|$)|(.*/)?(\.DS_Store|\._[^/]*)$")  # macOS adds them

_Members: TypeAlias = Iterator[tuple[str, bool, Iterator[bytes]]]
"""Name, whether it is a folder, and content."""


@dataclass(frozen=True)
class Limits:
    """How much an archive may unpack to; the defaults admit ImageNet's training archive (148 GB)."""

    max_bytes: int = 2**39
    """Of all files; for a tar, headers and padding included."""
    max_ratio: float = 200.0
    """These bytes divided by the size of the archive, or by 1 MiB if it is smaller."""
    max_members: int = 5_000_000
    """Number of files and folders."""


LIMITS = Limits()


def quiet(doing: str, done: int, total: int) -> None:
    """Report no progress."""


class _Fault(Exception):  # noqa: N818  (becomes a DataError, which names the archive)
    """Why an archive cannot be unpacked; the text follows "it"."""


def is_archive(path: Path) -> bool:
    """Return whether a file is an archive, by its first bytes; a compressed file is one if it contains a tar."""
    try:
        if not path.is_file():  # opening a named pipe would block
            return False
        with path.open("rb") as file:
            return _find_reader(file) is not None
    except OSError as error:
        raise DataError(f"Cannot read {str(path)!r}: {error.strerror or error}.") from error


def unpack(archive: Path, target: Path, limits: Limits = LIMITS, progress: Progress = quiet) -> Path:
    """Unpack an archive completely, or not at all, and return `target`.

    All files and folders are new and belong to the user; owners, times and permissions in the archive are ignored.
    Archives inside the archive stay files. What macOS adds (`__MACOSX/`, `.DS_Store`, `._*`) is skipped. `target` must
    not exist; it appears by one rename when it is complete. `progress` is called about once per MiB. Raises DataError
    if the file is no archive, is damaged, contains a link or an unsafe name, or exceeds the limits.
    """
    if os.path.lexists(target):
        raise DataError(f"Cannot unpack {str(archive)!r} into {str(target)!r}: it already exists.")
    with staging(target.parent) as hidden, _opened(archive, limits, progress, f" into {str(target)!r}") as members:
        folder = hidden / target.name
        folder.mkdir()
        _write(members, folder, limits)
        os.sync()  # one for all files: on Linux it returns when everything is on the disk
        folder.rename(target)
        sync(target.parent)
    return target


def read_archive(archive: Path, names: Collection[str]) -> dict[str, bytes]:
    """Read some files of an archive into memory, by their names there; errors are those of `unpack`."""
    with _opened(archive, Limits(max_bytes=_MAX_BYTES)) as members:
        return {name: b"".join(content) for name, is_folder, content in members if name in names and not is_folder}


@contextmanager
def _opened(archive: Path, limits: Limits, progress: Progress = quiet, place: str = "") -> Iterator[_Members]:
    """Yield an archive's members; whatever is wrong with them raises one DataError, which names the archive."""
    if not is_archive(archive):
        expected = "expected a zip, or a tar that is uncompressed or compressed by gzip, bzip2 or xz"
        raise DataError(f"Cannot unpack {str(archive)!r}: it is not an archive; {expected}.")
    with archive.open("rb") as file:
        meter, read = _Meter(file, limits, progress), _find_reader(file)
        try:
            yield read(file, meter) if read else iter(())
        except Exception as error:  # zipfile, tarfile and the decompressors raise many types
            if isinstance(error, OSError) and error.errno:
                reason = f"{error.strerror}, after {meter.num_bytes:,} bytes"
                raise DataError(f"Cannot unpack {str(archive)!r}{place}: {reason}.") from error
            damage = "is truncated" if isinstance(error, EOFError) else f"is damaged ({in_one_line(error).rstrip('.')})"
            reason = str(error) if isinstance(error, _Fault) else damage
            raise DataError(f"Cannot unpack {str(archive)!r}: it {reason}.") from error
        meter.report(meter.size)


class _Meter:
    """Counts what an archive unpacks to, and reports progress."""

    def __init__(self, file: IO[bytes], limits: Limits, progress: Progress) -> None:
        self.num_bytes = self._num_reported = 0
        self._file, self._progress = file, progress
        self.size = os.fstat(file.fileno()).st_size
        self._max_bytes = int(min(limits.max_bytes, limits.max_ratio * max(self.size, _MIB)))

    def add(self, chunk: bytes) -> bytes:
        self.num_bytes += len(chunk)
        if self.num_bytes > self._max_bytes:
            raise _Fault(f"unpacks to more than {self._max_bytes:,} bytes; {_TRUSTED}")
        if self._file.tell() >= self._num_reported + _MIB:
            self.report(self._file.tell())
        return chunk

    def report(self, position: int) -> None:
        self._num_reported = position
        self._progress(UNPACKING, position, self.size)


def _write(members: _Members, folder: Path, limits: Limits) -> None:
    """Write new files and folders inside an empty folder; as it contains no links, nothing is written outside."""
    num_files = 0
    for number, (name, is_folder, content) in enumerate(members):
        if number == limits.max_members:
            raise _Fault(f"has more than {limits.max_members:,} members; {_TRUSTED}")
        parts = _parts(name, is_folder=is_folder)
        if not parts or _SKIPPED.match("/".join(parts)):
            continue
        path = folder.joinpath(*parts)
        try:
            (path if is_folder else path.parent).mkdir(parents=True, exist_ok=True)
            if not is_folder:
                with path.open("xb") as file:
                    for chunk in content:
                        file.write(chunk)
                num_files += 1
        except (FileExistsError, NotADirectoryError) as error:
            raise _Fault(f"contains {name!r:.100} twice, or as a file and a folder") from error
    if not num_files:
        raise _Fault("contains no files")


def _parts(name: str, *, is_folder: bool) -> list[str]:
    """Split a member's name; empty for the archive's root."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if is_folder and not parts and not name.startswith("/"):
        return parts
    fault = escape(name) or (_BAD_LETTERS.search(name) and "contains a control character or is not UTF-8")
    if len(parts) > _MAX_DEPTH:
        fault = f"is nested more than {_MAX_DEPTH} folders deep"
    if fault:
        raise _Fault(f"has a member whose name {name!r:.100} {fault}")
    return parts


def _find_reader(file: IO[bytes]) -> Callable[[IO[bytes], _Meter], _Members] | None:
    file.seek(0)
    if file.read(4) in (b"PK\3\4", b"PK\5\6"):
        return _read_zip
    try:
        block = _decompressed(file).read(tarfile.BLOCKSIZE)
        if any(block):  # an empty tar starts with zeros
            tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    except Exception:  # damaged; the reader says how
        return _read_tar
    return _read_tar if block else None


def _read_zip(file: IO[bytes], meter: _Meter) -> _Members:
    with zipfile.ZipFile(file) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _Fault(f"has a member {info.filename!r:.100} that is a link or device")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _Fault(f"has a member {info.filename!r:.100} that is not compressed by deflate")
            with archive.open(info) as content:
                yield _zip_name(info), info.is_dir(), map(meter.add, iter(partial(content.read, _CHUNK), b""))


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return the name; macOS writes UTF-8 without the flag that says so."""
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):
            return info.orig_filename.encode("cp437").decode()
    return info.orig_filename


def _read_tar(file: IO[bytes], meter: _Meter) -> _Members:
    stream = _TarStream(_decompressed(file), meter)
    with tarfile.TarFile(fileobj=stream) as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined] # it would grow with the archive
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise _Fault(f"has a member {member.name!r:.100} that is a link, a device or a sparse file")
            yield member.name, member.isdir(), stream.pieces(member.size)
    if stream.last != bytes(tarfile.BLOCKSIZE):  # tarfile takes a damaged header for the end
        raise _Fault("is truncated" if len(stream.last) < tarfile.BLOCKSIZE else "is damaged: a header is wrong")
    if any(piece.strip(b"\0") for piece in iter(lambda: stream.read(_CHUNK), b"")):
        raise _Fault("has data after its end")


def _decompressed(file: IO[bytes]) -> IO[bytes]:
    file.seek(0)
    start = file.read(6)
    file.seek(0)
    return next((new(file) for magic, new in _DECOMPRESSORS.items() if start.startswith(magic)), file)


class _TarStream(io.RawIOBase):
    """A tar that is read once from front to back; counts its bytes, and keeps headers small."""

    def __init__(self, file: IO[bytes], meter: _Meter) -> None:
        self._file, self._meter, self._position, self.last = file, meter, 0, b""

    def read(self, number: int = -1) -> bytes:
        if not 0 <= number <= _MIB:
            raise _Fault(f"is damaged: a header has {number:,} bytes")
        self.last = self._meter.add(self._file.read(number))
        self._position += len(self.last)
        return self.last

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or position < self._position:
            raise _Fault("is damaged: a header leads backwards")
        for _ in self.pieces(position - self._position):
            pass
        return position

    def pieces(self, number: int) -> Iterator[bytes]:
        while number:
            piece = self.read(min(number, _CHUNK))
            if not piece:
                raise EOFError
            number -= len(piece)
            yield piece
