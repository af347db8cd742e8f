"""Small image files of every kind that the decoder reads or refuses; see `corpus`.

`images_encoded.json` holds what no writer in `images_writers` can write: compressed files, made once by Pillow 13 and
OpenCV 5 from `scene()`, GIFs, a PNG with every filter and a JPEG with rare subsampling.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from images_writers import (
    ENCODED,
    TURNS,
    adam7,
    blended,
    bmp,
    embedded,
    exif,
    jpeg_frame_with,
    jpeg_with,
    jpeg_without,
    noise,
    packed,
    png,
    png_rows,
    scene,
    tiff,
    webp_with_exif,
    with_white,
)

HUGE = 10_000, 9_000  # 90,000,000 pixels, just over the limit
REFUSED = "unsupported"


@dataclass(frozen=True)
class Case:
    """A file, and the pixels it was written from, or the kind of its error; neither for a lossy file."""

    encoded: bytes
    pixels: np.ndarray | None = None
    kind: str | None = None


def corpus():
    """Return a `Case` for every name."""
    files = {**_jpegs(), **_pngs(), **_gifs(), **_bmps(), **_webps(), **_tiffs(), **_others()}
    return {name: _case(*(file if isinstance(file, tuple) else (file,))) for name, file in files.items()}


def _case(encoded, expected=None):
    if expected is None or isinstance(expected, str):
        return Case(encoded, kind=expected)
    pixels = expected if expected.ndim == 3 else np.stack([expected] * 3, axis=-1)
    return Case(encoded, pixels.astype(np.uint8))


def _jpegs():
    plain, cmyk = embedded("jpeg 4:2:0"), embedded("jpeg cmyk adobe")
    adobe, jfif, scan = cmyk.index(b"Adobe") + 11, plain.index(b"JFIF\0") + 5, plain.index(b"\xff\xda") + 14
    with_exif = lambda content: jpeg_with(plain, 0xE1, b"Exif\0\0" + content)  # noqa: E731
    return {
        **{name: embedded(name) for name in ENCODED if name.startswith("jpeg")},
        **{f"jpeg orientation {turn}": with_exif(exif(turn)) for turn in range(10)},
        "jpeg orientation 6 little-endian": with_exif(exif(6, "<")),
        "jpeg exif damaged": with_exif(b"MM\0*\xff\xff\xff\xff"),
        "jpeg exif of zeros": with_exif(bytes(40)),
        "jpeg comment": jpeg_with(plain, 0xFE, b"\xff\xd9 \xff\xda"),
        "jpeg without jfif": jpeg_without(plain, b"JFIF\0"),
        "jpeg jfif 2": plain[:jfif] + b"\2" + plain[jfif + 1 :],
        "jpeg trailing bytes": plain + b"\0\0\xffend",
        "jpeg second picture behind": plain + embedded("jpeg gray"),
        "jpeg filled": plain[:2] + b"\xff\xff\xff" + plain[2:-2] + b"\xff\xff" + plain[-2:],
        "jpeg cmyk": jpeg_without(cmyk, b"Adobe"),
        "jpeg ycck adobe": cmyk[:adobe] + b"\2" + cmyk[adobe + 1 :],
        "jpeg junk before its end": plain[:-2] + bytes(20) + plain[-2:],
        "jpeg rare sampling": (embedded("jpeg rare sampling"), REFUSED),
        "jpeg of only its start": (plain[:3], "truncated"),
        "jpeg without its end": (plain[:-2], "truncated"),
        "jpeg with bytes lost from its scan": (plain[: scan + 20] + plain[scan + 80 :], "damaged"),
        "jpeg garbage between segments": (plain[:20] + b"\0\0" + plain[20:], "damaged"),
        "jpeg no frame": (b"\xff\xd8\xff\xd9", REFUSED),
        "jpeg no rows": (jpeg_frame_with(plain, height=0), REFUSED),
        "jpeg lossless": (jpeg_frame_with(plain, marker=0xC3), REFUSED),
        "jpeg hierarchical": (jpeg_frame_with(plain, marker=0xC5), REFUSED),
        "jpeg 12 bits": (jpeg_frame_with(plain, precision=12), REFUSED),
        "jpeg 2 components": (jpeg_frame_with(plain, components=2), REFUSED),
        "jpeg too large": (jpeg_frame_with(plain, width=HUGE[0], height=HUGE[1]), "too-large"),
        "jpeg of 200 scans": (jpeg_frame_with(plain, marker=0xC2)[:-2] + b"\xff\xda" * 200, REFUSED),
    }


def _pngs():
    rgb, gray, rgba = noise(6, 7, 3), noise(6, 7), noise(6, 7, 4)
    deep, deep_rgb = noise(6, 7, most=65536), noise(6, 7, 3, most=65536)
    palette, places, alpha = noise(200, 3), noise(6, 7, most=200), noise(50)
    palette_alpha = np.column_stack([palette, np.concatenate([alpha, np.full(150, 255)])])
    chunk = lambda kind, samples: (kind, samples.astype(np.uint8).tobytes())  # noqa: E731
    key = lambda *values: (b"tRNS", struct.pack(f">{len(values)}H", *values))  # noqa: E731
    few = {depth: noise(6, 7, most=2**depth) for depth in (1, 2, 4)}
    gamma, profile = (b"gAMA", struct.pack(">I", 100_000)), (b"iCCP", b"x\0\0" + zlib.compress(b"?", 0))
    rows, plte = png_rows(rgb), chunk(b"PLTE", palette)
    whole = png(8, 2, rows)
    frames = [(b"fcTL", struct.pack(">5I2H2B", number, 7, 6, 0, 0, 1, 10, 0, 0)) for number in (0, 1)]
    second = (b"fdAT", struct.pack(">I", 2) + zlib.compress(b"".join(png_rows(255 - rgb))))
    return {
        **{f"png gray {n}": (png(n, 0, png_rows(few[n], n)), few[n] * (255 // (2**n - 1))) for n in few},
        **{
            f"png palette {n}": (png(n, 3, png_rows(few[n], n), chunk(b"PLTE", palette[: 2**n])), palette[few[n]])
            for n in few
        },
        "png gray 8": (png(8, 0, png_rows(gray)), gray),
        "png gray 16": (png(16, 0, png_rows(deep, 16)), deep // 256),
        "png gray 1 transparent": (png(1, 0, png_rows(few[1], 1), key(1)), 255 * few[1]),
        "png gray 4 transparent": (png(4, 0, png_rows(few[4], 4), key(1)), REFUSED),
        "png gray 8 transparent": (png(8, 0, png_rows(gray), key(gray[2, 3])), with_white(gray, gray == gray[2, 3])),
        "png rgb 8": (whole, rgb),
        "png rgb 8 transparent": (png(8, 2, rows, key(*rgb[2, 3])), with_white(rgb, (rgb == rgb[2, 3]).all(-1))),
        "png rgb 16": (png(16, 2, png_rows(deep_rgb, 16)), deep_rgb // 256),
        "png rgb 16 transparent": (png(16, 2, png_rows(deep_rgb, 16), key(*deep_rgb[2, 3])), REFUSED),
        "png palette 8": (png(8, 3, png_rows(places), plte), palette[places]),
        "png palette 8 transparent": (
            png(8, 3, png_rows(places), plte, chunk(b"tRNS", alpha)),
            blended(palette_alpha[places]),
        ),
        "png gray alpha 8": (png(8, 4, png_rows(rgba[..., :2])), blended(rgba[..., :2])),
        "png gray alpha 16": (png(16, 4, png_rows(deep_rgb[..., :2], 16)), blended(deep_rgb[..., :2] // 256)),
        "png rgba 8": (png(8, 6, png_rows(rgba)), blended(rgba)),
        "png rgba 16": (png(16, 6, png_rows(rgba * 257, 16)), blended(rgba)),
        "png every filter": (embedded("png every filter"), rgb),
        "png interlaced rgb": (png(8, 2, adam7(rgb), interlace=1), rgb),
        "png interlaced 1": (png(1, 0, adam7(few[1], 1), interlace=1), few[1] * 255),
        "png black": (png(8, 2, png_rows(rgb * 0)), rgb * 0),
        "png orientation 6": (png(8, 2, rows, (b"eXIf", exif(6))), TURNS[6](rgb)),
        "png gamma and profile": (png(8, 2, rows, gamma, profile), rgb),
        "png animated": (
            png(8, 2, rows, (b"acTL", struct.pack(">II", 2, 0)), frames[0], behind=(frames[1], second)),
            rgb,
        ),
        "png trailing bytes": (whole + b"more", rgb),
        "png without its end": (whole[:-12], "truncated"),
        "png without its last row": (png(8, 2, rows[:-1]), "damaged"),
        "png interlaced without its last row": (png(8, 2, adam7(rgb)[:-1], interlace=1), "damaged"),
        "png palette without its last row": (png(8, 3, png_rows(places)[:-1], plte), "damaged"),
        "png one bit flipped": (whole[:70] + bytes([whole[70] ^ 1]) + whole[71:], "damaged"),
        "png text with a wrong checksum": (png(8, 2, rows, (b"tEXt", b"Author\0nobody", 0)), "damaged"),
        "png unknown filter": (png(8, 2, [b"\x09" + bytes(21)] * 6), "damaged"),
        "png no palette": (png(8, 3, png_rows(places)), "damaged"),
        "png of 3 bits": (png(3, 0, [bytes(4)] * 6), "damaged"),
        "png too large": (png(8, 2, [bytes(4)], size=HUGE), "too-large"),
        "png of the largest sides": (png(1, 0, [bytes(4)], size=(2**32 - 1, 2**32 - 1)), "too-large"),
    }


def _gifs():
    palette, places, other = noise(200, 3), noise(19, 13, most=200), noise(3, 4, most=16)
    shown, whole, boxed_gif = palette[places], embedded("gif 89a"), embedded("gif smaller frame")
    first = 13 + 3 * 256  # behind the palette
    control = b"!\xf9\x04\1\5\0" + bytes([places[4, 4]]) + b"\0"
    boxed = np.full((19, 13, 3), 255)
    boxed[5:8, 2:6] = with_white(palette[other], other == 15)
    return {
        "gif 87a": (whole.replace(b"89a", b"87a"), shown),
        "gif 89a": (whole, shown),
        "gif transparent": (whole[:first] + control + whole[first:], with_white(shown, places == places[4, 4])),
        "gif interlaced": (embedded("gif interlaced"), shown),
        "gif own palette": (embedded("gif own palette"), (255 - noise(16, 3))[other]),
        "gif smaller frame": (boxed_gif, boxed),
        "gif smaller opaque frame": (boxed_gif.replace(b"!\xf9\x04\1", b"!\xf9\x04\0"), REFUSED),
        "gif no canvas": (embedded("gif no canvas"), palette[other]),
        "gif animated": (embedded("gif animated"), shown),
        "gif trailing bytes": (whole + b"\0\0", shown),
        "gif without its end": (whole[:-1], "truncated"),
        "gif no frame": (whole[:first] + b";", "damaged"),
        "gif pixels missing": (whole.replace(struct.pack("<HH", 13, 19), struct.pack("<HH", 13, 90)), "truncated"),
        "gif unknown block": (whole[:first] + b"?;", "damaged"),
        "gif too large": (whole[:6] + struct.pack("<HH", *HUGE) + whole[10:], "too-large"),
    }


def _bmps():
    rgb, palette = noise(5, 7, 3), noise(256, 3)
    places = {bits: noise(5, 7, most=2**bits) for bits in (1, 4, 8)}
    wide = noise(5, 7, most=2**32)
    channels = np.stack([wide >> shift & 255 for shift in (16, 8, 0, 24)], axis=-1)
    rows16 = [row.astype("<u2").tobytes() for row in noise(5, 7, most=65536)]
    rows24 = [row[:, ::-1].astype(np.uint8).tobytes() for row in rgb[::-1]]
    rows32 = [row.astype("<u4").tobytes() for row in wide[::-1]]
    rows = {bits: [packed(row, bits) for row in samples[::-1]] for bits, samples in places.items()}
    masks, whole = (0xFF0000, 0xFF00, 0xFF), bmp(24, rows24)
    with_alpha = (*masks, 0xFF000000)
    return {
        **{f"bmp palette {n}": (bmp(n, rows[n], palette=palette[: 2**n]), palette[places[n]]) for n in places},
        "bmp palette 4 of os/2": (bmp(4, rows[4], palette=palette[:16], info=12), palette[places[4]]),
        "bmp 16": (bmp(16, rows16), REFUSED),
        "bmp 24": (whole, rgb),
        "bmp 24 from the top": (bmp(24, rows24[::-1], size=(7, -5)), rgb),
        "bmp 24 of os/2": (bmp(24, rows24, info=12), rgb),
        "bmp 32": (bmp(32, rows32), channels[..., :3]),
        "bmp 32 with rare masks": (bmp(32, rows32, compression=3, masks=(*masks[::-1], 0), info=56), REFUSED),
        "bmp 32 with alpha": (bmp(32, rows32, compression=3, masks=with_alpha, info=108), blended(channels)),
        "bmp runs of 8": (bmp(8, [b"\5\1\2\2\0\0\0\3\7\6\5\0"], size=(7, 3), compression=1, palette=palette), REFUSED),
        "bmp trailing bytes": (whole + b"\0", rgb),
        "bmp header of 20 bytes": (bmp(24, []).replace(b"\x28\0\0\0", b"\x14\0\0\0"), REFUSED),
        "bmp negative width": (bmp(24, rows24, size=(-7, 5)), "too-large"),
        "bmp no rows": (bmp(24, [], size=(7, 0)), "damaged"),
        "bmp with a jpeg inside": (bmp(24, [embedded("jpeg 4:2:0")], size=(27, 19), compression=4), REFUSED),
        "bmp too large": (bmp(24, [], size=HUGE), "too-large"),
    }


def _webps():
    rgb, lossless, lossy = scene()[..., :3], embedded("webp lossless"), embedded("webp lossy")
    turned = webp_with_exif(lossless, exif(6))
    canvas = b"".join((side - 1).to_bytes(3, "little") for side in HUGE)
    at = lossy.index(b"\x9d\x01\x2a") + 3
    return {
        "webp lossless": (lossless, rgb),
        "webp lossless alpha": (embedded("webp lossless alpha"), blended(scene())),
        "webp animated": (embedded("webp animated"), blended(scene())),
        "webp lossy": lossy,
        "webp lossy alpha": embedded("webp lossy alpha"),
        "webp orientation 6": (turned, TURNS[6](rgb)),
        "webp trailing bytes": (lossless + b"more", rgb),
        "webp hole": (lossless[:30] + bytes(20) + lossless[50:], "damaged"),
        "webp unknown chunk": (lossless.replace(b"VP8L", b"VP8?"), "damaged"),
        "webp no columns": (lossy[:at] + b"\0\0" + lossy[at + 2 :], "damaged"),
        "webp too large": (lossy[:at] + struct.pack("<HH", *HUGE) + lossy[at + 4 :], "too-large"),
        "webp canvas too large": (turned[:24] + canvas + turned[30:], "damaged"),
    }


def _tiffs():
    rgb, rgba, gray, bits = noise(6, 7, 3), noise(6, 7, 4), noise(6, 7), noise(6, 7, most=2)
    deep, places, colors = noise(6, 7, 3, most=65536), noise(6, 7, most=16), noise(3, 16, most=65536)
    flat = lambda samples, kind=np.uint8: [samples.astype(kind).tobytes()]  # noqa: E731
    at_depth = lambda samples, depth: [b"".join(packed(row, depth) for row in samples)]  # noqa: E731
    eight, four, sixteen = (8,) * 3, (8,) * 4, (16,) * 3
    few = {1: bits, 2: noise(6, 7, most=4), 4: places, 8: gray}
    rows, planes = [flat(row)[0] for row in rgb], [flat(rgb[..., channel])[0] for channel in range(3)]
    tiles = np.zeros((16, 16, 3))
    tiles[:6, :7] = rgb
    inked = np.rint((255 - rgba[..., :3]) * (255.0 - rgba[..., 3:]) / 255)
    shown, whole, deflated = deep // 256, tiff(eight, 2, flat(rgb)), zlib.compress(flat(rgb)[0], 0)
    packbits = b"".join(bytes([len(row) - 1]) + row for row in rows)
    palette = tuple(colors.reshape(-1).tolist())
    luma = np.dstack([gray, *[np.full_like(gray, 128)] * 2])
    return {
        **{f"tiff orientation {turn}": (tiff(eight, 2, flat(rgb), {274: (turn,)}), TURNS[turn](rgb)) for turn in TURNS},
        **{f"tiff gray {n}": (tiff((n,), 1, at_depth(few[n], n)), few[n] * (255 // (2**n - 1))) for n in few},
        "tiff gray 1 white is zero": (tiff((1,), 0, at_depth(bits, 1)), 255 - bits * 255),
        "tiff gray 8 white is zero": (tiff((8,), 0, flat(gray)), 255 - gray),
        "tiff gray 16": (tiff((16,), 1, flat(deep[..., 0], "<u2")), shown[..., 0]),
        "tiff gray 16 big-endian": (tiff((16,), 1, flat(deep[..., 0], ">u2"), order=">"), shown[..., 0]),
        "tiff gray 16 white is zero": (tiff((16,), 0, flat(deep[..., 0], "<u2")), REFUSED),
        "tiff gray alpha": (tiff((8, 8), 1, flat(rgba[..., :2]), {338: (2,)}), blended(rgba[..., :2])),
        "tiff rgb 8": (whole, rgb),
        "tiff rgb 16": (tiff(sixteen, 2, flat(deep, "<u2")), shown),
        "tiff rgb 16 big-endian": (tiff(sixteen, 2, flat(deep, ">u2"), order=">"), shown),
        "tiff rgb in planes": (tiff(eight, 2, planes, {284: (2,)}), rgb),
        "tiff rgb in strips": (tiff(eight, 2, rows, {278: (1,)}), rgb),
        "tiff rgb in a tile": (tiff(eight, 2, flat(tiles), {322: (16,), 323: (16,)}), rgb),
        "tiff rgba": (tiff(four, 2, flat(rgba), {338: (2,)}), blended(rgba)),
        "tiff rgba 16": (tiff((16,) * 4, 2, flat(rgba * 257, "<u2"), {338: (2,)}), blended(rgba)),
        "tiff rgba multiplied": (tiff(four, 2, flat(rgba), {338: (1,)}), REFUSED),
        "tiff rgb and something": (tiff(four, 2, flat(rgba), {338: (0,)}), rgba[..., :3]),
        "tiff palette 4": (tiff((4,), 3, at_depth(places, 4), {320: palette}), (colors // 256).T[places]),
        "tiff palette of 8-bit colors": (
            tiff((4,), 3, at_depth(places, 4), {320: tuple(value // 256 for value in palette)}),
            REFUSED,
        ),
        "tiff cmyk": (tiff(four, 5, flat(rgba)), inked),
        "tiff ycbcr": (tiff(eight, 6, flat(luma), {530: (1, 1)}), gray),
        "tiff deflate": (tiff(eight, 2, [deflated], compression=8), rgb),
        "tiff packbits": (tiff(eight, 2, [packbits], compression=32773), rgb),
        "tiff lzw": (embedded("tiff lzw"), scene()[..., :3]),
        "tiff lzma": (embedded("tiff lzma"), scene()[..., :3]),
        "tiff jpeg": embedded("tiff jpeg"),
        "tiff group 4": embedded("tiff group 4"),
        "tiff of two pages": (tiff(eight, 2, flat(rgb), pages=2), rgb),
        "tiff trailing bytes": (whole + b"more", rgb),
        "tiff deflate damaged": (tiff(eight, 2, [deflated[:50] + b"?" + deflated[51:]], compression=8), "damaged"),
        "tiff no width": (tiff((8,), 1, flat(gray), size=(0, 6)), "damaged"),
        "tiff float": (tiff((32,), 1, flat(gray / 255, "<f4"), {339: (3,)}), REFUSED),
        "tiff signed": (tiff((16,), 1, flat(gray, "<i2"), {339: (2,)}), REFUSED),
        "tiff 32 bits": (tiff((32,), 1, flat(gray, "<u4")), REFUSED),
        "tiff lab": (tiff(eight, 8, flat(rgb)), REFUSED),
        "tiff unknown compression": (tiff((8,), 1, flat(gray), compression=999), REFUSED),
        "tiff big": (b"II+\0\x08\0\0\0" + bytes(60), REFUSED),
        "tiff too large": (tiff((8,), 1, flat(gray), size=HUGE), "too-large"),
        "tiff tile too large": (tiff((8,), 1, flat(gray), {322: HUGE[:1], 323: HUGE[1:]}), "too-large"),
    }


def _others():
    html = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    unknown = {"one byte": b"\xff", "text": b"dear diary", "html": html, "pdf": b"%PDF-1.7\n", "zeros": bytes(1000)}
    return {"nothing": (b"", "empty"), **{name: (encoded, "not-an-image") for name, encoded in unknown.items()}}
