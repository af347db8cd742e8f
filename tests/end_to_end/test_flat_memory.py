"""Memory stays flat as a folder grows: ten times the files, the same peak, streamed and kept."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

FEW, MANY = 300, 3_000
SLACK = 12 * 2**20  # names, labels and digests of 2,700 files take below 1 MiB; what else differs is the allocator's
SIZE = 64  # an array of MANY takes 37 MB
EPOCH = f"""
import sys
from pathlib import Path
from diptych.data.batches import epoch_batches
from diptych.data.ingest import ingest
from diptych.data.readers.folder import list_folder
from diptych.data.rows import Form, Keeping
from diptych.spec import Recipe

def held():
    # Pages of a mapped file are the system's to take back; everything else counts.
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * max(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

parts = ingest(list_folder(Path(sys.argv[1])), Form(({SIZE}, {SIZE}), 3), Keeping(sys.argv[2], Path(sys.argv[3])))
recipe = Recipe(batch_size=64, flip="horizontal", crop_padding=4)
peak = 0
for batch in epoch_batches(parts.train, recipe, num_classes=2, seed=0, epoch=1, workers=2):
    peak = max(peak, held())
print(peak)
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of the same pictures, one with ten times as many files."""
    root = tmp_path_factory.mktemp("files")
    generator = np.random.default_rng(0)
    for number in range(20):
        cv2.imwrite(
            str(root / f"{number}.jpg"), cv2.resize(generator.integers(0, 256, (9, 12, 3), np.uint8), (200, 150))
        )
    for name, count in (("few", FEW), ("many", MANY)):
        for number in range(count):
            folder = root / name / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            os.link(root / f"{number % 20}.jpg", folder / f"{number:04}.jpg")
    return root


@pytest.mark.parametrize("caching", ["never", "always"])
def test_ten_times_the_files_take_the_same_memory(caching, folders):
    peaks = {}
    for name in ("few", "many"):
        command = [sys.executable, "-c", EPOCH, str(folders / name), caching, str(folders / f"kept-{name}")]
        peaks[name] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    words = {"never": "streamed", "always": "kept"}[caching]
    print(f"{words}: {FEW} files {peaks['few'] / 2**20:.1f} MiB, {MANY} files {peaks['many'] / 2**20:.1f} MiB")
    assert peaks["many"] - peaks["few"] < SLACK
