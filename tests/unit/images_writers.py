"""Image files written by hand, so that their bytes depend on no library and every oddity can be put in."""

import itertools
import struct
import zlib

import numpy as np


def png_chunk(kind, content, checksum=None):
    """A chunk with its size in front and its checksum behind."""
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png(width, height, depth, colour, rows, *chunks, interlace=0, behind=(), parts=1):
    """A PNG whose `rows` (bytes, each with its filter in front) are stored without compression.

    `chunks` come before the pixels and `behind` after them: (kind, content) each. `parts` is how many IDATs there are.
    """
    data = zlib.compress(b"".join(rows), 0)
    cuts = [len(data) * part // parts for part in range(parts + 1)]
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)),
            *(png_chunk(*chunk) for chunk in chunks),
            *(png_chunk(b"IDAT", data[start:end]) for start, end in itertools.pairwise(cuts)),
            *(png_chunk(*chunk) for chunk in behind),
            png_chunk(b"IEND", b""),
        ]
    )


def png_rows(samples, depth=8):
    """Unfiltered rows of (H, W) or (H, W, channels) samples of `depth` bits."""
    return [b"\0" + packed(row.reshape(-1), depth) for row in samples]


def packed(samples, depth):
    """Samples one after another, the first in the uppermost bits; a row ends on a whole byte."""
    if depth == 16:
        return samples.astype(">u2").tobytes()
    bits = np.unpackbits(samples.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits.reshape(-1)).tobytes()


