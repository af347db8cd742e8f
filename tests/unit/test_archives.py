"""An archive unpacks byte for byte, completely or not at all."""

import gzip
import os
import re
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
from archive_builders import DRAW, FILES, FORMS, a_tar, a_zip, big, content_of

from diptych.data.archives import Limits, is_archive, unpack
from diptych.data.cache import unpacked
from diptych.errors import DataError, DiptychError


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


def start(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_process_leaves_no_target_and_the_next_call_cleans_up(tmp_path):
    archive, folder = big(tmp_path / "a.tar"), tmp_path / "cache" / "archives"
    with start(CHILD, archive, tmp_path / "cache", tmp_path / "never") as process:
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
    with start(CHILD, archive, tmp_path / "cache", tmp_path / "go") as process:
        assert "in the middle\n" == process.stdout.readline()
        other = threading.Thread(target=lambda: found.append(unpacked(archive, tmp_path / "cache")))
        other.start()
        other.join(0.3)
        assert other.is_alive()
        (tmp_path / "go").touch()
        other.join(60)
        printed = process.stdout.read().split("\n")[-2]
    assert [Path(printed)] == found
    assert 3 == len(list(found[0].glob("*.bin")))


LIMITED = """
import resource, sys
from pathlib import Path
from diptych.data.archives import unpack

if sys.argv[3:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
unpack(Path(sys.argv[1]), Path(sys.argv[2]))
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])  # ru_maxrss begins with the parent's
"""


def test_a_full_disk_leaves_nothing_behind_and_the_error_counts_the_bytes(tmp_path):
    archive = big(tmp_path / "a.tar")
    _, error = start(LIMITED, archive, tmp_path / "out", "full").communicate()
    assert f"DataError: Cannot unpack '{archive}' into '{tmp_path / 'out'}': File too large, after " in error
    assert [archive] == list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_memory_does_not_grow_with_a_member(tmp_path, form):
    peaks = []
    for mebibytes in (2, 64):
        data = {"a.bin": DRAW.randbytes(2**20) * mebibytes}
        content = a_zip(data) if form == "zip" else a_tar(data)
        archive = tmp_path / f"{mebibytes}"
        archive.write_bytes(gzip.compress(content, 1) if form == "tar.gz" else content)
        peaks.append(int(start(LIMITED, archive, tmp_path / f"out{mebibytes}").communicate()[0]) / 1024)
    assert peaks[1] < peaks[0] + 4
