"""JPEG, by libjpeg-turbo in its accurate form; what libjpeg only warns of is an error here.

OpenCV and Pillow give the same pixels, but fill what is damaged with grey and say nothing, or say it on stderr.
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image as Pillow

from diptych.data.codecs import tags
from diptych.data.codecs.pixels import Image, Refused, ink_to_light, upright

_APP0, _APP1, _APP14, _SOS, _EOI = 0xE0, 0xE1, 0xEE, 0xDA, 0xD9
_READ_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # baseline, extended, progressive; the last two with arithmetic coding
_PROGRESSIVE = {0xC2, 0xCA}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_ALONE = {0x01, *range(0xD0, 0xD8), 0xFF}  # markers without content, and filling in front of a marker
_SEGMENT = struct.Struct(">BBH").unpack_from
# Inside the coded data of a scan, 0xFF is followed by 0 or by a restart marker.
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_MOST_SCANS = 100  # encoders write about ten; thousands of empty ones over a large image take hours


class JpegHeader(NamedTuple):
    """What is known before decoding. `jfif_major` is where a harmless version stands that libjpeg would warn of."""

    height: int
    width: int
    orientation: int
    components: int
    is_adobe: bool
    jfif_major: int | None


def header(encoded: bytes) -> JpegHeader:
    """Size, orientation and colours, from the segments before the first scan.

    Raises:
        Refused: there is no frame, or one of a kind that is not read.
    """
    frame: tuple[int, int, int] | None = None
    orientation, is_adobe, jfif_major = None, False, None
    for marker, start, end in _segments(encoded):
        if marker in _FRAMES and frame is None:
            frame = _frame(encoded, marker, start)
        elif marker == _APP1 and orientation is None and encoded.startswith(b"Exif\0\0", start):
            orientation = tags.orientation(encoded[start:end])
        elif marker == _APP0 and encoded.startswith(b"JFIF\0", start) and encoded[start + 5] != 1:
            jfif_major = start + 5
        elif marker == _APP14 and encoded.startswith(b"Adobe", start):
            is_adobe = True
        elif marker in (_SOS, _EOI):
            break
    if frame is None:
        raise Refused("damaged", "no frame comes before the first scan")
    return JpegHeader(frame[0], frame[1], orientation or 1, frame[2], is_adobe, jfif_major)


def rgb(encoded: bytes, header: JpegHeader) -> Image:
    """Pixels, (H, W, 3), upright.

    Raises:
        Refused: the file is cut short or damaged.
    """
    if header.jfif_major is not None:
        encoded = encoded[: header.jfif_major] + b"\x01" + encoded[header.jfif_major + 1 :]
    try:
        if header.components == 4:
            cmyk = simplejpeg.decode_jpeg(encoded, "CMYK")
            # Adobe's programs store how much ink is not there; the marker tells theirs from others.
            image = ink_to_light(255 - cmyk if header.is_adobe else cmyk)
        else:
            image = simplejpeg.decode_jpeg(encoded)
    except ValueError as error:
        if header.components == 4 or "subsampling level" not in str(error):
            raise _refusal(encoded, error) from error
        image = _of_rare_sampling(encoded, header)
    return upright(image, header.orientation)


def _frame(encoded: bytes, marker: int, start: int) -> tuple[int, int, int]:
    """Height, width and number of components."""
    precision, height, width, components = struct.unpack_from(">BHHB", encoded, start)
    if marker not in _READ_FRAMES or precision != 8 or components not in (1, 3, 4):
        raise Refused(
            "unsupported",
            f"a JPEG of type 0x{marker:X} with {components} components of {precision} bits; wanted baseline or "
            "progressive with 1, 3 or 4 of 8 bits",
        )
    if marker in _PROGRESSIVE and (num_scans := encoded.count(b"\xff\xda")) > _MOST_SCANS:
        raise Refused("unsupported", f"a JPEG of {num_scans:,} scans; up to {_MOST_SCANS} are read")
    return height, width, components


def _segments(encoded: bytes) -> Iterator[tuple[int, int, int]]:
    """Every segment: its marker, and where its content starts and ends. Coded data is passed over."""
    at, most = 2, len(encoded) - 4
    while at <= most:
        prefix, marker, size = _SEGMENT(encoded, at)
        if prefix != 0xFF:
            raise Refused("damaged", f"byte {at:,} is not where a marker starts")
        if marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        yield marker, at + 4, at + 2 + size
        if marker == _EOI:
            return
        at += 2 + size
        if marker == _SOS:
            found = _NEXT_MARKER.search(encoded, at)
            at = found.start() if found else len(encoded)
    if encoded[at : at + 1] == b"\xff" and encoded[at:].lstrip(b"\xff")[:1] == b"\xd9":
        yield _EOI, len(encoded), len(encoded)
        return
    raise Refused("truncated", "there is no end-of-image marker")


def _refusal(encoded: bytes, error: ValueError) -> Refused:
    """Whether the file ends too early or is whole and wrong inside, and what libjpeg says of it."""
    try:
        is_whole = any(marker == _EOI for marker, _, _ in _segments(encoded))
    except Refused as refused:
        return refused
    return Refused("damaged" if is_whole else "truncated", str(error))


def _of_rare_sampling(encoded: bytes, header: JpegHeader) -> Image:
    """Colour at a resolution that TurboJPEG has no name for; libjpeg itself decodes it, with its warnings unseen."""
    try:
        image = Pillow.frombytes("RGB", (header.width, header.height), encoded, "jpeg", "RGB", "")
    except ValueError as error:
        raise _refusal(encoded, error) from error
    return np.array(image)
