"""Sound files, the hostile ones made of them, and what a user's doors make of either; done once."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from corpus import CORPUS
from ground import SECRET, Ground, make_outside, sound_files

from diptych.processes import engine_environment


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A sound file of each format, by name."""
    return sound_files(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="session")
def outcomes(tmp_path_factory, sound):
    """What came of every file through every door, and what became of the folders around."""
    folder = tmp_path_factory.mktemp("hostile")
    outside = make_outside(folder / "outside")
    stolen = Ground(sound, folder, outside).card("openvino", class_names=[SECRET, "b", "c"])
    (outside / "stolen.json").write_text(stolen)
    for name in ("targets", "nowhere"):
        (folder / name).mkdir()
    files = {}
    for place, (name, (build, _)) in enumerate(CORPUS.items()):
        ground = Ground(sound, folder / str(place), outside)
        ground.folder.mkdir()
        files[name] = build(ground)
    before = content(outside)
    request = {"sound": sound, "outside": outside, "targets": folder / "targets"}
    found = []
    while files:
        done = through_doors(folder, {**request, "hostile": files})
        found += done
        files = {name: path for name, path in files.items() if name not in {told["name"] for told in done}}
    left = [*(folder / "nowhere").iterdir()]  # where the process worked
    return SimpleNamespace(found=found, before=before, after=content(outside), left=left)


def through_doors(folder, request):
    """Answers of one process; where it died over a file, that is the last of them."""
    path = folder / "request.json"
    path.write_text(json.dumps(request, default=str))
    command = [sys.executable, str(Path(__file__).with_name("doors.py")), str(path)]
    settings = {**engine_environment("tensorflow"), "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=folder / "nowhere", env=settings, capture_output=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode:
        last = done.stderr.decode(errors="replace")[-3000:]
        assert found, last
        found.append({"name": found[-1]["name"], "fault": f"the process ended with {done.returncode}: {last}"})
    return found


def content(folder):
    """Content and time of every file."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.iterdir())}
