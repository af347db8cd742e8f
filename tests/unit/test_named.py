"""Datasets that have a name, on small files in their publishers' own formats.

What is pinned (sizes, digests, numbers of samples) is a fact about files that no test can fetch: here it can only be
compared with a second source.
"""

import gzip
import hashlib
import io
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_files import idx_bytes, python_batch, random_bytes, tar_bytes, write_files, write_zip
from scipy.io import savemat

from diptych.data import datasets, sources
from diptych.data.readers import arrays
from diptych.data.readers.arrays import read_svhn
from diptych.data.readers.folder import DEVKIT_ARCHIVE, SOLUTION, imagenet_names
from diptych.data.readers.remote import published
from diptych.data.sources import NAMED, read_named
from diptych.errors import DataError, DownloadError, UsageError


def test_every_file_has_its_own_digest_and_an_https_address():
    files = [file for name in NAMED for file in published(name)]
    assert {4, 2, 1, 0} == {len(published(name)) for name in NAMED}
    assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) for file in files)
    assert len(files) == len({file.sha256 for file in files})
    assert all(url.startswith("https://") for file in files for url in file.urls)


FINE = [(11, 99), (0, 42)]


def cifar100_members():
    return {
        f"cifar-100-python/{name}": python_batch(random_bytes(2, 3072) ^ np.uint8(place), labels, key="fine_labels")
        for place, (name, labels) in enumerate(zip(("train", "test"), FINE, strict=True))
    }


def test_cifar100_is_read_with_its_fine_labels_packed_and_unpacked(tmp_path):
    write_files(tmp_path / "cifar100", cifar100_members())
    write_files(tmp_path, {"packed.tar.gz": tar_bytes(cifar100_members())})
    unpacked = read_named(replace(NAMED["cifar100"], num_train=2, num_test=2), tmp_path)
    for listing in (arrays.read_cifar(tmp_path / "packed.tar.gz", arrays.FINE), unpacked.listing):
        images = random_bytes(2, 3072).reshape(2, 3, 32, 32).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(images, listing.train.images)
        assert FINE == [tuple(split.labels.tolist()) for split in (listing.train, listing.test)]
        assert ["boy", "worm"] == [listing.class_names[label] for label in FINE[0]]
    with pytest.raises(DataError, match=r"has 4 images .* cifar100 has 60,000"):
        datasets.load("cifar100", data_dir=tmp_path)


def idx_files(**names):
    """IDX files by their names, without `-images` or `-labels`; three images of class 0, 1 and 2 in each."""
    images = {f"{name}-images": idx_bytes(np.full((3, 4, 5), level, np.uint8)) for name, level in names.items()}
    return images | {f"{name}-labels": idx_bytes(np.arange(3, dtype=np.uint8)) for name in names}


PAIR = idx_files(train=1, t10k=2)
PACKED = {f"{name}.gz": gzip.compress(content) for name, content in PAIR.items()}
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
CIFAR10_ROWS = {f"py/{name}": python_batch(random_bytes(2, 3072), [0, 9]) for name in BATCHES}
BINARY_ROWS = {f"{name}.bin": bytes([3]) + bytes(3072) for name in BATCHES}


@pytest.mark.parametrize(
    ("files", "sizes", "class_names"),
    [
        ({f"{name}.idx{1 + 2 * ('im' in name)}-ubyte": content for name, content in PAIR.items()}, (3, 3), "012"),
        ({name: gzip.compress(content) for name, content in PAIR.items()}, (3, 3), "012"),
        ({f"MNIST/raw/{name}": content for name, content in (PAIR | PACKED).items()}, (3, 3), "012"),
        (idx_files(x=1), (3, 0), "012"),
        ({**PAIR, "classes.txt": b"a\nb\nc\n"}, (3, 3), "abc"),
        ({**PAIR, "readme.md": b"digits", "sample.png": b"", "more-labels": PAIR["t10k-labels"]}, (3, 3), "012"),
        (CIFAR10_ROWS, (10, 2), arrays.class_names("cifar10")),
        (BINARY_ROWS, (5, 1), arrays.class_names("cifar10")),
        (cifar100_members(), (2, 2), arrays.class_names("cifar100")),
    ],
)  # fmt: skip
def test_a_folder_of_arrays_is_data_whatever_the_names_of_its_files(files, sizes, class_names, tmp_path):
    write_files(tmp_path / "data", files)
    listing = sources.find(str(tmp_path / "data")).listing
    assert (sizes, tuple(class_names)) == ((len(listing.train), len(listing.test or ())), listing.class_names)
    assert ["more-labels: its name says neither train nor test"] * ("more-labels" in files) == [
        finding.reason for finding in listing.findings
    ]
    if "t10k-labels" in files:
        assert [1, 2] == [int(split.images[0, 0, 0, 0]) for split in (listing.train, listing.test)]


