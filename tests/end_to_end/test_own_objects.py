"""`diptych.train` and its like on Python objects: as files are, and found again by every command."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import answered, refused

import diptych
from diptych.artifacts.run import Run

NAMES = [f"digit {number}" for number in range(10)]
SETTINGS = {"epochs": 2, "threads": 1, "precision": "float32"}

MADE = """
import os, sys
import numpy as np
from diptych.data import datasets
from diptych.data.readers import objects
from diptych.errors import DiptychError
train = datasets.load("digits").train
x, y = train.images[:100], train.labels[:100]
same, _ = objects.stored((x, y))
named, _ = objects.stored((x, y), class_names="abcdefghij")
def refusal(data):
    try: return objects.stored(data)
    except DiptychError as error: return str(error)
def listed(data):
    from diptych.data import sources
    return sources.find(objects.stored(data)[0]).listing
"""
SCRIPTS = {
    "torch": """
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset
class Digits(Dataset):
    classes = list("abcdefghij")
    def __init__(self, convert): self.convert = convert
    def __len__(self): return 100
    def __getitem__(self, index): return self.convert(x[index]), int(y[index])
assert named == objects.stored(Digits(lambda image: Image.fromarray(image[..., 0])))[0]
assert named == objects.stored(Digits(torch.from_numpy))[0]
half = objects.stored((x[:50], y[:50]), class_names="abcdefghij")
assert half == objects.stored(Subset(Digits(np.asarray), range(50)))
assert same == objects.stored(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)))[0]
first = listed(TensorDataset(torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(y)))
assert (first.train.images == x).all()
assert first.inferred == ("tensors transposed from channels first to channels last",)
assert "float32 in 0 to 1" in refusal(Digits(lambda image: torch.from_numpy(image) / 255))
assert "pass its .dataset" in refusal(DataLoader(Digits(np.asarray)))
assert "Unsupported data, Stream" in refusal(type("Stream", (IterableDataset,), {"__iter__": lambda self: iter(())})())
""",
    "tensorflow": """
import tensorflow as tf
data = tf.data.Dataset.from_tensor_slices((x, y))
for form in (data, data.batch(32), data.map(lambda x, y: {"image": x, "label": y}), data.filter(lambda x, y: True)):
    assert same == objects.stored(form)[0]
assert same == objects.stored(tf.data.Dataset.from_tensor_slices((x[..., 0], tf.one_hot(y, 10))).batch(8))[0]
assert (listed(data.map(lambda x, y: (tf.io.encode_png(x), y))).train.images[..., :1] == x).all()
assert "is infinite" in refusal(data.repeat())
objects.MAX_BYTES = 10**5
assert "does not end after" in refusal(data.repeat(99).filter(lambda x, y: True))
assert "Image 0 is float32 in" in refusal(data.map(lambda x, y: (tf.cast(x, tf.float32) / 255, y)))
assert "Item 0 is of type tuple" in refusal(data.map(lambda x, y: (x, y, y)))
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_frameworks_dataset_is_the_array_it_holds(name):
    done = subprocess.run([sys.executable, "-c", MADE + SCRIPTS[name]], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr


@pytest.fixture
def arrays(digits):
    """Images and labels."""
    return digits.train.images[:300], digits.train.labels[:300]


def test_a_run_on_arrays_is_found_again_until_the_cache_is_emptied(arrays, engine_name, tmp_path):
    options = {**SETTINGS, "engine": engine_name, "out": tmp_path}
    run = diptych.train(arrays, class_names=NAMES, stop_after=1, **options)
    record = run.read_record()
    assert (tuple(NAMES), "arrays-cnn-" + engine_name) == (record.class_names, run.directory.name)
    shutil.move(record.data.data, kept := tmp_path / "kept.npz")
    assert "removed from the cache: pass it again as `data`" in refused("train", "--resume", run.directory)
    with pytest.raises(diptych.DiptychError, match="data's fingerprint was"):
        diptych.resume(run.directory, data=(255 - arrays[0], arrays[1]))
    diptych.resume(run.directory, data=kept)
    assert "removed from the cache" in refused("evaluate", run.directory)
    accuracy = run.read_metrics()["accuracy"]
    for data in (arrays, (list(arrays[0]), np.array(NAMES)[arrays[1]])):
        metrics = diptych.evaluate(run, data)
        assert (accuracy, "test split") == (metrics["accuracy"], metrics["data"]["used"])
    assert accuracy == answered("evaluate", run.directory)["accuracy"]  # it is in the cache again
    whole = Run.open(diptych.train(arrays, class_names=NAMES, **options, name="whole").directory)
    np.testing.assert_array_equal(whole.read_predictions().logits_nk, run.read_predictions().logits_nk)


def test_names_that_no_object_takes_are_refused(arrays, tmp_path):
    with pytest.raises(diptych.DiptychError, match=r"'class_names' is a list .* tables have a column 'class_name'"):
        diptych.train("digits", class_names=NAMES, out=tmp_path)
    with pytest.raises(diptych.DiptychError, match=r"is a list of names of the labels 0, 1, … .* got \{0: 'zero'\}"):
        diptych.train(arrays, class_names={0: "zero"}, out=tmp_path)
    assert not [*Path(tmp_path).iterdir()]


def test_check_data_takes_objects(arrays, tmp_path):
    report = diptych.check_data((np.concatenate([arrays[0], arrays[0][:1]]), [*arrays[1], arrays[1][0]]), out=tmp_path)
    assert ({"train": 301}, 1) == (report.num_images, sum(one.kind == "duplicate" for one in report.findings))
