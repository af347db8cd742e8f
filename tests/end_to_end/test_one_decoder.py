"""An image has the same pixels in training, evaluation and prediction, whichever engine asks: a corpus shows it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from commands import diptych
from images_corpus import corpus

from diptych.artifacts.run import Run
from diptych.data.decode import decode, sniff
from diptych.data.preprocess import resize
from diptych.evaluation import softmax
from diptych.training import provenance

SIZE = (16, 16)
GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "images.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every file of the corpus, to train on and to test on, in two classes; the name says what it was called."""
    root = tmp_path_factory.mktemp("corpus")
    for place, (name, case) in enumerate(corpus().items()):
        for split in ("train", "test"):
            target = root / split / "ab"[place % 2] / f"{name.replace('/', '_')}.{sniff(case.encoded) or 'jpg'}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(case.encoded)
    return root


def digests(images_nhwc):
    return {hashlib.sha256(np.ascontiguousarray(image)).hexdigest() for image in images_nhwc}


@pytest.mark.parametrize("cache", ["always", "never"])
def test_the_corpus_has_the_same_pixels_in_training_evaluation_and_prediction(folder, cache, engine_name, tmp_path):
    settings = ("--model", "mlp", "--epochs", 1, "--image-size", SIZE[0], "--validation-fraction", 0, "--cache", cache)
    result = diptych(
        "train", folder, *settings, "--engine", engine_name, "--out", tmp_path, "--threads", 1, "--bad-images", "skip"
    )
    assert 0 == result.code, result.err
    (directory,) = tmp_path.iterdir()
    record = Run.open(directory).read_record()

    good = [name for name, row in GOLDEN.items() if "sha256" in row]
    bad = [name for name, row in GOLDEN.items() if "kind" in row]
    assert f"Skipped {2 * len(bad)} of {2 * len(GOLDEN)} images that cannot be decoded: '" in result.err
    assert 2 * len(bad) == len(record.data.skipped)
    expected = digests(resize(decode(corpus()[name].encoded, name), SIZE) for name in good)

    dataset = provenance.load_data(record)
    assert len(good) == len(dataset.train) == len(dataset.test)
    assert expected == digests(dataset.train.images[:]) == digests(dataset.test.images[:])

    paths = [folder / name for name in dataset.test.ids]
    answers = diptych("predict", directory, *paths, "--top", 2, "--json").json
    given = [dict(map(tuple, answer["classes"]))["a"] for answer in answers]
    with np.load(directory / "predictions.npz") as kept:
        np.testing.assert_array_equal(dataset.test.ids, kept["sample_ids"])
        np.testing.assert_allclose(given, softmax(kept["logits"])[:, 0], atol=1e-6)
    assert len(set(given)) > len(expected) // 2
