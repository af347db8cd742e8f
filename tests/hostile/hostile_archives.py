"""Zip and tar archives that mean harm, or are not what they say."""

import bz2
import gzip
import lzma
import re
import stat
import struct
import unicodedata
import zlib

from archive_parts import (
    END,
    FOLDER,
    GOOD,
    LINK,
    NOISE,
    SMALL,
    ZEROS,
    Case,
    Entry,
    both,
    deflate,
    header,
    large,
    long_name,
    member,
    named,
    overlapping,
    pax,
    tar,
    zipped,
)

from diptych.data.archives import Limits

DANGEROUS = re.compile(
    r"climbs|at the root|on a server|drive letter|NUL|line break|terminal|(link|hard link) (out|to)|through|pipe|socket"
    r"|(character|block) device|sparse file$|cut|last byte|bomb|too many|encrypted zip|wrong CRC|twice|text|nothing"
)
"""Archives that must raise; the others are oddities that may unpack inside the target."""


def cases(elsewhere):
    """Each archive by what it is; some want to write into the folder `elsewhere`, in bytes."""
    canary = elsewhere + b"/canary.txt"
    yield from tar_names(canary)
    yield from tar_kinds(canary)
    yield from tar_headers()
    yield from tar_wholes()
    yield from tar_streams()
    yield from zip_names(canary)
    yield from zip_entries()
    yield from zip_lies()
    yield from zip_wholes()
    yield from others()


def tar_names(canary):
    for title, name in (
        ("climbs out", b"../sibling.txt"),
        ("climbs out of a folder", b"good/../../sibling.txt"),
        ("climbs out by two", b"../../new.txt"),
        ("climbs out by four", b"good/../../../../../new.txt"),
        ("climbs to where it was", b"good/../good/1.txt"),
        ("is two dots", b".."),
        ("is at the root", canary),
        ("is at the root twice", b"/" + canary),
        ("is on a server", b"//server/share/canary.txt"),
        ("is on a server of Windows", rb"\\server\share\canary.txt"),
        ("climbs out with backslashes", rb"..\sibling.txt"),
        ("has a drive letter", b"C:/canary.txt"),
        ("has a drive letter inside", b"good/C:canary.txt"),
        ("has a line break in it", b"good/a\nb.txt"),
        ("has a terminal's command in it", b"good/\x1b[2Ja.txt"),
        ("is a device of Windows", b"good/CON"),
        ("is a device of Windows with a suffix", b"good/aux.jpg"),
        ("ends with a dot", b"good./1.txt"),
        ("ends with a space", b"good /1.txt"),
        ("is not UTF-8", b"good/\xff\xfe.txt"),
        ("has nothing before its slash", b"./"),
        ("is there twice", b"good/0.txt"),
        ("is there twice, by another way", b"./good//./0.txt"),
        ("differs in case", b"good/0.TXT"),
        ("is in a folder that differs in case", b"GOOD/1.txt"),
        ("is a file and a folder", b"good/0.txt/1.txt"),
        ("is a folder and a file", b"good"),
    ):
        content = tar(member(name) if title != "has nothing before its slash" else pax(path=b".") + member(b"a"))
        yield f"a tar member whose name {title}", Case(content)
    for title, name in (
        ("climbs out", b"../sibling.txt"),
        ("is at the root", canary),
        ("has a NUL in it", b"good/a\0.txt"),
        ("is empty", b""),
        ("has a part of 256 bytes", b"a" * 256),
        ("has a part of 256 bytes in 128 letters", "ä".encode() * 128),
        ("has 5,000 bytes", b"/".join([b"a" * 99] * 50)),
        ("is 500 folders deep", b"a/" * 500 + b"a"),
    ):
        yield f"a tar member whose pax name {title}", Case(named(name))
    names = [unicodedata.normalize(form, "good/é.txt").encode() for form in ("NFC", "NFD")]
    yield "two tar members, é in one letter and in two", Case(tar(*map(member, names)))
    yield "two tar members of one letter", Case(tar(member(b"a"), member(b"a")))
    names = ["good/straße.txt".encode(), b"good/STRASSE.txt"]
    yield "two tar members, ß and SS", Case(tar(*map(member, names)))
    yield (
        "a tar member with a long name that climbs",
        Case(tar(long_name(b"../" * 50 + b"a"), member(b"a"))),
    )
    climbing = header(b"sibling.txt", prefix=b"..")
    yield "a tar member whose prefix climbs", Case(tar(climbing))


