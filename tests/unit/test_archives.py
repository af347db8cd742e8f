"""An archive unpacks byte for byte, completely or not at all."""

import bz2
import gzip
import io
import lzma
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
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
    """What a zip writer cannot go back in, so that sizes follow the content."""

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
    """Two gzip members that hold one file between them."""
    return gzip.compress(content[: len(content) // 2]) + gzip.compress(content[len(content) // 2 :])


def macos_zip(files):
    """UTF-8 names without the flag that says so."""
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
def test_every_form_comes_out_byte_for_byte(tmp_path, form):
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


def test_a_zip_of_more_members_than_sixteen_bits_count_is_read_without_zip64(tmp_path):
    """As macOS writes it."""
    names = ["a.jpg", *(f"._{place}" for place in range(65_540))]
    content = bytearray(a_zip(dict.fromkeys(names, b""), zipfile.ZIP_STORED, target=Unseekable()))
    at = content.rindex(b"PK\5\6")
    twin = content.rindex(b"PK\6\6")
    number, size, start = (int.from_bytes(content[twin + place :][:8], "little") for place in (32, 40, 48))
    end = b"PK\5\6\0\0\0\0" + (number & 0xFFFF).to_bytes(2, "little") * 2
    content[twin:] = end + size.to_bytes(4, "little") + start.to_bytes(4, "little") + bytes(2)
    assert at > twin
    (tmp_path / "a.zip").write_bytes(content)
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert {"a.jpg": b""} == content_of(tmp_path / "out")


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
    with pytest.raises(DataError, match="no such file"):
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
    """An archive large enough that its progress is told before it ends."""
    path.write_bytes(a_tar({f"{place}.bin": DRAW.randbytes(2**20) for place in range(mebibytes)}))
    return path


def test_progress_grows_to_the_size_of_the_archive(tmp_path):
    told = []
    archive = big(tmp_path / "a.tar")
    unpacked(archive, tmp_path / "out", progress=lambda *numbers: told.append(numbers))
    size = archive.stat().st_size
    assert sorted(told) == told
    assert ("Unpacking", size, size) == told[-1]
    assert ["Hashing"] * 3 == [doing for doing, _, _ in told][:3]
    assert len(told) >= 6


def test_whoever_interrupts_finds_nothing_left(tmp_path):
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
    called = []

    def seen(name):
        real = getattr(os, name)

        def spy(*arguments, **settings):
            called.append(name)
            return real(*arguments, **settings)

        monkeypatch.setattr(os, name, spy)

    for name in ("sync", "rename", "fsync"):
        seen(name)
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert ["sync", "rename", "fsync"] == called


def test_an_archive_is_unpacked_once_whatever_its_name(tmp_path):
    archive = big(tmp_path / "a.tar")
    told = []
    first = unpacked(archive, tmp_path / "cache", progress=lambda *numbers: told.append(numbers))
    state = first.stat()
    assert told
    told.clear()
    (tmp_path / "b.tgz").write_bytes(archive.read_bytes())
    assert first == unpacked(tmp_path / "b.tgz", tmp_path / "cache", progress=lambda *numbers: told.append(numbers))
    assert (state.st_ino, state.st_mtime_ns) == (first.stat().st_ino, first.stat().st_mtime_ns)
    assert {"Hashing"} == {doing for doing, _, _ in told}
    (tmp_path / "c.tar").write_bytes(FORMS["tar, pax"])
    second = unpacked(tmp_path / "c.tar", tmp_path / "cache")
    assert FILES == {name: data for name, data in content_of(second).items() if not name.startswith(".")}
    assert {first.name, second.name} == {path.name for path in (tmp_path / "cache" / "archives").glob("[!.]*")}


@pytest.mark.parametrize("change", ["one is missing", "one is cut", "one is new", "one is a folder", "no list"])
def test_an_incomplete_folder_is_unpacked_again(change, tmp_path):
    (tmp_path / "a.tar").write_bytes(FORMS["tar, pax"])
    folder = unpacked(tmp_path / "a.tar", tmp_path / "cache")
    before, path = content_of(folder), folder / "train" / "cats" / "1.jpg"
    if change in ("one is missing", "one is a folder"):
        path.unlink()
    if change == "one is a folder":
        path.mkdir()
    if change == "one is cut":
        path.write_bytes(path.read_bytes()[:-1])
    if change == "one is new":
        path.with_name("2.jpg").write_bytes(b"x")
    if change == "no list":
        (folder / ".diptych-unpacked").unlink()
    assert before != content_of(folder)
    assert folder == unpacked(tmp_path / "a.tar", tmp_path / "cache")
    assert before == content_of(folder)


CHILD = """
import sys, time
from pathlib import Path
from diptych.data.archives import unpack
from diptych.data.cache import unpacked

def wait(doing, *_):
    if doing != "Unpacking":
        return
    print("in the middle", flush=True)
    while not Path(sys.argv[4]).exists():
        time.sleep(0.01)

function = {"unpack": unpack, "unpacked": unpacked}[sys.argv[1]]
print(function(Path(sys.argv[2]), Path(sys.argv[3]), progress=wait))
"""


def child(function, archive, folder, go):
    """A process that unpacks half an archive and waits for a file `go`."""
    command = [sys.executable, "-c", CHILD, function, str(archive), str(folder), str(go)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "in the middle\n" == process.stdout.readline()
    return process


def hidden(folder):
    return list(folder.glob(".staging-*"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_leaves_no_target_and_the_next_call_cleans_up(tmp_path, how):
    archive, folder = big(tmp_path / "a.tar"), tmp_path / "cache" / "archives"
    with child("unpacked", archive, tmp_path / "cache", tmp_path / "never") as process:
        process.send_signal(how)
    assert -how == process.returncode
    assert [] == list(folder.glob("[!.]*"))
    assert 1 == len(hidden(folder))
    os.utime(hidden(folder)[0], (1, 1))  # younger ones may belong to a process that has just started
    target = unpacked(archive, tmp_path / "cache")
    assert 3 == len(list(target.glob("*.bin")))
    assert [] == hidden(folder)


def test_two_processes_that_want_one_archive_both_get_it(tmp_path):
    archive, found = big(tmp_path / "a.tar"), []
    with child("unpacked", archive, tmp_path / "cache", tmp_path / "go") as process:
        other = threading.Thread(target=lambda: found.append(unpacked(archive, tmp_path / "cache")))
        other.start()
        other.join(0.3)
        assert other.is_alive()
        assert not found
        (tmp_path / "go").touch()
        other.join(60)
        said = process.stdout.read().split("\n")[-2]
    assert 0 == process.returncode
    assert [Path(said)] == found
    assert 3 == len(list(found[0].glob("*.bin")))


def test_what_a_living_process_has_not_finished_is_left_alone(tmp_path):
    archive = big(tmp_path / "a.tar")
    (tmp_path / "b.zip").write_bytes(FORMS["zip"])
    with child("unpack", archive, tmp_path / "first", tmp_path / "go") as process:
        unpack(tmp_path / "b.zip", tmp_path / "second")
        assert 1 == len(hidden(tmp_path))
        (tmp_path / "go").touch()
        process.stdout.read()
    assert 0 == process.returncode
    assert 3 == len(list((tmp_path / "first").glob("*.bin")))
    assert [] == hidden(tmp_path)


def test_of_two_processes_with_one_target_one_is_refused(tmp_path):
    archive = big(tmp_path / "a.tar")
    with child("unpack", archive, tmp_path / "out", tmp_path / "go") as process:
        unpack(archive, tmp_path / "out")
        (tmp_path / "go").touch()
        _, said = process.communicate()
    assert "Cannot unpack" in said
    assert 3 == len(list((tmp_path / "out").glob("*.bin")))
    assert [] == hidden(tmp_path)


FULL = """
import resource, sys
from pathlib import Path
from diptych.data.archives import unpack

resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
unpack(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_disk_that_takes_no_more_leaves_nothing_and_is_named_with_the_bytes(tmp_path):
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


def compare_speed(archive, folder, rounds):
    """Seconds of ours by tarfile's, the best of some rounds, turn by turn."""
    ours, theirs = [], []
    for place in range(rounds):
        start = time.perf_counter()
        with tarfile.open(archive) as opened:
            opened.extractall(folder / f"theirs{place}", filter="fully_trusted")
        theirs.append(time.perf_counter() - start)
        os.sync()
        start = time.perf_counter()
        unpack(archive, folder / f"ours{place}")
        ours.append(time.perf_counter() - start)
    num_files = sum(path.is_file() for path in (folder / "ours0").rglob("*"))
    ratio = min(ours) / min(theirs)
    print(f"{num_files:,} files: {ratio:.2f} times as long as tarfile.extractall, with all on the disk")
    return ratio


def test_small_files_are_unpacked_about_as_fast_as_by_tarfile(tmp_path):
    files = {f"{place % 10}/{place}.jpg": DRAW.randbytes(700) for place in range(6_000)}
    (tmp_path / "a.tgz").write_bytes(gzip.compress(a_tar(files, tarfile.GNU_FORMAT)))
    assert compare_speed(tmp_path / "a.tgz", tmp_path, 3) < 2


@pytest.mark.long
def test_sixty_thousand_images_are_unpacked_about_as_fast_as_by_tarfile(tmp_path):
    archive = Path(os.environ.get("DIPTYCH_DATA") or "/nowhere") / "cifar10-jpeg.tar.gz"
    if not archive.exists():
        pytest.skip("CIFAR-10 as JPEG is not there: set DIPTYCH_DATA to a directory with cifar10-jpeg.tar.gz in it")
    assert compare_speed(archive, tmp_path, 2) < 2
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.isfile():
                assert opened.extractfile(member).read() == (tmp_path / "ours0" / member.name).read_bytes()
