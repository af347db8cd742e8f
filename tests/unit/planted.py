"""Images of varied content, twelve ways to damage their files, and a folder with everything that can be found."""

import io
from itertools import cycle

import cv2
import numpy as np
from images_corpus import jpeg_frame_with, png
from PIL import Image

TEXTS = (b"<!doctype html><html><body>404 Not Found</body></html>", b"version https://git-lfs.github.com/spec/v1\n")

BY_READERS = {"no-label", "several-labels", "left-out", "alike-classes", "not-used", "too-few"}
"""Kinds of findings that are tested with the readers that find them, or alone."""


def picture(rng, height=None, width=None, is_gray=False):
    """Random shapes of light, a sharp edge or two, and some grain: uint8, (H, W, 3)."""
    height, width = height or int(rng.integers(40, 120)), width or int(rng.integers(40, 120))
    coarse = rng.integers(20, 236, (6, 6, 1 if is_gray else 3)).astype(np.float32)
    levels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, -1)
    top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
    levels[top : top + height // 3, left : left + width // 3] += rng.choice([-70, 70])
    levels = levels + rng.normal(0, 12, (height, width, 1))
    levels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return np.repeat(levels, 3, axis=2) if is_gray else levels


def encoded(image_hwc, kind="jpeg", **options):
    """The bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(image_hwc).save(file, kind, **options)
    return file.getvalue()


def card(width, height):
    """A card that says that there is no image: uint8, (height, width, 3)."""
    image_hwc = np.full((height, width, 3), 238, np.uint8)
    cv2.rectangle(image_hwc, (4, 4), (width - 5, height - 5), (120, 130, 140), 2)
    return cv2.putText(
        image_hwc, "NO IMAGE", (9, height // 2), cv2.FONT_HERSHEY_SIMPLEX, width / 240, (90, 90, 90), 1, 16
    )


FORMS = (
    (".jpg", {"kind": "jpeg", "quality": 60}),
    (".jpg", {"kind": "jpeg", "quality": 75, "progressive": True}),
    (".jpeg", {"kind": "jpeg", "quality": 85, "subsampling": 0}),
    (".JPG", {"kind": "jpeg", "quality": 95}),
    (".jpg", {"kind": "jpeg", "quality": 90, "optimize": True}),
    (".png", {"kind": "png"}),
    (".webp", {"kind": "webp", "quality": 80, "method": 0}),
    (".webp", {"kind": "webp", "lossless": True, "method": 0}),
    (".bmp", {"kind": "bmp"}),
    (".gif", {"kind": "gif"}),
    (".tif", {"kind": "tiff", "compression": "tiff_lzw"}),
)


def write_good(root, num_images, rng, num_classes=10):
    """Good files of every form in a folder of class folders, in train and test."""
    for number, (suffix, options) in zip(range(num_images), cycle(FORMS), strict=False):
        folder = root / ("test" if number % 5 == 0 else "train") / f"class{number // 5 % num_classes}"
        plant(folder / f"{number:05}{suffix}", encoded(picture(rng, is_gray=number % 7 == 0), **options))


def _jpeg(rng, *size):
    return encoded(
        picture(rng, *size), quality=int(rng.integers(60, 96)), progressive=bool(rng.integers(2)) and not size
    )


def _scan(whole):
    """Where the coded data of the first scan starts."""
    marker = whole.index(b"\xff\xda")
    return marker + 2 + int.from_bytes(whole[marker + 2 : marker + 4], "big")


def cut_in_the_header(rng):
    whole = _jpeg(rng)
    return ".jpg", whole[: rng.integers(4, _scan(whole))]


def cut_in_the_scan(rng):
    """Anywhere in it; every third time, less than ten bytes are missing."""
    whole = _jpeg(rng)
    missing = rng.integers(1, 10) if rng.integers(3) == 0 else rng.integers(10, len(whole) - _scan(whole))
    return ".jpg", whole[:-missing]


def garbage_in_the_scan(rng):
    """A page of other bytes in the middle of a baseline scan, as a disk or a broken download leaves it."""
    whole = _jpeg(rng, 240, 240)
    length = len(whole) - _scan(whole)
    at, size = _scan(whole) + int(rng.integers(length // 4, length // 2)), min(4096, length // 3)
    return ".jpg", whole[:at] + rng.bytes(size) + whole[at + size :]


def bad_checksum(rng):
    """One bit of a PNG's image data is another."""
    whole = bytearray(encoded(picture(rng), "png"))
    whole[rng.integers(whole.index(b"IDAT") + 4, len(whole) - 16)] ^= 1 << rng.integers(8)
    return ".png", bytes(whole)


def cut_png(rng):
    """Anywhere behind the header; every third time, the end chunk alone is missing."""
    whole = encoded(picture(rng), "png")
    return ".png", whole[:-12] if rng.integers(3) == 0 else whole[: rng.integers(33, len(whole) - 12)]


def over_the_cap(rng):
    """A few bytes that promise billions of pixels."""
    if rng.integers(2):
        return ".png", png(8, 2, [], size=(100_000, 100_000))
    return ".jpg", jpeg_frame_with(encoded(picture(rng)), height=60_000, width=60_000)


def mislabeled(rng):
    """Another format than the suffix says."""
    kinds = (".jpg", "png"), (".png", "jpeg"), (".jpg", "webp"), (".webp", "bmp"), (".bmp", "gif")
    suffix, kind = kinds[rng.integers(len(kinds))]
    return suffix, encoded(picture(rng), kind)


def cut_other(rng):
    """WebP, BMP or GIF without its end."""
    kind = ("webp", "bmp", "gif")[rng.integers(3)]
    whole = encoded(picture(rng), kind)
    return f".{kind}", whole[: rng.integers(16, len(whole) * 9 // 10)]


CUT = {"truncated", "damaged"}
DAMAGES = (
    (lambda rng: (".jpg", b""), {"empty"}),
    (lambda rng: (".jpg", TEXTS[rng.integers(len(TEXTS))]), {"not-an-image"}),
    (lambda rng: (".png" if rng.integers(2) else ".jpg", rng.bytes(int(rng.integers(1, 5000)))), {"not-an-image"}),
    (lambda rng: (".jpg", ("link", "folder")[rng.integers(2)]), {"unreadable"}),
    (cut_in_the_header, CUT),
    (cut_in_the_scan, CUT),
    (garbage_in_the_scan, CUT),
    (bad_checksum, {"damaged"}),
    (cut_png, {"truncated"}),
    (over_the_cap, {"too-large"}),
    (mislabeled, {"mislabeled"}),
    (cut_other, CUT),
)
"""Twelve ways to damage a file, each with the kinds that it may be found as."""


def plant(path, content):
    """Put a damaged file, or what is none, in a place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if content == "link":
        path.symlink_to("nowhere.jpg")
    elif content == "folder":
        path.mkdir()
    else:
        path.write_bytes(content)


def write_damaged(root, num_images, rng):
    """Damaged files of every kind among class folders; what may be found, by name."""
    wanted = {}
    for number, (damage, kinds) in zip(range(num_images), cycle(DAMAGES), strict=False):
        suffix, content = damage(rng)
        name = f"train/class{number // 12 % 10}/bad{number:04}{suffix}"
        plant(root / name, content)
        wanted[name] = kinds
    return wanted


def write_pictures(folder, count, rng):
    """Good PNG files, numbered from 0, in one folder."""
    for number in range(count):
        plant(folder / f"{number:03}.png", encoded(picture(rng), "png"))


def again(image_hwc):
    """The same picture in other files: (suffix, bytes)."""
    height, width = image_hwc.shape[:2]
    for quality in (95, 75, 60):
        yield ".jpg", encoded(image_hwc, quality=quality)
    for percent in (90, 70, 130):
        size = width * percent // 100, height * percent // 100
        resized = cv2.resize(image_hwc, size, interpolation=cv2.INTER_AREA if percent < 100 else cv2.INTER_CUBIC)
        yield ".png", encoded(resized, "png")
    for factor, change in ((1.0, 15), (1.0, -15), (0.8, 0)):
        brighter = np.clip(np.rint(image_hwc * factor + change), 0, 255).astype(np.uint8)
        yield ".png", encoded(brighter, "png")


def write_every_kind(root, rng):
    """A folder in which everything is wrong that can be: the kind of finding, and the file that it must name."""
    for split, count in (("train", 33), ("test", 6)):
        for label in ("cat", "dog", "owl"):
            write_pictures(root / split / label, count, rng)
    image = picture(rng, 100, 80)
    whole = encoded(image)
    read = lambda name: np.asarray(Image.open(root / name))  # noqa: E731
    odd = {
        "unreadable": ("train/cat/link.jpg", "link"),
        "empty": ("train/cat/empty.jpg", b""),
        "not-an-image": ("train/cat/page.jpg", TEXTS[0]),
        "truncated": ("train/cat/cut.jpg", whole[:-200]),
        "damaged": ("train/dog/damaged.png", bad_checksum(rng)[1]),
        "too-large": ("train/dog/large.png", over_the_cap(np.random.default_rng(0))[1]),
        "unsupported": ("train/dog/lossless.jpg", whole.replace(b"\xff\xc0", b"\xff\xc3", 1)),
        "mislabeled": ("train/dog/named.png", encoded(picture(rng))),
        "conflict": ("train/dog/as-dog.png", (root / "train/cat/000.png").read_bytes()),
        "leakage": ("test/cat/leaked.png", (root / "train/cat/001.png").read_bytes()),
        "duplicate": ("train/owl/twice.bmp", encoded(read("train/owl/000.png"), "bmp")),
        "near-leakage": ("test/owl/again.jpg", encoded(read("train/owl/001.png"), quality=75)),
        "near-duplicate": ("train/owl/near.jpg", encoded(read("train/owl/002.png"), quality=60)),
        "placeholder": ("train/owl/none.gif", encoded(card(160, 120), "gif")),
        "blank": ("train/owl/blank.png", encoded(np.full_like(image, 130), "png")),
        "dark": ("train/owl/dark.png", encoded(image // 16, "png")),
        "blurry": ("train/owl/blurry.png", encoded(cv2.GaussianBlur(picture(rng, 100, 100), (0, 0), 9), "png")),
        "odd-size": ("train/owl/tiny.png", encoded(picture(rng, 7, 7), "png")),
        "odd-shape": ("train/owl/flat.png", encoded(picture(rng, 20, 160), "png")),
    }
    for path, content in odd.values():
        plant(root / path, content)
    for folder, count in {"test/untrained": 4, "train/absent": 12, "train/tiny": 3, "test/tiny": 2}.items():
        write_pictures(root / folder, count, rng)
    (root / "train/void").mkdir()
    return {kind: path for kind, (path, _) in odd.items()}
