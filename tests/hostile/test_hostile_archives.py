"""Archives from a stranger: nothing outside the target changes, and what is refused leaves nothing behind."""

import gzip
import hashlib
import io
import os
import random
import re
import shutil
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from archive_parts import END, FOLDER, Entry, header, large, long_name, member, pax, tar, with_sum, zipped
from hostile_archives import DANGEROUS, cases

from diptych.data.archives import Limits, is_archive, unpack
from diptych.errors import DataError


@dataclass(frozen=True)
class Sandbox:
    """Folders that contain canaries; all but `archive` and `target` is outside."""

    elsewhere: Path
    root: Path
    target: Path
    archive: Path

    def outside(self):
        """Return kind, permissions, size, digest and time of each file and folder outside."""
        states = {}
        for path in (*self.elsewhere.rglob("*"), *self.root.rglob("*")):
            if path == self.archive or self.target in (path, *path.parents):
                continue
            state = path.lstat()
            # Staging changes the time of the target's own folder.
            when = 0 if path == self.target.parent else state.st_mtime_ns
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(state.st_mode) else ""
            states[path] = (state.st_mode, state.st_size if digest else 0, digest, when)
        return states

    def attempt(self, content, limits):
        """Unpack; return the error or None. Nothing outside may change, and an error leaves no target."""
        self.archive.write_bytes(content)
        before, error = self.outside(), None
        try:
            assert is_archive(self.archive) in (True, False)
            unpack(self.archive, self.target, limits)
        except DataError as raised:
            error = raised
            assert str(error).isprintable() and len(str(error)) < 600, error
            assert str(self.archive) in str(error)
            assert not os.path.lexists(self.target)
        else:
            kinds = {stat.S_IFMT(path.lstat().st_mode) for path in self.target.rglob("*")}
            assert kinds <= {stat.S_IFREG, stat.S_IFDIR}
            size = sum(path.stat().st_size for path in self.target.rglob("*") if path.is_file())
            assert size <= limits.max_bytes
        assert before == self.outside()
        return error


@pytest.fixture
def sandbox(tmp_path_factory, monkeypatch):
    root, elsewhere = tmp_path_factory.mktemp("sandbox"), tmp_path_factory.mktemp("elsewhere")
    target = root / "data" / "deep" / "target"
    for folder in (root, root / "data", target.parent, root / "work", elsewhere):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("sibling.txt", "canary.txt"):
            (folder / name).write_text(f"canary of {folder.name}\n")
    (target.parent / "door").symlink_to(elsewhere)
    monkeypatch.chdir(root / "work")
    return Sandbox(elsewhere, root, target, root / "archive")


def test_a_hostile_archive_raises_one_line_and_writes_nothing_outside(sandbox):
    unpacked, archives = [], cases(str(sandbox.elsewhere).encode())
    for name, (content, limits) in archives.items():
        if sandbox.attempt(content, limits) is None:
            unpacked.append(name)
            shutil.rmtree(sandbox.target)
    assert [] == [name for name in unpacked if DANGEROUS.search(name)]
    assert len(unpacked) < len(archives) / 4
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    assert [str(len(archives))] == re.findall(r"(\d+) hostile archives", page)


def test_the_sandbox_sees_what_an_unguarded_extractor_writes(sandbox):
    before = sandbox.outside()
    content, _ = cases(str(sandbox.elsewhere).encode())["a tar that writes through a hard link"]
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        # Python before 3.11.4 has no filters, and trusts every archive.
        unguarded = {"filter": "fully_trusted"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(sandbox.target, **unguarded)
    assert before != sandbox.outside()


TAR = tar(
    header(b"folder/", kind=b"5"),
    member(b"folder/a.jpg", b"first" * 30),
    pax(path="é/long name.txt".encode()),
    member(b"short"),
    long_name(b"b/" * 10 + b"c"),
    member(b"d", b""),
    header(b"e", 4, prefix=b"before") + member(b"")[512:],
    end=END,
)
ZIP = zipped(
    Entry(b"folder/", b"", mode=FOLDER),
    Entry(b"folder/a.jpg", b"first" * 30, 8),
    Entry("é/long name.txt".encode(), flags=1 << 11),
    Entry(b"d", b""),
    comment=b"a comment",
)
VALID = (TAR, ZIP, large(zipped(Entry(b"folder/a.jpg", b"first" * 30, 8))), gzip.compress(TAR, mtime=0))
FUZZED = Limits(max_bytes=2**20, max_members=100)
BYTES = b"\0\1\2/.5012\x7f\x80\xff"


def mutated(content, draw):
    """Change a few bytes, mostly of a header; mostly correct a tar's checksums."""
    content = bytearray(content)
    places = [match.start() for match in re.finditer(rb"ustar|PK[\1\3\5\6][\2\4\6]", content)]
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        near = draw.choice(places) + draw.randrange(-257, 90) if places else draw.randrange(len(content))
        place = min(max(near, 0), len(content) - 1)
        match draw.randrange(6):
            case 0 | 1:
                content[place] = draw.choice(BYTES)
            case 2:
                content[place] ^= 1 << draw.randrange(8)
            case 3:
                content[place : place + 4] = draw.randbytes(4)
            case 4:
                content[place : place + draw.randrange(1, 9)] = b""
            case 5:
                content[place:place] = content[draw.randrange(len(content)) :][: draw.choice((1, 8, 512))]
    if draw.random() < 0.8:
        for match in re.finditer(rb"ustar", bytes(content)):
            start = match.start() - 257
            if start >= 0 and start + 512 <= len(content):
                content[start : start + 512] = with_sum(bytes(content[start : start + 512]))
    return bytes(content)


@pytest.mark.parametrize("content", VALID, ids=("tar", "zip", "zip64", "tar.gz"))
def test_the_archives_that_are_changed_are_valid_before(sandbox, content):
    assert sandbox.attempt(content, FUZZED) is None
    assert (sandbox.target / "folder" / "a.jpg").read_bytes() == b"first" * 30


@pytest.mark.parametrize(("number", "seed"), [(600, 0), pytest.param(5_000, 1, marks=pytest.mark.long)])
def test_an_archive_with_changed_headers_raises_or_unpacks_inside(sandbox, number, seed):
    draw, num_refused = random.Random(seed), 0
    for _ in range(number):
        num_refused += sandbox.attempt(mutated(draw.choice(VALID), draw), FUZZED) is not None
        shutil.rmtree(sandbox.target, ignore_errors=True)
    assert 0.3 * number < num_refused < number
