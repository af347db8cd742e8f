"""Zip and tar archives that mean harm, or are not what they say."""

import bz2
import gzip
import lzma
import re
import stat
import struct
import unicodedata
import zlib

import archive_parts as parts
from archive_parts import END, FOLDER, NOISE, ZEROS, Entry, both, header, large, long_name, member, pax, tar, zipped

from diptych.data.archives import LIMITS, Limits

SMALL, LOW_RATIO = Limits(max_bytes=2**20, max_members=50), Limits(max_ratio=2)
DANGEROUS = re.compile(
    r"dangerous|climbs|(link|hard link) (out|to)|through|pipe|socket"
    r"|(character|block) device|sparse file$|cut|last byte|bomb|too many|encrypted zip|wrong CRC|twice|text|nothing"
)
"""Archives that must raise; the others are oddities that may unpack inside the target."""

BAD_NAMES = (
    b"../sibling.txt", b"good/../../sibling.txt", b"../../new.txt", b"good/../../../../../new.txt",
    b"good/../good/1.txt", rb"..\sibling.txt", b"//server/share/canary.txt", rb"\\server\share\canary.txt",
    b"C:/canary.txt", b"good/C:canary.txt", b"good/a\r\nb.txt", b"good/\x1b[2Ja.txt", b"good/a\0.txt",
    b"good/0.txt", b"./good//./0.txt",  # a member that is there already
)  # fmt: skip
ODD_NAMES = (
    b"..", b"good/CON", b"good/aux.jpg", b"good./1.txt", b"good /1.txt", b"good/\xff\xfe.txt", b"good/0.TXT",
    b"GOOD/1.txt", b"good/0.txt/1.txt", b"good", b"", b"a" * 256, "ä".encode() * 128, b"/".join([b"a" * 99] * 50),
    b"a/" * 500 + b"a",
)  # fmt: skip


def cases(elsewhere):
    """Return archives and limits by description; some archives try to write into the folder `elsewhere`, in bytes."""
    canary = elsewhere + b"/canary.txt"
    archives = {**names(canary), **tars(canary), **tar_streams(), **zips(), **others()}
    return {name: case if isinstance(case, tuple) else (case, LIMITS) for name, case in archives.items()}


def names(canary):
    accents = [unicodedata.normalize(form, "good/é.txt").encode() for form in ("NFC", "NFD")]
    titles = {name: f"the dangerous name {name[:100]!r}" for name in (*BAD_NAMES, canary, b"/" + canary)}
    titles |= {name: f"the name {name[:100]!r}" for name in ODD_NAMES}
    short = {name: title for name, title in titles.items() if 0 < len(name) <= 100 and b"\0" not in name}
    return {
        **{f"a tar member of {title}": tar(member(name)) for name, title in short.items()},
        **{f"a tar member of {title} in pax": tar(pax(path=name), member(b"a")) for name, title in titles.items()},
        **{f"a zip member of {title}": zipped(Entry(name)) for name, title in titles.items()},
        "a tar member whose name has nothing before its slash": tar(pax(path=b".") + member(b"a")),
        "two tar members, é in one letter and in two": tar(*map(member, accents)),
        "two zip members, é in one letter and in two": zipped(*map(Entry, accents)),
        "two tar members of one letter": tar(member(b"a"), member(b"a")),
        "two tar members, ß and SS": tar(member("good/straße.txt".encode()), member(b"good/STRASSE.txt")),
        "a tar member with a long name that climbs": tar(long_name(b"../" * 50 + b"a"), member(b"a")),
        "a tar member whose prefix climbs": tar(header(b"sibling.txt", prefix=b"..")),
        "a zip member whose name is not the UTF-8 it is said to be": zipped(Entry(b"good/\xff.txt", flags=1 << 11)),
    }


