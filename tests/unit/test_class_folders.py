"""Class folders and archives of them, folders of tables that look like them, and paths that stay inside a folder."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from data_files import ids_and_labels, levels_of, listing, random_bytes, write_files, write_images, write_table
from test_tables import PETS, pixel_table

from diptych.data import sources
from diptych.data.paths import contained
from diptych.data.readers.folder import list_folder, survey_folder
from diptych.errors import DataError, UsageError
from diptych.training import provenance

LISTERS = pytest.mark.parametrize("list_classes", [list_folder, survey_folder])


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


@pytest.mark.parametrize(
    ("folders", "complaint"),
    [
        (("a", "b/"), r"b'.* has no images"),
        (("train/a", "train/b", "test/a", "test/c"), "Class folder '.*train/c' has no images"),
        (("train/a", "train/b", "val/a", "val/b", "validation/"), "has both val and validation"),
        (("train/a", "train/b", "unlabeled/"), "unlabeled' is not a split"),
    ],
)
def test_folders_that_are_not_classes_and_splits_are_named(folders, complaint, tmp_path):
    for name in folders:
        write_images(tmp_path / name, *([] if name.endswith("/") else [1]))
    with pytest.raises(DataError, match=complaint):
        list_folder(tmp_path)


def test_folders_named_images_are_classes_unless_a_table_lists_their_files(tmp_path):
    write_tree(tmp_path, "cat images", "dog images")
    write_table(tmp_path / "notes.csv", "name,remark\ncats,soft\n")
    assert ("cat images", "dog images") == listing(tmp_path).class_names
    write_table(tmp_path / "notes.csv", "path,label\ncat images/000.png,a\ndog images/000.png,b\n")
    assert ("a", "b") == listing(tmp_path).class_names


@pytest.mark.parametrize("record", ["cnn-torch/run.json", "check-pets/findings.json", "compare/comparison.json"])
@pytest.mark.parametrize("divided", ["", "train"])
@LISTERS
def test_a_folder_of_runs_is_not_a_class(record, divided, list_classes, tmp_path):
    write_tree(tmp_path / divided, "cats", "dogs")
    before = ids_and_labels(listing(tmp_path, list_classes=list_classes).train)
    write_table(tmp_path / "runs" / record, "{}", loss=3)
    after = listing(tmp_path, list_classes=list_classes)
    assert (("cats", "dogs"), before) == (after.class_names, ids_and_labels(after.train))
    write_table(tmp_path / "labels.csv", f"path,label\n{before[0][0]},a\n{before[-1][0]},b\n")
    assert ("cats", "dogs") == listing(tmp_path).class_names


@LISTERS
@pytest.mark.parametrize("name", [b"caf\xe9/0.png", b"cats/caf\xe9.png", b"cats/caf\xe9/0.png"])
def test_a_name_that_is_not_utf_8_is_an_error_that_shows_its_bytes(name, list_classes, tmp_path):
    write_tree(tmp_path, "cats", "dogs")
    write_table(tmp_path / os.fsdecode(name), b"")
    with pytest.raises(DataError, match=r"caf\\xe9.*' is not UTF-8: rename it") as raised:
        listing(tmp_path, list_classes=list_classes)
    assert str(raised.value).isascii()


@LISTERS
def test_folders_may_be_nested_a_thousand_deep(list_classes, tmp_path):
    write_tree(tmp_path, "cats", "dogs")
    deep = tmp_path / "cats" / ("d/" * 1200)
    for folder in [*reversed(deep.parents), deep]:
        folder.mkdir(exist_ok=True)
    (deep / "x.png").write_bytes(b"")
    try:
        assert f"cats/{'d/' * 1200}x.png" in listing(tmp_path, list_classes=list_classes).train.ids.tolist()
    finally:  # what pytest clears up with goes no deeper than Python calls itself
        subprocess.run(["rm", "-r", tmp_path / "cats"], check=True)


def test_links_to_folders_and_dangling_links_are_not_followed(tmp_path):
    write_tree(tmp_path, "cats", "dogs")
    before = listing(tmp_path).train.ids.tolist()
    (tmp_path / "cats" / "again").symlink_to(tmp_path)
    (tmp_path / "dogs" / "loop.png").symlink_to("loop.png")
    assert before == listing(tmp_path).train.ids.tolist()


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
    write_tree(tmp_path / "tree" / "pets", "cats", "dogs")
    (tmp_path / "tree" / "pets" / "empty").mkdir()
    archive = shutil.make_archive(tmp_path / "pets", "tar", tmp_path / "tree")
    with pytest.raises(DataError, match=rf"Class folder '{archive}/pets/empty' has no images"):
        listing(archive)
    with pytest.raises(UsageError, match=rf"--root is for a table of paths; '{archive}/pets' is not one"):
        listing(archive, root=tmp_path)


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