def tar_kinds(canary):
    for title, kind, link in (
        ("link out", b"2", b"../sibling.txt"),
        ("link to the root", b"2", canary),
        ("link to itself", b"2", b"harm"),
        ("link to a member", b"2", b"good/0.txt"),
        ("hard link out", b"1", b"../sibling.txt"),
        ("hard link to the root", b"1", canary),
        ("hard link to a member", b"1", b"good/0.txt"),
        ("character device", b"3", b""),
        ("block device", b"4", b""),
        ("named pipe", b"6", b""),
        ("sparse file", b"S", b""),
        ("list of names of an incremental backup", b"D", b""),
        ("volume label", b"V", b""),
        ("thing of no known kind", b"Z", b""),
    ):
        yield f"a tar with a {title}", Case(tar(header(b"harm", kind=kind, link=link)))
    through = (header(b"door", kind=b"2", link=b".."), member(b"door/sibling.txt"))
    yield "a tar that writes through a link", Case(tar(*through))
    through = (
        header(b"door", kind=b"2", link=canary.rpartition(b"/")[0]),
        header(b"door", kind=b"5"),
        member(b"door/canary.txt"),
    )
    yield "a tar that makes a folder of a link to write through it", Case(tar(*through))
    through = (header(b"key", kind=b"1", link=b"../sibling.txt"), member(b"key"))
    yield "a tar that writes through a hard link", Case(tar(*through))
    yield "a tar that ends links with a long path", Case(deep_links())
    yield (
        "a tar with a long link",
        Case(tar(long_name(b"../" * 50, b"K"), header(b"a", kind=b"2", link=b"../"))),
    )
    yield "a tar with a link by pax alone", Case(tar(pax(linkpath=b"../sibling.txt"), member(b"a")))
    yield (
        "a tar with a sparse file by pax",
        Case(tar(pax(GNU__sparse__major=b"1", GNU__sparse__realsize=b"9999999999"), member(b"a"))),
    )
    yield "a tar folder with content", Case(tar(member(b"folder/", kind=b"5")))
    yield "a tar file that ends like a folder", Case(tar(member(b"folder/")))


def deep_links():
    """CVE-2025-4517: so many links that `realpath` gives up before it sees where they lead."""
    blocks, part = [], b"d" * 99
    for letter in b"abcdefghijklmnop":
        blocks += [header(part, kind=b"5"), header(bytes([letter]), kind=b"2", link=part)]
        part = bytes([letter]) + b"/" + part[: 97 - len(part) % 2]
    return tar(*blocks, member(b"a/b/c/../../../sibling.txt"))