def tars(canary):
    kinds = {
        "link out": (b"2", b"../sibling.txt"),
        "link to the root": (b"2", canary),
        "link to itself": (b"2", b"harm"),
        "link to a member": (b"2", b"good/0.txt"),
        "hard link out": (b"1", b"../sibling.txt"),
        "hard link to the root": (b"1", canary),
        "hard link to a member": (b"1", b"good/0.txt"),
        "character device": (b"3", b""),
        "block device": (b"4", b""),
        "named pipe": (b"6", b""),
        "sparse file": (b"S", b""),
        "list of names of an incremental backup": (b"D", b""),
        "volume label": (b"V", b""),
        "thing of no known kind": (b"Z", b""),
    }
    folder = canary.rpartition(b"/")[0]
    sizes = (b"+0000000004\0", b"0000_000004\0", b"0x000000004\0", b"00000000008\0", b"4 4\0        ")
    records = (b"0 path=\n", b"8 path=a\n", b"99 path=a\n", b"path=a\n", b"1000000 path=a\n", b"9 pathxa\n")
    spoilt = bytearray(member(b"a"))
    spoilt[0] ^= 1
    inner = member(b"inner", tar(member(b"../sibling.txt")))
    return {
        **{
            f"a tar with a {title}": tar(header(b"harm", kind=kind, link=link)) for title, (kind, link) in kinds.items()
        },
        "a tar that writes through a link": tar(header(b"door", kind=b"2", link=b".."), member(b"door/sibling.txt")),
        "a tar that makes a folder of a link to write through it": tar(
            header(b"door", kind=b"2", link=folder), header(b"door", kind=b"5"), member(b"door/canary.txt")
        ),
        "a tar that writes through a hard link": tar(header(b"key", kind=b"1", link=b"../sibling.txt"), member(b"key")),
        "a tar that ends links with a long path": parts.deep_links(),
        "a tar with a long link": tar(long_name(b"../" * 50, b"K"), header(b"a", kind=b"2", link=b"../")),
        "a tar with a link by pax alone": tar(pax(linkpath=b"../sibling.txt"), member(b"a")),
        "a tar with a sparse file by pax": tar(
            pax(GNU__sparse__major=b"1", GNU__sparse__realsize=b"9999999999"), member(b"a")
        ),
        "a tar folder with content": tar(member(b"folder/", kind=b"5")),
        "a tar file that ends like a folder": tar(member(b"folder/")),
        "a tar member of negative size": tar(header(b"a", size_field=b"\xff" * 11 + b"\0")),
        "a tar member of 2 to the 88 bytes": tar(header(b"a", size_field=b"\x80" + b"\xff" * 11)),
        **{
            f"a tar member of the size {size!r}": tar(header(b"a", size_field=size) + b"harm" + bytes(508))
            for size in sizes
        },
        "a tar with a wrong checksum": tar(bytes(spoilt), member(b"b")),
        "a tar with a pax size too large": tar(pax(size=b"9999"), member(b"a")),
        "a tar with a pax size too small": tar(pax(size=b"0"), inner),
        "a tar with a pax size of 9 GiB": tar(pax(size=b"9663676416"), header(b"a")),
        "a tar with a pax size below zero": tar(pax(size=b"-1024"), member(b"a")),
        "a tar with a pax size in words": tar(pax(size="４".encode()), member(b"a")),
        **{
            f"a tar with one {key} for all": tar(pax(b"g", **{key: b"../sibling.txt"}), member(b"a"))
            for key in ("path", "size", "linkpath")
        },
        **{f"a tar with the pax record {text!r}": tar(pax(content=text), member(b"a")) for text in records},
        "a tar with a pax header of 2 MiB": tar(pax(comment=b"a" * 2**21), member(b"a")),
        "a tar with a long name of 4 GiB": tar(header(b"././@LongLink", 2**32, kind=b"L"), member(b"a")),
        "a tar whose last member is announced only": tar(pax(path=b"a")),
        "a tar of extended headers without end": (tar(pax(path=b"a") * 60), SMALL),
        "a tar cut in a header": tar(member(b"a"))[:1200],
        "a tar cut in a file": tar(member(b"b.bin", NOISE))[:100_000],
        "a tar cut between members": parts.GOOD + member(b"a"),
        "a tar with rubbish behind it": tar(end=END + b"rubbish"),
        "a tar with another tar behind it": tar() + tar(member(b"a")),
        "a tar of nothing": bytes(10_240),
        "a tar of folders": header(b"good/", kind=b"5") + END,
        "a tar of what macOS leaves": b"".join(map(member, (b"__MACOSX/._a", b".DS_Store", b"good/._0.txt"))) + END,
        "a tar of what macOS leaves, climbing": tar(member(b"__MACOSX/../../sibling.txt")),
        "a tar of too many members": (tar(*(member(b"%d" % i) for i in range(60))), SMALL),
        "a tar of too many bytes": (tar(member(b"a", ZEROS)), SMALL),
        "a tar within a byte of too many": (
            tar(member(b"a", bytes(2**20 - len(parts.GOOD) - 512)), end=bytes(512)),
            SMALL,
        ),
    }


