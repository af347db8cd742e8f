"""CSV files of paths and of pixels, folders of tables, and archives of any of these, on real files."""

import os
import subprocess
import tarfile
import zipfile

import numpy as np
import pytest
from data_files import levels_of, png, write_files

from diptych.data import datasets, sources
from diptych.data.readers.folder import list_folder, survey_folder
from diptych.data.readers.tables import split_of
from diptych.errors import DataError, UsageError
from diptych.training import provenance


def write_image(path, level):
    write_files(path.parent, {path.name: png(level)})


def write_table(path, text, **images):
    """Write a table, and beside it an image for each name, without its suffix, of the level given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for name, level in images.items():
        write_image(path.parent / f"{name}.png", level)
    return path


def found(path, **options):
    return sources.find(str(path), **options)


def listing(path, **options):
    return found(path, **options).listing


def ids_and_labels(listed):
    """(id, label) of each image."""
    return list(zip(listed.ids.tolist(), listed.labels.tolist(), strict=True))


PETS = "path,label\nb.png,dog\na.png,cat\nc.png,cat\n"


def test_a_csv_of_paths_lists_images_and_classes_in_sorted_order(tmp_path):
    pets = found(write_table(tmp_path / "pets.csv", PETS, a=10, b=20, c=30))
    assert ("pets", False, ("cat", "dog")) == (pets.name, pets.mirror, pets.listing.class_names)
    assert [("a.png", 0), ("b.png", 1), ("c.png", 0)] == ids_and_labels(pets.listing.train)
    assert [10, 20, 30] == levels_of(pets.listing.train)
    assert (None, None) == (pets.listing.validation, pets.listing.test)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pets.tsv", PETS.replace(",", "\t")),
        ("pets.csv", PETS.replace(",", ";")),
        ("pets.csv", b"\xef\xbb\xbf" + PETS.encode()),
        ("pets.csv", PETS.replace("\n", "\r\n")),
        ("pets.csv", PETS.rstrip("\n")),
        ("pets.csv", PETS.replace("\n", "\n\n")),
        ("pets.csv", '"path","label"\n"b.png","dog"\n"a.png","cat"\n"c.png","cat"\n'),
        ("pets.csv", "Path , Label\n b.png , dog\na.png,cat\nc.png, cat\n"),
        ("pets.csv", "id,breed,filename\n7,dog,b.png\n8,cat,a.png\n9,cat,c.png\n"),
        ("pets.csv", "what,where\ndog,b.png\ncat,a.png\ncat,c.png\n"),
        ("pets.csv", "path,label,note\nb.png,dog,\"a, b;\nc\"\na.png,cat,\nc.png,cat,\n"),
        ("pets.csv", "path,label\n./b.png,dog\n.//a.png,cat\nc.png,cat\n"),
    ],
    ids=["tsv", "semicolons", "byte order mark", "CRLF", "no last newline", "empty lines", "quotes", "spaces",
         "other columns", "unknown names", "a quoted newline", "paths with dots"],
)  # fmt: skip
def test_a_table_reads_the_same_however_it_is_written(name, text, tmp_path):
    pets = listing(write_table(tmp_path / name, text, a=10, b=20, c=30))
    assert ("cat", "dog") == pets.class_names
    assert [("a.png", 0), ("b.png", 1), ("c.png", 0)] == ids_and_labels(pets.train)


def test_a_split_column_divides_the_rows(tmp_path):
    text = "path,label,split\na.png,x,train\nb.png,y,Training\nc.png,y,valid\nd.png,x,test\ne.png,y,test\n"
    pets = listing(write_table(tmp_path / "pets.csv", text, a=1, b=2, c=3, d=4, e=5))
    assert [("a.png", 0), ("b.png", 1)] == ids_and_labels(pets.train)
    assert [("c.png", 1)] == ids_and_labels(pets.validation)
    assert [("d.png", 0), ("e.png", 1)] == ids_and_labels(pets.test)


def test_the_order_of_rows_changes_nothing_and_class_folders_of_the_same_files_agree(tmp_path):
    for level, name in enumerate(("cats", "cats-", "dogs/old", "dogs/young")):
        for number in range(10):
            write_image(tmp_path / "pets" / name / f"{number}.png", 20 * level + number)
    names = [str(path.relative_to(tmp_path / "pets")) for path in sorted((tmp_path / "pets").rglob("*.png"))]
    rows = [f"{name},{name.split('/')[0]}\n" for name in names]
    write_table(tmp_path / "forth.csv", "path,label\n" + "".join(rows))
    write_table(tmp_path / "back.csv", "path,label\n" + "".join(rows[::-1]))
    forth, back = (
        datasets.read(str(tmp_path / name), root=tmp_path / "pets").divide(0, 0.1) for name in ("forth.csv", "back.csv")
    )
    folders = datasets.load(str(tmp_path / "pets"))
    assert 1 == len({dataset.fingerprint for dataset in (forth, back, folders)})
    assert folders.test.ids.tolist() == forth.test.ids.tolist() == back.test.ids.tolist()


def test_a_column_class_name_names_labels_that_are_numbers(tmp_path):
    text = "path,label,class_name\na.png,10,ten\nb.png,9,nine\nc.png,9,nine\n"
    pets = listing(write_table(tmp_path / "pets.csv", text, a=1, b=2, c=3))
    assert (("nine", "ten"), [1, 0, 0]) == (pets.class_names, pets.train.labels.tolist())


def test_classes_txt_names_labels_that_are_numbers_and_leaves_others(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\nbig dog\n")
    assert ("cat", "big dog") == listing(
        write_table(tmp_path / "n.csv", "path,label\na.png,1\nb.png,2\n", a=1, b=2)
    ).class_names
    assert ("x", "y") == listing(write_table(tmp_path / "t.csv", "path,label\na.png,x\nb.png,y\n")).class_names
    with pytest.raises(DataError, match=r"m\.csv' has 3 labels, but classes\.txt beside it has 2"):
        listing(write_table(tmp_path / "m.csv", "path,label\na.png,-1\nb.png,9\nc.png,10\n", c=3))


def test_paths_and_ids_are_relative_to_the_root(tmp_path):
    write_image(tmp_path / "images" / "deep" / "a.png", 10)
    write_image(tmp_path / "images" / "b.png", 20)
    path = write_table(tmp_path / "tables" / "pets.csv", "path,label\ndeep/a.png,x\nb.png,y\n")
    pets = listing(path, root=tmp_path / "images")
    assert (["b.png", "deep/a.png"], [20, 10]) == (pets.train.ids.tolist(), levels_of(pets.train))
    with pytest.raises(DataError, match=r"line 2, names the image 'deep/a\.png', which is not a file below .*tables"):
        found(path)


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png",
        "in/../../secret.png",
        "{outside}/secret.png",
        "link/secret.png",
        "link.png",
        "in\\..\\secret.png",
    ],
    ids=["climbing", "climbing later", "absolute", "a linked folder", "a linked file", "backslashes"],
)
def test_a_path_cannot_leave_its_root(path, tmp_path):
    outside = tmp_path / "outside"
    write_image(outside / "secret.png", 1)
    write_image(tmp_path / "secret.png", 1)
    root = tmp_path / "inside"
    write_image(root / "in" / "b.png", 2)
    (root / "link").symlink_to(outside)
    (root / "link.png").symlink_to(outside / "secret.png")
    table = write_table(root / "pets.csv", f"path,label\nin/b.png,y\n{path.format(outside=outside)},x\n")
    with pytest.raises(DataError, match=r"pets\.csv', line 3, leaves the folder"):
        found(table)


WRONG_PATHS = {
    "a missing file": ("path,label\na.png,x\nz.png,y\n", r"line 3, names the image 'z\.png', which is not a file"),
    "a folder as a file": ("path,label\na.png,x\n.,y\n", "line 3, leaves the folder"),
    "an empty label": ("path,label\na.png,x\nb.png,\n", "line 3, has no label in column 'label'"),
    "the same image under two labels": (
        "path,label\na.png,x\nb.png,y\na.png,y\n", r"line 4, .*'a\.png' again, after .*line 2"),
    "the same row twice": ("path,label\na.png,x\nb.png,y\n./a.png,x\n", "line 4, .*again, after .*line 2"),
    "the same image in two splits": (
        "path,label,split\na.png,x,train\nb.png,y,train\nb.png,y,test\n", "line 4, .*again, after .*line 3"),
    "a row cut short": ("path,label\na.png,x\nb.png\n", "line 3, has 1 cells, the header 2"),
    "a NUL": (b"path,label\na.png,x\nb\0.png,y\n", "line 3, .*holds a NUL"),
    "Latin-1": ("path,label\na.png,x\nb.png,caf\xe9\n".encode("latin-1"), "line 3, is not UTF-8"),
    "a huge cell": (f"path,label\na.png,x\nb.png,{'y' * 200_000}\n", "line 3, cannot be read: field larger than"),
    "a quote that is not closed": ('path,label\na.png,x\n"b.png,y\nc.png,x\n', "line 4, cannot be read"),
    "a split that is none": ("path,label,split\na.png,x,train\nb.png,y,holdout\n", "line 3, has the split 'holdout'"),
    "one class": ("path,label\na.png,x\nb.png,x\n", "has 1 class in training, 'x'"),
    "a class that training lacks": (
        "path,label,split\na.png,x,train\nb.png,y,train\nc.png,z,test\n", "the label 'z' in test but not in training"),
    "a number in two spellings": (
        "path,label\na.png,1\nb.png,01\nc.png,2\n", "has the labels '1' and '01' for one number"),
    "two columns of labels": (
        "path,label,target\na.png,x,y\nb.png,y,x\n",
        "'path', 'label', 'target'; labels may be in 'label' or 'target'"),
    "two columns of paths": ("path,file,label\na.png,b.png,x\nb.png,a.png,y\n", "images may be in 'path' or 'file'"),
    "no column of labels": ("path\na.png\nb.png\n", "labels may be in none of them"),
    "columns that could all be labels": (
        "path,color,size\na.png,x,1\nb.png,y,2\n", "labels may be in 'color' or 'size'"),
    "neither paths nor pixels": ("a,b\n1,2\n3,4\n", "has the columns 'a', 'b'; images may be in none"),
    "two names for a number": (
        "path,label,class_name\na.png,1,one\nb.png,2,two\nc.png,1,uno\n",
        "line 4, names the label '1' 'uno', rows before it 'one'"),
    "one name for two numbers": (
        "path,label,class_name\na.png,1,one\nb.png,2,one\n", "gives two labels the name 'one'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG_PATHS)
def test_a_fault_in_a_table_is_an_error_with_its_line(kind, tmp_path):
    text, complaint = WRONG_PATHS[kind]
    with pytest.raises(DataError, match=complaint) as raised:
        found(write_table(tmp_path / "pets.csv", text, a=1, b=2, c=3))
    assert "\n" not in str(raised.value)
    assert "pets.csv" in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_a_table_may_have_only_test_rows_but_not_to_train_on(tmp_path):
    text = "path,label,split\na.png,x,test\nb.png,y,test\n"
    path = write_table(tmp_path / "pets.csv", text, a=1, b=2)
    assert (("x", "y"), 0, 2) == (listing(path).class_names, len(listing(path).train), len(listing(path).test))
    with pytest.raises(DataError, match="'pets' has no training samples"):
        datasets.load(str(path))


@pytest.mark.parametrize("names", [("test.csv",), ("test.csv", "other.csv")])
def test_a_folder_may_have_only_test_tables(names, tmp_path):
    for name in names:
        write_table(tmp_path / name, PETS, a=1, b=2, c=3)
    assert (0, 3) == (len(listing(tmp_path).train), len(listing(tmp_path).test))


def pixel_table(images_nhwc, labels, *, header=True, label_at=0, delimiter=","):
    rows = images_nhwc.reshape(len(images_nhwc), -1).astype(str).tolist()
    lines = [[*row[:label_at], str(label), *row[label_at:]] for row, label in zip(rows, labels, strict=True)]
    names = [f"pixel{number}" for number in range(len(rows[0]))]
    head = [[*names[:label_at], "label", *names[label_at:]]] if header else []
    return "".join(delimiter.join(line) + "\n" for line in [*head, *lines])


def random_images(*shape):
    return np.random.default_rng(4).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (5, 5, 1), (8, 8, 3)])
def test_a_csv_of_pixels_becomes_images_of_the_square_shape_that_fits(shape, tmp_path):
    images = random_images(5, *shape)
    digits = found(write_table(tmp_path / "digits.csv", pixel_table(images, [7, 0, 10, 7, 0])))
    np.testing.assert_array_equal(images, digits.listing.train.images)
    assert (("0", "7", "10"), [1, 0, 2, 1, 0]) == (digits.listing.class_names, digits.listing.train.labels.tolist())
    assert (np.uint8, np.int64) == (digits.listing.train.images.dtype, digits.listing.train.labels.dtype)
    assert ("digits", False) == (digits.name, digits.mirror)


@pytest.mark.parametrize(
    "form",
    [{"label_at": 3}, {"label_at": 25}, {"delimiter": ";"}, {"delimiter": "\t"}, {"header": False}],
    ids=["label within", "label last", "semicolons", "tabs", "no header"],
)
def test_a_csv_of_pixels_reads_the_same_however_it_is_written(form, tmp_path):
    images = random_images(3, 5, 5, 1)
    parts = listing(write_table(tmp_path / "digits.csv", pixel_table(images, [1, 0, 1], **form)))
    np.testing.assert_array_equal(images, parts.train.images)
    assert [1, 0, 1] == parts.train.labels.tolist()


def test_labels_of_pixels_may_be_names_and_their_column_the_first(tmp_path):
    text = pixel_table(random_images(3, 5, 5, 1), ["T-shirt", "Bag, big", "Bag, big"]).replace("label", "what")
    parts = listing(write_table(tmp_path / "things.csv", text.replace("Bag, big", '"Bag, big"')))
    assert (("Bag, big", "T-shirt"), [1, 0, 0]) == (parts.class_names, parts.train.labels.tolist())


def test_column_numbers_are_a_header(tmp_path):
    images = random_images(2, 5, 5, 1)
    text = pixel_table(images, [1, 0]).replace("pixel", "")
    np.testing.assert_array_equal(images, listing(write_table(tmp_path / "a.csv", text)).train.images)


def test_the_shape_of_pixels_is_an_option(tmp_path):
    images = random_images(2, 4, 12, 3)
    path = write_table(tmp_path / "wide.csv", pixel_table(images, [0, 1]))
    np.testing.assert_array_equal(images, listing(path, pixel_shape=(4, 12, 3)).train.images)
    assert (12, 12, 1) == listing(path).train.images.shape[1:]
    with pytest.raises(DataError, match=r"has 144 pixel columns, which is not \(5, 5, 1\)"):
        found(path, pixel_shape=(5, 5, 1))
    path = write_table(tmp_path / "odd.csv", pixel_table(random_images(2, 3, 7, 1), [0, 1]))
    with pytest.raises(DataError, match="21 pixel columns, not those of a square grayscale or RGB image: set"):
        found(path)


GOOD = pixel_table(random_images(4, 3, 3, 1), [0, 1, 0, 1]).splitlines()


def with_cell(line, column, cell):
    """The table with one cell changed."""
    lines = [row.split(",") for row in GOOD]
    lines[line - 1][column] = cell
    return "".join(",".join(row) + "\n" for row in lines)


WRONG_PIXELS = {
    "256": (with_cell(3, 2, "256"), "line 3, has '256' in column 'pixel1': expected a whole number from 0 to 255"),
    "-1": (with_cell(5, 9, "-1"), "line 5, has '-1' in column 'pixel8'"),
    "a fraction": (with_cell(2, 1, "3.5"), "line 2, has '3.5' in column 'pixel0'"),
    "a word": (with_cell(4, 4, "x"), "line 4, has 'x'"),
    "no label": (with_cell(3, 0, ""), "line 3, has no label"),
    "a NUL": (with_cell(3, 0, "a\0"), "line 3, .*holds a NUL"),
    "256 before the label": (
        pixel_table(np.full((2, 3, 3, 1), 256), [0, 1], label_at=9), "line 2, has '256' in column 'pixel0'"),
    "a counted header without a label": (
        pixel_table(random_images(2, 3, 3, 1), [0, 1], header=False).join([",".join(map(str, range(10))) + "\n", ""]),
        "has no column of labels"),
    "a row cut short": (
        "\n".join([*GOOD[:3], GOOD[3].rpartition(",")[0], GOOD[4]]), "line 4, has 9 cells, the header 10"),
    "Latin-1": (with_cell(3, 0, "caf\xe9").encode("latin-1"), "line 3, is not UTF-8"),
    "one class": (pixel_table(random_images(3, 3, 3, 1), [1, 1, 1]), "has 1 class in training, '1'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG_PIXELS)
def test_a_fault_in_a_table_of_pixels_is_an_error_with_its_line(kind, tmp_path):
    text, complaint = WRONG_PIXELS[kind]
    with pytest.raises(DataError, match=complaint) as raised:
        found(write_table(tmp_path / "digits.csv", text))
    assert "\n" not in str(raised.value)
    assert "digits.csv" in str(raised.value)


def write_tree(folder, *classes):
    for level, name in enumerate(classes):
        for number in range(3):
            write_image(folder / name / f"{number}.png", 10 * level + number)


def test_tables_named_train_and_test_are_splits(tmp_path):
    train, test = random_images(6, 4, 4, 1), random_images(2, 4, 4, 1)
    write_table(tmp_path / "fashion" / "fashion-mnist_train.csv", pixel_table(train, [0, 1, 2, 0, 1, 2]))
    write_table(tmp_path / "fashion" / "fashion-mnist_test.csv", pixel_table(test, [2, 0]))
    fashion = found(tmp_path / "fashion")
    np.testing.assert_array_equal(train, fashion.listing.train.images)
    np.testing.assert_array_equal(test, fashion.listing.test.images)
    assert ("fashion", [2, 0], None) == (fashion.name, fashion.listing.test.labels.tolist(), fashion.listing.validation)


def test_tables_of_paths_named_after_splits_are_read_beside_their_images(tmp_path):
    write_image(tmp_path / "train_images" / "a.png", 1)
    write_image(tmp_path / "train_images" / "b.png", 2)
    write_image(tmp_path / "test_images" / "c.png", 3)
    write_table(tmp_path / "train.csv", "image,label\ntrain_images/a.png,x\ntrain_images/b.png,y\n")
    write_table(tmp_path / "val.csv", "image,label\ntest_images/c.png,y\n")
    write_table(tmp_path / "sample_submission.csv", "image,label\nc.png,x\n")
    pets = listing(tmp_path)
    assert [("train_images/a.png", 0), ("train_images/b.png", 1)] == ids_and_labels(pets.train)
    assert [("test_images/c.png", 1)] == ids_and_labels(pets.validation)


def test_folders_named_images_are_classes_unless_a_table_lists_their_files(tmp_path):
    write_tree(tmp_path, "cat images", "dog images")
    write_table(tmp_path / "notes.csv", "name,remark\ncats,soft\n")
    assert ("cat images", "dog images") == listing(tmp_path).class_names
    write_table(tmp_path / "notes.csv", "path,label\ncat images/0.png,a\ndog images/0.png,b\n")
    assert ("a", "b") == listing(tmp_path).class_names


@pytest.mark.parametrize("record", ["cnn-torch/run.json", "check-pets/findings.json", "compare/comparison.json"])
@pytest.mark.parametrize("divided", ["", "train"])
@pytest.mark.parametrize("list_classes", [list_folder, survey_folder])
def test_a_folder_of_runs_is_not_a_class(record, divided, list_classes, tmp_path):
    write_tree(tmp_path / divided, "cats", "dogs")
    before = ids_and_labels(listing(tmp_path, list_classes=list_classes).train)
    (tmp_path / "runs" / record).parent.mkdir(parents=True)
    (tmp_path / "runs" / record).write_text("{}")
    write_image(tmp_path / "runs" / record.split("/")[0] / "plots" / "loss.png", 3)
    write_image(tmp_path / "cats" / "again" / "runs" / "4.png", 3) if not divided else None
    after = listing(tmp_path, list_classes=list_classes)
    assert (("cats", "dogs"), before) == (
        after.class_names,
        [row for row in ids_and_labels(after.train) if "again" not in row[0]],
    )
    write_table(tmp_path / "labels.csv", f"path,label\n{before[0][0]},a\n{before[-1][0]},b\n")
    assert ("cats", "dogs") == listing(tmp_path).class_names


@pytest.mark.parametrize("list_classes", [list_folder, survey_folder])
@pytest.mark.parametrize("name", [b"caf\xe9/0.png", b"cats/caf\xe9.png", b"cats/caf\xe9/0.png"])
def test_a_name_that_is_not_utf_8_is_an_error_that_shows_its_bytes(name, list_classes, tmp_path):
    write_tree(tmp_path, "cats", "dogs")
    path = tmp_path / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"caf\\xe9.*' is not UTF-8: rename it") as raised:
        found(tmp_path, list_classes=list_classes)
    assert str(raised.value).isascii()


@pytest.mark.parametrize("list_classes", [list_folder, survey_folder])
def test_folders_may_be_nested_a_thousand_deep(list_classes, tmp_path):
    write_tree(tmp_path, "cats", "dogs")
    depth = 1200
    for number in range(1, depth + 1):
        (tmp_path / "cats" / ("d/" * number)).mkdir()
    (tmp_path / "cats" / ("d/" * depth) / "x.png").write_bytes(b"")
    try:
        assert f"cats/{'d/' * depth}x.png" in listing(tmp_path, list_classes=list_classes).train.ids.tolist()
    finally:  # what pytest clears up with goes no deeper than Python calls itself
        subprocess.run(["rm", "-r", tmp_path / "cats"], check=True)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (("labels.csv", "more.csv"), "tables 'labels.csv', 'more.csv', and none says train or test"),
        (("train.csv", "my_train.csv"), "tables 'my_train.csv', 'train.csv', all of train"),
        (("test.csv", "my_test.csv", "other.csv"), "tables 'my_test.csv', 'test.csv', all of test"),
    ],
)
def test_ambiguous_tables_are_an_error(names, complaint, tmp_path):
    for name in names:
        write_table(tmp_path / name, PETS, a=1, b=2, c=3)
    with pytest.raises(DataError, match=complaint):
        found(tmp_path)


@pytest.mark.parametrize(
    ("name", "split"),
    [("train.csv", "train"), ("mnist_test.csv", "test"), ("validation-00000-of-00002.parquet", "validation"),
     ("Train-1.csv", "train"), ("training.csv", "train"), ("val.csv", "validation"), ("labels.csv", ""),
     ("train_test.csv", ""), ("contest.csv", "")],
)  # fmt: skip
def test_a_word_of_the_name_is_the_split(name, split, tmp_path):
    assert split == split_of(tmp_path / name)


@pytest.mark.parametrize(("option", "value"), [("root", "."), ("pixel_shape", (8, 8, 1))])
@pytest.mark.parametrize("data", ["digits", "tree"])
def test_an_option_of_tables_is_an_error_for_other_data(data, option, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path / "tree", "cats", "dogs")
    options = {option: tmp_path / value if option == "root" else value}
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} is for a table of"):
        found(data, **options)


def test_pixel_shape_is_not_for_paths_nor_root_for_pixels(tmp_path):
    with pytest.raises(UsageError, match="--pixel-shape is for a table of pixels"):
        found(write_table(tmp_path / "pets.csv", PETS, a=1, b=2, c=3), pixel_shape=(6, 8, 3))
    with pytest.raises(UsageError, match="--root is for a table of paths"):
        found(write_table(tmp_path / "px.csv", pixel_table(random_images(2, 5, 5, 1), [0, 1])), root=tmp_path)


def write_zip(path, folder, prefix=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{prefix}{file.relative_to(folder)}")


def write_tar(path, folder, prefix=""):
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        archive.add(folder, prefix or ".")


ARCHIVES = [("pets.zip", write_zip), ("pets.tar", write_tar), ("pets.tar.gz", write_tar), ("pets.tgz", write_tar)]


@pytest.mark.parametrize(("name", "write"), ARCHIVES)
@pytest.mark.parametrize("prefix", ["", "wrapped/", "twice/wrapped/"])
@pytest.mark.parametrize("divided", ["", "train"])
def test_an_archive_of_class_folders_reads_as_they_do(name, write, prefix, divided, tmp_path):
    write_tree(tmp_path / "tree" / divided, "cats", "dogs")
    write(tmp_path / name, tmp_path / "tree", prefix)
    packed, plain = found(tmp_path / name), found(tmp_path / "tree")
    assert ("pets", ("cats", "dogs")) == (packed.name, packed.listing.class_names)
    assert ids_and_labels(plain.listing.train) == ids_and_labels(packed.listing.train)
    assert levels_of(plain.listing.train) == levels_of(packed.listing.train)


@pytest.mark.parametrize(("name", "write"), ARCHIVES[:2])
def test_an_archive_of_tables_reads_as_they_do(name, write, tmp_path):
    write_table(tmp_path / "tables" / "train.csv", PETS, a=1, b=2, c=3)
    write(tmp_path / name, tmp_path / "tables", "wrapped/")
    assert ids_and_labels(listing(tmp_path / "tables").train) == ids_and_labels(listing(tmp_path / name).train)
    images = random_images(4, 4, 4, 1)
    write_table(tmp_path / "pixels" / "digits.csv", pixel_table(images, [0, 1, 0, 1]))
    write(tmp_path / f"pixels_{name}", tmp_path / "pixels")
    np.testing.assert_array_equal(images, listing(tmp_path / f"pixels_{name}").train.images)


def test_an_error_in_an_archive_names_the_archive_and_not_the_cache(tmp_path):
    write_tree(tmp_path / "tree" / "pets", "cats", "dogs")
    (tmp_path / "tree" / "pets" / "empty").mkdir()
    with tarfile.open(tmp_path / "pets.tar", "w") as archive:
        archive.add(tmp_path / "tree", ".")
    with pytest.raises(DataError, match=r"Class folder '.*/pets\.tar/pets/empty' has no images") as raised:
        found(tmp_path / "pets.tar")
    assert str(tmp_path / "pets.tar") in str(raised.value)
    with pytest.raises(UsageError, match=r"--root is for a table of paths; '.*/pets\.tar/pets' is not one"):
        found(tmp_path / "pets.tar", root=tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="links")
@pytest.mark.parametrize("name", ["pets.csv", "pets.zip", "pets"])
def test_a_link_keeps_its_name_and_folder(name, tmp_path):
    write_tree(tmp_path / "tree", "cats", "dogs")
    write_image(tmp_path / "snap" / "a.png", 1)
    write_image(tmp_path / "snap" / "b.png", 2)
    (tmp_path / "blobs").mkdir()
    blob = tmp_path / "blobs" / "abc123"
    if name == "pets.csv":
        write_table(blob, "path,label\na.png,x\nb.png,y\n")
    elif name == "pets.zip":
        write_zip(blob, tmp_path / "tree")
    else:
        (tmp_path / "tree").rename(blob)
    (tmp_path / "snap" / name).symlink_to(blob)
    for data in (str(tmp_path / "snap" / name), provenance.DataSource.of(tmp_path / "snap" / name).data):
        pets = sources.find(data)
        assert ("pets", 2) == (pets.name, len(pets.listing.class_names))
    assert str(tmp_path / "snap" / name) == data


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_links_to_folders_are_not_followed(tmp_path):
    write_tree(tmp_path, "cats", "dogs")
    (tmp_path / "cats" / "again").symlink_to(tmp_path)
    write_image(tmp_path / "cats" / ".hidden" / "x.png", 9)
    (tmp_path / "dogs" / "loop.png").symlink_to("loop.png")
    assert ["cats/0.png", "cats/1.png", "cats/2.png"] == listing(tmp_path).train.ids.tolist()[:3]
    assert 6 == len(listing(tmp_path).train)