def png_filtered(samples):
    """Rows of (H, W, channels) bytes, filtered with none, sub, up, average and Paeth in turn."""
    channels = samples.shape[-1]
    flat = samples.reshape(len(samples), -1).astype(int)
    rows = []
    for index, row in enumerate(flat):
        up = flat[index - 1] if index else np.zeros_like(row)
        left, corner = (np.concatenate([np.zeros(channels, int), line[:-channels]]) for line in (row, up))
        near = left + up - corner
        distances = np.abs(near - left), np.abs(near - up), np.abs(near - corner)
        paeth = np.where(
            (distances[0] <= distances[1]) & (distances[0] <= distances[2]),
            left,
            np.where(distances[1] <= distances[2], up, corner),
        )
        guess = (0, left, up, (left + up) // 2, paeth)[index % 5]
        rows.append(bytes([index % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes())
    return rows


def adam7(samples, depth=8):
    """Rows of the seven passes of an interlaced PNG."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    parts = [samples[top::down, left::across] for left, top, across, down in passes]
    return [row for part in parts if part.size for row in png_rows(part, depth)]


def gif(canvas, frames, palette=None, version=b"89a", trailer=b";"):
    """A GIF of `canvas` (width, height) with a shared palette (colours, 3) or none."""
    flags, colours = _gif_palette(palette)
    head = b"GIF" + version + struct.pack("<HHBBB", *canvas, flags, 0, 0) + colours
    return head + b"".join(frames) + trailer


def gif_frame(indices, left=0, top=0, palette=None, transparent=None, is_interlaced=False):
    """A frame of (H, W) places in a palette, its codes nine bits each and never compressed."""
    height, width = indices.shape
    control = b"" if transparent is None else b"!\xf9\x04" + struct.pack("<BHB", 1, 5, transparent) + b"\0"
    flags, colours = _gif_palette(palette)
    if is_interlaced:
        order = [row for start, step in ((0, 8), (4, 8), (2, 4), (1, 2)) for row in range(start, height, step)]
        indices, flags = indices[order], flags | 64
    clear, end = 256, 257
    codes = []
    for place, index in enumerate(indices.reshape(-1).tolist()):
        codes += [clear, index] if place % 100 == 0 else [index]  # nine bits last until 254 codes are learnt
    bits = "".join(f"{code:09b}"[::-1] for code in [*codes, end])
    data = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    blocks = b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))
    return control + b"," + struct.pack("<4HB", left, top, width, height, flags) + colours + b"\x08" + blocks + b"\0"


def _gif_palette(palette):
    if palette is None:
        return 0, b""
    bits = max(1, (len(palette) - 1).bit_length())
    return 0x80 | bits - 1, np.asarray(palette, np.uint8).tobytes().ljust(3 << bits, b"\0")


def bmp(width, height, bits, rows, compression=0, palette=None, info=40, masks=(), palette_bytes=4):
    """A BMP with `rows` as stored; a negative height stands for rows from the top down."""
    if info == 12:
        head = struct.pack("<IHHHH", info, width, height, 1, bits)
    else:
        num_colours = 0 if palette is None else len(palette)
        sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(rows), 0, 0, num_colours, 0)
        head = (struct.pack("<I", info) + sizes[4:] + struct.pack(f"<{len(masks)}I", *masks)).ljust(info, b"\0")
    colours = b"" if palette is None else b"".join(bytes(c[::-1]).ljust(palette_bytes, b"\0") for c in palette.tolist())
    start = 14 + len(head) + len(colours)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + colours + rows


def bmp_rows(rows):
    """Rows, each filled up to four bytes, from the last to the first."""
    return b"".join(row.ljust(-(-len(row) // 4) * 4, b"\0") for row in reversed(rows))


def tiff(width, height, bits, photometric, strips, *, order="<", compression=1, more=(), pages=1):
    """A TIFF; `bits` has one number a sample, `strips` are bytes, `more` are tags (number, type, values)."""
    sizes = [len(strip) for strip in strips]
    starts = [8 + sum(sizes[:index]) for index in range(len(strips))]
    tags = {
        256: (4, (width,)),
        257: (4, (height,)),
        258: (3, bits),
        259: (3, (compression,)),
        262: (3, (photometric,)),
        277: (3, (len(bits),)),
        273: (4, tuple(starts)),
        278: (4, (height,)),
        279: (4, tuple(sizes)),
    } | {tag: (kind, values) for tag, kind, values in more}
    if 322 in tags:
        tags[324], tags[325] = tags.pop(273), tags.pop(279)
        del tags[278]
    pixels = b"".join(strips)
    pixels += b"\0" * (len(pixels) % 2)
    file = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(pixels)) + pixels
    for page in range(pages):
        outside, entries = b"", b""
        behind = len(file) + 2 + 12 * len(tags) + 4
        for tag, (kind, values) in sorted(tags.items()):
            content = struct.pack(f"{order}{len(values)}{({3: 'H', 4: 'I'})[kind]}", *values)
            entries += struct.pack(f"{order}HHI", tag, kind, len(values))
            if len(content) <= 4:
                entries += content.ljust(4, b"\0")
            else:
                entries += struct.pack(f"{order}I", behind + len(outside))
                outside += content.ljust(-(-len(content) // 2) * 2, b"\0")
        following = behind + len(outside) if page + 1 < pages else 0
        file += struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", following) + outside
        tags[256] = (4, (1,))  # a second page is of another width
    return file


def exif(orientation, order=">"):
    """EXIF data with nothing but an orientation."""
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}IH", 8, 1)
    return head + struct.pack(f"{order}HHIHHI", 0x0112, 3, 1, orientation, 0, 0)


def jpeg_with(jpeg, marker, content):
    """A JPEG with one more segment, right behind its first marker."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + jpeg[2:]


def jpeg_without(jpeg, start):
    """A JPEG without the segment whose content begins with `start`."""
    at = jpeg.index(start) - 4
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


def jpeg_frame_with(jpeg, marker=None, **changes):
    """A JPEG whose frame header has another marker, precision, height, width or number of components."""
    at = next(jpeg.index(bytes([0xFF, kind])) for kind in (0xC0, 0xC1, 0xC2) if bytes([0xFF, kind]) in jpeg)
    values = dict(
        zip(("precision", "height", "width", "components"), struct.unpack_from(">BHHB", jpeg, at + 4), strict=True)
    )
    content = struct.pack(">BHHB", *(values | changes).values())
    return jpeg[: at + 1] + bytes([marker or jpeg[at + 1]]) + jpeg[at + 2 : at + 4] + content + jpeg[at + 10 :]


def jpeg_of_one_colour(jpeg, sampling, width, height, blocks):
    """A JPEG of mid-grey whose components have any sampling factors (horizontal, vertical).

    Quantisation and Huffman tables are taken from `jpeg`, which has the usual ones; `blocks` is how many blocks a
    component has in all, interleaved: each is an empty difference and an end of block.
    """
    at = jpeg.index(b"\xff\xc0")
    frame = struct.pack(">HBHHB", 17, 8, height, width, 3)
    frame += b"".join(bytes([number + 1, h << 4 | v, min(number, 1)]) for number, (h, v) in enumerate(sampling))
    scan_at = jpeg.index(b"\xff\xda")
    bits = "".join(("001010" if number == 0 else "0000") * (h * v) for number, (h, v) in enumerate(sampling)) * blocks
    bits += "1" * (-len(bits) % 8)
    coded = bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    end_of_header = scan_at + 2 + int.from_bytes(jpeg[scan_at + 2 : scan_at + 4], "big")
    return jpeg[:at] + b"\xff\xc0" + frame + jpeg[at + 19 : end_of_header] + coded + b"\xff\xd9"


def riff(webp, chunk, content):
    """A WebP with an extended header and one more chunk behind its image; sizes are taken from the image chunk."""
    flags = 0x08 if chunk == b"EXIF" else 0
    (bits,) = struct.unpack_from("<I", webp, 21)
    width, height = bits & 0x3FFF, bits >> 14 & 0x3FFF
    extended = b"VP8X" + struct.pack("<II", 10, flags) + width.to_bytes(3, "little") + height.to_bytes(3, "little")
    body = (
        b"WEBP" + extended + webp[12:] + chunk + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body
