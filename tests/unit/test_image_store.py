"""Image files cached and streamed: equal images and batches, bad images, changed files, and a damaged cache."""

import errno
import os
import pickle
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from data_files import png, write_files
from planted import picture
from test_batches import digests

from diptych.data import datasets, images
from diptych.data.batches import epoch_batches, usual_workers
from diptych.data.datasets import ingest
from diptych.data.decode import decode
from diptych.data.preprocess import channel_moments, resize
from diptych.data.readers.folder import list_folder
from diptych.errors import ArtifactError, DataError
from diptych.processes import num_threads
from diptych.spec import Recipe

SIZE = (12, 16)
SHAPE = (*SIZE, 3)
RECIPE = Recipe(batch_size=8, flip="horizontal", crop_padding=2, rotation=10, brightness=0.2, cutout=3, mixup=0.2)


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(30):
            suffix = (".jpg", ".png")[number % 2]
            cv2.imwrite(str(tmp_path / "pets" / name / f"{number:02}{suffix}"), picture(generator))
    return tmp_path / "pets"


def read(path, caching="always", folder=None, **settings):
    return ingest(list_folder(path), SHAPE, caching=caching, folder=folder or path.parent / "kept", **settings)


def test_cached_and_streamed_images_are_the_decoded_and_resized_files(folder):
    expected = [resize(decode(path.read_bytes(), ""), SIZE) for path in sorted(folder.rglob("*.*"))]
    for caching in ("always", "never", "auto"):
        train = read(folder, caching).train
        np.testing.assert_array_equal(expected, train.images[:])
        np.testing.assert_array_equal(expected[3], train.images[3])
        np.testing.assert_array_equal([expected[5], expected[2]], train.images[np.array([5, 2])])
        assert ["cat/00.jpg", "cat/01.png"] == train.ids[:2].tolist()
        assert (60, *SIZE, 3) == train.images.shape
        np.testing.assert_array_equal(channel_moments(train.images[:]), channel_moments(train.images))


def test_cached_images_are_not_decoded_again_after_a_move_or_a_new_time(folder):
    read(folder)
    for path in folder.rglob("*.*"):
        os.utime(path, (1, 1))
    moved = folder.rename(folder.with_name("elsewhere"))
    doing = set()
    read(moved, progress=lambda what, done, total: doing.add(what))
    assert "Decoding" not in doing


@pytest.mark.parametrize("caching", ["always", "never"])
def test_other_content_of_the_same_size_and_time_is_decoded(caching, folder):
    before = read(folder, caching).train.images[:]
    path = folder / "cat" / "01.png"
    time, size = path.stat().st_mtime_ns, path.stat().st_size
    path.write_bytes(png(3).ljust(size, b"\0"))
    os.utime(path, ns=(time, time))
    after = read(folder, caching).train.images[:]
    assert [1] == np.flatnonzero((before != after).any(axis=(1, 2, 3))).tolist()


def break_files(folder):
    cut = (folder / "dog/04.jpg").read_bytes()[:300]
    broken = {"cat/00.jpg": b"", "cat/03.png": b"<html>no image</html>", "dog/04.jpg": cut}
    write_files(folder, broken)
    return broken


@pytest.mark.parametrize("caching", ["always", "never"])
def test_bad_images_are_named_before_training_and_can_be_skipped(caching, folder):
    whole = read(folder, caching).train
    names = break_files(folder)
    for _ in range(2):  # found, then remembered
        with pytest.raises(DataError, match=r"3 of 60 images cannot be decoded.*--bad-images skip") as caught:
            read(folder, caching)
        assert all(name in str(caught.value) for name in names)
    parts = read(folder, caching, bad_images="skip")
    good = np.flatnonzero(~np.isin(whole.ids, list(names)))
    np.testing.assert_array_equal(whole.images[good], parts.train.images[:])
    np.testing.assert_array_equal(whole.ids[good], parts.train.ids)
    assert sorted(names) == sorted(name for name, _ in parts.skipped)
    assert all(fault for _, fault in parts.skipped)
    for path in (folder / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"Empty classes: dog: no usable images"):
        read(folder, caching, bad_images="skip").divide(0, 0.1)


def test_batches_of_cached_and_streamed_images_are_the_same_for_any_number_of_workers_and_from_any_step(folder):
    found = set()
    for caching, usual in (("always", 1), ("never", num_threads())):
        train = read(folder, caching).train
        assert usual == usual_workers(train.images)
        for workers in (0, 4, None):
            settings = {"num_classes": 2, "seed": 3, "epoch": 2, "workers": workers}
            whole = digests(epoch_batches(train, RECIPE, **settings))
            assert whole[4:] == digests(epoch_batches(train, RECIPE, first_step=4, **settings))
            found.add(tuple(whole))
    assert 1 == len(found)


