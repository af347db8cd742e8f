"""Small image files of every kind that the decoder reads or refuses; see `corpus`.

`images_encoded.json` holds what only a library can write (lossy files, and compressions without a writer here), made
once by Pillow 13 and OpenCV 5 from `scene()`; all else is written by hand in `images_writers`.
"""

import base64
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from images_writers import (
    adam7,
    bmp,
    bmp_rows,
    exif,
    gif,
    gif_frame,
    jpeg_frame_with,
    jpeg_of_one_colour,
    jpeg_with,
    jpeg_without,
    packed,
    png,
    png_filtered,
    png_rows,
    riff,
    tiff,
)

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
HUGE = 10_000, 9_000  # 90,000,000 pixels, just over the cap


@dataclass(frozen=True)
class Case:
    """A file, and its pixels where they follow from how it was written, or the kind of error it must be."""

    encoded: bytes
    pixels: np.ndarray | None = None
    kind: str | None = None


def embedded(name):
    """A file of `images_encoded.json`."""
    return base64.b64decode(ENCODED[name])


def scene():
    """The picture in the embedded files: (19, 27, 4), RGB and alpha."""
    y, x = np.mgrid[0:19, 0:27]
    rgb = np.stack([x * 9, y * 13, 255 - (x + y) * 5], axis=-1).astype(np.uint8)
    rgb[4:9, 5:14], rgb[11:, 18:] = (250, 40, 10), (5, 200, 90)
    return np.dstack([rgb, np.clip(x * 11 - 20, 0, 255).astype(np.uint8)])


def noise(*shape, most=256):
    """Whole numbers below `most`, always the same."""
    return np.random.default_rng(0).integers(0, most, shape)


def blended(colour, alpha):
    """Colour over white, in floating point: alpha of 0 to 255 has no ties to round."""
    share = np.asarray(alpha, float) / 255
    return np.rint(share * colour + (1 - share) * 255).astype(np.uint8)


def threefold(grey):
    """Grey as RGB."""
    return np.stack([grey] * 3, axis=-1).astype(np.uint8)


def corpus():
    """Every file by name, as `Case`."""
    return {**_jpegs(), **_pngs(), **_gifs(), **_bmps(), **_webps(), **_tiffs(), **_strangers()}


