"""Zip and tar archives put together byte by byte, so that each byte can be wrong."""

import random
import stat
import struct
import zlib
from dataclasses import dataclass

from diptych.data.archives import LIMITS, Limits

END = bytes(1024)
FILE, FOLDER, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777
NOISE = random.Random(0).randbytes(200_000)
ZEROS = bytes(2**22)
SMALL = Limits(max_bytes=2**20, max_members=50)


@dataclass(frozen=True)
class Case:
    """An archive, and the limits to unpack it with."""

    content: bytes
    limits: Limits = LIMITS


def header(name, size=0, kind=b"0", link=b"", magic=b"ustar\x0000", prefix=b"", size_field=None):
    assert len(name) <= 100
    block = struct.pack(
        "100s8s8s8s12s12s8ss100s8s32s32s8s8s155s12x",
        name,
        b"0000777\0",
        b"0000000\0",
        b"0000000\0",
        size_field or b"%011o\0" % size,
        b"00000000000\0",
        b" " * 8,
        kind,
        link,
        magic,
        b"root",
        b"root",
        b"0000000\0",
        b"0000000\0",
        prefix,
    )
    return with_sum(block)


def with_sum(block):
    return block[:148] + b"%06o\0 " % sum(block[:148] + b" " * 8 + block[156:]) + block[156:]


def member(name, content=b"harm", **fields):
    """A header and its content, padded."""
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
    """An extended header; a double underscore stands for a dot."""
    content = content or b"".join(record(key.replace("__", ".").encode(), value) for key, value in records.items())
    return member(b"PaxHeaders/x", content, kind=kind)


GOOD = member(b"good/0.txt", b"good")


def tar(*blocks, end=END):
    return b"".join((GOOD, *blocks)) + end


def named(name):
    """A member whose name may be of any length or form."""
    return tar(pax(path=name), member(b"plain.txt"))


@dataclass(frozen=True)
class Entry:
    """A member as its own header has it, and what the directory says instead."""

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
        packed = self.packed
        if packed is None:
            packed = deflate(self.content) if self.method == 8 else self.content
        return {
            "name": self.name,
            "flags": self.flags,
            "method": self.method,
            "crc": zlib.crc32(self.content),
            "packed_bytes": len(packed),
            "size": len(self.content),
            "packed": packed,
        }


def deflate(content):
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(content) + packer.flush()


def zipped(*entries, comment=b"", count=None, before=b"", **end):
    """A zip archive of `entries`; `end` changes fields of the record that ends it."""
    body, directory = before, b""
    for entry in (Entry(b"good/0.txt", b"good"), *entries):
        own = {**entry.fields(), **dict(entry.local)}
        listed = {"start": len(body), "disk": 0, **entry.fields(), **dict(entry.listed)}
        body += struct.pack(
            "<4s5H3I2H",
            b"PK\3\4",
            20,
            own["flags"],
            own["method"],
            0,
            33,
            own["crc"],
            own["packed_bytes"],
            own["size"],
            len(own["name"]),
            0,
        )
        body += own["name"] + own["packed"]
        directory += struct.pack(
            "<4s6H3I5H2I",
            b"PK\1\2",
            0x314,
            20,
            listed["flags"],
            listed["method"],
            0,
            33,
            listed["crc"],
            listed["packed_bytes"],
            listed["size"],
            len(listed["name"]),
            len(entry.extra),
            0,
            listed["disk"],
            0,
            entry.mode << 16,
            listed["start"],
        )
        directory += listed["name"] + entry.extra
    number = len(entries) + 1 if count is None else count
    values = {"disk": 0, "here": number, "number": number, "size": len(directory), "start": len(body), **end}
    return (
        body
        + directory
        + struct.pack(
            "<4s4H2IH",
            b"PK\5\6",
            values["disk"],
            0,
            *(values[k] for k in ("here", "number", "size", "start")),
            len(comment),
        )
        + comment
    )


def large(archive, **changes):
    """The same with the large twin of the end record, which rules where the small one is full."""
    end = archive.rindex(b"PK\5\6")
    _, _, _, here, number, size, start, _ = struct.unpack("<4s4H2IH", archive[end:])
    values = {"here": here, "number": number, "size": size, "start": start, "place": end, "length": 44, **changes}
    twin = struct.pack(
        "<4sQ2H2I4Q",
        b"PK\6\6",
        values["length"],
        45,
        45,
        0,
        0,
        values["here"],
        values["number"],
        values["size"],
        values["start"],
    )
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, values["place"], 1)
    full = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return archive[:end] + twin + locator + full


def both(**fields):
    """The same lie in both headers."""
    return {"local": tuple(fields.items()), "listed": tuple(fields.items())}


def overlapping(number=20):
    """Fifield's bomb: each member quotes the next one's header, and all end in the same kernel."""
    kernel = deflate(ZEROS)
    body, directory, content, packed, crc = b"", b"", ZEROS, kernel, zlib.crc32(ZEROS)
    for place in range(number):
        name = b"%04d" % place
        own = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(packed), len(content), 4, 0) + name
        body = own + packed
        directory = (
            struct.pack(
                "<4s6H3I5H2I",
                b"PK\1\2",
                0x314,
                20,
                0,
                8,
                0,
                33,
                crc,
                len(packed),
                len(content),
                4,
                0,
                0,
                0,
                0,
                FILE << 16,
                len(body),
            )
            + name
            + directory
        )
        packed = struct.pack("<BHH", 0, len(own), len(own) ^ 0xFFFF) + body
        content = own + content
        crc = zlib.crc32(content)
    total = len(body)
    directory = bytearray(directory)
    for place in range(number):  # the offsets were counted from the end
        field = place * 50 + 42
        directory[field : field + 4] = struct.pack("<I", total - struct.unpack_from("<I", directory, field)[0])
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, number, number, len(directory), total, 0)
    return body + bytes(directory) + end
