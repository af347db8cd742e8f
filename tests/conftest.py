"""Options, markers and fixtures of the whole suite."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diptych.engines import NAMES

ROOT = Path(__file__).parent
# Everything here imports PyTorch or TensorFlow, or starts a process that does.
WITH_FRAMEWORKS = ("contract", "parity", "end_to_end", "durability", "hostile/test_hostile_models.py")
WITH_BOTH = ("parity", "end_to_end", "hostile/test_hostile_models.py")


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the tests marked `long` as well")
    parser.addoption(
        "--fast",
        action="store_true",
        help="run only what needs no framework, browser or training; importing a framework is an error",
    )
    parser.addoption(
        "--engine",
        action="append",
        choices=NAMES,
        help="run the tests that take an engine for this one only; without it, a missing engine fails the run",
    )


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory):
    """Keep what tests decode apart from the user's cache."""
    os.environ["DIPTYCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def mounted(tmp_path):
    """A function that gives a folder on a small file system of its own, and one that mounts it anew with options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
        try:
            subprocess.run(command, capture_output=True, text=True, check=True)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", None) or error
            pytest.skip(f"LEFT OUT: no real small disk, because none can be mounted: {str(why).strip()}")
        return folder

    yield mount
    subprocess.run(["umount", folder], capture_output=True, check=False)


def pytest_generate_tests(metafunc):
    if "engine_name" in metafunc.fixturenames:
        names = metafunc.config.getoption("engine") or NAMES
        metafunc.parametrize("engine_name", names, scope="session")


def is_among(path, names):
    return path.as_posix().startswith(tuple(f"{ROOT.as_posix()}/{name}" for name in names))


def pytest_ignore_collect(collection_path, config):
    """Leave out what needs a framework without any, and what needs both if one is chosen."""
    left_out = WITH_FRAMEWORKS if config.getoption("fast") else ()
    if set(config.getoption("engine") or NAMES) != set(NAMES):
        left_out += WITH_BOTH
    return is_among(collection_path, left_out) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark what needs a framework, and deselect `long` tests whatever `-m` says."""
    for item in items:
        if is_among(item.path, WITH_FRAMEWORKS) or "engine_name" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.frameworks)
    left_out = set() if config.getoption("long") else {"long"}
    if config.getoption("fast"):
        left_out |= {"long", "slow", "frameworks", "browser"}
    deselected = [item for item in items if left_out & {marker.name for marker in item.iter_markers()}]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        dropped = set(deselected)
        items[:] = [item for item in items if item not in dropped]


def pytest_sessionstart(session):
    """With `--fast`, put modules that raise before the frameworks, here and in every process that a test starts."""
    if not session.config.getoption("fast"):
        return
    folder = session.config._tmp_path_factory.mktemp("forbidden")
    for name in ("torch", "tensorflow", "keras"):
        (folder / f"{name}.py").write_text(f"raise RuntimeError('a fast test imports {name}')\n")
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


def pytest_configure(config):
    """Let Ctrl-C be sent, and pin each of several test processes to a core; what a test starts inherits both.

    A shell's background jobs ignore Ctrl-C. OpenMP threads that wait for a core make PyTorch fifty times slower.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
