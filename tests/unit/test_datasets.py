"""Loading by name and by folder, and how splits are cut."""

import os
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from data_files import idx_bytes, write_files, write_images

from diptych.data import datasets, sources
from diptych.data.datasets import Split, cut
from diptych.data.paths import folder_named_by
from diptych.errors import ArtifactError, DataError, UsageError
from diptych.training.provenance import DataSource


def numbers(count):
    """Images that each hold their own index."""
    return np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)


def indices(split):
    return split.images.ravel().tolist()


def test_a_cut_divides_the_samples_and_keeps_their_order():
    labels_n = np.random.default_rng(3).permutation(np.repeat(np.arange(3), (50, 30, 20)))
    rest, taken = cut(Split(numbers(100), labels_n, np.arange(100)), 0.25, 7, 3)
    assert sorted(indices(rest) + indices(taken)) == list(range(100))
    assert (indices(rest), indices(taken)) == (sorted(indices(rest)), sorted(indices(taken)))
    np.testing.assert_array_equal(labels_n[indices(taken)], taken.labels)


def test_a_seed_holds_out_the_same_samples_in_every_version():
    _, taken = cut(Split(numbers(60), np.arange(60) % 3, np.arange(60)), 0.1, 0, 3)
    assert indices(taken) == [0, 8, 19, 26, 31, 51]


@pytest.mark.parametrize(
    ("num_images", "remark"), [(1, ": a: none for validation and test."), (2, ": a: none for validation.")]
)
def test_a_rare_class_stays_in_training_with_a_remark(num_images, remark, tmp_path):
    write_images(tmp_path / "a", *range(num_images))
    write_images(tmp_path / "b", *range(9))
    loaded = datasets.load(str(tmp_path))
    assert f"Classes missing from a split{remark}" in loaded.remarks
    assert 1 == np.count_nonzero(loaded.train.labels == 0)


def test_single_images_of_every_class_cannot_be_divided(tmp_path):
    write_images(tmp_path / "a", 1)
    write_images(tmp_path / "b", 2)
    with pytest.raises(DataError, match=r"Too few images: no class has two, .* Add images, or a test split\."):
        datasets.load(str(tmp_path))


LONG = "x" * 300


