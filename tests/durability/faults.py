"""Stops, failures and power losses at any change that a program makes to the file system.

`watched` stands between the standard library and the system: every create, write, truncate, fsync, close, rename,
unlink and mkdir in a folder and below is a `Change` with a number, and what is asked to happen at that number happens.
`stopped_at` ends a process there, really. `power_losses` gives every state of the disk that the changes up to
there may leave when what was not fsynced is lost, torn or garbage, and what is new, renamed or gone in a folder that
was not fsynced may be so or not.
"""

import io
import os
import random
import traceback
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, combinations, count, product
from pathlib import Path
from unittest import mock

STOPPED = 77
# Changes that fail for as long as a disk is full.
WANT_ROOM = {"create", "write", "mkdir"}


@dataclass(frozen=True)
class Change:
    """A change of the file system: `path` is below the watched folder, `to` is a rename's new name."""

    kind: str
    path: str
    to: str = ""
    data: bytes = b""
    offset: int = 0


@contextmanager
def watched(root, visit=lambda number, change: None):
    """Pass each change below `root` to `visit` before it is made; yield the list of those that were made.

    `visit(number, change)` may stop the process, raise, or return "half": a write then puts half of its bytes on the
    disk before it asks again.
    """
    root, changes, numbers = root.resolve(), [], count()
    real = {name: getattr(os, name) for name in ("fsync", "replace", "unlink", "mkdir", "rmdir")}
    real_open = io.open

    def made(change, make, make_half=None):
        number = next(numbers)
        if visit(number, change) == "half":
            make_half()
            visit(number, change)
        result = make()
        changes.append(change)
        return result

    def below(path):
        path = Path(path).parent.resolve() / Path(path).name
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else None

    class File(io.FileIO):
        def write(self, data):
            data = bytes(data)
            offset = os.fstat(self.fileno()).st_size if "a" in self.asked else self.tell()
            write = super().write
            change = Change("write", self.below, data=data, offset=offset)
            return made(change, lambda: write(data), lambda: write(data[: len(data) // 2]))

        def truncate(self, size=None):
            truncate, offset = super().truncate, self.tell() if size is None else size
            return made(Change("truncate", self.below, offset=offset), lambda: truncate(offset))

        def close(self):
            if self.closed:
                return
            try:
                made(Change("close", self.below), lambda: None)
            finally:
                super().close()

    def open_(path, mode="r", buffering=-1, *rest, **named):
        if not isinstance(path, str | os.PathLike) or not set(mode) & set("wxa+") or not below(path):
            return real_open(path, mode, buffering, *rest, **named)

        def make():
            file = File(path, mode)
            file.asked, file.below = mode, below(path)
            return file

        file = make() if Path(path).exists() else made(Change("create", below(path)), make)
        if buffering == 0:
            return file
        return io.BufferedRandom(file) if "+" in mode else io.BufferedWriter(file)

    def fsync(descriptor):
        path = below(Path(f"/proc/self/fd/{descriptor}").readlink())
        # Nothing waits for the disk: what the kernel has been given outlives the process, and a power loss is modeled.
        return made(Change("fsync", path), lambda: None) if path else real["fsync"](descriptor)

    def renamed(old, new, **_):
        return made(Change("rename", below(old), to=below(new)), lambda: real["replace"](old, new))

    def changing(kind):
        def change(path, *rest, **_):
            if not below(path) or (kind == "unlink" and not os.path.lexists(path)):
                return real[kind](path, *rest)
            return made(Change(kind, below(path)), lambda: real[kind](path, *rest))

        return change

    instead = {"fsync": fsync, "replace": renamed, "rename": renamed}
    with (
        mock.patch.object(io, "open", open_),
        mock.patch.multiple(os, **instead, **{kind: changing(kind) for kind in ("unlink", "mkdir", "rmdir")}),
    ):
        yield changes


def changes_of(scenario, root):
    """What a scenario changes below `root`, and how many changes were made when each of its parts was done."""
    with watched(root) as changes:
        marks = [len(changes) for _ in scenario()]
    return changes, marks


def in_child(function):
    """Run a function in a copy of this process, to its end; its exit code, or minus the signal that ended it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads, and NumPy's do nothing
        pid = os.fork()
    if not pid:
        try:
            function()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def stopped_at(number, half, scenario, root):
    """Run a scenario in a process that ends before or half through a change; return parts done and exit code.

    It also stands for an end after the change before.
    """
    reader, writer = os.pipe()
    visits = iter(["half"] * half)

    def visit(current, _):
        return None if current != number else next(visits, None) or os._exit(STOPPED)

    def run():
        with watched(root, visit):
            for _ in scenario():
                os.write(writer, b".")

    code = in_child(run)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        return len(pipe.read()), code


def failing_at(number, code, *, half=False, lasting=False):
    """A visit by which a change fails, if asked when half of it is made; `lasting`, so does what wants room later."""
    begun = []

    def visit(current, change):
        if current == number and half and not begun:
            begun.append(current)
            return "half"
        if current == number or (lasting and begun and change.kind in WANT_ROOM):
            begun.append(current)
            raise OSError(code, os.strerror(code))
        return None

    return visit


class Disk:
    """What is safe on a disk and what is only in memory, after some changes to a folder of `files`."""

    def __init__(self, files):
        self.safe = dict(enumerate(files.values()))
        self.now = dict(self.safe)
        self.names = {name: number for number, name in enumerate(files)}
        self.current = dict(self.names)
        self.pending = []

    def make(self, change):
        """Take in one change."""
        number = self.current.get(change.path)
        match change.kind:
            case "create" | "mkdir":
                number = len(self.now)
                self.safe[number] = self.now[number] = b"" if change.kind == "create" else None
                self._rename({change.path: number})
            case "write":
                content = self.now[number].ljust(change.offset, b"\0")
                self.now[number] = content[: change.offset] + change.data + content[change.offset + len(change.data) :]
            case "truncate":
                self.now[number] = self.now[number][: change.offset]
            case "rename" if self.now[number] is None:
                self._rename((change.to, change.path, number))
            case "rename":
                self._rename({change.to: number, change.path: None})
            case "unlink" | "rmdir":
                self._rename({change.path: None})
            case "fsync" if change.path == "." or number is None or self.now[number] is None:
                done = [one for one in self.pending if Path(next(iter(one))).parent.as_posix() == change.path]
                self.pending = [one for one in self.pending if one not in done]
                for one in done:
                    self.names = _after(self.names, one)
            case "fsync":
                self.safe[number] = self.now[number]

    def _rename(self, names):
        self.current = _after(self.current, names)
        self.pending.append(names)

    def states(self, noise):
        """Every folder that a power loss may leave now: content by name, None for a folder."""
        numbers = range(len(self.pending))
        subsets = list(chain.from_iterable(combinations(numbers, size) for size in range(len(self.pending) + 1)))
        if len(subsets) > 64:
            subsets = [subsets[0], subsets[-1], *noise.sample(subsets, 62)]
        for subset, tear in product(subsets, TEARS):
            names = self.names
            for one in subset:
                names = _after(names, self.pending[one])
            yield {
                name: _torn(self.safe[number], self.now[number], tear, noise)
                for name, number in names.items()
                if all(str(folder) in names for folder in list(Path(name).parents)[:-1])
            }


def _after(names, changed):
    """Names after a change of some, or after a folder was renamed: what is durable in it moves along."""
    if isinstance(changed, tuple):
        new, old, number = changed
        moved = {f"{new}{name.removeprefix(old)}": n for name, n in names.items() if name.startswith(f"{old}/")}
        kept = {name: n for name, n in names.items() if name != old and not name.startswith(f"{old}/")}
        return {**kept, new: number, **moved}
    names = {**names, **changed}
    return {name: number for name, number in names.items() if number is not None}


# What becomes of bytes that were written and not fsynced.
TEARS = {
    "lost": lambda tail, noise: b"",
    "half": lambda tail, noise: tail[: len(tail) // 2],
    "zeros": lambda tail, noise: bytes(len(tail)),
    "garbage": lambda tail, noise: noise.randbytes(len(tail)),
    "kept": lambda tail, noise: tail,
}


def _torn(safe, now, tear, noise):
    """Content after a power loss; None for a folder."""
    if safe == now:
        return now
    head = safe if now.startswith(safe) else b""
    return head + TEARS[tear](now[len(head) :], noise)


def power_losses(files, changes, seed=0):
    """Each distinct state that a power loss may leave, and after how many of the changes."""
    noise, disk, seen = random.Random(seed), Disk(files), set()
    for number in range(len(changes) + 1):
        for state in disk.states(noise):
            key = (number, frozenset(state.items()))
            if key not in seen:
                seen.add(key)
                yield number, state
        if number < len(changes):
            disk.make(changes[number])


def write_files(root, files):
    """Make a folder hold what a power loss left."""
    for name, content in sorted(files.items()):
        path = root / name
        path.mkdir(parents=True) if content is None else path.write_bytes(content)