def test_svhn_and_emnist_are_recognized(tmp_path):
    (tmp_path / "svhn").mkdir()
    for name in ("train", "test", "extra"):
        write_svhn(tmp_path / "svhn" / f"{name}_32x32.mat", random_bytes(4, 32, 32, 3), [1, 10, 9, 2])
    svhn = sources.find(str(tmp_path / "svhn")).listing
    assert (("0", "1", "2", "9"), 4, 4, "not-used") == (
        svhn.class_names, len(svhn.train), len(svhn.test), svhn.findings[0].kind)  # fmt: skip
    write_files(tmp_path / "letters", idx_files(**{"emnist-letters-train": 1}))
    letters = sources.find(str(tmp_path / "letters")).listing
    assert ((5, 4), "the images of EMNIST turned upright") == (letters.train.images.shape[1:3], letters.inferred[-1])


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({**idx_files(train=1), "b-train-images": PAIR["train-images"]}, "several files of images_train, one of them"),
        ({"train-images": PAIR["train-images"]}, r"images_train \(3, 4, 5\).*expected images of one"),
        ({"train-images": PAIR["train-images"][:40], "train-labels": PAIR["train-labels"]}, "ends at byte 40"),
        ({"data.h5": b"\x89HDF\r\n"}, r"It contains 0 images, 1 HDF5 file \(\.h5\)"),
    ],
)  # fmt: skip
def test_arrays_that_are_incomplete_are_named(files, complaint, tmp_path):
    write_files(tmp_path / "data", files)
    with pytest.raises((DataError, UsageError), match=complaint):
        sources.find(str(tmp_path / "data"))


