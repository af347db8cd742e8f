"""Memory stays flat as a folder grows: ten times the files, the same peak, streamed and kept."""

import importlib.util
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

FEW, MANY = 300, 3_000
TIMES = 5  # each image is verified so often: a batch's layers take 50 MiB, all images of MANY 184 MB
SLACK = 12 * 2**20  # names, labels and digests of 2,700 files take below 1 MiB; what else differs is the allocator's
SIZE = 64  # an array of MANY takes 37 MB
HELD = """
import sys
from pathlib import Path

def held(process="self"):
    # Pages of a mapped file are the system's to take back; everything else counts.
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * max((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), default=0)
"""
EPOCH = f"""{HELD}
from diptych.data.batches import epoch_batches
from diptych.data.datasets import ingest
from diptych.data.readers.folder import list_folder
from diptych.spec import Recipe

parts = ingest(list_folder(Path(sys.argv[1])), ({SIZE}, {SIZE}, 3), caching=sys.argv[2], folder=Path(sys.argv[3]))
recipe = Recipe(batch_size=64, flip="horizontal", crop_padding=4)
print(max(held() for _ in epoch_batches(parts.train, recipe, num_classes=2, seed=0, epoch=1, workers=2)))
"""
VERIFY = f"""{HELD}
from threading import Event, Thread

import numpy as np

from diptych.artifacts.run import Predictions
from diptych.artifacts.store import write_arrays
from diptych.comparison.parity import samples
from diptych.data.datasets import ingest
from diptych.data.readers.folder import list_folder
from diptych.deployment.card import Card, parity_digest
from diptych.deployment.formats import FORMATS
from diptych.deployment.predictor import Probes, save_images
from diptych.deployment.runtimes import RUNTIMES
from diptych.deployment.verify import Reference
from diptych.engines.contract import CARD
from diptych.spec import zoo

peaks, done = [0, 0], Event()

def watch():
    while not done.wait(0.002):
        children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split()
        try:
            peaks[:] = max(peaks[0], held()), max(peaks[1], *map(held, children), 0)
        except OSError:
            pass  # a child has ended

spec = zoo.model("mlp", ({SIZE}, {SIZE}, 3), 2)
weights = samples.weights(spec, seed=0)
card = Card("safetensors", spec, ("a", "b"), "area", "files", ("torch",), parity_digest(spec, weights))
path = Path(sys.argv[2]) / "mlp.safetensors"
write_arrays(path, weights, {{"format": "pt", CARD: card.to_text()}})
test = ingest(list_folder(Path(sys.argv[1])), ({SIZE}, {SIZE}, 3), caching="never", folder=path.parent).train
test = test.take(np.tile(np.arange(len(test)), {TIMES}))
wanted = np.zeros((len(test), 2), np.float32)
reference = Reference.of(test, Predictions(wanted, test.labels, test.ids), card.class_names)
watching = Thread(target=watch)
watching.start()
images = save_images(path.with_name("images.npy"), reference.images)
with Probes(1) as probes:
    answers = probes.ask(path, RUNTIMES["torch"], images, form=FORMATS["safetensors"])
done.set()
watching.join()
assert answers.probabilities_nk.shape == (len(test), 2)
print(*peaks)
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


def run(program, *arguments):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return list(map(int, subprocess.run(command, capture_output=True, check=True).stdout.split()))


@pytest.mark.parametrize("caching", ["never", "always"])
def test_ten_times_the_files_take_the_same_memory(caching, folders):
    (few,), (many,) = (run(EPOCH, folders / name, caching, folders / f"kept-{name}") for name in ("few", "many"))
    print(f"cache {caching}: {FEW} files {few / 2**20:.1f} MiB, {MANY} files {many / 2**20:.1f} MiB")
    assert many - few < SLACK


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="runs a file in PyTorch")
def test_verifying_a_shipped_file_over_ten_times_the_images_takes_the_same_memory(folders, tmp_path):
    peaks = zip(*(run(VERIFY, folders / name, tmp_path / name) for name in ("few", "many")), strict=True)
    for who, (few, many) in zip(("export", "its process"), peaks, strict=True):
        print(f"{who}: {TIMES * FEW} images {few / 2**20:.1f} MiB, {TIMES * MANY} images {many / 2**20:.1f} MiB")
        assert many - few < TIMES * (MANY - FEW) * SIZE**2