def tar_streams():
    whole, bomb, cases = tar(member(b"b.bin", NOISE)), tar(member(b"a", ZEROS)), {}
    for name, pack in (("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress)):
        packed = pack(whole)
        middle = len(packed) // 2
        cases |= {
            f"a tar in {name} that is a bomb": (pack(bomb), LOW_RATIO),
            f"a tar in {name}, cut in the middle": packed[:middle],
            f"a tar in {name}, without its last byte": packed[:-1],
            f"a tar in {name} with rubbish behind it": packed + b"rubbish",
            f"a tar in {name} with a bit turned": packed[:middle] + bytes([packed[middle] ^ 64]) + packed[middle + 1 :],
            f"two tars in {name}, one behind the other": packed + packed,
            f"a text in {name}": pack(b"no tar " * 1000),
            f"nothing in {name}": pack(b""),
        }
    packed = gzip.compress(whole)
    greedy = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**29}]
    packer = zlib.compressobj(1, wbits=31)
    padding = b"".join([packer.compress(tar()), *(packer.compress(ZEROS) for _ in range(75)), packer.flush()])
    return cases | {
        "a tar in gzip with a wrong CRC": packed[:-8] + b"\0\0\0\0" + packed[-4:],
        "a tar in gzip with a wrong length": packed[:-4] + b"\0\0\0\0",
        "a tar in gzip with 300 MiB of padding": padding,
        "a tar in xz that wants 512 MiB of memory": lzma.compress(whole, filters=greedy),
    }


