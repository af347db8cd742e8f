"""An archive unpacks byte for byte, completely or not at all."""

import bz2
import gzip
import io
import lzma
import os
import random
import re
import subprocess
import sys
import tarfile
import threading
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


def in_halves(content):
    """Compress as two gzip members, one after the other."""
    return gzip.compress(content[: len(content) // 2]) + gzip.compress(content[len(content) // 2 :])


def macos_zip(files):
    """Write a zip with UTF-8 names but without the flag that says so."""
    content = bytearray(a_zip(files))
    for mark, place in ((b"PK\3\4", 7), (b"PK\1\2", 9)):
        at = content.find(mark)
        while at >= 0:
            content[at + place] &= 0xFF ^ 8
            at = content.find(mark, at + 1)
    return bytes(content)


FORMS = {
    "tar, pax": a_tar(FILES),
    "tar, GNU": a_tar(FILES, tarfile.GNU_FORMAT),
    "tar, ustar": a_tar({name: data for name, data in FILES.items() if "name" not in name}, tarfile.USTAR_FORMAT),
    "tar with ./": a_tar(FILES, prefix="./"),
    "tar.gz": gzip.compress(a_tar(FILES)),
    "tar.gz in two members": in_halves(a_tar(FILES)),
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


@pytest.mark.parametrize("form", FORMS)
def test_every_format_unpacks_byte_for_byte(tmp_path, form):
    archive = tmp_path / "archive.whatever"
    archive.write_bytes(FORMS[form])
    assert is_archive(archive)
    assert tmp_path / "out" == unpack(archive, tmp_path / "out")
    wanted = {name: data for name, data in FILES.items() if form != "tar, ustar" or "name" not in name}
    assert wanted == content_of(tmp_path / "out")
    assert {archive, tmp_path / "out"} == {*tmp_path.iterdir()}


def test_permissions_in_the_archive_are_ignored(tmp_path):
    (tmp_path / "a.tar").write_bytes(FORMS["tar, pax"])
    before = os.umask(0o022)
    try:
        unpack(tmp_path / "a.tar", tmp_path / "out")
    finally:
        os.umask(before)
    modes = {path.is_dir(): oct(path.stat().st_mode & 0o7777) for path in (tmp_path / "out").rglob("*")}
    assert {True: "0o755", False: "0o644"} == modes
    assert os.getuid() == (tmp_path / "out" / "labels.csv").stat().st_uid


def test_is_archive_looks_at_the_content(tmp_path):
    others = {
        "text.tar": b"no tar " * 200,
        "idx.gz": gzip.compress(b"\0\0\x08\3" + bytes(5000)),
        "text.csv.gz": gzip.compress(b"label,pixel0\n" * 100),
        "photo.zip": b"\xff\xd8\xff\xe0" + FORMS["zip"],
        "empty.zip": b"",
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
        assert not is_archive(tmp_path / name), name
    assert not is_archive(tmp_path)
    assert not is_archive(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    assert not is_archive(tmp_path / "pipe")
    with pytest.raises(DataError, match="not an archive"):
        unpack(tmp_path / "pipe", tmp_path / "out")


def test_an_existing_target_is_not_overwritten(tmp_path):
    (tmp_path / "a.zip").write_bytes(FORMS["zip"])
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    before = content_of(tmp_path)
    for name in ("file", "folder", "link"):
        with pytest.raises(DataError, match="already exists"):
            unpack(tmp_path / "a.zip", tmp_path / name)
    with pytest.raises(DiptychError, match="Cannot write"):
        unpack(tmp_path / "a.zip", tmp_path / "file" / "below")
    assert before == content_of(tmp_path)
    assert not (tmp_path / "nowhere").exists()
    assert [] == list((tmp_path / "folder").iterdir())


def big(path, mebibytes=3):
    """Write an archive that is large enough to report progress."""
    path.write_bytes(a_tar({f"{place}.bin": DRAW.randbytes(2**20) for place in range(mebibytes)}))
    return path


def test_progress_grows_to_the_size_of_the_archive(tmp_path):
    archive, reports = big(tmp_path / "a.tar"), []
    unpacked(archive, tmp_path / "out", progress=lambda *report: reports.append(report))
    size = archive.stat().st_size
    assert sorted(reports) == reports
    assert ("Unpacking", size, size) == reports[-1]
    assert ["Hashing"] * 3 == [doing for doing, _, _ in reports][:3]


def test_an_interrupt_leaves_nothing_behind(tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    archive = big(tmp_path / "a.tar")
    with pytest.raises(KeyboardInterrupt):
        unpack(archive, tmp_path / "out", progress=interrupt)
    assert [archive] == list(tmp_path.iterdir())


MESSAGES = {
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
    (tmp_path / "a").write_bytes(MESSAGES[message])
    with pytest.raises(DataError, match=re.escape(message.strip())) as caught:
        unpack(tmp_path / "a", tmp_path / "out")
    assert str(tmp_path / "a") in str(caught.value)
    assert [tmp_path / "a"] == list(tmp_path.iterdir())


def test_files_reach_the_disk_before_the_target_appears(tmp_path, monkeypatch):
    (tmp_path / "a.tar").write_bytes(FORMS["tar, pax"])
    calls = []
    for name in ("sync", "rename", "fsync"):
        monkeypatch.setattr(os, name, lambda *arguments, name=name, **settings: calls.append(name))
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert ["sync", "rename", "fsync"] == calls


def test_an_archive_is_unpacked_once_whatever_its_name(tmp_path):
    archive, reports = big(tmp_path / "a.tar"), []
    first = unpacked(archive, tmp_path / "cache")
    state = first.stat()
    (tmp_path / "b.tgz").write_bytes(archive.read_bytes())
    assert first == unpacked(tmp_path / "b.tgz", tmp_path / "cache", progress=lambda *report: reports.append(report))
    assert (state.st_ino, state.st_mtime_ns) == (first.stat().st_ino, first.stat().st_mtime_ns)
    assert {"Hashing"} == {doing for doing, _, _ in reports}
    (tmp_path / "c.tar").write_bytes(FORMS["tar, pax"])
    second = unpacked(tmp_path / "c.tar", tmp_path / "cache")
    assert FILES == {name: data for name, data in content_of(second).items() if not name.startswith(".")}


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


def child(archive, cache, go):
    """Start a process that unpacks half an archive and waits for a file `go`."""
    command = [sys.executable, "-c", CHILD, str(archive), str(cache), str(go)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "in the middle\n" == process.stdout.readline()
    return process


def test_a_killed_process_leaves_no_target_and_the_next_call_cleans_up(tmp_path):
    archive, folder = big(tmp_path / "a.tar"), tmp_path / "cache" / "archives"
    with child(archive, tmp_path / "cache", tmp_path / "never") as process:
        process.kill()
    assert [] == list(folder.glob("[!.]*"))
    (hidden,) = folder.glob(".staging-*")
    os.utime(hidden, (1, 1))  # a younger one may belong to a process that has just started
    target = unpacked(archive, tmp_path / "cache")
    assert 3 == len(list(target.glob("*.bin")))
    assert not hidden.exists()


def test_concurrent_processes_wait_for_the_first(tmp_path):
    archive, found = big(tmp_path / "a.tar"), []
    with child(archive, tmp_path / "cache", tmp_path / "go") as process:
        other = threading.Thread(target=lambda: found.append(unpacked(archive, tmp_path / "cache")))
        other.start()
        other.join(0.3)
        assert other.is_alive()
        (tmp_path / "go").touch()
        other.join(60)
        printed = process.stdout.read().split("\n")[-2]
    assert [Path(printed)] == found
    assert 3 == len(list(found[0].glob("*.bin")))


FULL = """
import resource, sys
from pathlib import Path
from diptych.data.archives import unpack

resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
unpack(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_full_disk_leaves_nothing_behind_and_the_error_counts_the_bytes(tmp_path):
    archive = big(tmp_path / "a.tar")
    command = [sys.executable, "-c", FULL, str(archive), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"DataError: Cannot unpack '{archive}' into '{tmp_path / 'out'}': File too large, after " in done.stderr
    assert [archive] == list(tmp_path.iterdir())


PEAK = """
import sys
from pathlib import Path
from diptych.data.archives import unpack

unpack(Path(sys.argv[1]), Path(sys.argv[2]))
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])  # ru_maxrss begins with the parent's
"""


@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_memory_does_not_grow_with_a_member(tmp_path, form):
    peaks = []
    for mebibytes in (2, 64):
        data = {"a.bin": DRAW.randbytes(2**20) * mebibytes}
        content = a_zip(data) if form == "zip" else a_tar(data)
        archive = tmp_path / f"{mebibytes}"
        archive.write_bytes(gzip.compress(content, 1) if form == "tar.gz" else content)
        command = [sys.executable, "-c", PEAK, str(archive), str(tmp_path / f"out{mebibytes}")]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1024)
    print(f"{form}: peak of {peaks[0]:.1f} MiB for a member of 2 MiB, {peaks[1]:.1f} for one of 64 MiB")
    assert peaks[1] < peaks[0] + 4


def test_an_error_names_the_limit(tmp_path):
    (tmp_path / "a.zip").write_bytes(FORMS["zip"])
    for limits, word in (
        (Limits(max_bytes=1000), "more than 1,000"),
        (Limits(max_members=3), "more than 3 members"),
        (Limits(max_ratio=0.5), "more than 524,288 bytes"),
    ):
        with pytest.raises(DataError, match=word):
            unpack(tmp_path / "a.zip", tmp_path / "out", limits)
