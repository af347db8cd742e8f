"""Numbers from a TIFF directory: what a TIFF file is made of, and how any image carries its EXIF orientation."""

import struct
from collections.abc import Collection

BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_CODES = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG
_ENTRY_BYTES = 12
_ORIENTATION = 0x0112


def numbers(tiff: bytes, wanted: Collection[int], *, is_whole: bool) -> dict[int, tuple[int, ...]]:
    """The wanted tags of the first directory, those that are whole numbers.

    Args:
        tiff: a TIFF file, or EXIF data, which is made like one.
        wanted: numbers of tags.
        is_whole: whether the directory must end as it should, with the place of the next; EXIF's often does not.

    Raises:
        KeyError: the data does not start like a TIFF file.
        struct.error: the directory, or the values of a wanted tag, lie outside the data.
    """
    order = BYTE_ORDERS[tiff[:4]]
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (num_entries,) = struct.unpack_from(f"{order}H", tiff, start)
    end = start + 2 + _ENTRY_BYTES * num_entries
    if is_whole:
        struct.unpack_from(f"{order}I", tiff, end)
    found = {}
    for entry in range(start + 2, end, _ENTRY_BYTES):
        tag, kind, count = struct.unpack_from(f"{order}HHI", tiff, entry)
        if tag in wanted and kind in _CODES:
            layout = f"{order}{count}{_CODES[kind]}"
            is_inside = struct.calcsize(layout) <= 4
            where = entry + 8 if is_inside else struct.unpack_from(f"{order}I", tiff, entry + 8)[0]
            found[tag] = struct.unpack_from(layout, tiff, where)
    return found


def orientation(exif: bytes) -> int:
    """EXIF orientation, 1 to 8; 1 where it is missing or the EXIF data is damaged."""
    try:
        (value,) = numbers(exif.removeprefix(b"Exif\0\0"), {_ORIENTATION}, is_whole=False)[_ORIENTATION]
    except (KeyError, ValueError, struct.error):
        return 1
    return value if 1 <= value <= 8 else 1
