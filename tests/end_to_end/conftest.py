"""Trainings that are run once and shared by many tests."""

import fcntl
import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import cv2
import pytest
from commands import ONE_THREAD, Result, diptych
from made import make_run
from reuse import end, processes_reused

from diptych.artifacts.run import Run
from diptych.data import datasets
from diptych.engines import NAMES
from diptych.processes import num_threads

IDLE = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):  # pytest calls it for the tests of every folder
    """Reuse processes where every command has one thread: TensorFlow fixes their number at its first use."""
    is_here = item.path.is_relative_to(Path(__file__).parent)
    with processes_reused(IDLE) if is_here and num_threads() == 1 else nullcontext():
        return (yield)


def pytest_sessionfinish():
    for process in IDLE:
        end(process)


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Run a long command once for all of pytest's workers; return its output and its folder."""
    own = tmp_path_factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def done(name, command):
        folder, result = root / name, root / f"{name}.json"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not result.exists():
                result.write_text(json.dumps(command(folder)))
        return Result(*json.loads(result.read_text())), folder

    return done


@pytest.fixture(scope="session")
def digits():
    """The dataset of the shared runs."""
    return datasets.load("digits")


@pytest.fixture(scope="session")
def digits_runs(once):
    """The runs of `diptych train digits --engine both` by engine."""
    settings = ("--engine", "both", "--epochs", 20, "--precision", "float32", *ONE_THREAD, "--json")
    told, _ = once("digits_runs", lambda out: diptych("train", "digits", *settings, "--out", out))
    assert 0 == told.code, told.err
    return {name: Run.open(Path(run["run"])) for name, run in zip(NAMES, told.json, strict=True)}


@pytest.fixture(scope="session")
def made_run(tmp_path_factory, digits):
    """A finished run without a training."""
    return make_run(tmp_path_factory.mktemp("made"), digits)


@pytest.fixture(scope="module")
def run(made_run, tmp_path_factory):
    """A copy of the made run, for the tests of a file."""
    return Run.open(shutil.copytree(made_run.directory, tmp_path_factory.mktemp("copy") / "run"))


@pytest.fixture(scope="session")
def digit_files(tmp_path_factory, digits):
    """Every test image of digits as a PNG, in the order of the split."""
    folder = tmp_path_factory.mktemp("digits")
    paths = [folder / f"{place:03}.png" for place in range(len(digits.test))]
    for path, image_hwc in zip(paths, digits.test.images, strict=True):
        cv2.imwrite(str(path), image_hwc)
    return paths