@pytest.mark.parametrize(
    ("content", "noun"),
    [
        (PAIR["train-images"], "an IDX file, so its folder is DATA"), (b"MATLAB 5.0 MAT-file", "a MATLAB file, so its"),
        (b"\x80\4}", "a pickle, so its folder"), (b"\x89HDF\r\n", "an HDF5 file"), (b"\x93NUMPY", "a NumPy array"),
        (b"<html>", "an HTML page"), (b"\xff\xd8\xff", "an image"), (gzip.compress(b"no tar", mtime=0), "an archive"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_data_is_called_what_it_is(content, noun, tmp_path):
    write_files(tmp_path, {"data": content})
    with pytest.raises((UsageError, DataError), match=f"Unsupported data source '.*data': it is {noun}"):
        sources.find(str(tmp_path / "data"))


FIRST_FILES = [(name, published(name)[0].name) for name in NAMED if published(name)]


@pytest.mark.parametrize(("name", "archive"), [*FIRST_FILES, ("cifar10", "cifar-10-binary.tar.gz")])
def test_an_archive_that_is_not_the_published_one_is_an_error(name, archive, tmp_path):
    write_files(tmp_path / name, {archive: b"something else"})
    with pytest.raises(DownloadError, match=f"{archive}' is not the published file"):
        datasets.load(name, data_dir=tmp_path)


def letters():
    """Three characters as they are read: F, 7 and R lie differently in all of eight orientations."""
    drawn = np.zeros((3, 28, 28), dtype=np.uint8)
    for image, letter in zip(drawn, "F7R", strict=True):
        cv2.putText(image, letter, (6, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    return drawn, np.array([arrays.class_names("emnist").index(letter) for letter in "F7R"], dtype=np.uint8)


def emnist_members():
    """The four files as NIST ships them: written column by column, as MATLAB keeps images."""
    upright, labels = letters()
    stored = np.stack([np.frombuffer(image.tobytes(order="F"), np.uint8).reshape(28, 28) for image in upright])
    contents = [idx_bytes(stored), idx_bytes(labels), idx_bytes(stored[:2]), idx_bytes(labels[:2])]
    return {f"gzip/{name}": gzip.compress(content) for name, content in zip(arrays.EMNIST_PARTS, contents, strict=True)}


@pytest.fixture
def no_digests(monkeypatch):
    monkeypatch.setattr(arrays, "fetch", lambda files, folder: [folder / file.name for file in files])


@pytest.mark.usefixtures("no_digests")
def test_images_of_emnist_are_turned_upright(tmp_path):
    write_zip(tmp_path / "gzip.zip", {"gzip/emnist-letters-test-labels-idx1-ubyte.gz": b"x", **emnist_members()})
    emnist = arrays.list_emnist(tmp_path)
    np.testing.assert_array_equal(letters()[0][..., np.newaxis], emnist.train.images)
    np.testing.assert_array_equal(letters()[0][:2, ..., np.newaxis], emnist.test.images)
    names = ["".join(emnist.class_names[label] for label in split.labels) for split in (emnist.train, emnist.test)]
    assert ["F7R", "F7"] == names


@pytest.mark.parametrize("folder", ["emnist", "emnist/gzip"])
@pytest.mark.parametrize("unpack", [bytes, gzip.decompress])
def test_emnist_is_found_unpacked_by_name(folder, unpack, tmp_path):
    for name, content in emnist_members().items():
        short = Path(name).name if unpack is bytes else Path(name).stem
        write_files(tmp_path / folder, {short: unpack(content)})
    parts = read_named(replace(NAMED["emnist"], num_train=3, num_test=2), tmp_path).listing
    np.testing.assert_array_equal(letters()[0][..., np.newaxis], parts.train.images)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"test-labels-idx1": None}, r"does not contain gzip/emnist-balanced-test-labels"),
        ({"train-labels-idx1": idx_bytes(np.array([47, 0, 0], np.uint8))}, "label 47 for image 0, expected 0 to 46"),
        ({"train-images-idx3": b"\x1f\x8b damaged"}, r"train-images.*is damaged"),
    ],
)
@pytest.mark.usefixtures("no_digests")
def test_a_damaged_emnist_is_an_error(change, complaint, tmp_path):
    members = emnist_members() | {f"gzip/emnist-balanced-{name}-ubyte.gz": new for name, new in change.items()}
    write_zip(tmp_path / "gzip.zip", {name: content for name, content in members.items() if content is not None})
    with pytest.raises(DataError, match=complaint):
        arrays.list_emnist(tmp_path)


def write_svhn(path, images_nhwc, labels, **others):
    columns = {"X": images_nhwc.transpose(1, 2, 3, 0), "y": np.array(labels, dtype=np.uint8)[:, np.newaxis]}
    savemat(path, columns | others, do_compression=True)
    return path


def test_svhn_is_read_upright_with_10_for_0(tmp_path):
    images = random_bytes(4, 32, 32, 3)
    read_images, labels = read_svhn(write_svhn(tmp_path / "train_32x32.mat", images, [1, 10, 9, 2]))
    np.testing.assert_array_equal(images, read_images)
    assert ([1, 0, 9, 2], np.int64, np.uint8) == (labels.tolist(), labels.dtype, read_images.dtype)


@pytest.mark.parametrize(
    ("others", "complaint"),
    [
        ({"X": np.zeros((32, 32, 3, 3), np.uint8)}, r"X uint8 \(32, 32, 3, 3\) and y \(4, 1\)"),
        ({"X": np.zeros((32, 32, 3, 4))}, "X float64"),
        ({"y": np.array([[1], [2], [11], [3]], np.uint8)}, "label 11 for image 2, expected 1 to 10"),
        ({"y": np.array([[1], [2], [0], [3]], np.uint8)}, "label 0 for image 2"),
    ],
)
def test_svhn_in_another_layout_is_an_error(others, complaint, tmp_path):
    path = write_svhn(tmp_path / "train_32x32.mat", random_bytes(4, 32, 32, 3), [1, 2, 3, 4], **others)
    with pytest.raises(DataError, match=complaint):
        read_svhn(path)


def test_a_damaged_svhn_is_an_error_in_one_line(tmp_path):
    content = write_svhn(tmp_path / "whole.mat", random_bytes(4, 32, 32, 3), [1, 2, 3, 4]).read_bytes()
    for damaged in (b"", b"no MATLAB file", content[:200], content[:-50], b"\x89HDF\r\n\x1a\n" + content):
        path = tmp_path / "damaged.mat"
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"damaged\.mat'") as raised:
            read_svhn(path)
        assert "\n" not in str(raised.value)