def tar_headers():
    negative = b"\xff" * 11 + b"\0"
    yield "a tar member of negative size", Case(tar(header(b"a", size_field=negative)))
    huge = b"\x80" + b"\xff" * 11
    yield "a tar member of 2 to the 88 bytes", Case(tar(header(b"a", size_field=huge)))
    for digits in (b"+0000000004\0", b"0000_000004\0", b"0x000000004\0", b"00000000008\0", b"4 4\0        "):
        content = tar(header(b"a", size_field=digits) + b"harm" + bytes(508))
        yield f"a tar member of the size {digits!r}", Case(content)
    broken = bytearray(member(b"a"))
    broken[0] ^= 1
    yield "a tar with a wrong checksum", Case(tar(bytes(broken), member(b"b")))
    yield "a tar with a pax size too large", Case(tar(pax(size=b"9999"), member(b"a")))
    inner = member(b"inner", tar(member(b"../sibling.txt")))
    yield "a tar with a pax size too small", Case(tar(pax(size=b"0"), inner))
    yield "a tar with a pax size of 9 GiB", Case(tar(pax(size=b"9663676416"), header(b"a")))
    yield "a tar with a pax size below zero", Case(tar(pax(size=b"-1024"), member(b"a")))
    yield "a tar with a pax size in words", Case(tar(pax(size="４".encode()), member(b"a")))
    for key in ("path", "size", "linkpath"):
        content = tar(pax(b"g", **{key: b"../sibling.txt"}), member(b"a"))
        yield f"a tar with one {key} for all", Case(content)
    for content in (b"0 path=\n", b"8 path=a\n", b"99 path=a\n", b"path=a\n", b"1000000 path=a\n", b"9 pathxa\n"):
        yield f"a tar with the pax record {content!r}", Case(tar(pax(content=content), member(b"a")))
    large = pax(comment=b"a" * 2**21)
    yield "a tar with a pax header of 2 MiB", Case(tar(large, member(b"a")))
    giant = header(b"././@LongLink", 2**32, kind=b"L")
    yield "a tar with a long name of 4 GiB", Case(tar(giant, member(b"a")))
    yield "a tar whose last member is announced only", Case(tar(pax(path=b"a")))
    yield "a tar of extended headers without end", Case(tar(pax(path=b"a") * 60), SMALL)


def tar_wholes():
    big = tar(member(b"b.bin", NOISE))
    yield "a tar cut in a header", Case(tar(member(b"a"))[:1200])
    yield "a tar cut in a file", Case(big[:100_000])
    yield "a tar cut between members", Case(GOOD + member(b"a"))
    yield "a tar with rubbish behind it", Case(tar(end=END + b"rubbish"))
    yield "a tar with another tar behind it", Case(tar() + tar(member(b"a")))
    yield "a tar of nothing", Case(bytes(10_240))
    yield "a tar of folders", Case(header(b"good/", kind=b"5") + END)
    leftovers = member(b"__MACOSX/._a") + member(b".DS_Store") + member(b"good/._0.txt")
    yield "a tar of what macOS leaves", Case(leftovers + END)
    climbing = member(b"__MACOSX/../../sibling.txt")
    yield "a tar of what macOS leaves, climbing", Case(tar(climbing))
    yield "a tar of too many members", Case(tar(*(member(b"%d" % i) for i in range(60))), SMALL)
    yield "a tar of too many bytes", Case(tar(member(b"a", ZEROS)), SMALL)
    yield (
        "a tar within a byte of too many",
        Case(tar(member(b"a", bytes(2**20 - len(GOOD) - 512)), end=b"\0" * 512), SMALL),
    )