def test_the_fingerprint_depends_on_content_and_not_on_the_cache(folder):
    def fingerprint(path=folder, caching="always"):
        return datasets.read(str(path), image_size=SIZE, caching=caching).divide(0, 0.1).fingerprint

    first = fingerprint()
    assert first == fingerprint(caching="never")
    moved = folder.rename(folder.with_name("moved"))
    assert first == fingerprint(moved)
    (moved / "cat" / "00.jpg").write_bytes((moved / "cat" / "02.jpg").read_bytes())
    assert first != fingerprint(moved)


class Changing:
    """One file, whose content is another at each reading; None cannot be read."""

    def __init__(self, *contents):
        self.contents = iter(contents)

    def __len__(self):
        return 1

    def id_of(self, place):
        return "a.png"

    def read(self, place):
        if content := next(self.contents):
            return content
        raise DataError("Cannot read 'a.png': Permission denied.")


@pytest.mark.parametrize("first", [png(1), None], ids=["replaced", "could not be read"])
@pytest.mark.parametrize("caching", ["always", "never"])
def test_a_file_that_changes_while_it_is_decoded_is_not_cached(caching, first, tmp_path):
    with pytest.raises(DataError, match=r"'a\.png' changed while in use"):
        images.store(Changing(first, png(2)), SHAPE, caching=caching, folder=tmp_path)
    assert [] == [*tmp_path.iterdir()]


def test_a_file_that_changes_while_it_is_streamed_is_an_error(folder):
    train = read(folder, "never").train
    (folder / "cat" / "01.png").write_bytes(png(3))
    with pytest.raises(DataError, match=r"'cat/01\.png' changed while in use"):
        train.images[:4]


def test_without_room_for_pixels_they_are_streamed_with_a_remark(folder, monkeypatch):
    no_room = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "posix_fallocate", Mock(side_effect=no_room))
    parts = read(folder, "auto")
    assert parts.train.images.cached is None
    assert "Decoded images are not cached: Cannot write" in parts.remarks[0]
    with pytest.raises(ArtifactError, match="No space left on device"):
        read(folder, "always")
    assert [".npz"] == [path.suffix for path in (folder.parent / "kept").iterdir()]  # the faults, for the next run


@pytest.mark.parametrize("caching", ["auto", "never"])
def test_without_a_cache_training_continues_with_a_remark(caching, folder, tmp_path):
    (tmp_path / "file").write_text("no folder")
    parts = read(folder, caching, tmp_path / "file" / "kept")
    assert (60, 1) == (len(parts.train.images[:]), len(parts.remarks))
    assert "not cached: Cannot write" in parts.remarks[0]


def test_a_damaged_cache_is_rebuilt(folder):
    expected = read(folder).train.images
    break_files(folder)
    skipped = read(folder, bad_images="skip")
    generator = np.random.default_rng(0)
    for _ in range(150):
        path = generator.choice(sorted((folder.parent / "kept").iterdir()))
        content = bytearray(path.read_bytes())
        content[generator.integers(len(content))] ^= 1 << generator.integers(8)
        path.write_bytes(content)
        parts = read(folder, bad_images="skip")
        np.testing.assert_array_equal(skipped.train.images[:], parts.train.images[:])
        np.testing.assert_array_equal(skipped.train.images.moments, parts.train.images.moments)
        assert skipped.skipped == parts.skipped
    assert (60, 57) == (len(expected), len(skipped.train))


@pytest.mark.parametrize("caching", ["always", "never"])
def test_a_dataset_pickles_with_its_fingerprints_but_not_its_pixels(caching, folder, monkeypatch):
    dataset = datasets.read(str(folder), image_size=(64, 64), caching=caching).divide(0, 0.1)
    content = pickle.dumps(dataset)
    assert len(content) < 64 * 64 * 3 * 5  # 5 of 60 images
    for name in ("_hash_files", "_decode_all"):
        monkeypatch.setattr(images, name, None)
    monkeypatch.setattr(datasets.Dataset, "_digest", None)
    again = pickle.loads(content)
    assert (dataset.fingerprint, dataset.test_fingerprint) == (again.fingerprint, again.test_fingerprint)
    assert again.train.images.file_digests is again.test.images.file_digests
    np.testing.assert_array_equal(dataset.train.images[:], again.train.images[:])
    assert dataset.train.ids.tolist() == again.train.ids.tolist()