WNIDS = ("n01440764", "n02012849", "n03126707")
"""Tench; crane, the bird; crane, the machine."""
TRAIN = {wnid: [f"{wnid}_{number}" for number in (10, 9, 2)] for wnid in WNIDS}
VALIDATION = {f"ILSVRC2012_val_{number:08}": WNIDS[(number * 2) % 3] for number in range(1, 7)}


def jpeg(name):
    level = int(hashlib.sha256(name.encode()).hexdigest()[:2], 16)
    return cv2.imencode(".jpg", np.full((6, 8, 3), level, dtype=np.uint8))[1].tobytes()


TRAIN_FILES = {f"train/{wnid}/{name}.JPEG": jpeg(name) for wnid, names in TRAIN.items() for name in names}
FLAT_FILES = {f"val/{name}.JPEG": jpeg(name) for name in VALIDATION}
DIVIDED_FILES = {f"val/{wnid}/{name}.JPEG": jpeg(name) for name, wnid in VALIDATION.items()}
FLAT = {**TRAIN_FILES, **FLAT_FILES}


def devkit_members():
    """The kit's two files: numbers of synsets, in an order of their own, and a table with parents after them."""
    numbers = {wnid: number for number, wnid in enumerate(sorted(WNIDS, reverse=True), 1)}
    rows = [(number, wnid, "words, more", 0, np.zeros((1, 0)), 3) for wnid, number in numbers.items()]
    rows.append((4, "n00001740", "entity", 3, np.array([1, 2, 3]), 0))
    fields = ("ILSVRC2012_ID", "WNID", "words", "num_children", "children", "num_train_images")
    synsets = np.array(rows, dtype=[(field, object) for field in fields])
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets[:, np.newaxis]}, do_compression=True)
    truth = "".join(f"{numbers[wnid]}\n" for wnid in VALIDATION.values())
    return {
        "ILSVRC2012_devkit_t12/readme.txt": b"read me",
        "ILSVRC2012_devkit_t12/data/meta.mat": meta.getvalue(),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": truth.encode(),
    }


def solution():
    lines = [f"{name},{wnid} 1 2 3 4 {wnid} 5 6 7 8\n" for name, wnid in VALIDATION.items()]
    return ("ImageId,PredictionString\n" + "".join(lines)).encode()


TREES = {
    "val in class folders": {**TRAIN_FILES, **DIVIDED_FILES},
    "flat, with the packed kit": {**FLAT, DEVKIT_ARCHIVE: tar_bytes(devkit_members())},
    "flat, with the unpacked kit": {**FLAT, **devkit_members()},
    "flat, with Kaggle's solution": {**FLAT, SOLUTION: solution()},
    "as Kaggle ships it": {f"ILSVRC/Data/CLS-LOC/{name}": content for name, content in FLAT.items()}
    | {SOLUTION: solution()},
}


