"""Tar archives: ustar, GNU and pax, read front to back.

Not `tarfile`: it takes a damaged header for the archive's end, reads headers of any size into memory, and the Python
that a user has may lack its fixes of 2024 and 2025. Formats: POSIX.1-2017, `pax`; GNU tar's manual, "Basic Tar Format".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from diptych.data.archives.limits import Fault, Meter, damaged, unsafe
from diptych.data.archives.members import Member
from diptych.data.archives.streams import Stream

BLOCK = 512
_MOST_EXTENDED_BYTES = 2**20
_LARGEST_OCTAL = 8**11
_FILES, _FOLDER = (b"0", b"\0", b"7"), b"5"
_LONG_NAME, _LONG_LINK, _EXTENDED, _EXTENDED_ALL = b"L", b"K", b"x", b"g"
_NOT_FILES = {
    b"1": "is a hard link",
    b"2": "is a link",
    b"3": "is a device",
    b"4": "is a device",
    b"6": "is a named pipe",
    b"S": "is a sparse file",
}
_HEEDED, _SPARSE = (b"path", b"size", b"linkpath"), b"GNU.sparse."
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")


@dataclass(frozen=True)
class _Header:
    name: bytes
    kind: bytes
    size: int


@dataclass(frozen=True)
class _Pending:
    """What extended headers say of the member that follows them, as far as it matters here."""

    long_name: bytes | None = None
    records: dict[bytes, bytes] = field(default_factory=dict)


def is_start(block: bytes) -> bool:
    """Whether a file that begins with these 512 bytes is a tar archive, perhaps an empty one."""
    return len(block) == BLOCK and (not any(block) or _checksum_fits(block))


def members(stream: Stream, meter: Meter) -> Iterator[Member]:
    """Read an archive to its end.

    Raises:
        Fault: it is damaged, cut short, goes on behind its end, or holds something that is neither file nor folder.
    """
    pending = None
    while any(block := stream.take(BLOCK)):
        meter.add_member()
        header = _header(block)
        if header.kind in (_LONG_NAME, _LONG_LINK, _EXTENDED, _EXTENDED_ALL):
            pending = _extended(header, stream, pending or _Pending(), meter)
            continue
        member, size = _member(header, pending or _Pending(), stream)
        yield member
        for _ in member.content:  # whatever its taker left
            pass
        stream.take(-size % BLOCK)
        pending = None
    if pending and (pending.records or pending.long_name):
        raise damaged("it ends with a header that announces a member")
    if any(bytes(piece).strip(b"\0") for piece in stream.rest()):
        raise damaged("it goes on behind its end")


def _member(header: _Header, pending: _Pending, stream: Stream) -> tuple[Member, int]:
    raw = pending.records.get(b"path", pending.long_name or header.name)
    try:
        name = raw.decode()
    except UnicodeDecodeError as error:
        raise unsafe(raw.decode(errors="backslashreplace"), "has a name that is not UTF-8") from error
    size = _size(header, pending)
    is_folder = header.kind == _FOLDER or name.endswith("/")
    if header.kind != _FOLDER and header.kind not in _FILES:
        raise unsafe(name, _NOT_FILES.get(header.kind, f"is of the unknown kind {header.kind!r}"))
    if b"linkpath" in pending.records:
        raise unsafe(name, "is a link")
    if _SPARSE in pending.records:
        raise unsafe(name, "is a sparse file")
    if is_folder and size:
        raise unsafe(name, "is a folder with content")
    return Member(name, is_folder, stream.pieces(size)), size


def _size(header: _Header, pending: _Pending) -> int:
    """A pax size stands for one that a plain header cannot hold; a plain one beside it must be the same."""
    text = pending.records.get(b"size")
    if text is None:
        return header.size
    size = int(text) if re.fullmatch(rb"[0-9]{1,19}", text) else -1
    if size != header.size and (header.size or size < _LARGEST_OCTAL):
        raise damaged(f"a member of {header.size:,} bytes has another size in its extended header ({text!r:.40})")
    return size


def _extended(header: _Header, stream: Stream, pending: _Pending, meter: Meter) -> _Pending:
    most = _MOST_EXTENDED_BYTES if header.kind in (_EXTENDED, _EXTENDED_ALL) else meter.limits.max_name_bytes + BLOCK
    if header.size > most:
        raise Fault(f"it has an extended header of {header.size:,} bytes, at most {most:,} are read; pack it again")
    content = stream.take(header.size)
    stream.take(-header.size % BLOCK)
    if header.kind == _LONG_NAME:
        return _Pending(content.rstrip(b"\0"), pending.records)
    if header.kind == _LONG_LINK:  # the link that follows is refused by its own name
        return pending
    records = _records(content)
    if header.kind == _EXTENDED:
        return _Pending(pending.long_name, {**pending.records, **records})
    if records:
        raise Fault("it gives all its members one name, size or link; pack it again without that")
    return pending


def _records(content: bytes) -> dict[bytes, bytes]:
    """Read `length key=value\\n`, over and over; keep what changes a name, a size or a kind."""
    records: dict[bytes, bytes] = {}
    start = 0
    while start < len(content):
        space = content.find(b" ", start, start + 8)
        digits = content[start:space] if space > 0 else b""
        end = start + int(digits) if digits.isdigit() else start
        key, equals, value = content[space + 1 : end].partition(b"=")
        if not equals or not value.endswith(b"\n") or end > len(content):
            raise damaged("it has an extended header that is none")
        if key in _HEEDED or key.startswith(_SPARSE):
            records[_SPARSE if key.startswith(_SPARSE) else key] = value[:-1]
        start = end
    return records


def _header(block: bytes) -> _Header:
    if not _checksum_fits(block):
        raise damaged("the checksum of a header is wrong")
    name, size = block[:100].partition(b"\0")[0], _number(block[124:136])
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    if size is None:
        raise damaged(f"a header gives the size {block[124:136]!r}")
    return _Header(prefix + b"/" + name if prefix else name, block[156:157], size)


def _checksum_fits(block: bytes) -> bool:
    """Whether the bytes, those of the sum taken for spaces, add up to the sum; old writers took them as signed."""
    others = block[:148] + b" " * 8 + block[156:]
    given, unsigned = _number(block[148:156]), sum(others)
    return given == unsigned or given == unsigned - 256 * sum(byte > 127 for byte in others)


def _number(digits: bytes) -> int | None:
    """Read an octal number, or a large one in binary behind 0x80; None if it is neither, or negative."""
    if digits[0] == 0x80:
        return int.from_bytes(digits[1:], "big")
    match = _OCTAL.fullmatch(digits)
    return int(match[1] or b"0", 8) if match else None
