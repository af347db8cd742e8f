"""An archive unpacks byte for byte, completely or not at all."""

import bz2
import gzip
import io
import lzma
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from diptych.data.archives import Limits, is_archive, unpack
from diptych.data.cache import unpacked
from diptych.errors import DataError, DiptychError

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


@pytest.mark.parametrize("form", FORMS)
def test_every_format_unpacks_byte_for_byte(tmp_path, form):
    archive = tmp_path / "archive.whatever"
    archive.write_bytes(FORMS[form])
    assert is_archive(archive)
    assert tmp_path / "out" == unpack(archive, tmp_path / "out")
    assert FILES == content_of(tmp_path / "out")
    assert {archive, tmp_path / "out"} == {*tmp_path.iterdir()}


def test_permissions_in_the_archive_are_ignored(tmp_path):
    (tmp_path / "a.tar").write_bytes(FORMS["tar, pax"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    unpack(tmp_path / "a.tar", tmp_path / "out")
    for mine, theirs in (("mine", "out/train"), ("mine/file", "out/labels.csv")):
        states = [(tmp_path / name).stat() for name in (mine, theirs)]
        assert 1 == len({(state.st_mode, state.st_uid, state.st_gid) for state in states})


def test_is_archive_looks_at_the_content(tmp_path):
    idx, table = gzip.compress(b"\0\0\x08\3" + bytes(5000)), gzip.compress(b"label,pixel0\n" * 100)
    for content in (b"no tar " * 200, idx, table, b"\xff\xd8\xff\xe0" + FORMS["zip"], b""):
        (tmp_path / "a.zip").write_bytes(content)
        assert not is_archive(tmp_path / "a.zip"), content[:8]
    os.mkfifo(tmp_path / "pipe")
    assert not any(map(is_archive, (tmp_path, tmp_path / "missing", tmp_path / "pipe")))
    with pytest.raises(DataError, match="not an archive"):
        unpack(tmp_path / "pipe", tmp_path / "out")


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_an_existing_target_is_not_overwritten(make, tmp_path):
    (tmp_path / "a.zip").write_bytes(FORMS["zip"])
    make(tmp_path / "out")
    before = (tmp_path / "out").lstat()
    with pytest.raises(DataError, match="already exists"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert before == (tmp_path / "out").lstat()
    with pytest.raises(DiptychError, match="Cannot write"):
        unpack(tmp_path / "a.zip", tmp_path / "a.zip" / "below")


def test_an_interrupt_leaves_nothing_behind(tmp_path):
    archive = big(tmp_path / "a.tar")
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", progress=lambda *_: signal.raise_signal(signal.SIGINT))
    assert [archive] == list(tmp_path.iterdir())


MESSAGES = {
    "more than 1,000 bytes": (FORMS["zip"], Limits(max_bytes=1000)),
    "more than 3 members": (FORMS["zip"], Limits(max_members=3)),
    "more than 524,288 bytes": (FORMS["zip"], Limits(max_ratio=0.5)),
    "is not an archive": b"no archive\n" * 100,
    "is truncated": a_tar(FILES)[:-20_000],
    "is truncated ": gzip.compress(a_tar(FILES))[:-20_000],
    "name '../a' contains '..'": a_zip({"../a": b""}),
    "contains a control": a_zip({"a\nb": b""}),
    "as a file and a folder": a_tar({"a": b"", "a/b": b""}),
    "more than 32 folders deep": a_tar({"a/" * 40 + "a": b""}),
    "not compressed by deflate": a_zip({"a": b"b" * 99}, zipfile.ZIP_BZIP2),
    "contains no files": a_zip({}),
    "has data after its end": a_tar(FILES) + b"more",
}


@pytest.mark.parametrize("message", MESSAGES)
def test_an_error_says_why_an_archive_cannot_be_unpacked(message, tmp_path):
    case = MESSAGES[message]
    content, limits = case if isinstance(case, tuple) else (case, Limits())
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message.strip())) as caught:
        unpack(tmp_path / "a", tmp_path / "out", limits)
    assert str(tmp_path / "a") in str(caught.value)
    assert [tmp_path / "a"] == list(tmp_path.iterdir())


def test_files_reach_the_disk_before_the_target_appears(tmp_path, monkeypatch):
    (tmp_path / "a.tar").write_bytes(FORMS["tar, pax"])
    calls = []
    for name in ("sync", "rename", "fsync"):
        monkeypatch.setattr(os, name, lambda *arguments, name=name, **settings: calls.append(name))
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert ["sync", "rename", "fsync"] == calls


def test_an_archive_is_unpacked_once_whatever_its_name_and_reports_progress(tmp_path):
    archive, reports = big(tmp_path / "a.tar"), []
    first = unpacked(archive, tmp_path / "cache", progress=lambda *report: reports.append(report))
    size = archive.stat().st_size
    assert sorted(reports) == reports
    assert ("Hashing", "Unpacking") == (reports[2][0], reports[-1][0])
    assert (size, size) == reports[-1][1:]
    reports.clear()
    state = first.stat()
    (tmp_path / "b.tgz").write_bytes(archive.read_bytes())
    assert first == unpacked(tmp_path / "b.tgz", tmp_path / "cache", progress=lambda *report: reports.append(report))
    assert (state.st_ino, state.st_mtime_ns) == (first.stat().st_ino, first.stat().st_mtime_ns)
    assert {"Hashing"} == {doing for doing, _, _ in reports}


CHANGES = {
    "a file is missing": lambda path: path.unlink(),
    "a file is shorter": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "a file is new": lambda path: path.with_name("2.jpg").write_bytes(b"x"),
    "the list is missing": lambda path: (path.parents[2] / ".diptych-unpacked").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_incomplete_folder_is_unpacked_again(change, tmp_path):
    (tmp_path / "a.tar").write_bytes(FORMS["tar, pax"])
    folder = unpacked(tmp_path / "a.tar", tmp_path / "cache")
    before = content_of(folder)
    CHANGES[change](folder / "train" / "cats" / "1.jpg")
    assert before != content_of(folder)
    assert folder == unpacked(tmp_path / "a.tar", tmp_path / "cache")
    assert before == content_of(folder)


CHILD = """
import sys, time
from pathlib import Path
from diptych.data.cache import unpacked

def wait(doing, *_):
    if doing == "Unpacking":
        print("in the middle", flush=True)
        while not Path(sys.argv[3]).exists():
            time.sleep(0.01)

print(unpacked(Path(sys.argv[1]), Path(sys.argv[2]), progress=wait))
"""


def start(*arguments):
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True)


def test_a_killed_process_leaves_no_target_and_the_next_call_cleans_up(tmp_path):
    archive, folder = big(tmp_path / "a.tar"), tmp_path / "cache" / "archives"
    with start(archive, tmp_path / "cache", tmp_path / "never") as process:
        assert "in the middle\n" == process.stdout.readline()
        process.kill()
    assert [] == list(folder.glob("[!.]*"))
    (hidden,) = folder.glob(".staging-*")
    os.utime(hidden, (1, 1))  # a younger one may belong to a process that has just started
    target = unpacked(archive, tmp_path / "cache")
    assert 3 == len(list(target.glob("*.bin")))
    assert not hidden.exists()


def test_concurrent_processes_wait_for_the_first(tmp_path):
    archive, found = big(tmp_path / "a.tar"), []
    with start(archive, tmp_path / "cache", tmp_path / "go") as process:
        assert "in the middle\n" == process.stdout.readline()
        other = threading.Thread(target=lambda: found.append(unpacked(archive, tmp_path / "cache")))
        other.start()
        other.join(0.3)
        is_waiting = other.is_alive()
        (tmp_path / "go").touch()
        other.join(60)
        printed = process.stdout.read().split("\n")[-2]
    assert (True, [Path(printed)]) == (is_waiting, found)
    assert 3 == len(list(found[0].glob("*.bin")))


def test_a_full_disk_leaves_nothing_behind_and_the_error_counts_the_bytes(tmp_path):
    archive, limits = big(tmp_path / "a.tar"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(
            DataError, match=rf"'{archive}' into '{tmp_path / 'out'}': File too large, after [\d,]+ bytes"
        ):
            unpack(archive, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [archive] == list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_memory_does_not_grow_with_a_member(tmp_path, form):
    data, archive = {"a.bin": DRAW.randbytes(2**20) * 64}, tmp_path / "archive"
    content = a_zip(data) if form == "zip" else a_tar(data)
    archive.write_bytes(gzip.compress(content, 1) if form == "tar.gz" else content)
    tracemalloc.start()
    unpack(archive, tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 2**20
