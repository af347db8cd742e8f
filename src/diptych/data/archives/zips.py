"""Zip archives, read by their directory, which each member's own header must confirm.

Not `zipfile`: it reads entries that overlap (before 3.11.8), cuts content off at the size that is promised, and takes
other files for archives. Format: PKWARE, APPNOTE 6.3.10.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Iterator
from operator import attrgetter
from typing import NamedTuple

from diptych.data.archives.limits import Fault, Meter, damaged, unsafe
from diptych.data.archives.members import Member
from diptych.data.archives.streams import CHUNK_BYTES, Inflater, Packed, inflated

_END, _END_64, _LOCATOR = struct.Struct("<4s4H2IH"), struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
_RECORD, _LOCAL = struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s5H3I2H")
_MOST_COMMENT = 2**16 - 1
_FULL_16, _FULL_32 = 2**16 - 1, 2**32 - 1
_ENCRYPTED, _SIZES_FOLLOW, _UTF8 = 1 | 1 << 6 | 1 << 13, 1 << 3, 1 << 11
_STORED, _DEFLATED = 0, 8
_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 98: "PPMd", 99: "AES encryption"}
STARTS = (b"PK\3\4", b"PK\5\6")


class _Entry(NamedTuple):
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size: int
    mode: int
    start: int

    @property
    def name(self) -> str:
        """UTF-8 also where no flag says so (macOS), else the code page of DOS."""
        try:
            return self.raw_name.decode()
        except UnicodeDecodeError:
            if self.flags & _UTF8:
                raise unsafe(self.raw_name.decode("cp437"), "has a name that is not UTF-8") from None
            return self.raw_name.decode("cp437")


class _Directory(NamedTuple):
    start: int
    size: int
    number: int
    is_exact: bool
    """Whether the number is the number, not what 16 bits hold of it."""


def members(packed: Packed, meter: Meter) -> Iterator[Member]:
    """Read an archive, its members in the order in which they lie in it.

    Raises:
        Fault: it is damaged or cut short, its parts contradict each other or overlap, a member is encrypted, is
            compressed otherwise than by deflate, or is neither file nor folder.
    """
    directory = _directory(packed)
    entries = sorted(_entries(packed, directory, meter), key=attrgetter("start"))
    meter.check(sum(entry.size for entry in entries))
    end = 0
    for entry in entries:
        _check_kind(entry)
        if entry.start < end:
            raise unsafe(entry.name, "overlaps another one")
        end = _content_start(packed, entry) + entry.packed_bytes
        if end > directory.start:
            raise unsafe(entry.name, "overlaps the archive's directory")
        member = Member(entry.name, entry.raw_name.endswith(b"/"), _content(packed, entry, meter))
        yield member
        for _ in member.content:  # whatever its taker left
            pass


def _exactly(packed: Packed, number: int) -> bytes:
    content = packed.read(number)
    if len(content) < number:
        raise damaged("it is cut short")
    return content


def _directory(packed: Packed) -> _Directory:
    """Find the directory by the record that must end the file, or by its large twin before that."""
    start = max(0, packed.size - _END.size - _MOST_COMMENT)
    packed.seek(start)
    tail = _exactly(packed, packed.size - start)
    ends = [place for place in _places(tail, b"PK\5\6") if _ends_file(tail, place)]
    if len(ends) != 1:
        raise damaged("it does not end with the directory of a zip archive")
    _, *disks, number_here, number, size, offset, _ = _END.unpack_from(tail, ends[0])
    end, is_exact = start + ends[0], False
    packed.seek(max(0, end - _LOCATOR.size))
    signature, _, place, _ = _LOCATOR.unpack(_exactly(packed, _LOCATOR.size))
    if signature == b"PK\6\7":
        packed.seek(place)
        signature, length, _, _, *disks, number_here, large_number, large_size, large_offset = _END_64.unpack(
            _exactly(packed, _END_64.size)
        )
        if signature != b"PK\6\6" or place + 12 + length != end - _LOCATOR.size:
            raise damaged("its directory is not where it should be")
        small, large = (number, size, offset), (large_number, large_size, large_offset)
        if any(a not in (b, full) for a, b, full in zip(small, large, (_FULL_16, _FULL_32, _FULL_32), strict=True)):
            raise damaged("its directory contradicts itself")
        (number, size, offset), end, is_exact = large, place, True
    if any(disks) or number_here != number:
        raise damaged("it is one part of several")
    if offset + size != end:
        raise damaged("its directory is not where it should be")
    return _Directory(offset, size, number, is_exact)


def _places(content: bytes, wanted: bytes) -> Iterator[int]:
    place = content.find(wanted)
    while place >= 0:
        yield place
        place = content.find(wanted, place + 1)


def _ends_file(tail: bytes, place: int) -> bool:
    comment = place + _END.size
    return comment <= len(tail) and comment + int.from_bytes(tail[comment - 2 : comment], "little") == len(tail)


def _entries(packed: Packed, directory: _Directory, meter: Meter) -> Iterator[_Entry]:
    packed.seek(directory.start)
    left, number = directory.size, 0
    while left:
        meter.add_member()
        record = _RECORD.unpack(_exactly(packed, _RECORD.size))
        signature, _, _, flags, method, _, _, crc, packed_bytes, size, *lengths, disk, _, attributes, start = record
        left -= _RECORD.size + sum(lengths)
        if signature != b"PK\1\2" or left < 0 or disk not in (0, _FULL_16):
            raise damaged("its directory is damaged")
        name, extra, _ = (_exactly(packed, length) for length in lengths)
        size, packed_bytes, start = _large(extra, size, packed_bytes, start)
        number += 1
        yield _Entry(name, flags, method, crc, packed_bytes, size, attributes >> 16, start)
    if number != directory.number and (directory.is_exact or number & _FULL_16 != directory.number):
        raise damaged(f"its directory lists {number:,} members and promises {directory.number:,}")


def _large(extra: bytes, *values: int) -> Iterator[int]:
    """Replace each full number by the next one of the extra field that holds large ones."""
    large, start = b"", 0
    while start + 4 <= len(extra):
        identity, length = struct.unpack_from("<2H", extra, start)
        if identity == 1:
            large = extra[start + 4 : start + 4 + length]
        start += 4 + length
    for value in values:
        if value == _FULL_32 and len(large) >= 8:
            yield int.from_bytes(large[:8], "little")
            large = large[8:]
        else:
            yield value


def _check_kind(entry: _Entry) -> None:
    kind, is_folder = stat.S_IFMT(entry.mode), entry.raw_name.endswith(b"/")
    faults = {
        "is encrypted": entry.flags & _ENCRYPTED,
        f"is packed in an unusual way ({_METHODS.get(entry.method, entry.method)})": entry.method
        not in (_STORED, _DEFLATED),
        "is a link": kind == stat.S_IFLNK,
        "is neither file nor folder": kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK),
        "is a folder by its mode only": kind == stat.S_IFDIR and not is_folder,
        "is a file by its mode only": kind == stat.S_IFREG and is_folder,
        "is a folder with content": is_folder and entry.size,
        "is stored in another size than its own": entry.method == _STORED and entry.size != entry.packed_bytes,
    }
    fault = next((words for words, holds in faults.items() if holds), None)
    if fault:
        raise unsafe(entry.name, fault)


def _content_start(packed: Packed, entry: _Entry) -> int:
    """Compare a member's own header with the directory's; return where its content begins."""
    packed.seek(entry.start)
    header = _LOCAL.unpack(_exactly(packed, _LOCAL.size))
    signature, _, flags, method, _, _, crc, packed_bytes, size, name_length, extra_length = header
    name, extra = _exactly(packed, name_length), _exactly(packed, extra_length)
    size, packed_bytes = _large(extra, size, packed_bytes)
    later = (0, _FULL_32) if flags & _SIZES_FOLLOW else ()
    pairs = ((crc, entry.crc), (packed_bytes, entry.packed_bytes), (size, entry.size))
    if (
        signature != b"PK\3\4"
        or (name, method, flags & _ENCRYPTED) != (entry.raw_name, entry.method, 0)
        or any(own != listed and own not in later for own, listed in pairs)
    ):
        raise unsafe(entry.name, "is another one than the directory lists")
    return entry.start + _LOCAL.size + len(name) + len(extra)


def _content(packed: Packed, entry: _Entry, meter: Meter) -> Iterator[bytes]:
    size = crc = 0
    for chunk in _stored(packed, entry) if entry.method == _STORED else _inflated(packed, entry):
        size += len(chunk)
        crc = zlib.crc32(chunk, crc)
        if size > entry.size:
            break
        meter.add_bytes(len(chunk))
        yield chunk
    if (size, crc) != (entry.size, entry.crc):
        raise damaged(f"the content of its member {entry.name!r:.100} is not what the directory promises")


def _stored(packed: Packed, entry: _Entry) -> Iterator[bytes]:
    left = entry.packed_bytes
    while left:
        chunk = _exactly(packed, min(left, CHUNK_BYTES))
        left -= len(chunk)
        yield chunk


def _inflated(packed: Packed, entry: _Entry) -> Iterator[bytes]:
    chunks, stream = _stored(packed, entry), Inflater(-zlib.MAX_WBITS)
    try:
        yield from inflated(stream, next(chunks, b""), chunks)
    except Fault as fault:
        raise damaged(f"its member {entry.name!r:.100} is damaged") from fault
    if stream.unused_data or next(chunks, b""):
        raise damaged(f"its member {entry.name!r:.100} has something behind its content")
