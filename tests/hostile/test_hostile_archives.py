"""Archives from a stranger: nothing outside the target changes, and what is refused leaves nothing behind."""

import gzip
import hashlib
import io
import os
import random
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

MOST_LETTERS = 600


@dataclass(frozen=True)
class Sandbox:
    """Folders with canaries in them; only `archive` and `target` are not outside."""

    elsewhere: Path
    root: Path
    target: Path
    archive: Path

    def outside(self):
        """What each file and folder outside is: kind, permissions, size, digest and time."""
        found = {}
        for folder in (self.elsewhere, self.root):
            for place, folders, files in os.walk(folder):
                for path in (Path(place, name) for name in (*folders, *files)):
                    if path == self.archive or self.target in (path, *path.parents):
                        continue
                    state = path.lstat()
                    # The target's own folder has another time after a staging was in it.
                    when = 0 if path == self.target.parent else state.st_mtime_ns
                    digest = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(state.st_mode) else ""
                    found[path] = (state.st_mode, state.st_size if digest else 0, digest, when)
        return found

    def attempt(self, content, limits):
        """Unpack; return the error, if there is one, and the bytes outside that were written or changed."""
        self.archive.write_bytes(content)
        before, error = self.outside(), None
        try:
            assert is_archive(self.archive) in (True, False)
            unpack(self.archive, self.target, limits)
        except DataError as raised:
            error = raised
        after = self.outside()
        changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
        return error, sum(max(1, after.get(path, (0, 1))[1]) for path in changed)


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


def check_inside(target):
    """Check that a target contains nothing but plain files and folders."""
    kinds = {stat.S_IFMT(path.lstat().st_mode) for path in target.rglob("*")}
    assert kinds <= {stat.S_IFREG, stat.S_IFDIR}


def test_a_hostile_archive_raises_one_line_and_writes_nothing_outside(sandbox):
    names, unpacked, num_outside = [], set(), 0
    for name, case in cases(str(sandbox.elsewhere).encode()):
        error, num_bytes = sandbox.attempt(case.content, case.limits)
        names.append(name)
        num_outside += num_bytes
        if error is None:
            check_inside(sandbox.target)
            shutil.rmtree(sandbox.target)
            unpacked.add(name)
        else:
            message = str(error)
            assert message.isprintable() and len(message) < MOST_LETTERS, message
            assert str(sandbox.archive) in message, message
            assert not os.path.lexists(sandbox.target), name
    print(f"{len(names)} hostile archives: {len(unpacked)} unpacked, {num_outside} bytes outside")
    assert num_outside == 0
    assert [] == [name for name in unpacked if DANGEROUS.search(name)]
    assert len(unpacked) < 50
    assert 215 == len(names) == len(set(names))


@pytest.mark.parametrize(
    "name",
    [
        "a tar member whose name climbs out by two",
        "a tar member whose name is at the root",
        "a tar that makes a folder of a link to write through it",
        "a tar that writes through a hard link",
    ],
)
def test_the_sandbox_sees_what_an_unguarded_extractor_writes(sandbox, name):
    before = sandbox.outside()
    case = dict(cases(str(sandbox.elsewhere).encode()))[name]
    with tarfile.open(fileobj=io.BytesIO(case.content)) as archive:
        archive.extractall(sandbox.target, filter="fully_trusted")
    assert before != sandbox.outside()


SOUND = (
    tar(
        header(b"folder/", kind=b"5"),
        member(b"folder/a.jpg", b"first" * 30),
        pax(path="é/long name.txt".encode()),
        member(b"short"),
        long_name(b"b/" * 10 + b"c"),
        member(b"d", b""),
        header(b"e", 4, prefix=b"before") + member(b"")[512:],
        end=END,
    ),
    zipped(
        Entry(b"folder/", b"", mode=FOLDER),
        Entry(b"folder/a.jpg", b"first" * 30, 8),
        Entry("é/long name.txt".encode(), flags=1 << 11),
        Entry(b"d", b""),
        comment=b"a comment",
    ),
    large(zipped(Entry(b"folder/a.jpg", b"first" * 30, 8))),
)
FORMS = (*SOUND, gzip.compress(SOUND[0], mtime=0))
FUZZED = Limits(max_bytes=2**20, max_members=100)
BYTES = b"\0\1\2/.5012\x7f\x80\xff"


def mutated(content, draw):
    """A few bytes changed, mostly where a header is; a tar's checksums mostly made to fit again."""
    content = bytearray(content)
    places = [at for mark in (b"ustar", b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6") for at in found(content, mark)]
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
        for at in found(content, b"ustar"):
            if at >= 257 and at + 255 <= len(content):
                content[at - 257 : at + 255] = with_sum(bytes(content[at - 257 : at + 255]))
    return bytes(content)


def found(content, mark):
    at = content.find(mark)
    while at >= 0:
        yield at
        at = content.find(mark, at + 1)


def fuzz(sandbox, number, seed):
    draw, num_refused, num_outside = random.Random(seed), 0, 0
    for _ in range(number):
        content = mutated(draw.choice(FORMS), draw)
        error, num_bytes = sandbox.attempt(content, FUZZED)
        num_outside += num_bytes
        if error:
            num_refused += 1
            assert not os.path.lexists(sandbox.target)
            assert str(error).isprintable()
        else:
            check_inside(sandbox.target)
            size = sum(path.stat().st_size for path in sandbox.target.rglob("*") if path.is_file())
            assert size <= FUZZED.max_bytes
            shutil.rmtree(sandbox.target)
    print(f"{number} archives with changed headers: {num_refused} refused, {num_outside} bytes outside")
    assert num_outside == 0
    assert 0.3 * number < num_refused < number


@pytest.mark.parametrize("content", FORMS, ids=("tar", "zip", "zip64", "tar.gz"))
def test_what_is_fuzzed_is_sound_before(sandbox, content):
    error, num_outside = sandbox.attempt(content, FUZZED)
    assert (None, 0) == (error, num_outside)
    assert (sandbox.target / "folder" / "a.jpg").read_bytes() == b"first" * 30


@pytest.mark.parametrize(("number", "seed"), [(600, 0), pytest.param(5_000, 1, marks=pytest.mark.long)])
def test_changed_headers_give_a_typed_error_or_files_inside(sandbox, number, seed):
    fuzz(sandbox, number, seed)
