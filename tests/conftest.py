"""Options and fixtures of the whole suite."""

import os
import signal
import subprocess

import pytest

from diptych.engines import NAMES


def pytest_addoption(parser):
    parser.addoption(
        "--engine",
        action="append",
        choices=NAMES,
        help="run the tests that take an engine for this one only; without it, a missing engine fails the run",
    )


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory):
    """What tests decode is kept apart from what a person keeps."""
    os.environ["DIPTYCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def mounted(tmp_path):
    """A function that gives a folder on a small file system of its own, and one that mounts it anew with options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            pytest.skip(f"LEFT OUT: no real small disk, because there is no program to mount one ({error})")
        if done.returncode:
            pytest.skip(f"LEFT OUT: no real small disk, because this user may not mount one: {done.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", folder], capture_output=True, check=False)


def pytest_report_header(config):
    chosen = config.getoption("engine")
    return f"engines: {', '.join(chosen)} (chosen with --engine)" if chosen else None


def pytest_generate_tests(metafunc):
    if "engine_name" in metafunc.fixturenames:
        names = metafunc.config.getoption("engine") or NAMES
        metafunc.parametrize("engine_name", names, scope="session")


def pytest_configure(config):
    """Let Ctrl-C be sent, and give each of several test processes a core of its own; what a test starts inherits both.

    What a shell runs in the background ignores Ctrl-C. OpenMP threads that wait for a core make PyTorch fifty times
    slower.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
