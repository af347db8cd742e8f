"""Class folders and archives of them, folders of tables that look like them, and paths that stay inside a folder."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from data_files import ids_and_labels, levels_of, listing, png, random_bytes, write_files, write_images, write_table
from test_tables import PETS, pixel_table

from diptych.data import sources
from diptych.data.paths import contained
from diptych.data.readers.folder import list_folder
from diptych.errors import DataError, UsageError
from diptych.training import provenance


def write_tree(folder, *classes):
    for level, name in enumerate(classes):
        write_images(folder / name, *range(10 * level, 10 * level + 3))


def test_a_folder_is_read_in_sorted_order_of_classes_and_paths_without_hidden_and_other_files(tmp_path):
    folders = {"b": (30, 40), "B/more": (50,), "a": (10, 20), ".cache": (60,), "a/.hidden": (70,)}
    for name, levels in folders.items():
        write_images(tmp_path / name, *levels)
    write_files(tmp_path, {"b/._000.png": b"resource fork", "b/Thumbs.db": b"thumbs"})
    folder = listing(tmp_path)
    assert (("B", "a", "b"), [0, 1, 1, 2, 2]) == (folder.class_names, folder.train.labels.tolist())
    assert [50, 10, 20, 30, 40] == levels_of(folder.train)
    assert "B/more/000.png" == folder.train.ids[0]


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_folders_named_after_splits_are_splits(validation, tmp_path):
    for level, split in enumerate(("train", validation, "test")):
        write_images(tmp_path / split / "a", 10 * level)
        write_images(tmp_path / split / "b", 10 * level + 1, 10 * level + 2)
    folder = listing(tmp_path)
    assert [[0, 1, 2], [10, 11, 12], [20, 21, 22]] == [levels_of(split) for split in folder.splits.values()]
    assert ["train", "validation", "test"] == [*folder.splits]


AB = ("a/", "b/")


def below(*folders, names=AB):
    """Names of class folders, each in some folders."""
    return [f"{folder}/{name}" for folder in folders for name in names]


@pytest.mark.parametrize(
    ("folders", "sizes", "inferred"),
    [
        (below("Training", "Testing"), (2, 0, 2), "splits from folders Training (train), Testing (test)"),
        (below("training_set/training_set", "test_set/test_set"), (2, 0, 2), "test_set (test)"),
        (below("Train", "Valid", "Test"), (2, 2, 2), "Valid (validation)"),
        (below("TrainImages", "val-images", "eval"), (2, 2, 2), "eval (test), val-images (validation)"),
        (below("trainset", "valset", "testset"), (2, 2, 2), "splits from"),
        (below("01_train", "02_test", "03_dev"), (2, 2, 2), "03_dev (validation)"),
        (below("train2017", "val2017"), (2, 2, 0), "splits from"),
        ([*below("images/train", "images/test"), "labels/-"], (2, 0, 2), "read from the folder images"),
        (below("pets/v1/chest/train", "pets/v1/chest/test"), (2, 0, 2), "read from the folder pets/v1/chest"),
        (below("pets/train"), (2, 0, 0), "splits from folders train (train)"),
        (below("test"), (0, 0, 2), "splits from folders test (test)"),
        ([*below("seg_train/seg_train", "seg_test/seg_test"), "seg_pred/seg_pred/"], (2, 0, 2), "seg_test (test)"),
        ([*below("chest/train", "chest/val", "train", "val"), "__MACOSX/train/a/"], (2, 2, 0), "splits from"),
        (below("a", "b", names=("train/", "test/")), (2, 0, 2), "splits from folders in each class"),
        (below("pets"), (2, 0, 0), "read from the folder pets"),
        (["car/", "bus/", "train/", "plane/"], (4, 0, 0), "4 classes from folder names: bus, car, plane, train"),
        (["model train/", "test tube/", "ball/"], None, "no class folders|must contain"),
        (["train/animals/cat/", "train/animals/dog/", "train/toys/car/"], (3, 0, 0), "2 classes"),
        (["a/", "b/", "c/deep/er/"], (3, 0, 0), "folders in classes are part of them: deep"),
        (["train/a/", "train/b/c/", "test/b/c/", "test/b/d/"], (2, 0, 2), "2 classes"),
        ([*below("train", "test"), "extra/"], (2, 0, 2), "extra: images, but the name of no split"),
        ([*below("train"), "unlabeled/"], (2, 0, 0), "unlabeled: images, but the name of no split"),
        ([*below("train"), "test1/"], (2, 0, 0), "test1: images without class folders, so without labels"),
        ([*below("train"), "val/-"], (2, 0, 0), "val: no images"),
        (["a/", "b/", "./"], (2, 0, 0), "images beside a, b"),
        ([*below("train", "test"), "train/"], (2, 0, 2), "images beside the class folders in train"),
        (["a/", "b/", "_c/"], (2, 0, 0), "1 folder that begins with _"),
        (["train/", "test/"], None, "must contain at least 2 class folders.* got none. It contains 2 images"),
        (["train/", "test/", "other/"], None, "must contain at least 2 class folders"),
        (["train/a/"], None, r"at least 2 class folders.* got a\."),
        (["a/"], None, r"at least 2 class folders.* got a\."),
        (below("val", "validation"), None, "has both val and validation"),
        (below("train_1", "train_2", "test"), None, "has both train_1 and train_2"),
        (below("train", "extra"), None, "extra' is not a split, but train beside it"),
        (below("train", "test", "tset"), None, "tset' is not a split"),
        ([*below("train"), "car/"], None, "car' is not a split"),
        (["a/", "b/", "test/a/", "test/b/"], None, "a' is not a split, but test beside it"),
        (below("fold_1", "fold_2", "fold_3"), None, "has fold_1, fold_2, fold_3, most of them with the folders a, b"),
        (["a/train/", "a/test/", "b/"], None, "splits inside a, but none in b"),
    ],
)
def test_words_in_folder_names_tell_splits_from_classes(folders, sizes, inferred, tmp_path):
    for number, name in enumerate(folders):
        write_images(tmp_path / name.removesuffix("-"), *([] if name.endswith("-") else [number]))
    if sizes is None:
        with pytest.raises(DataError, match=inferred):
            list_folder(tmp_path)
        return
    found = list_folder(tmp_path)
    assert sizes == tuple(len(getattr(found, split) or ()) for split in ("train", "validation", "test"))
    assert inferred in "; ".join((*found.inferred, *(finding.reason for finding in found.findings)))


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("cat.0", "cat.1", "dog.0", "dog.1"), "cat"),
        (("cat1", "cat02", "dog3", "dog12"), "cat"),
        (("a b (1)", "a b (2)", "c (1)", "c (2)"), "a b"),
        (("n01_26", "n01_7", "n02_1", "n02_2"), "n01"),
    ],
)
def test_labels_in_file_names_are_offered(names, label, tmp_path):
    write_files(tmp_path / "train", {f"{name}.png": png(level) for level, name in enumerate(names)})
    write_images(tmp_path / "test1", 1, 2)
    with pytest.raises(DataError, match=rf"carry labels .2 × '{label}', 2 × .*: move .* the columns path,label"):
        listing(tmp_path)


def test_folders_named_images_are_classes_unless_a_table_lists_their_files(tmp_path):
    write_tree(tmp_path, "cat images", "dog images")
    write_table(tmp_path / "notes.csv", "name,remark\ncats,soft\n")
    assert ("cat images", "dog images") == listing(tmp_path).class_names
    write_table(tmp_path / "notes.csv", "path,label\ncat images/000.png,a\ndog images/000.png,b\n")
    assert ("a", "b") == listing(tmp_path).class_names


@pytest.mark.parametrize("record", ["cnn-torch/run.json", "check-pets/findings.json", "compare/comparison.json"])
@pytest.mark.parametrize("divided", ["", "train"])
def test_a_folder_of_runs_is_not_a_class(record, divided, tmp_path):
    write_tree(tmp_path / divided, "cats", "dogs")
    before = ids_and_labels(listing(tmp_path).train)
    write_table(tmp_path / "runs" / record, "{}", loss=3)
    after = listing(tmp_path)
    assert (("cats", "dogs"), before) == (after.class_names, ids_and_labels(after.train))
    write_table(tmp_path / "labels.csv", f"path,label\n{before[0][0]},a\n{before[-1][0]},b\n")
    assert ("cats", "dogs") == listing(tmp_path).class_names


@pytest.mark.parametrize("name", [b"caf\xe9/0.png", b"cats/caf\xe9.png", b"cats/caf\xe9/0.png"])
def test_a_name_that_is_not_utf_8_is_an_error_that_shows_its_bytes(name, tmp_path):
    write_tree(tmp_path, "cats", "dogs")
    write_table(tmp_path / os.fsdecode(name), b"")
    with pytest.raises(DataError, match=r"caf\\xe9.*' is not UTF-8: rename it") as raised:
        listing(tmp_path)
    assert str(raised.value).isascii()


def test_folders_may_be_nested_a_thousand_deep(tmp_path):
    write_tree(tmp_path, "cats", "dogs")
    deep = tmp_path / "cats" / ("d/" * 1200)
    for folder in [*reversed(deep.parents), deep]:
        folder.mkdir(exist_ok=True)
    (deep / "x.png").write_bytes(b"")
    try:
        assert f"cats/{'d/' * 1200}x.png" in listing(tmp_path).train.ids.tolist()
    finally:  # what pytest clears up with goes no deeper than Python calls itself
        subprocess.run(["rm", "-r", tmp_path / "cats"], check=True)


def test_links_to_other_folders_are_followed_once_and_those_into_the_data_are_left_out(tmp_path):
    root, outside = tmp_path / "pets", tmp_path / "outside"
    write_tree(root, "cats", "dogs")
    write_images(outside / "more", 50)
    before = listing(root).train.ids.tolist()
    links = {"cats/more": outside, "cats/part": outside / "more", "cats/root": tmp_path, "dogs/cats": root / "cats"}
    for link, target in {**links, "dogs/twice": outside}.items():
        (root / link).symlink_to(target)
    (outside / "loop").symlink_to(outside)
    (root / "dogs" / "loop.png").symlink_to("loop.png")
    found = listing(root)
    assert {"cats/more/more/000.png", "dogs/loop.png"} == {*found.train.ids.tolist()} - {*before}
    assert [("left-out", "5 folder links")] == [(finding.kind, finding.reason) for finding in found.findings]


def test_images_are_told_by_content_and_every_other_file_is_counted(tmp_path):
    write_tree(tmp_path, "cats", "dogs")
    before = listing(tmp_path).train.ids.tolist()
    raw = b"II*\0" + bytes(600)
    others = {
        "notes.txt": b"soft", "a.md": b"# fur", ".DS_Store": b"x", "._0.png": b"x", "Thumbs.db": b"x",
        "b.mp4": b"\0\0\0 ftypisom", "c.jp2": b"\0\0\0\x0cjP  \r\n", "d.nef": raw, "e.html": b"<html>",
        "f.json": b"{}", "g": b"\1\2\3\xff", "h.zip": b"PK\3\4",
        "empty": b"", "i.svg": b"<svg>", "j.dcm": bytes(128) + b"DICM", "_part/x.png": png(3), "k.ico": b"\0\0\1\0\1\0",
    }  # fmt: skip
    images = {"scan": png(1), "x.jpeg.bak": png(2), "_DSC1.JPG": png(3), "y.jfif": b"", "z.ppm": b"P6 1 1 255 abc"}
    write_files(tmp_path / "cats", others | images)
    (tmp_path / "cats" / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "cats" / "pipe")
    found = listing(tmp_path)
    assert {f"cats/{name}" for name in images} == {*found.train.ids.tolist()} - {*before}
    (finding,) = found.findings
    counted = {*re.sub(r"\b1 ", "", finding.reason).split(", ")}
    assert {
        "2 text files (.md", ".txt)", "video (.mp4)", "JPEG 2000 image (.jp2)", "raw photo (.nef)", "HTML page (.html)",
        "JSON file (.json)", "file", "archive (.zip)", "empty file", "SVG drawing (.svg)", "DICOM image (.dcm)",
        "folder that begins with _", "icon (.ico)", "broken link", "device or pipe",
    } == counted  # fmt: skip


@pytest.mark.parametrize("name", ["pets.csv", "pets.zip", "pets"])
def test_a_link_keeps_its_name_and_folder(name, tmp_path):
    write_tree(tmp_path / "tree", "cats", "dogs")
    kept = {
        "pets": tmp_path / "tree",
        "pets.csv": write_table(tmp_path / "snap" / "abc123", PETS, a=1, b=2, c=3),
        "pets.zip": shutil.make_archive(tmp_path / "packed", "zip", tmp_path / "tree"),
    }
    link = tmp_path / "snap" / name
    link.symlink_to(Path(kept[name]).rename(tmp_path / "blob"))
    pets = sources.find(str(link))
    assert ("pets", 2, str(link)) == (pets.name, len(pets.listing.class_names), provenance.DataSource.of(link).data)


@pytest.mark.parametrize(("option", "value"), [("root", "."), ("pixel_shape", (8, 8, 1))])
@pytest.mark.parametrize("data", ["digits", "tree"])
def test_an_option_of_tables_is_an_error_for_other_data(data, option, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path / "tree", "cats", "dogs")
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} is for a table of"):
        sources.find(data, **{option: tmp_path / value if option == "root" else value})


@pytest.mark.parametrize("form", ["zip", "tar", "gztar"])
@pytest.mark.parametrize("prefix", ["", "wrapped", "twice/wrapped"])
@pytest.mark.parametrize("divided", ["", "train"])
def test_an_archive_of_class_folders_reads_as_they_do(form, prefix, divided, tmp_path):
    write_tree(tmp_path / "tree" / prefix / divided, "cats", "dogs")
    packed = sources.find(shutil.make_archive(tmp_path / "pets", form, tmp_path / "tree"))
    plain = listing(tmp_path / "tree" / prefix)
    assert ("pets", ("cats", "dogs")) == (packed.name, packed.listing.class_names)
    assert ids_and_labels(plain.train) == ids_and_labels(packed.listing.train)
    assert levels_of(plain.train) == levels_of(packed.listing.train)


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_an_archive_of_tables_reads_as_they_do(form, tmp_path):
    write_table(tmp_path / "tables" / "wrapped" / "train.csv", PETS, a=1, b=2, c=3)
    packed = shutil.make_archive(tmp_path / "pets", form, tmp_path / "tables")
    assert ids_and_labels(listing(tmp_path / "tables" / "wrapped").train) == ids_and_labels(listing(packed).train)
    images = random_bytes(4, 4, 4, 1)
    write_table(tmp_path / "pixels" / "digits.csv", pixel_table(images, [0, 1, 0, 1]))
    packed = shutil.make_archive(tmp_path / "digits", form, tmp_path / "pixels")
    np.testing.assert_array_equal(images, listing(packed).train.images)


def test_an_error_in_an_archive_names_the_archive_and_not_the_cache(tmp_path):
    write_tree(tmp_path / "tree" / "pets" / "val", "cats", "dogs")
    archive = shutil.make_archive(tmp_path / "pets", "tar", tmp_path / "tree")
    with pytest.raises(UsageError, match=rf"--root is for a table of paths; '{archive}' is not one"):
        listing(archive, root=tmp_path)
    write_tree(tmp_path / "tree" / "pets" / "valid", "cats", "dogs")
    archive = shutil.make_archive(tmp_path / "pets", "tar", tmp_path / "tree")
    with pytest.raises(DataError, match=rf"'{archive}' has both val and valid"):
        listing(archive)


def test_a_plain_relative_path_is_joined(tmp_path):
    assert tmp_path / "cats" / "1.jpg" == contained(tmp_path, "cats/1.jpg")
    assert tmp_path / "dogs.and..cats" / "...jpg" == contained(tmp_path, "./dogs.and..cats/...jpg")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("../secret", "contains '..'"),
        ("cats/..", "contains '..'"),
        ("/etc/passwd", "absolute"),
        ("//server/share", "absolute"),
        ("..\\secret", "backslash"),
        ("C:secret", "drive letter"),
        ("cats/D:secret", "drive letter"),
        ("cats/1.jpg\0.png", "NUL"),
        ("", "is empty"),
        (".//", "is empty"),
    ],
)
def test_a_path_that_could_lead_outside_raises(tmp_path, name, word):
    with pytest.raises(DataError, match=word) as raised:
        contained(tmp_path, name)
    assert str(raised.value).isprintable()


def test_a_link_that_leads_outside_raises_and_one_that_stays_inside_is_followed(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "cats").mkdir(parents=True)
    outside.mkdir()
    (root / "out").symlink_to(outside)
    (root / "cats" / "up").symlink_to("../../outside")
    (root / "near").symlink_to("cats")
    (root / "loop").symlink_to("loop")
    (tmp_path / "root-of-others").mkdir()
    (root / "beside").symlink_to(tmp_path / "root-of-others")
    for name in ("out", "out/1.jpg", "cats/up/1.jpg", "near/up/1.jpg", "beside/1.jpg"):
        with pytest.raises(DataError, match="link that leads outside"):
            contained(root, name)
    assert root / "near" / "1.jpg" == contained(root, "near/1.jpg")
    assert root / "loop" / "1.jpg" == contained(root, "loop/1.jpg")
    (tmp_path / "link").symlink_to(root)
    assert tmp_path / "link" / "1.jpg" == contained(tmp_path / "link", "1.jpg")