def tar_streams():
    sound = tar(member(b"b.bin", NOISE))
    bomb = tar(member(b"a", ZEROS))
    for name, pack in (("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress)):
        packed = pack(sound)
        yield f"a tar in {name} that is a bomb", Case(pack(bomb), Limits(max_ratio=2))
        yield f"a tar in {name}, cut in the middle", Case(packed[: len(packed) // 2])
        yield f"a tar in {name}, without its last byte", Case(packed[:-1])
        yield f"a tar in {name} with rubbish behind it", Case(packed + b"rubbish")
        spoilt = bytearray(packed)
        spoilt[len(packed) // 2] ^= 64
        yield f"a tar in {name} with a bit turned", Case(bytes(spoilt))
        yield f"two tars in {name}, one behind the other", Case(packed + packed)
        yield f"a text in {name}", Case(pack(b"no tar " * 1000))
        yield f"nothing in {name}", Case(pack(b""))
    packed = gzip.compress(sound)
    yield "a tar in gzip with a wrong CRC", Case(packed[:-8] + b"\0\0\0\0" + packed[-4:])
    yield "a tar in gzip with a wrong length", Case(packed[:-4] + b"\0\0\0\0")
    yield "a tar in gzip with 300 MiB of padding", Case(padding_bomb())
    greedy = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**29}]
    yield "a tar in xz that wants 512 MiB of memory", Case(lzma.compress(sound, filters=greedy))


def padding_bomb():
    """Nothing is written of it; only time is lost."""
    packer = zlib.compressobj(1, wbits=31)
    return b"".join([packer.compress(tar()), *(packer.compress(ZEROS) for _ in range(75)), packer.flush()])


def zip_names(canary):
    for title, name in (
        ("climbs out", b"../sibling.txt"),
        ("climbs out of a folder", b"good/../../sibling.txt"),
        ("climbs out by two", b"../../new.txt"),
        ("climbs out by four", b"good/../../../../../new.txt"),
        ("is at the root", canary),
        ("climbs out with backslashes", rb"..\sibling.txt"),
        ("is on a server of Windows", rb"\\server\share\canary.txt"),
        ("has a drive letter", b"C:canary.txt"),
        ("has a NUL in it", b"good/1.txt\0.jpg"),
        ("has a line break in it", b"good/1\r\n.txt"),
        ("is empty", b""),
        ("is a device of Windows", b"nul.txt"),
        ("ends with a dot", b"good/1.txt."),
        ("is there twice", b"good/0.txt"),
        ("differs in case", b"Good/0.txt"),
        ("is a file and a folder", b"good/0.txt/1.txt"),
        ("has a part of 256 bytes", b"a" * 256),
        ("has 60,000 bytes", b"a/" * 30_000 + b"a"),
        ("is 400 folders deep", b"a/" * 400 + b"a"),
    ):
        yield f"a zip member whose name {title}", Case(zipped(Entry(name)))
    yield (
        "a zip member whose name is not the UTF-8 it is said to be",
        Case(zipped(Entry(b"good/\xff.txt", flags=1 << 11))),
    )
    names = [unicodedata.normalize(form, "é.txt").encode() for form in ("NFC", "NFD")]
    yield "two zip members, é in one letter and in two", Case(zipped(*(Entry(name) for name in names)))


def zip_entries():
    yield "a zip with a link out", Case(zipped(Entry(b"a", b"../sibling.txt", mode=LINK)))
    through = (Entry(b"door", b"..", mode=LINK), Entry(b"door/sibling.txt"))
    yield "a zip that writes through a link", Case(zipped(*through))
    for title, kind in (("device", stat.S_IFCHR), ("pipe", stat.S_IFIFO), ("socket", stat.S_IFSOCK)):
        yield f"a zip with a {title}", Case(zipped(Entry(b"a", mode=kind)))
    yield "a zip folder by its mode only", Case(zipped(Entry(b"a", b"", mode=FOLDER)))
    yield "a zip folder that is a file by its mode", Case(zipped(Entry(b"a/", b"")))
    yield "a zip folder with content", Case(zipped(Entry(b"a/", mode=FOLDER)))
    yield "an encrypted zip member", Case(zipped(Entry(b"a", flags=1)))
    yield "a strongly encrypted zip member", Case(zipped(Entry(b"a", flags=65)))
    secret = Entry(b"a", local=(("flags", 1),))
    yield "a zip member that is encrypted by its own header only", Case(zipped(secret))
    for method in (1, 6, 9, 12, 14, 93, 95, 98, 99, 65_535):
        yield f"a zip member packed by method {method}", Case(zipped(Entry(b"a", method=method)))
    yield (
        "a zip member with a wrong CRC",
        Case(zipped(Entry(b"a", local=(("crc", 1),), listed=(("crc", 1),)))),
    )
    yield "a zip member that is not deflated at all", Case(zipped(Entry(b"a", method=8, packed=NOISE)))
    torn = deflate(NOISE)[:1000]
    yield "a zip member deflated in part", Case(zipped(Entry(b"a", NOISE, 8, packed=torn)))
    padded = deflate(b"harm") + b"rubbish"
    yield (
        "a zip member with rubbish behind what is deflated",
        Case(zipped(Entry(b"a", method=8, packed=padded))),
    )


def zip_lies():
    for title, field, value in (
        ("name", "name", b"../sibling.txt"),
        ("method", "method", 8),
        ("CRC", "crc", 1),
        ("packed size", "packed_bytes", 1),
        ("size", "size", 9999),
    ):
        entry = Entry(b"a", local=((field, value),))
        yield f"a zip member whose own header has another {title}", Case(zipped(entry))
    yield (
        "a zip member larger than it says",
        Case(zipped(Entry(b"a", ZEROS, 8, **both(size=40)))),
    )
    yield (
        "a zip member smaller than it says",
        Case(zipped(Entry(b"a", method=8, **both(size=40)))),
    )
    yield "a zip member stored in another size", Case(zipped(Entry(b"a", **both(size=40))))
    yield (
        "a zip member of four gigabytes, it says",
        Case(zipped(Entry(b"a", method=8, **both(size=2**32 - 2)))),
    )
    zip64 = struct.pack("<2H2Q", 1, 16, 2**62, 4)
    exabytes = Entry(b"a", listed=(("size", 2**32 - 1), ("packed_bytes", 2**32 - 1)), extra=zip64, method=8)
    yield "a zip member of four exabytes, it says", Case(zipped(exabytes))
    beyond = Entry(b"a", listed=(("start", 2**32 - 1),), extra=struct.pack("<2HQ", 1, 8, 2**64 - 1))
    yield "a zip member far behind the end", Case(zipped(beyond))
    yield "a zip member inside the directory", Case(zipped(Entry(b"a", **both(packed_bytes=80, size=80))))
    yield "two zip members over the same bytes", Case(zipped(Entry(b"a", listed=(("start", 0),))))
    yield "a zip of members one in the other", Case(overlapping())
    yield "a zip member on another disk", Case(zipped(Entry(b"a", listed=(("disk", 1),))))


def zip_wholes():
    sound = zipped(Entry(b"b.bin", NOISE))
    yield "a zip cut in half", Case(sound[: len(sound) // 2])
    yield "a zip without its last byte", Case(sound[:-1])
    yield "a zip with rubbish behind it", Case(sound + b"rubbish")
    yield "a zip with rubbish before it", Case(b"rubbish" + sound)
    moved = zipped(Entry(b"a"), before=b"PK\3\4rubbish")
    yield "a zip whose directory is moved", Case(moved[:4] + b"more" + moved[4:])
    inner = zipped(Entry(b"a"))
    yield "a zip with another zip for a comment", Case(zipped(comment=inner))
    yield "a zip of nothing", Case(b"PK\5\6" + bytes(18))
    yield "a zip with more members than it promises", Case(zipped(Entry(b"a"), count=1))
    yield "a zip with fewer members than it promises", Case(zipped(Entry(b"a"), count=9))
    yield "a zip of several parts", Case(zipped(disk=1))
    yield "a zip whose directory is four gigabytes", Case(zipped(size=2**32 - 2))
    yield "a zip whose large directory is elsewhere", Case(large(sound, start=0))
    yield "a zip whose large directory has 2 to the 63 bytes", Case(large(sound, size=2**63))
    yield "a zip whose large directory lies far away", Case(large(sound, place=2**64 - 1))
    yield "a zip whose large directory is longer than it is", Case(large(sound, length=2**40))
    yield "a zip whose large directory promises 65,538", Case(large(sound, here=65_538, number=65_538))
    contradiction = bytearray(large(sound))
    contradiction[-12:-10] = b"\3\0"
    yield "a zip whose two directories contradict each other", Case(bytes(contradiction))
    yield (
        "a zip of too many members",
        Case(zipped(*(Entry(b"%d" % i) for i in range(60))), SMALL),
    )
    yield "a zip of too many bytes", Case(zipped(Entry(b"a", ZEROS, 8)), SMALL)
    yield "a zip bomb by ratio", Case(zipped(Entry(b"a", ZEROS, 8)), Limits(max_ratio=2))


def others():
    yield "an empty file", Case(b"")
    yield "a text", Case(b"no archive\n" * 100)
    yield "a Zstandard file", Case(b"\x28\xb5\x2f\xfd" + bytes(100))
    yield "a 7z file", Case(b"7z\xbc\xaf\x27\x1c" + bytes(100))
    yield "a RAR file", Case(b"Rar!\x1a\x07\x01\0" + bytes(100))
