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
EPOCH = f"""
import sys
from pathlib import Path
from diptych.data.batches import epoch_batches
from diptych.data.datasets import ingest
from diptych.data.readers.folder import list_folder
from diptych.spec import Recipe

def held():
    # Pages of a mapped file are the system's to take back; everything else counts.
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * max(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

parts = ingest(list_folder(Path(sys.argv[1])), ({SIZE}, {SIZE}, 3), caching=sys.argv[2], folder=Path(sys.argv[3]))
recipe = Recipe(batch_size=64, flip="horizontal", crop_padding=4)
peak = 0
for batch in epoch_batches(parts.train, recipe, num_classes=2, seed=0, epoch=1, workers=2):
    peak = max(peak, held())
print(peak)
"""
VERIFY = f"""
import sys
from pathlib import Path
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

def held(process):
    lines = Path(f"/proc/{{process}}/status").read_text().splitlines()
    return 1024 * max((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), default=0)

peaks, done = [0, 0], Event()

def watch():
    while not done.wait(0.002):
        others = [0]
        for threads in Path("/proc/self/task").glob("*/children"):
            for child in threads.read_text().split():
                try:
                    others.append(held(child))
                except OSError:
                    pass  # it has ended
        peaks[:] = max(peaks[0], held("self")), max(peaks[1], *others)

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


@pytest.mark.parametrize("caching", ["never", "always"])
def test_ten_times_the_files_take_the_same_memory(caching, folders):
    peaks = {}
    for name in ("few", "many"):
        command = [sys.executable, "-c", EPOCH, str(folders / name), caching, str(folders / f"kept-{name}")]
        peaks[name] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    words = {"never": "streamed", "always": "kept"}[caching]
    print(f"{words}: {FEW} files {peaks['few'] / 2**20:.1f} MiB, {MANY} files {peaks['many'] / 2**20:.1f} MiB")
    assert peaks["many"] - peaks["few"] < SLACK


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="runs a file in PyTorch")
def test_verifying_a_shipped_file_over_ten_times_the_images_takes_the_same_memory(folders, tmp_path):
    peaks, number, bytes_each = {}, {"few": TIMES * FEW, "many": TIMES * MANY}, SIZE * SIZE * 3
    for name in number:
        command = [sys.executable, "-c", VERIFY, str(folders / name), str(tmp_path / name)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        peaks[name] = dict(zip(("export", "its process"), map(int, told), strict=True))
    for who, few in peaks["few"].items():
        many = peaks["many"][who]
        said = (f"{number[name]} images {peaks[name][who] / 2**20:.1f} MiB" for name in number)
        print(f"{who}: {', '.join(said)}")
        assert many - few < (number["many"] - number["few"]) * bytes_each / 3
