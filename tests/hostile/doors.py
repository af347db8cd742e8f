"""Takes files through the doors that a user has, in a process of its own, and prints a line of JSON for each.

`python doors.py REQUEST` reads a JSON file: the sound files, to begin with; the hostile ones; and the folder outside.
Both frameworks are loaded by the sound files, so that memory and time are those of the hostile ones.
"""

import contextlib
import faulthandler
import hashlib
import io
import json
import os
import resource
import secrets
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

import diptych
from diptych import cli
from diptych.artifacts.store import read_arrays
from diptych.deployment.file_types import find_card
from diptych.deployment.transfer import transfer
from diptych.engines.session import session
from diptych.errors import DiptychError, UsageError

PIXELS = np.zeros((2, 4, 4, 1), np.uint8)
CALLS = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "pickle.find_class"}
ROOM = 3 * 2**30
PATIENCE = 40
"""Seconds that one file may take, before it is said to hang."""
watched: list[str] = []


def main(request_path):
    """Answer for each file through each door."""
    request = json.loads(Path(request_path).read_text())
    outside, targets = Path(request["outside"]), Path(request["targets"])
    spec = find_card(Path(request["sound"]["safetensors"])).spec
    with session("torch", 1) as torch, session("tensorflow", 1) as tensorflow:
        carry = partial(transferred, targets=targets, spec=spec, workers={"torch": torch, "tensorflow": tensorflow})
        doors = {"describe": described, "predict": predicted, "transfer": carry}
        for name, path in request["sound"].items():
            tell(name, doors, path, outside, trust=True)
        confine([os.getpid(), *children()])
        sys.addaudithook(watch)
        for name, path in request["hostile"].items():
            print(json.dumps({"name": name, "door": None}), flush=True)
            tell(name, doors, path, outside, trust=False)


def described(path, trust):
    """In Python, and as the command line prints it."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.main(["describe", path])
    told = diptych.describe(path)
    return {"code": code, "said": said.getvalue(), "told": {**told, "path": None}}


def predicted(path, trust):
    return [prediction.classes for prediction in diptych.predict(path, PIXELS, trust=trust)]


def transferred(path, trust, *, targets, spec, workers):
    """As `diptych.transfer` does it, but for the two processes, which are the same for every file."""
    target = targets / secrets.token_hex(8) / "model.safetensors"
    try:
        done = transfer(Path(path), target, workers=workers)
    except UsageError:  # it carries no card, so the user says what it is
        done = transfer(Path(path), target, spec=spec, workers=workers)
    arrays, _ = read_arrays(done.target)
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}


def tell(name, doors, path, outside, *, trust):
    """Print for each door the answer or the error, what was called meanwhile, and what it cost."""
    for door, enter in doors.items():
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        forget_peak()
        for file in outside.iterdir():  # so that the file system notes the next reading
            os.utime(file, ns=(0, file.stat().st_mtime_ns))
        before, started = peak(), time.perf_counter()
        watched.clear()
        try:
            result = {"answer": enter(path, trust)}
        except DiptychError as error:
            result = {"error": type(error).__name__, "message": str(error)}
        except BaseException as error:
            result = {"fault": f"{type(error).__name__}: {error}"}
        faulthandler.cancel_dump_traceback_later()
        result |= {"seconds": time.perf_counter() - started, "mebibytes": (peak() - before) / 2**20}
        read = [file.name for file in outside.iterdir() if file.stat().st_atime_ns]
        print(json.dumps({"name": name, "door": door, "called": watched, "read": read, **result}), flush=True)


def watch(event, arguments):
    """Note what no model has any business with."""
    is_answer = event == "pickle.find_class" and arguments[0].partition(".")[0] in {"numpy", "diptych"}
    if event in CALLS and not is_answer:
        watched.append(f"{event} {arguments!r:.100}")


def children():
    """Processes that this one started."""
    return list(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


def confine(pids):
    """Leave each process a few gigabytes more than it has."""
    for pid in pids:
        now = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (now + ROOM, now + ROOM))


def forget_peak():
    """Begin to measure memory anew."""
    for pid in [os.getpid(), *children()]:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak():
    """The most memory that this process and those it started have held since, in bytes."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in [os.getpid(), *children()]]
    peaks = [line.split()[1] for status in statuses for line in status.splitlines() if line.startswith("VmHWM")]
    return 1024 * sum(map(int, peaks))


if __name__ == "__main__":
    main(sys.argv[1])