def _jpegs():
    plain, cmyk = embedded("jpeg 4:2:0"), embedded("jpeg cmyk adobe")
    at = cmyk.index(b"Adobe") + 11
    jfif = plain.index(b"JFIF\0") + 5
    cases = {name: Case(embedded(name)) for name in ENCODED if name.startswith("jpeg")}
    cases |= {f"jpeg orientation {turn}": Case(jpeg_with(plain, 0xE1, b"Exif\0\0" + exif(turn))) for turn in range(10)}
    scan = plain.index(b"\xff\xda") + 14
    return cases | {
        "jpeg orientation 6 little-endian": Case(jpeg_with(plain, 0xE1, b"Exif\0\0" + exif(6, "<"))),
        "jpeg exif damaged": Case(jpeg_with(plain, 0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff")),
        "jpeg exif of zeros": Case(jpeg_with(plain, 0xE1, b"Exif\0\0" + bytes(40))),
        "jpeg comment": Case(jpeg_with(plain, 0xFE, b"\xff\xd9 \xff\xda")),
        "jpeg without jfif": Case(jpeg_without(plain, b"JFIF\0")),
        "jpeg jfif 2": Case(plain[:jfif] + b"\2" + plain[jfif + 1 :]),
        "jpeg trailing bytes": Case(plain + b"\0\0\xffend"),
        "jpeg second picture behind": Case(plain + embedded("jpeg grey")),
        "jpeg filled": Case(plain[:2] + b"\xff\xff\xff" + plain[2:-2] + b"\xff\xff" + plain[-2:]),
        "jpeg cmyk": Case(jpeg_without(cmyk, b"Adobe")),
        "jpeg ycck adobe": Case(cmyk[:at] + b"\2" + cmyk[at + 1 :]),
        "jpeg junk before its end": Case(plain[:-2] + bytes(20) + plain[-2:]),
        "jpeg rare sampling": Case(jpeg_of_one_colour(plain, ((3, 1), (1, 1), (1, 1)), 48, 16, 4), kind="unsupported"),
        "jpeg of only its start": Case(plain[:3], kind="truncated"),
        "jpeg without its end": Case(plain[:-2], kind="truncated"),
        "jpeg with bytes lost from its scan": Case(plain[: scan + 20] + plain[scan + 80 :], kind="damaged"),
        "jpeg garbage between segments": Case(plain[:20] + b"\0\0" + plain[20:], kind="damaged"),
        "jpeg no frame": Case(b"\xff\xd8\xff\xd9", kind="unsupported"),
        "jpeg no rows": Case(jpeg_frame_with(plain, height=0), kind="unsupported"),
        "jpeg lossless": Case(jpeg_frame_with(plain, marker=0xC3), kind="unsupported"),
        "jpeg hierarchical": Case(jpeg_frame_with(plain, marker=0xC5), kind="unsupported"),
        "jpeg 12 bits": Case(jpeg_frame_with(plain, precision=12), kind="unsupported"),
        "jpeg 2 components": Case(jpeg_frame_with(plain, components=2), kind="unsupported"),
        "jpeg too large": Case(jpeg_frame_with(plain, width=HUGE[0], height=HUGE[1]), kind="too large"),
        "jpeg of 200 scans": Case(jpeg_frame_with(plain, marker=0xC2)[:-2] + b"\xff\xda" * 200, kind="unsupported"),
    }


def _pngs():
    rgb, grey = noise(6, 7, 3), noise(6, 7)
    deep, deep_rgb = noise(6, 7, most=65536), noise(6, 7, 3, most=65536)
    palette, places, clear = noise(200, 3), noise(6, 7, most=200), noise(50)
    shades = np.concatenate([clear, np.full(150, 255)])[places][..., None]
    plte, rgba = (b"PLTE", palette.astype(np.uint8).tobytes()), noise(6, 7, 4)
    whole = png(7, 6, 8, 2, png_rows(rgb))
    key = lambda *values: (b"tRNS", struct.pack(f">{len(values)}H", *values))  # noqa: E731
    few = {depth: noise(6, 7, most=2**depth) for depth in (1, 2, 4)}
    cases = {}
    for depth, samples in few.items():
        spread = samples * (255 // (2**depth - 1))
        cases[f"png grey {depth}"] = Case(png(7, 6, depth, 0, png_rows(samples, depth)), threefold(spread))
        small = (b"PLTE", palette[: 2**depth].astype(np.uint8).tobytes())
        pixels = palette[: 2**depth][samples].astype(np.uint8)
        cases[f"png palette {depth}"] = Case(png(7, 6, depth, 3, png_rows(samples, depth), small), pixels)
    return cases | {
        "png grey 8": Case(png(7, 6, 8, 0, png_rows(grey)), threefold(grey)),
        "png grey 16": Case(png(7, 6, 16, 0, png_rows(deep, 16)), threefold(deep // 256)),
        "png grey 1 transparent": Case(
            png(7, 6, 1, 0, png_rows(few[1], 1), key(1)), threefold(np.full((6, 7), 255) * few[1])
        ),
        "png grey 4 transparent": Case(png(7, 6, 4, 0, png_rows(few[4], 4), key(1)), kind="unsupported"),
        "png rgb 16 transparent": Case(
            png(7, 6, 16, 2, png_rows(deep_rgb, 16), key(*deep_rgb[2, 3])), kind="unsupported"
        ),
        "png grey 8 transparent": Case(
            png(7, 6, 8, 0, png_rows(grey), key(grey[2, 3])), threefold(np.where(grey == grey[2, 3], 255, grey))
        ),
        "png rgb 8": Case(whole, rgb.astype(np.uint8)),
        "png rgb 8 transparent": Case(
            png(7, 6, 8, 2, png_rows(rgb), key(*rgb[2, 3])), _with_white(rgb, (rgb == rgb[2, 3]).all(-1))
        ),
        "png rgb 16": Case(png(7, 6, 16, 2, png_rows(deep_rgb, 16)), (deep_rgb // 256).astype(np.uint8)),
        "png palette 8": Case(png(7, 6, 8, 3, png_rows(places), plte), palette[places].astype(np.uint8)),
        "png palette 8 transparent": Case(
            png(7, 6, 8, 3, png_rows(places), plte, (b"tRNS", clear.astype(np.uint8).tobytes())),
            blended(palette[places], shades),
        ),
        "png grey alpha 8": Case(
            png(7, 6, 8, 4, png_rows(rgba[..., :2])), threefold(blended(rgba[..., 0], rgba[..., 1]))
        ),
        "png grey alpha 16": Case(
            png(7, 6, 16, 4, png_rows(deep_rgb[..., :2], 16)),
            threefold(blended(deep_rgb[..., 0] // 256, deep_rgb[..., 1] // 256)),
        ),
        "png rgba 8": Case(png(7, 6, 8, 6, png_rows(rgba)), blended(rgba[..., :3], rgba[..., 3:])),
        "png rgba 16": Case(png(7, 6, 16, 6, png_rows(rgba * 257, 16)), blended(rgba[..., :3], rgba[..., 3:])),
        "png every filter": Case(png(7, 6, 8, 2, png_filtered(rgb)), rgb.astype(np.uint8)),
        "png interlaced rgb": Case(png(7, 6, 8, 2, adam7(rgb), interlace=1), rgb.astype(np.uint8)),
        "png interlaced 1": Case(png(7, 6, 1, 0, adam7(few[1], 1), interlace=1), threefold(few[1] * 255)),
        "png orientation 6": Case(png(7, 6, 8, 2, png_rows(rgb), (b"eXIf", exif(6))), TURNS[6](rgb).astype(np.uint8)),
        "png gamma and profile": Case(
            png(
                7,
                6,
                8,
                2,
                png_rows(rgb),
                (b"gAMA", struct.pack(">I", 100_000)),
                (b"iCCP", b"x\0\0" + zlib.compress(b"?", 0)),
            ),
            rgb.astype(np.uint8),
        ),
        "png animated": Case(
            png(
                *(7, 6, 8, 2, png_rows(rgb)),
                (b"acTL", struct.pack(">II", 2, 0)),
                (b"fcTL", struct.pack(">5I2H2B", 0, 7, 6, 0, 0, 1, 10, 0, 0)),
                behind=(
                    (b"fcTL", struct.pack(">5I2H2B", 1, 7, 6, 0, 0, 1, 10, 0, 0)),
                    (b"fdAT", struct.pack(">I", 2) + zlib.compress(b"".join(png_rows(255 - rgb)))),
                ),
            ),
            rgb.astype(np.uint8),
        ),
        "png trailing bytes": Case(whole + b"more", rgb.astype(np.uint8)),
        "png without its end": Case(whole[:-12], kind="truncated"),
        "png one bit flipped": Case(whole[:70] + bytes([whole[70] ^ 1]) + whole[71:], kind="damaged"),
        "png text with a wrong checksum": Case(
            png(7, 6, 8, 2, png_rows(rgb), (b"tEXt", b"Author\0nobody", 0)), kind="damaged"
        ),
        "png unknown filter": Case(png(7, 6, 8, 2, [b"\x09" + bytes(21)] * 6), kind="damaged"),
        "png no palette": Case(png(7, 6, 8, 3, png_rows(places)), kind="damaged"),
        "png of 3 bits": Case(png(7, 6, 3, 0, [bytes(4)] * 6), kind="damaged"),
        "png too large": Case(png(*HUGE, 8, 2, [bytes(4)]), kind="too large"),
        "png of the largest sides": Case(png(2**32 - 1, 2**32 - 1, 1, 0, [bytes(4)]), kind="too large"),
    }


def _with_white(pixels, where):
    white = pixels.astype(np.uint8).copy()
    white[where] = 255
    return white


def _gifs():
    palette, places, other = noise(200, 3), noise(19, 13, most=200), noise(3, 4, most=16)
    own = 255 - noise(16, 3)
    shown = palette[places].astype(np.uint8)
    whole = gif((13, 19), [gif_frame(places)], palette)
    boxed = np.full((19, 13, 3), 255, np.uint8)
    boxed[5:8, 2:6] = _with_white(palette[other], other == 15)
    return {
        "gif 87a": Case(gif((13, 19), [gif_frame(places)], palette, version=b"87a"), shown),
        "gif 89a": Case(whole, shown),
        "gif transparent": Case(
            gif((13, 19), [gif_frame(places, transparent=int(places[4, 4]))], palette),
            _with_white(shown, places == places[4, 4]),
        ),
        "gif interlaced": Case(gif((13, 19), [gif_frame(places, is_interlaced=True)], palette), shown),
        "gif own palette": Case(gif((4, 3), [gif_frame(other, palette=own)], palette), own[other].astype(np.uint8)),
        "gif smaller frame": Case(gif((13, 19), [gif_frame(other, 2, 5, transparent=15)], palette), boxed),
        "gif smaller frame without transparency": Case(
            gif((13, 19), [gif_frame(other, 2, 5)], palette), kind="unsupported"
        ),
        "gif no canvas": Case(gif((0, 0), [gif_frame(other)], palette), palette[other].astype(np.uint8)),
        "gif animated": Case(gif((13, 19), [gif_frame(places), gif_frame(other, 2, 5, transparent=3)], palette), shown),
        "gif trailing bytes": Case(whole + b"\0\0", shown),
        "gif without its end": Case(whole[:-1], kind="truncated"),
        "gif no frame": Case(gif((13, 19), [], palette), kind="damaged"),
        "gif pixels missing": Case(
            whole.replace(struct.pack("<HH", 13, 19), struct.pack("<HH", 13, 90)), kind="truncated"
        ),
        "gif unknown block": Case(gif((13, 19), [b"?"], palette), kind="damaged"),
        "gif too large": Case(gif(HUGE, [gif_frame(places)], palette), kind="too large"),
    }


def _bmps():
    rgb, palette = noise(5, 7, 3), noise(256, 3)
    places = {bits: noise(5, 7, most=2**bits) for bits in (1, 4, 8)}
    words, wide = noise(5, 7, most=65536), noise(5, 7, most=2**32)
    rows24 = [row[:, ::-1].astype(np.uint8).tobytes() for row in rgb]
    rows16, rows32 = ([row.astype(kind).tobytes() for row in data] for kind, data in (("<u2", words), ("<u4", wide)))
    byte = lambda shift: (wide >> shift & 255).astype(np.uint8)  # noqa: E731
    bgr, rgb_masks = (0xFF0000, 0xFF00, 0xFF), (0xFF, 0xFF00, 0xFF0000)
    colour = np.stack([byte(16), byte(8), byte(0)], axis=-1)
    whole = bmp(7, 5, 24, bmp_rows(rows24))
    runs = b"\5\1\2\2\0\0\0\3\7\6\5\0\4\4\0\0\7\3\0\1"
    cases = {
        f"bmp palette {bits}": Case(
            bmp(7, 5, bits, bmp_rows([packed(row, bits) for row in data]), palette=palette[: 2**bits]),
            palette[data].astype(np.uint8),
        )
        for bits, data in places.items()
    }
    return cases | {
        "bmp 16": Case(bmp(7, 5, 16, bmp_rows(rows16)), kind="unsupported"),
        "bmp 24": Case(whole, rgb.astype(np.uint8)),
        "bmp 24 from the top": Case(bmp(7, -5, 24, bmp_rows(rows24[::-1])), rgb.astype(np.uint8)),
        "bmp 24 of os/2": Case(bmp(7, 5, 24, bmp_rows(rows24), info=12), rgb.astype(np.uint8)),
        "bmp palette 4 of os/2": Case(
            bmp(
                7, 5, 4, bmp_rows([packed(row, 4) for row in places[4]]), palette=palette[:16], info=12, palette_bytes=3
            ),
            palette[places[4]].astype(np.uint8),
        ),
        "bmp 32": Case(bmp(7, 5, 32, bmp_rows(rows32)), colour),
        "bmp 32 with rare masks": Case(
            bmp(7, 5, 32, bmp_rows(rows32), 3, masks=(*rgb_masks, 0), info=56), kind="unsupported"
        ),
        "bmp 32 with alpha": Case(
            bmp(7, 5, 32, bmp_rows(rows32), 3, masks=(*bgr, 0xFF000000), info=108), blended(colour, byte(24)[..., None])
        ),
        "bmp runs of 8": Case(bmp(7, 3, 8, runs, 1, palette=palette), kind="unsupported"),
        "bmp trailing bytes": Case(whole + b"\0", rgb.astype(np.uint8)),
        "bmp header of 20 bytes": Case(
            bmp(7, 5, 24, b"", info=40).replace(b"\x28\0\0\0", b"\x14\0\0\0"), kind="unsupported"
        ),
        "bmp negative width": Case(bmp(-7, 5, 24, bmp_rows(rows24)), kind="too large"),
        "bmp no rows": Case(bmp(7, 0, 24, b""), kind="damaged"),
        "bmp with a jpeg inside": Case(bmp(27, 19, 24, embedded("jpeg 4:2:0"), 4), kind="unsupported"),
        "bmp too large": Case(bmp(*HUGE, 24, b""), kind="too large"),
    }


def _webps():
    rgb, alpha = scene()[..., :3], scene()[..., 3:]
    lossless, lossy = embedded("webp lossless"), embedded("webp lossy")
    turned = riff(lossless, b"EXIF", exif(6))
    huge = (HUGE[0] - 1).to_bytes(3, "little") + (HUGE[1] - 1).to_bytes(3, "little")
    at = lossy.index(b"\x9d\x01\x2a") + 3
    return {
        "webp lossless": Case(lossless, rgb),
        "webp lossless alpha": Case(embedded("webp lossless alpha"), blended(rgb, alpha)),
        "webp animated": Case(embedded("webp animated"), blended(rgb, alpha)),
        "webp lossy": Case(lossy),
        "webp lossy alpha": Case(embedded("webp lossy alpha")),
        "webp orientation 6": Case(turned, TURNS[6](rgb)),
        "webp trailing bytes": Case(lossless + b"more", rgb),
        "webp hole": Case(lossless[:30] + bytes(20) + lossless[50:], kind="damaged"),
        "webp unknown chunk": Case(lossless.replace(b"VP8L", b"VP8?"), kind="damaged"),
        "webp no columns": Case(lossy[:at] + b"\0\0" + lossy[at + 2 :], kind="damaged"),
        "webp too large": Case(lossy[:at] + struct.pack("<HH", 10_000, 9_000) + lossy[at + 4 :], kind="too large"),
        "webp canvas too large": Case(turned[:24] + huge + turned[30:], kind="damaged"),
    }


def _tiffs():
    rgb, rgba, deep = noise(6, 7, 3), noise(6, 7, 4), noise(6, 7, 3, most=65536)
    grey, bits = noise(6, 7), noise(6, 7, most=2)
    flat = lambda samples, kind=np.uint8: [samples.astype(kind).tobytes()]  # noqa: E731
    depth = lambda samples, depth: [b"".join(packed(row, depth) for row in samples)]  # noqa: E731
    places, colours = noise(6, 7, most=16), noise(3, 16, most=65536)
    alpha = lambda kind: ((338, 3, (kind,)),)  # noqa: E731
    light = lambda ink: np.rint((255 - ink[..., :3]) * (255.0 - ink[..., 3:]) / 255).astype(np.uint8)  # noqa: E731
    rows = [row.astype(np.uint8).tobytes() for row in rgb]
    tiles = np.zeros((16, 16, 3), np.uint8)
    tiles[:6, :7] = rgb
    whole = tiff(7, 6, (8, 8, 8), 2, flat(rgb))
    deflated = zlib.compress(flat(rgb)[0], 0)
    packbits = b"".join(bytes([len(row) - 1]) + row for row in rows)
    shown = rgb.astype(np.uint8)
    cases = {
        f"tiff orientation {turn}": Case(
            tiff(7, 6, (8, 8, 8), 2, flat(rgb), more=((274, 3, (turn,)),)), TURNS[turn](shown)
        )
        for turn in range(1, 9)
    }
    cases |= {
        f"tiff grey {size}": Case(
            tiff(7, 6, (size,), 1, depth(samples, size)), threefold(samples * (255 // (2**size - 1)))
        )
        for size, samples in ((1, bits), (2, noise(6, 7, most=4)), (4, noise(6, 7, most=16)), (8, grey))
    }
    return cases | {
        "tiff grey 1 white is zero": Case(tiff(7, 6, (1,), 0, depth(bits, 1)), threefold(255 - bits * 255)),
        "tiff grey 8 white is zero": Case(tiff(7, 6, (8,), 0, flat(grey)), threefold(255 - grey)),
        "tiff grey 16": Case(tiff(7, 6, (16,), 1, flat(deep[..., 0], "<u2")), threefold(deep[..., 0] // 256)),
        "tiff grey 16 big-endian": Case(
            tiff(7, 6, (16,), 1, flat(deep[..., 0], ">u2"), order=">"), threefold(deep[..., 0] // 256)
        ),
        "tiff grey 16 white is zero": Case(tiff(7, 6, (16,), 0, flat(deep[..., 0], "<u2")), kind="unsupported"),
        "tiff grey alpha": Case(
            tiff(7, 6, (8, 8), 1, flat(rgba[..., :2]), more=alpha(2)), threefold(blended(rgba[..., 0], rgba[..., 1]))
        ),
        "tiff rgb 8": Case(whole, shown),
        "tiff rgb 16": Case(tiff(7, 6, (16,) * 3, 2, flat(deep, "<u2")), (deep // 256).astype(np.uint8)),
        "tiff rgb 16 big-endian": Case(
            tiff(7, 6, (16,) * 3, 2, flat(deep, ">u2"), order=">"), (deep // 256).astype(np.uint8)
        ),
        "tiff rgb in planes": Case(
            tiff(7, 6, (8, 8, 8), 2, [flat(rgb[..., c])[0] for c in range(3)], more=((284, 3, (2,)),)), shown
        ),
        "tiff rgb in strips": Case(tiff(7, 6, (8, 8, 8), 2, rows, more=((278, 3, (1,)),)), shown),
        "tiff rgb in a tile": Case(
            tiff(7, 6, (8, 8, 8), 2, flat(tiles), more=((322, 3, (16,)), (323, 3, (16,)))), shown
        ),
        "tiff rgba": Case(tiff(7, 6, (8,) * 4, 2, flat(rgba), more=alpha(2)), blended(rgba[..., :3], rgba[..., 3:])),
        "tiff rgba 16": Case(
            tiff(7, 6, (16,) * 4, 2, flat(rgba * 257, "<u2"), more=alpha(2)), blended(rgba[..., :3], rgba[..., 3:])
        ),
        "tiff rgba multiplied": Case(tiff(7, 6, (8,) * 4, 2, flat(rgba), more=alpha(1)), kind="unsupported"),
        "tiff rgb and something": Case(
            tiff(7, 6, (8,) * 4, 2, flat(rgba), more=alpha(0)), rgba[..., :3].astype(np.uint8)
        ),
        "tiff palette 4": Case(
            tiff(7, 6, (4,), 3, depth(places, 4), more=((320, 3, tuple(colours.reshape(-1).tolist())),)),
            (colours.T[places] // 256).astype(np.uint8),
        ),
        "tiff palette of 8-bit colours": Case(
            tiff(7, 6, (4,), 3, depth(places, 4), more=((320, 3, tuple((colours // 256).reshape(-1).tolist())),)),
            kind="unsupported",
        ),
        "tiff cmyk": Case(tiff(7, 6, (8,) * 4, 5, flat(rgba)), light(rgba)),
        "tiff cmyk 16": Case(tiff(7, 6, (16,) * 4, 5, flat(rgba * 257, "<u2")), light(rgba)),
        "tiff ycbcr": Case(
            tiff(7, 6, (8,) * 3, 6, flat(np.dstack([grey, *[np.full_like(grey, 128)] * 2])), more=((530, 3, (1, 1)),)),
            threefold(grey),
        ),
        "tiff deflate": Case(tiff(7, 6, (8, 8, 8), 2, [deflated], compression=8), shown),
        "tiff packbits": Case(tiff(7, 6, (8, 8, 8), 2, [packbits], compression=32773), shown),
        "tiff lzw": Case(embedded("tiff lzw"), scene()[..., :3]),
        "tiff lzma": Case(embedded("tiff lzma"), scene()[..., :3]),
        "tiff jpeg": Case(embedded("tiff jpeg")),
        "tiff group 4": Case(embedded("tiff group 4")),
        "tiff of two pages": Case(tiff(7, 6, (8, 8, 8), 2, flat(rgb), pages=2), shown),
        "tiff trailing bytes": Case(whole + b"more", shown),
        "tiff deflate damaged": Case(
            tiff(7, 6, (8, 8, 8), 2, [deflated[:50] + b"?" + deflated[51:]], compression=8), kind="damaged"
        ),
        "tiff no width": Case(tiff(0, 6, (8,), 1, flat(grey)), kind="damaged"),
        "tiff float": Case(tiff(7, 6, (32,), 1, flat(grey / 255, "<f4"), more=((339, 3, (3,)),)), kind="unsupported"),
        "tiff signed": Case(tiff(7, 6, (16,), 1, flat(grey, "<i2"), more=((339, 3, (2,)),)), kind="unsupported"),
        "tiff 32 bits": Case(tiff(7, 6, (32,), 1, flat(grey, "<u4")), kind="unsupported"),
        "tiff lab": Case(tiff(7, 6, (8,) * 3, 8, flat(rgb)), kind="unsupported"),
        "tiff unknown compression": Case(tiff(7, 6, (8,), 1, flat(grey), compression=999), kind="unsupported"),
        "tiff big": Case(b"II+\0\x08\0\0\0" + bytes(60), kind="unsupported"),
        "tiff too large": Case(tiff(*HUGE, (8,), 1, flat(grey)), kind="too large"),
        "tiff tile too large": Case(
            tiff(7, 6, (8,), 1, flat(grey), more=((322, 4, (HUGE[0],)), (323, 4, (HUGE[1],)))), kind="too large"
        ),
    }


def _strangers():
    return {
        "nothing": Case(b"", kind="empty"),
        "one byte": Case(b"\xff", kind="unknown"),
        "text": Case(b"dear diary", kind="unknown"),
        "html": Case(b"<!DOCTYPE html><html><body>404 Not Found</body></html>", kind="unknown"),
        "pdf": Case(b"%PDF-1.7\n", kind="unknown"),
        "zeros": Case(bytes(1000), kind="unknown"),
    }
