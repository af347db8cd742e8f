"""Pixels, and writers of uncompressed image files: their bytes depend on no library, and any field can be wrong."""

import base64
import itertools
import json
import struct
import zlib
from pathlib import Path

import numpy as np

ENCODED = json.loads((Path(__file__).parent / "images_encoded.json").read_text(encoding="utf-8"))
TURNS = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image[::-1].swapaxes(0, 1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image[:, ::-1].swapaxes(0, 1),
}


def embedded(name):
    """Return a file of `images_encoded.json`."""
    return base64.b64decode(ENCODED[name])


def scene():
    """Return the picture in most of the embedded files: (19, 27, 4), RGB and alpha."""
    y, x = np.mgrid[0:19, 0:27]
    rgb = np.stack([x * 9, y * 13, 255 - (x + y) * 5], axis=-1).astype(np.uint8)
    rgb[4:9, 5:14], rgb[11:, 18:] = (250, 40, 10), (5, 200, 90)
    return np.dstack([rgb, np.clip(x * 11 - 20, 0, 255).astype(np.uint8)])


def noise(*shape, most=256):
    return np.random.default_rng(0).integers(0, most, shape)


def blended(samples):
    """Blend color with white by the last channel; no alpha of 0 to 255 gives a tie to round."""
    share = samples[..., -1:] / 255
    rgb = np.rint(share * samples[..., :-1] + (1 - share) * 255)
    return rgb[..., 0] if rgb.shape[-1] == 1 else rgb


def with_white(pixels, where):
    return np.where(where.reshape(*where.shape, *[1] * (pixels.ndim - 2)), 255, pixels)


def packed(samples, depth):
    """Return samples of `depth` bits one after another, the first in the uppermost bits; a row ends on a whole byte."""
    if depth == 16:
        return samples.astype(">u2").tobytes()
    bits = np.unpackbits(samples.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - depth :]
    return np.packbits(bits.reshape(-1)).tobytes()


def png_chunk(kind, content, checksum=None):
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(depth, color, rows, *chunks, size=(7, 6), interlace=0, behind=()):
    """Write a PNG with `chunks` (kind, content) before its pixels and `behind` after them; rows start with a filter."""
    header = struct.pack(">IIBBBBB", *size, depth, color, 0, 0, interlace)
    pixels = zlib.compress(b"".join(rows), 0)
    all_chunks = ((b"IHDR", header), *chunks, (b"IDAT", pixels), *behind, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(itertools.starmap(png_chunk, all_chunks))


def png_rows(samples, depth=8):
    return [b"\0" + packed(row, depth) for row in samples]


def adam7(samples, depth=8):
    """Return the rows of the seven passes of an interlaced PNG."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    parts = [samples[top::down, left::across] for left, top, across, down in passes]
    return [row for part in parts if part.size for row in png_rows(part, depth)]


def bmp(bits, rows, *, size=(7, 5), compression=0, palette=None, info=40, masks=()):
    """Write a BMP with `rows` as stored: padded to four bytes, from the last to the first if its height is positive."""
    pixels = b"".join(row.ljust(-(-len(row) // 4) * 4, b"\0") for row in rows)
    palette = [] if palette is None else palette.tolist()
    if info == 12:
        head = struct.pack("<IHHHH", info, *size, 1, bits)
    else:
        head = struct.pack("<IiiHHIIiiII", info, *size, 1, bits, compression, len(pixels), 0, 0, len(palette), 0)
        head = (head + struct.pack(f"<{len(masks)}I", *masks)).ljust(info, b"\0")
    colors = b"".join(bytes(color[::-1]).ljust(3 if info == 12 else 4, b"\0") for color in palette)
    start = 14 + len(head) + len(colors)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + head + colors + pixels


def tiff(bits, photometric, strips, more=None, *, size=(7, 6), order="<", compression=1, pages=1):
    """Write a TIFF; `bits` has one number per sample, `strips` are bytes, `more` are tags and their values."""
    places = [8 + sum(map(len, strips[:index])) for index in range(len(strips))]
    one_each = {256: size[0], 257: size[1], 259: compression, 262: photometric, 277: len(bits), 278: size[1]}
    tags = {tag: (value,) for tag, value in one_each.items()}
    tags |= {258: bits, 273: tuple(places), 279: tuple(map(len, strips)), **(more or {})}
    if 322 in tags:  # tiles
        tags[324], tags[325] = tags.pop(273), tags.pop(279)
        del tags[278]
    pixels = b"".join(strips)
    pixels += b"\0" * (len(pixels) % 2)
    file = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(pixels)) + pixels
    for page in range(pages):
        outside, entries = b"", b""
        behind = len(file) + 2 + 12 * len(tags) + 4
        for tag, values in sorted(tags.items()):
            kind, letter = (3, "H") if max(values) < 2**16 else (4, "I")
            content = struct.pack(f"{order}{len(values)}{letter}", *values)
            entries += struct.pack(f"{order}HHI", tag, kind, len(values))
            if len(content) <= 4:
                entries += content.ljust(4, b"\0")
            else:
                entries += struct.pack(f"{order}I", behind + len(outside))
                outside += content + b"\0" * (len(content) % 2)
        following = behind + len(outside) if page + 1 < pages else 0
        file += struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", following) + outside
        tags[256] = (1,)  # a second page has another width
    return file


def exif(orientation, order=">"):
    """Write EXIF data with nothing but an orientation."""
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}IH", 8, 1)
    return head + struct.pack(f"{order}HHIHHI", 0x0112, 3, 1, orientation, 0, 0)


def jpeg_with(jpeg, marker, content):
    """Insert a segment behind the first marker."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + jpeg[2:]


def jpeg_without(jpeg, start):
    """Remove the segment whose content begins with `start`."""
    at = jpeg.index(start) - 4
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


def jpeg_frame_with(jpeg, marker=None, **changes):
    """Change the frame header's marker, precision, height, width or number of components."""
    at = next(jpeg.index(bytes([0xFF, kind])) for kind in (0xC0, 0xC1, 0xC2) if bytes([0xFF, kind]) in jpeg)
    names = ("precision", "height", "width", "components")
    values = dict(zip(names, struct.unpack_from(">BHHB", jpeg, at + 4), strict=True))
    content = struct.pack(">BHHB", *(values | changes).values())
    return jpeg[: at + 1] + bytes([marker or jpeg[at + 1]]) + jpeg[at + 2 : at + 4] + content + jpeg[at + 10 :]


def webp_with_exif(webp, content):
    """Add an extended header and EXIF data to a lossless WebP."""
    (bits,) = struct.unpack_from("<I", webp, 21)
    width, height = bits & 0x3FFF, bits >> 14 & 0x3FFF
    extended = b"VP8X" + struct.pack("<II", 10, 0x08) + width.to_bytes(3, "little") + height.to_bytes(3, "little")
    body = b"WEBP" + extended + webp[12:] + b"EXIF" + struct.pack("<I", len(content)) + content
    body += b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body