def zips():
    kinds = {"device": stat.S_IFCHR, "pipe": stat.S_IFIFO, "socket": stat.S_IFSOCK}
    through = (Entry(b"door", b"..", mode=parts.LINK), Entry(b"door/sibling.txt"))
    own = {"name": b"../sibling.txt", "method": 8, "crc": 1, "packed_bytes": 1, "size": 9999}
    exabytes = (("size", 2**32 - 1), ("packed_bytes", 2**32 - 1))
    zip64, far = struct.pack("<2H2Q", 1, 16, 2**62, 4), struct.pack("<2HQ", 1, 8, 2**64 - 1)
    whole, harm, bomb = zipped(Entry(b"b.bin", NOISE)), zipped(Entry(b"a")), zipped(Entry(b"a", ZEROS, 8))
    moved = zipped(Entry(b"a"), before=b"PK\3\4rubbish")
    contradiction = bytearray(large(whole))
    contradiction[-12:-10] = b"\3\0"
    return {
        "a zip with a link out": zipped(Entry(b"a", b"../sibling.txt", mode=parts.LINK)),
        "a zip that writes through a link": zipped(*through),
        **{f"a zip with a {title}": zipped(Entry(b"a", mode=kind)) for title, kind in kinds.items()},
        "a zip folder by its mode only": zipped(Entry(b"a", b"", mode=FOLDER)),
        "a zip folder that is a file by its mode": zipped(Entry(b"a/", b"")),
        "a zip folder with content": zipped(Entry(b"a/", mode=FOLDER)),
        "an encrypted zip member": zipped(Entry(b"a", flags=1)),
        "a strongly encrypted zip member": zipped(Entry(b"a", flags=65)),
        "a zip member that is encrypted by its own header only": zipped(Entry(b"a", local=(("flags", 1),))),
        **{
            f"a zip member packed by method {method}": zipped(Entry(b"a", method=method))
            for method in (1, 6, 9, 12, 14, 93, 95, 98, 99, 65_535)
        },
        "a zip member with a wrong CRC": zipped(Entry(b"a", **both(crc=1))),
        "a zip member that is not deflated at all": zipped(Entry(b"a", method=8, packed=NOISE)),
        "a zip member deflated in part": zipped(Entry(b"a", NOISE, 8, packed=parts.deflate(NOISE)[:1000])),
        "a zip member with rubbish behind what is deflated": zipped(
            Entry(b"a", method=8, packed=parts.deflate(b"harm") + b"rubbish")
        ),
        **{
            f"a zip member whose own header has another {field}": zipped(Entry(b"a", local=((field, value),)))
            for field, value in own.items()
        },
        "a zip member larger than it says": zipped(Entry(b"a", ZEROS, 8, **both(size=40))),
        "a zip member smaller than it says": zipped(Entry(b"a", method=8, **both(size=40))),
        "a zip member stored in another size": zipped(Entry(b"a", **both(size=40))),
        "a zip member of four gigabytes, it says": zipped(Entry(b"a", method=8, **both(size=2**32 - 2))),
        "a zip member of four exabytes, it says": zipped(Entry(b"a", listed=exabytes, extra=zip64, method=8)),
        "a zip member far behind the end": zipped(Entry(b"a", listed=(("start", 2**32 - 1),), extra=far)),
        "a zip member inside the directory": zipped(Entry(b"a", **both(packed_bytes=80, size=80))),
        "two zip members over the same bytes": zipped(Entry(b"a", listed=(("start", 0),))),
        "a zip of members one in the other": parts.overlapping(),
        "a zip member on another disk": zipped(Entry(b"a", listed=(("disk", 1),))),
        "a zip cut in half": whole[: len(whole) // 2],
        "a zip without its last byte": whole[:-1],
        "a zip with rubbish behind it": whole + b"rubbish",
        "a zip with rubbish before it": b"rubbish" + whole,
        "a zip whose directory is moved": moved[:4] + b"more" + moved[4:],
        "a zip with another zip for a comment": zipped(comment=harm),
        "a zip of nothing": b"PK\5\6" + bytes(18),
        "a zip with more members than it promises": zipped(Entry(b"a"), number=1),
        "a zip with fewer members than it promises": zipped(Entry(b"a"), number=9),
        "a zip of several parts": zipped(disk=1),
        "a zip whose directory is four gigabytes": zipped(size=2**32 - 2),
        "a zip whose large directory is elsewhere": large(whole, start=0),
        "a zip whose large directory has 2 to the 63 bytes": large(whole, size=2**63),
        "a zip whose large directory lies far away": large(whole, place=2**64 - 1),
        "a zip whose large directory is longer than it is": large(whole, length=2**40),
        "a zip whose large directory promises 65,538": large(whole, here=65_538, number=65_538),
        "a zip whose two directories contradict each other": bytes(contradiction),
        "a zip of too many members": (zipped(*(Entry(b"%d" % i) for i in range(60))), SMALL),
        "a zip of too many bytes": (bomb, SMALL),
        "a zip bomb by ratio": (bomb, LOW_RATIO),
    }


def others():
    starts = {"Zstandard": b"\x28\xb5\x2f\xfd", "7z": b"7z\xbc\xaf\x27\x1c", "RAR": b"Rar!\x1a\x07\x01\0"}
    files = {f"a {name} file": start + bytes(100) for name, start in starts.items()}
    return {"an empty file": b"", "a text": b"no archive\n" * 100, **files}