def content_of(listed):
    return [(listed.images.read(place), label) for place, label in enumerate(listed.labels.tolist())]


WANTED_TRAIN = [(jpeg(name), label) for label, wnid in enumerate(WNIDS) for name in sorted(TRAIN[wnid])]
WANTED_TEST = sorted(((jpeg(name), WNIDS.index(wnid)) for name, wnid in VALIDATION.items()), key=lambda pair: pair[1])


@pytest.mark.parametrize("tree", TREES)
def test_imagenet_is_read_with_its_validation_set_in_any_layout(tree, tmp_path):
    write_files(tmp_path / "imagenet", TREES[tree])
    found = sources.find("imagenet", data_dir=tmp_path)
    assert ("tench", "crane (n02012849)", "crane (n03126707)") == found.listing.class_names
    assert (WANTED_TRAIN, WANTED_TEST) == (content_of(found.listing.train), content_of(found.listing.test))
    assert (None, True, (224, 224)) == (found.listing.validation, found.mirror, found.image_size)
    assert "imagenet-3" == found.name
    whole = replace(NAMED["imagenet"], num_train=9, num_test=6)
    assert "imagenet" == read_named(whole, tmp_path).name


def test_a_subset_of_imagenet_is_named_by_its_number_of_classes(tmp_path):
    tree = TREES["flat, with the packed kit"]
    write_files(tmp_path / "imagenet", {name: tree[name] for name in tree if "/n03126707/" not in name})
    found = sources.find("imagenet", data_dir=tmp_path)
    assert ("imagenet-2", ("tench", "crane (n02012849)")) == (found.name, found.listing.class_names)
    assert [pair for pair in WANTED_TEST if pair[1] < 2] == content_of(found.listing.test)


def test_imagenet_is_not_downloaded_and_the_error_says_which_files_to_put_where(tmp_path):
    with pytest.raises(DownloadError, match="cannot be downloaded freely") as raised:
        datasets.load("imagenet", data_dir=tmp_path)
    files = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz")
    for word in (*files, "image-net.org", str(tmp_path / "imagenet")):
        assert word in str(raised.value)


WRONG_TREES = {
    "names for wnids": (
        {"train/cats/1.JPEG": jpeg("x"), "train/dogs/2.JPEG": jpeg("y")}, "unknown: 'cats', 'dogs'"),
    "nothing that says what val shows": (FLAT, "the classes of the validation images"),
    "an image that no kit knows": (
        {**FLAT, "val/x.JPEG": jpeg("x"), SOLUTION: solution()}, r"validation image 'val/x\.JPEG' is not known"),
    "a damaged kit": ({**FLAT, DEVKIT_ARCHIVE: tar_bytes(devkit_members())[:300]}, "is truncated"),
    "a damaged table": (
        {**FLAT, **devkit_members(), "ILSVRC2012_devkit_t12/data/meta.mat": b"x" * 500}, r"meta\.mat cannot be read"),
    "a solution that is none": ({**FLAT, SOLUTION: b"ImageId,PredictionString\nx\n"}, "line 2: expected"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG_TREES)
def test_a_tree_that_is_not_imagenet_is_an_error(kind, tmp_path):
    files, complaint = WRONG_TREES[kind]
    write_files(tmp_path / "imagenet", files)
    with pytest.raises((DataError, DownloadError), match=complaint):
        sources.find("imagenet", data_dir=tmp_path)


def test_the_1000_classes_have_1000_names_in_the_order_of_their_ids():
    names = imagenet_names()
    assert (1000, 1000) == (len(names), len(set(names.values())))
    assert sorted(names) == list(names)
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in names)
    with_ids = {name for wnid, name in names.items() if wnid in name}
    assert {"crane (n02012849)", "crane (n03126707)", "maillot (n03710637)", "maillot (n03710721)"} == with_ids
    # As torchvision and Keras number them.
    places = {0: "tench", 1: "goldfish", 207: "golden retriever", 281: "tabby", 717: "pickup", 999: "toilet tissue"}
    assert places == {place: list(names.values())[place] for place in places}
