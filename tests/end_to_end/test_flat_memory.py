"""Memory stays flat as a folder grows: ten times the files, the same peak, streamed and kept."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import cv2
import numpy as np
import pytest

from diptych.artifacts.run import Predictions
from diptych.artifacts.store import write_arrays
from diptych.comparison.parity import samples
from diptych.data.batches import epoch_batches
from diptych.data.datasets import ingest
from diptych.data.readers.folder import list_folder
from diptych.deployment.card import Card, parity_digest
from diptych.deployment.formats import FORMATS
from diptych.deployment.predictor import Probes, save_images
from diptych.deployment.runtimes import RUNTIMES
from diptych.deployment.verify import Reference
from diptych.engines.contract import CARD
from diptych.spec import Recipe, zoo

FEW, MANY = 300, 3_000
TIMES = 5  # each image is verified so often: a batch's layers take 50 MiB, all images of MANY 184 MB
SLACK = 12 * 2**20  # names, labels and digests of 2,700 files take below 1 MiB; what else differs is the allocator's
SHAPE = (64, 64, 3)  # an array of MANY takes 37 MB

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def held(process="self"):
    """Bytes of a process's memory; pages of a mapped file are the system's to take back and do not count."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * max((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), default=0)


def an_epoch(folder, caching, kept):
    """The most memory that an epoch of batches takes."""
    split = ingest(list_folder(Path(folder)), SHAPE, caching=caching, folder=Path(kept)).train
    recipe = Recipe(batch_size=64, flip="horizontal", crop_padding=4)
    print(max(held() for _ in epoch_batches(split, recipe, num_classes=2, seed=0, epoch=1, workers=2)))


def a_verification(folder, name):
    """The most memory that verifying a shipped file takes, here and in the process that runs it."""
    peaks, done = [0, 0], Event()

    def watch():
        while not done.wait(0.002):
            children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split()
            with suppress(OSError):  # a child has ended
                peaks[:] = max(peaks[0], held()), max(peaks[1], *map(held, children), 0)

    spec = zoo.model("mlp", SHAPE, 2)
    weights = samples.weights(spec, seed=0)
    card = Card("safetensors", spec, ("a", "b"), "area", "files", ("torch",), parity_digest(spec, weights))
    path = Path(name) / "mlp.safetensors"
    write_arrays(path, weights, {"format": "pt", CARD: card.to_text()})
    test = ingest(list_folder(Path(folder)), SHAPE, caching="never", folder=path.parent).train
    test = test.take(np.tile(np.arange(len(test)), TIMES))
    predictions = Predictions(np.zeros((len(test), 2), np.float32), test.labels, test.ids)
    reference = Reference.of(test, predictions, card.class_names)
    watching = Thread(target=watch)
    watching.start()
    images = save_images(path.with_name("images.npy"), reference.images)
    with Probes(1) as probes:
        answers = probes.ask(path, RUNTIMES["torch"], images, form=FORMATS["safetensors"])
    done.set()
    watching.join()
    assert answers.probabilities_nk.shape == (len(test), 2)
    print(*peaks)


def run(function, *arguments):
    """What a function of this file prints in a process of its own."""
    code = f"import sys, test_flat_memory as t; t.{function.__name__}(*sys.argv[1:])"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=True, cwd=Path(__file__).parent)
    return list(map(int, done.stdout.split()))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of one picture, one with ten times as many files."""
    root = tmp_path_factory.mktemp("files")
    noise_hwc = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    cv2.imwrite(str(root / "one.jpg"), cv2.resize(noise_hwc, (200, 150)))
    for name, count in (("few", FEW), ("many", MANY)):
        for number in range(count):
            folder = root / name / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            os.link(root / "one.jpg", folder / f"{number:04}.jpg")
    return root


@pytest.mark.parametrize("caching", ["never", "always"])
def test_ten_times_the_files_take_the_same_memory(caching, folders):
    (few,), (many,) = (run(an_epoch, folders / name, caching, folders / f"kept-{name}") for name in ("few", "many"))
    assert many - few < SLACK


def test_verifying_a_shipped_file_over_ten_times_the_images_takes_the_same_memory(folders, tmp_path):
    peaks = zip(*(run(a_verification, folders / name, tmp_path / name) for name in ("few", "many")), strict=True)
    for few, many in peaks:  # of the export, and of its process
        assert many - few < TIMES * (MANY - FEW) * SHAPE[0] * SHAPE[1]
