"""What a file is, by its first bytes: an image format that `decode` reads, or words for what else it is."""

from __future__ import annotations

import os
import re

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .gif .tif .tiff .ppm .pgm .pbm .pnm .avif .heic .heif".split()
)
"""Endings of the names of images. A file with another ending is an image if its first bytes say so."""
FORMATS = {"jpg": "jpeg", "jpe": "jpeg", "jfif": "jpeg", "tif": "tiff", "pgm": "ppm", "pbm": "ppm", "pnm": "ppm"} | {
    "heif": "heic"
}
"""Formats by endings that are not their names."""
NUM_BYTES = 1024

_IMAGES = re.compile(
    rb"(?P<jpeg>\xff\xd8\xff)|(?P<png>\x89PNG\r\n\x1a\n)|(?P<webp>RIFF....WEBP)|(?P<gif>GIF8[79]a)"
    rb"|(?P<tiff>II[*+]\0|MM\0[*+])|(?P<bmp>BM(?=.{0,13}\0))|(?P<ppm>P[1-6]\s+(#[^\n]*\n\s*)*\d+\s)"
    rb"|(?P<avif>....ftyp(avi[fs]|m[is]f1.{4}(.{4}){0,8}?avif))|(?P<heic>....ftyp(hei[cmsx]|hev[cmsx]|m[is]f1))",
    re.DOTALL,
)
_XML = rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*"
_OTHERS = {
    noun: re.compile(pattern, re.DOTALL)
    for noun, pattern in {
        "an HTML page": _XML + rb"(?i:<(!doctype\s+html|html|head|body)\b)",
        "an SVG drawing": _XML + rb"(?i:(<!doctype\s+svg[^>]*>\s*)?<svg\b)",
        "an XML file": rb"(\xef\xbb\xbf)?\s*<\?xml",
        "a Git LFS pointer (run `git lfs pull`)": rb"version https://git-lfs",
        "a JPEG 2000 image": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
        "a JPEG XL image": rb"\xff\x0a|\0\0\0\x0cJXL ",
        "an icon": rb"\0\0[\1\2]\0[\1-\x20]\0",
        "a Photoshop image": rb"8BPS",
        "a DICOM image": rb".{128}DICM",
        "a video": rb"....ftyp|....(moov|mdat|wide)|\x1aE\xdf\xa3|RIFF....AVI |\0\0\x01[\xb3\xba]",
        "a PDF": rb"%PDF",
        "an Office document": rb"PK\x03\x04.{26}(\[Content_Types\]|_rels/|docProps/|xl/|mimetype)|\xd0\xcf\x11\xe0",
        "an archive": rb"PK(\x03\x04|\x05\x06)|\x1f\x8b|BZh[1-9]|\xfd7zXZ\0|Rar!\x1a|7z\xbc\xaf\x27\x1c"
        rb"|\x28\xb5\x2f\xfd|.{257}ustar",
        "a NumPy array": rb"\x93NUMPY",
        "a MATLAB file": rb"MATLAB 5\.0 MAT-file",
        "an HDF5 file": rb"\x89HDF\r\n|MATLAB 7\.3|.{512}\x89HDF",
        "an IDX file": rb"\0\0[\x08-\x0e][\1-\4]",
        "a Parquet file": rb"PAR1",
        "a pickle": rb"\x80[\2-\5]",
        "a zero-filled file": rb"\0{64}",
        "a JSON file": rb"(\xef\xbb\xbf)?\s*(\{\s*[\"}]|\[\s*[\[{\"\d\]-])",
    }.items()
}
_RAW = frozenset(".arw .cr2 .cr3 .dng .nef .nrw .orf .pef .raf .rw2 .srw".split())


def sniff(encoded: bytes) -> str | None:
    """Return the image format that the first bytes indicate, one that `decode` reads, or None."""
    match = _IMAGES.match(encoded)
    return match and match.lastgroup


def describe(encoded: bytes) -> str:
    """Return what content is that is none of these formats: "an HTML page", "a text file", or its first bytes."""
    start = encoded[:NUM_BYTES]
    if noun := next((noun for noun, pattern in _OTHERS.items() if pattern.match(start)), None):
        return noun
    codec = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    text = start.decode(codec, "ignore")
    num_cut = 3 if len(start) == NUM_BYTES else 0  # of the last letter
    if len(text.encode(codec)) >= len(start) - num_cut and all(
        letter.isprintable() or letter.isspace() for letter in text
    ):
        return "a text file" if start else "an empty file"
    return f"a file that starts with {start[:8]!r}"


def describe_file(path: str) -> str:
    """Return "" for an image file, by its ending or first bytes, else what it is; never blocks on a pipe."""
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122  (a Path for every file takes longer)
    if suffix in SUFFIXES:
        return ""
    if not os.path.isfile(path):  # noqa: PTH113
        return "a broken link" if os.path.islink(path) else "a device or pipe"  # noqa: PTH114
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            start = file.read(NUM_BYTES)
    except OSError:
        return "an unreadable file"
    if suffix in _RAW:  # a TIFF, whose first image is a thumbnail
        return "a raw photo"
    return "" if sniff(start) else describe(start).partition(" that starts")[0].partition(" (")[0]
