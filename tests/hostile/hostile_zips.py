"""Zip archives that lie about what is in them, or how much."""

import io
import shutil
import struct
import warnings
import zipfile
from functools import partial

from ground import half, rezipped, spoilt

from diptych.engines.contract import CARD

ZEROS = bytes(2**20)
STATE = f"sound/{CARD}"


def twice(ground):
    """The same card again; zipfile warns whoever writes that."""
    with warnings.catch_warnings(action="ignore"):
        return rezipped(ground, add={STATE: b"{}"})


def bomb_by_ratio(ground, form="state-dict"):
    path = ground.path(like=form)
    shutil.copyfile(ground.sound[form], path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("sound/bomb", "w") as entry:
        for _ in range(400):
            entry.write(ZEROS)
    return path


def bomb_by_directory(ground):
    """A directory that names one entry two hundred thousand times."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("sound/data.pkl", b"")
    start, end = packed.getvalue().index(b"PK\1\2"), packed.getvalue().index(b"PK\5\6")
    number, record = 200_000, packed.getvalue()[start:end]
    tail = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 65535, 65535, number * len(record), start, 0)
    path = ground.path(like="state-dict")
    path.write_bytes(packed.getvalue()[:start] + record * number + tail)
    return path


def lying_card(ground, size):
    """The directory promises another size of the card than there is."""
    path = rezipped(ground, leave_out=(STATE,), add={STATE: ground.card("state-dict")}, method=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    record = content.rindex(b"PK\1\2")
    content[record + 24 : record + 28] = struct.pack("<I", size)
    path.write_bytes(content)
    return path


def with_flag(ground, offset, value):
    """One field of the card's record, in both places where a zip archive keeps it."""
    path = rezipped(ground)
    content = bytearray(path.read_bytes())
    for signature, shift in ((b"PK\1\2", 2), (b"PK\3\4", 0)):
        place = content.rindex(signature) + offset + shift
        content[place : place + 2] = struct.pack("<H", value)
    path.write_bytes(content)
    return path


def overlapping(ground):
    """Two entries over the same bytes."""
    path = rezipped(ground)
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\5\6")
    record = bytearray(content[content.rindex(b"PK\1\2") : end])
    record[46:51] = b"other"
    number, size = struct.unpack("<HI", content[end + 10 : end + 16])
    content[end:end] = record
    tail = struct.pack("<HHI", number + 1, number + 1, size + len(record))
    content[end + len(record) + 8 : end + len(record) + 16] = tail
    path.write_bytes(content)
    return path


CASES = {
    "a zip bomb by ratio": bomb_by_ratio,
    "a zip bomb by number of entries": partial(rezipped, add={f"sound/{place}": b"" for place in range(21_000)}),
    "a zip bomb by its directory": bomb_by_directory,
    "a zip bomb behind a flatbuffer": partial(bomb_by_ratio, form="tflite"),
    "a zip entry larger than it says": partial(lying_card, size=40),
    "a zip entry smaller than it says": partial(lying_card, size=3_000_000),
    "a zip entry of four gigabytes, it says": partial(lying_card, size=2**32 - 2),
    "zip entries that overlap": overlapping,
    "a zip with two cards": partial(rezipped, add={f"other/{CARD}": b"{}"}),
    "a zip with the card twice": twice,
    "a zip entry that climbs out": partial(rezipped, add={"sound/../../canary": b"x"}),
    "a zip entry at the root": partial(rezipped, add={"/tmp/canary": b"x"}),
    "a zip entry that climbs out with backslashes": partial(rezipped, add={"..\\..\\canary": b"x"}),
    "an encrypted zip entry": partial(with_flag, offset=6, value=1),
    "a zip entry of an unknown method": partial(with_flag, offset=8, value=99),
    "a zip entry packed by LZMA": partial(rezipped, method=zipfile.ZIP_LZMA),
    "a zip cut in half": half("state-dict"),
    "a zip without its last byte": spoilt("state-dict", lambda content: content[:-1]),
    "a zip with rubbish behind it": spoilt("state-dict", lambda content: content + ZEROS[:99]),
    "a zip of nothing": spoilt("state-dict", lambda content: b"PK\5\6" + bytes(18)),
    "a zip of something else": partial(rezipped, leave_out=("sound/data.pkl",)),
    "a card of fifty megabytes": partial(
        rezipped, leave_out=(STATE,), add={STATE: b" " * 50_000_000}, method=zipfile.ZIP_DEFLATED
    ),
}
