"""An archive's bytes: read from disk in chunks, decompressed in chunks, never more than a chunk or two in memory."""

from __future__ import annotations

import bz2
import hashlib
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import Protocol

from diptych.data.archives.limits import Meter, damaged

CHUNK_BYTES = 2**18
Progress = Callable[[str, int, int], None]
"""Told of what is being done, of the bytes that are done, and of those that there are."""
HASHING, UNPACKING = "Hashing", "Unpacking"
_PROGRESS_BYTES = 2**20
_MOST_XZ_MEMORY = 2**27  # twice what `xz -9` asks for; the format allows dictionaries of 4 GiB


class Packed:
    """An archive as it lies on disk; tells its reader how far it is."""

    def __init__(self, file: BufferedReader, progress: Progress | None = None) -> None:
        self.name = str(file.name)
        self._file = file
        self._state = self._now()
        self.size = self._state[0]
        self._progress = progress
        self._doing = UNPACKING
        self._num_read = self._num_told = 0

    def read(self, number: int) -> bytes:
        """Read up to so many bytes; fewer at the end only."""
        content = self._file.read(number)
        self._num_read += len(content)
        if self._progress and self._num_read >= self._num_told + _PROGRESS_BYTES:
            self._num_told = self._num_read
            self._progress(self._doing, min(self._num_read, self.size), self.size)
        return content

    def seek(self, position: int) -> None:
        """Go to a byte, counted from the archive's first.

        Raises:
            Fault: it has not so many.
        """
        if position > self.size:
            raise damaged("it is cut short")
        self._file.seek(position)

    def sha256(self) -> str:
        """Return the digest of the whole archive, in hexadecimal."""
        self._file.seek(0)
        self._doing, digest = HASHING, hashlib.sha256()
        for chunk in plain(self):
            digest.update(chunk)
        self._doing, self._num_read, self._num_told = UNPACKING, 0, 0
        return digest.hexdigest()

    def finish(self) -> None:
        """Tell the progress that all is read.

        Raises:
            Fault: the archive has changed since it was opened.
        """
        if self._now() != self._state:
            raise damaged("it was changed while it was read")
        if self._progress:
            self._progress(self._doing, self.size, self.size)

    def _now(self) -> tuple[int, int]:
        state = os.fstat(self._file.fileno())
        return state.st_size, state.st_mtime_ns


class Stream:
    """What is left of a run of chunks; each byte is counted when its chunk comes."""

    def __init__(self, chunks: Iterator[bytes], meter: Meter) -> None:
        self._chunks = chunks
        self._meter = meter
        self._rest = memoryview(b"")

    def pieces(self, number: int) -> Iterator[memoryview]:
        """Yield the next `number` bytes, a piece at a time.

        Raises:
            Fault: there are not so many, or more than the limits allow.
        """
        while number:
            if not self._rest and not self._refill():
                raise damaged("it is cut short")
            piece, self._rest = self._rest[:number], self._rest[number:]
            number -= len(piece)
            yield piece

    def take(self, number: int) -> bytes:
        """Return the next `number` bytes at once; see `pieces`."""
        return b"".join(self.pieces(number))

    def rest(self) -> Iterator[memoryview]:
        """Yield all that is left, a piece at a time."""
        yield self._rest
        while self._refill():
            yield self._rest

    def _refill(self) -> bool:
        self._rest = memoryview(next(self._chunks, b""))
        self._meter.add_bytes(len(self._rest))
        return bool(self._rest)


class _Decompressor(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Inflater:
    """zlib's decompressor with the manners of bz2's and lzma's: it keeps what it has not used yet."""

    def __init__(self, window_bits: int) -> None:
        self._inflate = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        """Whether the compressed stream has ended."""
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        """Whether all that was given has been used."""
        return not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        """What was given behind the end of the stream."""
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return up to `max_length` bytes of what was and is given."""
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)


def plain(packed: Packed) -> Iterator[bytes]:
    """Yield an archive's own bytes."""
    while chunk := packed.read(CHUNK_BYTES):
        yield chunk


def _gzip() -> Inflater:
    return Inflater(16 + zlib.MAX_WBITS)


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_XZ_MEMORY)


_COMPRESSIONS: dict[bytes, Callable[[], _Decompressor]] = {
    b"\x1f\x8b": _gzip,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\0": _xz,
}


def compression(head: bytes) -> Callable[[], _Decompressor] | None:
    """Find what decompresses a file that begins with `head`, if it is compressed as a whole."""
    return next((new for magic, new in _COMPRESSIONS.items() if head.startswith(magic)), None)


def decompressed(packed: Packed, new: Callable[[], _Decompressor]) -> Iterator[bytes]:
    """Yield what a compressed file holds; several streams behind each other are one.

    Raises:
        Fault: a stream is damaged, ends too early, or is followed by something else.
    """
    chunks = plain(packed)
    rest = next(chunks, b"")
    while rest:
        stream = new()
        yield from inflated(stream, rest, chunks)
        rest = stream.unused_data or next(chunks, b"")


def inflated(stream: _Decompressor, first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what one compressed stream holds, from its first bytes and as many chunks as it takes.

    Raises:
        Fault: the stream is damaged or ends too early.
    """
    given = first
    while not stream.eof:
        try:
            content = stream.decompress(given, CHUNK_BYTES)
        except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
            raise damaged(f"what is compressed in it is damaged ({error})") from error
        if content:
            yield content
        given = next(chunks, b"") if stream.needs_input and not stream.eof else b""
        if not (given or content or stream.eof):
            raise damaged("it is cut short")
