"""Valid zip and tar archives of every kind, of the same files."""

import bz2
import gzip
import io
import lzma
import random
import re
import tarfile
import zipfile

DRAW = random.Random(0)
FILES = {
    "train/cats/1.jpg": DRAW.randbytes(700),
    "train/cats/empty.jpg": b"",
    "train/dogs/dögs and 犬.png": DRAW.randbytes(512),
    "labels.csv": b"path,label\n" * 40_000,
    f"train/{'long' * 30}/{'name' * 50}.jpg": DRAW.randbytes(1024),
    "inner.tar": DRAW.randbytes(300_000),
}
LEFTOVERS = {"__MACOSX/train/._1.jpg": b"fork", "train/.DS_Store": b"view", "train/cats/._1.jpg": b"fork"}


class Unseekable(io.BytesIO):
    """A zip written to it stores sizes after the content."""

    def seekable(self):
        return False

    def seek(self, *_):
        raise io.UnsupportedOperation


def a_tar(files, form=tarfile.PAX_FORMAT, prefix=""):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("./train/")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o700
        archive.addfile(folder)
        for name, data in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size, member.mode, member.mtime, member.uid = len(data), 0o4777, 1.5, 12_345
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def a_zip(files, method=zipfile.ZIP_DEFLATED, target=None, large=False, comment=b""):
    content = target or io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        if not target:
            archive.mkdir("train")
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=large) as member:
                member.write(data)
        archive.comment = comment
    return content.getvalue()


def macos_zip(files):
    """Write a zip with UTF-8 names but without the flag that says so."""
    content = bytearray(a_zip(files))
    for match in re.finditer(b"PK\3\4|PK\1\2", bytes(content)):
        content[match.start() + (7 if match[0] == b"PK\3\4" else 9)] &= 0xFF ^ 8
    return bytes(content)


FORMS = {
    "tar, pax": a_tar(FILES),
    "tar, GNU": a_tar(FILES, tarfile.GNU_FORMAT),
    "tar with ./": a_tar(FILES, prefix="./"),
    "tar.gz": gzip.compress(a_tar(FILES)),
    "tar.gz in two members": gzip.compress(a_tar(FILES)[:50_000]) + gzip.compress(a_tar(FILES)[50_000:]),
    "tar.bz2": bz2.compress(a_tar(FILES)),
    "tar.xz": lzma.compress(a_tar(FILES)),
    "tar of a Mac": a_tar({**LEFTOVERS, **FILES}),
    "zip": a_zip(FILES),
    "zip, stored": a_zip(FILES, zipfile.ZIP_STORED),
    "zip, sizes behind the content": a_zip(FILES, target=Unseekable()),
    "zip64": a_zip(FILES, large=True),
    "zip64, sizes behind the content": a_zip(FILES, target=Unseekable(), large=True),
    "zip with a comment": a_zip(FILES, comment=b"a comment"),
    "zip of a Mac": macos_zip({**LEFTOVERS, **FILES}),
}


def content_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def big(path, mebibytes=3):
    """Write an archive that is large enough to report progress."""
    path.write_bytes(a_tar({f"{place}.bin": DRAW.randbytes(2**20) for place in range(mebibytes)}))
    return path