@pytest.mark.parametrize("data", [LONG, "~nosuchuser/x", "", "a\0b", "caf\udce9", "loop/x", "secret/x"])
def test_a_path_that_cannot_be_looked_up_is_a_usage_error(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with unreadable(tmp_path / "secret"):
        for call in (sources.find, sources.absolute, DataSource.of):
            with pytest.raises(UsageError, match="DATA") as raised:
                call(data)
            assert str(raised.value).isascii()
            assert len(str(raised.value)) < 300
        assert not sources.at_hand(data)


@pytest.mark.parametrize("path", [LONG, "~nosuchuser/x", "loop", "secret/x"])
def test_a_root_or_data_directory_that_cannot_be_looked_up_is_a_usage_error(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    for name in "ab":
        write_images(tmp_path / "pets" / name, 1, 2)
    with unreadable(tmp_path / "secret"):
        for option, data in (("root", "pets"), ("data_dir", "mnist")):
            for call in (sources.find, DataSource.of):
                with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} |the path"):
                    call(data, **{option: Path(path)})
        monkeypatch.setenv("DIPTYCH_DATA", path)
        with pytest.raises(UsageError, match="DIPTYCH_DATA"):
            sources.find("mnist")
        monkeypatch.setenv("DIPTYCH_CACHE", path)
        with pytest.raises(UsageError, match="DIPTYCH_CACHE"):
            DataSource.of("pets").load()


def test_the_cache_directory_may_begin_with_a_tilde_and_without_a_home_only_it_is_missing(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to("loop")
    for name in "ab":
        write_images(tmp_path / "pets" / name, *range(20))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DIPTYCH_CACHE", "~/kept")
    assert tmp_path / "kept" == folder_named_by("DIPTYCH_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "loop"))
    monkeypatch.delenv("DIPTYCH_CACHE")
    settings = {"data_dir": tmp_path}
    assert not DataSource.of("digits", **settings).load().remarks
    (remark,) = DataSource.of(tmp_path / "pets", **settings).load().remarks
    assert "cached" in remark
    with pytest.raises(ArtifactError, match="symbolic links"):
        DataSource.of(tmp_path / "pets", cache="always", **settings).load()


@contextmanager
def unreadable(folder):
    """A folder that may not be searched, for root neither."""
    folder.mkdir()
    folder.chmod(0)
    user = os.geteuid()
    if not user:
        opened = [parent for parent in folder.parents if parent.stat().st_uid == 0 and not parent.stat().st_mode & 1]
        for parent in opened:
            parent.chmod(0o755)
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o700)


def test_dots_in_a_path_follow_links(tmp_path, monkeypatch):
    write_images(tmp_path / "here" / "pets", 1)
    (tmp_path / "pets").symlink_to("here/pets")
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "pets") == sources.absolute("pets") == sources.absolute("./pets/")
    assert str(tmp_path / "here" / "pets") == sources.absolute("pets/../pets")
    assert str(tmp_path / "here") == sources.absolute("pets/..")


def test_digits_are_scaled_and_divided_and_have_the_requested_size_and_channels():
    digits = datasets.load("digits", seed=1)
    assert (digits.image_shape, digits.num_classes, digits.mirror) == ((8, 8, 1), 10, False)
    assert [len(split) for split in splits(digits)] == [1295, 143, 359]
    assert np.unique(digits.train.images).tolist() == [round(level * 255 / 16) for level in range(17)]
    assert (digits.train.images.dtype, digits.train.labels.dtype) == (np.uint8, np.int64)
    other = datasets.load("digits", seed=2)
    np.testing.assert_array_equal(digits.test.images, other.test.images)
    assert not np.array_equal(digits.validation.images, other.validation.images)
    large = datasets.load("digits", image_size=(16, 12), channels=3, validation_fraction=0.0)
    assert (16, 12, 3) == large.image_shape
    assert [(0, 16, 12, 3), (359, 16, 12, 3)] == [split.images.shape for split in (large.validation, large.test)]
    with pytest.raises(UsageError, match="at most 89,478,485 pixels"):
        datasets.load("digits", image_size=(10**5, 10**5))


def test_the_digits_are_those_of_scikit_learn():
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    path = Path(sources.__file__).with_name("digits.npz")
    assert "56691635b5c95f315ed55907c4fe83309809b3b822ee0b8d68e84bba3ffd4ca3" == sha256(path.read_bytes()).hexdigest()
    with np.load(path) as arrays:
        levels, labels = load_digits(return_X_y=True)
        np.testing.assert_array_equal(levels.reshape(-1, 8, 8), arrays["images"])
        np.testing.assert_array_equal(labels, arrays["labels"])


@pytest.mark.parametrize("change", ["pixel", "label", "class name", "seed"])
def test_every_change_changes_the_fingerprint(change):
    before = datasets.load("digits")
    after = datasets.load("digits", seed=int(change == "seed"))
    if change == "pixel":
        after.test.images[3, 2, 1, 0] ^= 1
    if change == "label":
        after.validation.labels[0] = (after.validation.labels[0] + 1) % 10
    if change == "class name":
        after = datasets.Dataset(after.name, ("null", *after.class_names[1:]), *splits(after), after.mirror)
    assert before.fingerprint != after.fingerprint


def splits(dataset):
    return dataset.train, dataset.validation, dataset.test


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ("CIFAR-10", r"No dataset, file or folder 'CIFAR-10' \(did you mean 'cifar10'\?\)"),
        ("image-net", r"No dataset, file or folder 'image-net' \(did you mean 'imagenet'\?\)"),
        ("images.txt", r"Unsupported data source .*images\.txt': it is .*\. DATA is one of"),
    ],
)
def test_data_that_is_none_is_an_error_that_suggests_a_name_or_lists_all_kinds(data, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images.txt").write_text("a list")
    with pytest.raises(UsageError, match=complaint):
        datasets.load(data)


def test_an_undivided_folder_is_divided_with_every_class_in_every_split(tmp_path):
    write_images(tmp_path / "cats" / "black", *range(20))
    write_images(tmp_path / "cats" / "white", *range(200, 210))
    cats = datasets.load(str(tmp_path / "cats"), validation_fraction=0.25)
    assert (64, 64, 3) == cats.image_shape
    assert (6, 8, 1) == datasets.load(str(tmp_path / "cats"), image_size=(6, 8), channels=1).image_shape
    counts = [np.bincount(split.labels).tolist() for split in splits(cats)]
    assert counts == [[12, 6], [4, 2], [4, 2]]
    assert (cats.name, cats.class_names, cats.mirror) == ("cats", ("black", "white"), False)


def test_unpacked_mnist_is_found_and_a_wrong_number_of_images_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_DATA", str(tmp_path))
    images = np.zeros((7, 28, 28), dtype=np.uint8)
    for name in ("train", "t10k"):
        write_files(tmp_path / "mnist", {f"{name}-images-idx3-ubyte": idx_bytes(images)})
        write_files(tmp_path / "mnist", {f"{name}-labels-idx1-ubyte": idx_bytes(images[:, 0, 0])})
    with pytest.raises(DataError, match=r"mnist' has 14 images.*mnist has 70,000"):
        datasets.load("mnist")
