"""PNG, strictly: every checksum is compared and every row must be there.

libpng prints what it dislikes on stderr, and Pillow's reader takes rows that are missing for black ones. So the
container is read here, zlib inflates, and Pillow's decoder undoes the filters.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from diptych.data.codecs import tags
from diptych.data.codecs.pixels import Header, Image, Refused, grey_to_rgb, high_byte, over_white, upright

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA = 0, 2, 3, 4
# Colour type and bits per sample: Pillow's mode, how it unpacks the samples, and bits per pixel.
_LAYOUTS = {
    (_GREY, 1): ("1", "1", 1),
    (_GREY, 2): ("L", "L;2", 2),
    (_GREY, 4): ("L", "L;4", 4),
    (_GREY, 8): ("L", "L", 8),
    (_GREY, 16): ("I;16", "I;16B", 16),
    (_RGB, 8): ("RGB", "RGB", 24),
    (_RGB, 16): ("RGB", "RGB;16B", 48),
    (_PALETTE, 1): ("P", "P;1", 1),
    (_PALETTE, 2): ("P", "P;2", 2),
    (_PALETTE, 4): ("P", "P;4", 4),
    (_PALETTE, 8): ("P", "P", 8),
    (_GREY_ALPHA, 8): ("LA", "LA", 16),
    (_GREY_ALPHA, 16): ("RGBA", "LA;16B", 32),
    (6, 8): ("RGBA", "RGBA", 32),
    (6, 16): ("RGBA", "RGBA;16B", 64),
}
# Adam7: first column, first row, step across, step down of each pass.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def header(encoded: bytes) -> Header:
    """Size and orientation.

    Raises:
        Refused: the chunks are cut short, or the first is no header.
    """
    kind, width, height = struct.unpack_from(">4sII", encoded, 12)
    if kind != b"IHDR":
        raise Refused("damaged", f"the first chunk is {kind!r}, not a header")
    exif = next((encoded[start:end] for kind, start, end in _chunks(encoded) if kind == b"eXIf"), b"")
    return Header(height, width, tags.orientation(exif))


def rgb(encoded: bytes, header: Header) -> Image:
    """Pixels, (H, W, 3), transparency over white, upright.

    Raises:
        Refused: a checksum is wrong, rows are missing, or the header asks for what no PNG is.
    """
    depth, colour, compression, filtering, interlace = encoded[24:29]
    if (colour, depth) not in _LAYOUTS or compression or filtering or interlace > 1:
        raise Refused("damaged", f"colour type {colour} of {depth} bits, interlace {interlace} is no PNG")
    chunks = _checked_chunks(encoded)
    rows = _inflated(chunks[b"IDAT"], _num_bytes(header, _LAYOUTS[colour, depth][2], bool(interlace)))
    image = _coloured(rows, header, colour, depth, interlace, chunks[b"PLTE"], chunks[b"tRNS"])
    return upright(image, header.orientation)


def _chunks(encoded: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Every chunk: its kind, and where its content starts and ends."""
    at = len(SIGNATURE)
    while at + 12 <= len(encoded):
        (size,) = struct.unpack_from(">I", encoded, at)
        kind = encoded[at + 4 : at + 8]
        if at + 12 + size > len(encoded):
            break
        yield kind, at + 8, at + 8 + size
        if kind == b"IEND":
            return
        at += 12 + size
    raise Refused("truncated", "there is no end chunk")


def _checked_chunks(encoded: bytes) -> dict[bytes, bytes]:
    """Contents of the chunks that make pixels, each kind joined."""
    found: dict[bytes, list[memoryview]] = {b"IDAT": [], b"PLTE": [], b"tRNS": []}
    view = memoryview(encoded)
    for kind, start, end in _chunks(encoded):
        (checksum,) = struct.unpack_from(">I", encoded, end)
        if zlib.crc32(view[start - 4 : end]) != checksum:
            raise Refused("damaged", f"the checksum of chunk {kind!r} at byte {start - 8:,} is wrong")
        if kind in found:
            found[kind].append(view[start:end])
    return {kind: b"".join(parts) for kind, parts in found.items()}


def _num_bytes(header: Header, bits: int, is_interlaced: bool) -> int:
    """How many bytes the rows take, each with the number of its filter in front."""
    total = 0
    for left, top, across, down in _PASSES if is_interlaced else ((0, 0, 1, 1),):
        width, height = -((left - header.width) // across), -((top - header.height) // down)
        total += height * (1 + (width * bits + 7) // 8) if width > 0 and height > 0 else 0
    return total


def _inflated(deflated: bytes, num_bytes: int) -> bytes:
    try:
        rows = zlib.decompressobj().decompress(deflated, num_bytes + 1)
    except zlib.error as error:
        raise Refused("damaged", str(error)) from error
    if len(rows) < num_bytes:
        raise Refused("truncated", f"the rows take {num_bytes:,} bytes, there are {len(rows):,}")
    return rows[:num_bytes]


def _coloured(
    rows: bytes, header: Header, colour: int, depth: int, interlace: int, palette: bytes, transparent: bytes
) -> Image:
    size = (header.width, header.height)
    stored = zlib.compress(rows, 0)
    samples = _unfiltered(stored, size, *_LAYOUTS[colour, depth][:2], interlace)
    match colour:
        case _ if colour == _PALETTE:
            return np.take(_palette(palette, transparent), samples, axis=0)
        case _ if colour == _GREY:
            grey = high_byte(samples) if depth == 16 else samples
            if len(transparent) >= 2:
                # Pillow spreads samples of fewer than 8 bits over 0 to 255.
                spread = 255 // (2**depth - 1) if depth < 8 else 1
                grey = np.where(samples == struct.unpack_from(">H", transparent)[0] * spread, 255, grey)
            return grey_to_rgb(grey.astype(np.uint8))
        case _ if colour == _RGB:
            if len(transparent) >= 6:
                high, low = np.frombuffer(transparent, np.uint8, 6).reshape(3, 2).T
                is_clear = (samples == (high if depth == 16 else low)).all(axis=-1)
                if depth == 16:
                    is_clear &= (_unfiltered(stored, size, "RGB", "RGB;16L", interlace) == low).all(axis=-1)
                samples[is_clear] = 255
            return samples
        case _:
            over = over_white(samples[..., :-1], samples[..., -1:])
            return grey_to_rgb(over) if over.shape[-1] == 1 else over


def _unfiltered(stored: bytes, size: tuple[int, int], mode: str, layout: str, interlace: int) -> NDArray[np.uint8]:
    """Samples, (H, W) or (H, W, channels); 16-bit grey as uint16."""
    try:
        samples = np.array(Pillow.frombytes(mode, size, stored, "zip", layout, interlace))
    except ValueError as error:
        raise Refused("damaged", "a row has a filter that PNG does not know") from error
    return samples * np.uint8(255) if mode == "1" else samples


def _palette(palette: bytes, transparent: bytes) -> Image:
    """256 colours, (256, 3), over white; those that the file does not have are black."""
    if not palette:
        raise Refused("damaged", "there is no palette")
    table, alpha = np.zeros((256, 3), np.uint8), np.full((256, 1), 255, np.uint8)
    colours = np.frombuffer(palette, np.uint8, min(len(palette) // 3, 256) * 3).reshape(-1, 3)
    table[: len(colours)] = colours
    alpha[: len(transparent), 0] = np.frombuffer(transparent, np.uint8)[:256]
    return over_white(table, alpha)
