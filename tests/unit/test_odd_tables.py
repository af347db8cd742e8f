"""Tables as people have them: what is decided about their columns, labels, splits and paths, and what is refused."""

import json

import numpy as np
import pytest
from data_files import ids_and_labels, listing, random_bytes, write_files, write_image, write_table

from diptych.data import datasets
from diptych.errors import DataError, UsageError
from diptych.training.provenance import DataSource

FOUR = dict.fromkeys("abcd", 1)
TWO = ("cat", "dog")


def table(columns, *rows):
    return "\n".join([columns, *rows]) + "\n"


def labeled(*labels, column="label", image="path"):
    return table(f"{image},{column}", *(f"{name}.png,{label}" for name, label in zip("abcd", labels, strict=False)))


READ = {
    "one-hot": (table("image_id,cat,dog", "a,1,0", "b,0,1", "c,0,1", "d,1,0"), TWO, [0, 1, 1, 0]),
    "one-hot of floats": (table("img;cat;dog;age", "a;1,0;0,0;7", "b;0,0;1,0;8", "c;0;1;9"), TWO, [0, 1, 1]),
    "one-hot of booleans": (table("file,cat,dog", "a.png,True,False", "b.png,False,True"), TWO, [0, 1]),
    "floats": (labeled("10.0", "2.0", "0.0", "1.0"), ("0", "1", "2", "10"), [3, 2, 0, 1]),
    "fractions": (labeled("10.5", "2.5", "2.5"), ("2.5", "10.5"), [1, 0, 0]),
    "decimal commas": ("path;label\na.png;1,0\nb.png;0,0\n", ("0", "1"), [1, 0]),
    "none as a class": (labeled("none", "dog", "none", "dog"), ("dog", "none"), [1, 0, 1, 0]),
    "None as a class": (labeled("None", "Dog"), ("Dog", "None"), [1, 0]),
    "names with spaces and marks": (labeled("big cat", "salt|pepper", '"a, b"', "x/y"), None, [1, 2, 0, 3]),
    "UTF-16": (labeled("cat", "dog").replace(",", "\t").encode("utf-16"), TWO, [0, 1]),
    "Excel's sep": ("sep=;\npath;label\na.png;cat\nb.png;dog\n", TWO, [0, 1]),
    "bars": (labeled("cat", "dog").replace(",", "|"), TWO, [0, 1]),
    "an index of pandas": (table(",path,what", "0,a.png,cat", "1,b.png,dog"), TWO, [0, 1]),
    "an unnamed index": (table("Unnamed: 0,image,what", "0,a.png,cat", "1,b.png,dog"), TWO, [0, 1]),
    "names with spaces": (table("Image Index , Finding Labels", "a.png,cat", "b.png,dog"), TWO, [0, 1]),
    "no header": (table("a.png,cat", "b.png,dog"), TWO, [0, 1]),
    "a name in the first column": (table("name,photo,breed", "Rex,a.png,dog", "Tom,b.png,cat"), TWO, [1, 0]),
    "names of labels": (table("path,label,label_name", "a.png,1,cat", "b.png,0,dog"), ("dog", "cat"), [1, 0]),
    "diagnoses": (table("image_id,dx,age", "a,cat,3", "b,dog,4"), TWO, [0, 1]),
    "a coarse label beside the label": (table("path,label,coarse_label", "a.png,cat,x", "b.png,dog,x"), TWO, [0, 1]),
}


@pytest.mark.parametrize("form", READ)
def test_labels_are_read_as_they_are_meant(form, tmp_path):
    text, class_names, labels = READ[form]
    found = listing(write_table(tmp_path / "data.csv", text, **FOUR))
    assert (class_names or found.class_names, labels) == (found.class_names, found.train.labels.tolist())
    assert [f"{name}.png" for name in "abcd"[: len(labels)]] == found.train.ids.tolist()


def test_floats_are_named_by_classes_txt(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert listing(write_table(tmp_path / "data.csv", labeled("1.0", "0.0"), **FOUR)).class_names == TWO


@pytest.mark.parametrize("suffix", [".txt", ".lst", ".tsv"])
@pytest.mark.parametrize("mark", [" ", "\t", "  "])
def test_a_list_of_files_needs_no_header(suffix, mark, tmp_path):
    lines = "".join(f"{name}.png{mark}{label}\n" for name, label in zip("abc", "010", strict=True))
    found = listing(write_table(tmp_path / f"train{suffix}", lines.replace("\t\t", "\t"), **FOUR))
    assert (("0", "1"), [0, 1, 0]) == (found.class_names, found.train.labels.tolist())
    assert "image column '1'" in found.inferred


BAD_LABELS = {
    "empty, nan, NaN, NA, null": (["cat", "dog", "cat", "dog", "", "nan", "NaN", "NA", "null"], "no-label", 5),
    "None of Python": (["cat", "dog", "cat", "dog", "None", "None"], "no-label", 2),
    "a word among numbers": (["0", "1", "0", "1", "none", "-", "?"], "no-label", 3),
    "bars": (["rust", "scab", "rust|scab", "scab|rot"], "several-labels", 2),
    "semicolons": (["rust", "scab", "rust;scab"], "several-labels", 1),
    "spaces": (["rust", "scab", "rust scab"], "several-labels", 1),
    "lists": (["['rust']", "['scab']", "\"['rust', 'scab']\""], "several-labels", 1),
    "numbers": (["0", "1", '"0,1"', "0 1"], "several-labels", 2),
    "one-hot": (["1,0", "0,1", "1,1", "0,0", "0,1"], "several-labels", 1),
    "one-hot without any": (["1,0", "0,1", "0,0", "0,1"], "no-label", 1),
}


@pytest.mark.parametrize("form", BAD_LABELS)
def test_rows_without_one_label_are_refused_or_skipped_and_named(form, tmp_path):
    labels, kind, count = BAD_LABELS[form]
    names = [f"{number}.png" for number in range(len(labels))]
    for name in names:
        write_image(tmp_path / name, 1)
    column = "rust,scab" if "hot" in form else "label"
    rows = [f"{name},{label}" for name, label in zip(names, labels, strict=True)]
    path = write_table(tmp_path / "data.csv", table(f"path,{column}", *rows))
    finding = next(one for one in listing(path).findings if one.kind == kind)
    assert finding.reason.startswith(f"{count} of {len(labels)} rows")
    with pytest.raises(DataError, match=r"data\.csv: line .*--bad-images skip"):
        datasets.read(str(path))
    skipped = datasets.read(str(path), bad_images="skip")
    assert len(skipped.train) == len(labels) - sum(int(one.reason[0]) for one in listing(path).findings)
    assert finding.reason in " ".join(skipped.remarks)


SPLITS = {
    "subset": ("train train test test", None, "0,1 - 2,3"),
    "Usage": ("Training Training PublicTest PrivateTest", None, "0,1 2 3"),
    "is_valid": ("False True False True", None, "0,2 1,3 -"),
    "is_train": ("1.0 1.0 0.0 0.0", None, "0,1 - 2,3"),
    "train": ("yes no yes no", None, "0,2 - 1,3"),
    "dataset": ("Train_set TrainSet test-set ValidationSet", None, "0,1 3 2"),
    "fold": ("0 1 2 3", None, "0,1,2,3"),
    "fold ": ("0 1 2 3", "fold=2", "0,1,3 - 2"),
    "site": ("train val test train", "site", "0,3 1 2"),
    "set": ("Lego Duplo Lego Duplo", None, "0,1,2,3"),
}


@pytest.mark.parametrize("column", SPLITS)
def test_split_columns_are_read_where_they_say_splits_and_named_where_not(column, tmp_path):
    cells, option, expected = SPLITS[column]
    rows = [f"{name}.png,{label},{cell}" for name, label, cell in zip("abcd", "xyxy", cells.split(), strict=True)]
    found = listing(
        write_table(tmp_path / "data.csv", table(f"path,label,{column}", *rows), **FOUR), split_column=option
    )
    splits = {name: [f"{'abcd'.index(one[0])}" for one in split.ids] for name, split in found.splits.items()}
    wanted = zip(("train", "validation", "test"), expected.split(), strict=False)
    assert {name: part.split(",") for name, part in wanted if part != "-"} == splits
    if len(splits) == 1:
        assert any(column.strip() in one.reason for one in found.findings if one.kind == "not-used")


def test_folders_of_splits_in_paths_are_splits(tmp_path):
    for name in ("train/a.png", "train/b.png", "test/a.png"):
        write_image(tmp_path / name, 1)
    found = listing(write_table(tmp_path / "l.csv", "path,label\ntrain/a.png,x\ntrain/b.png,y\ntest/a.png,x\n"))
    assert {"train": 2, "test": 1} == {name: len(split) for name, split in found.splits.items()}


PLACES = {
    "ids in a folder": ("7 8", ["images/7.png", "images/8.png"]),
    "names in a folder": ("7.png 8.png", ["train/7.png", "train/8.png"]),
    "ids in two folders": ("7 8", ["part_1/7.jpg", "part_2/8.png"]),
    "ids below a folder": ("x/7 x/8", ["x/7.png", "x/8.png"]),
    "Kaggle": ("/kaggle/input/p/images/7.png /kaggle/input/p/images/8.png", ["images/7.png", "images/8.png"]),
    "Windows": (r"C:\Users\me\images\7.png C:\Users\me\images\8.png", ["images/7.png", "images/8.png"]),
    "backslashes": (r"images\7.png images\8.png", ["images/7.png", "images/8.png"]),
    "another case": ("images/7.png images/8.png", ["images/7.PNG", "images/8.PNG"]),
    "home": ("~/data/7.png ~/data/8.png", ["7.png", "8.png"]),
    "URLs": ("https://x.org/p/7.png https://x.org/p/8.png", ["p/7.png", "p/8.png"]),
    "the project's folder": ("data/images/7.png data/images/8.png", ["images/7.png", "images/8.png"]),
}


@pytest.mark.parametrize("form", PLACES)
def test_paths_are_matched_with_the_files_that_fit(form, tmp_path):
    texts, files = PLACES[form]
    for name in files:
        write_image(tmp_path / name, 1)
    write_files(tmp_path, {"images/7.txt": b"no image"})
    rows = [f"{text},{label}" for text, label in zip(texts.split(), "xy", strict=True)]
    found = listing(write_table(tmp_path / "data.csv", table("path,label", *rows)))
    assert list(zip(files, (0, 1), strict=True)) == ids_and_labels(found.train)
    assert form == "backslashes" or any("is the file" in one or "without" in one for one in found.inferred)


def test_an_id_that_two_files_fit_is_an_error_with_both_unless_the_split_decides(tmp_path):
    for name in ("train/7.png", "test/7.png", "train/8.png"):
        write_image(tmp_path / name, 1)
    text = "id,label\n7,x\n8,y\n"
    with pytest.raises(DataError, match=r"'7' may be 'test/7\.png' or 'train/7\.png'"):
        listing(write_table(tmp_path / "data.csv", text))
    (tmp_path / "data.csv").rename(tmp_path / "train.csv")
    write_table(tmp_path / "test.csv", "id,label\n7,x\n")
    assert [["train/7.png", "train/8.png"], ["test/7.png"]] == [
        one.ids.tolist() for one in listing(tmp_path).splits.values()
    ]


def test_files_without_rows_and_rows_without_files_are_counted(tmp_path):
    path = write_table(tmp_path / "data.csv", labeled("x", "y", "x"), a=1, b=2, d=3)
    assert ["left-out"] == [one.kind for one in listing(path).findings]
    with pytest.raises(DataError, match=r"1 of 3 images cannot be decoded: 'c\.png'.*--bad-images skip"):
        datasets.read(str(path))
    assert ["c.png"] == [name for name, _ in datasets.read(str(path), bad_images="skip").skipped]


def test_repeated_rows_are_used_once_and_those_of_two_splits_refused(tmp_path):
    rows = ["a.png,x,train", "b.png,y,train", "./a.png,x,train", "c.png,y,train", "d.png,y,train", "d.png,y,test"]
    path = write_table(tmp_path / "data.csv", table("path,label,split", *rows), **FOUR)
    assert ["duplicate", "several-labels"] == [one.kind for one in listing(path).findings]
    assert ["a.png", "b.png", "c.png"] == listing(path).train.ids.tolist()
    with pytest.raises(DataError, match=r"again with another label or split .data\.csv: line 6, line 7"):
        datasets.read(str(path))


@pytest.mark.parametrize(("pair", "count"), [(("Cat", "cat"), 1), (("big cat", "big  cat"), 1), (("cat", "cats"), 0)])
def test_classes_that_differ_in_case_or_spaces_are_a_warning(pair, count, tmp_path):
    path = write_table(tmp_path / "data.csv", labeled(*pair, *pair), **FOUR)
    remarks = [one for one in datasets.load(str(path), validation_fraction=0).remarks if "may be one" in one]
    assert count == len(remarks)
    assert all(repr(name) in remark for remark in remarks for name in pair)


OPTIONS = {
    "the label": ({"label_column": "Coarse_Label"}, "fine_label,coarse_label", ("x,y", "y,x"), ("x", "y"), [1, 0]),
    "a number": ({"label_column": "3"}, "color,size", ("x,big", "x,small"), ("big", "small"), [0, 1]),
    "the last": ({"label_column": "last"}, "color,size", ("x,big", "x,small"), ("big", "small"), [0, 1]),
    "the image": ({"image_column": "path"}, "file,label", ("z.png,x", "z.png,y"), ("x", "y"), [0, 1]),
}


@pytest.mark.parametrize("form", OPTIONS)
def test_options_settle_which_column_is_which_and_without_them_it_is_an_error(form, tmp_path):
    options, columns, cells, class_names, labels = OPTIONS[form]
    rows = [f"{name}.png,{cell}" for name, cell in zip("ab", cells, strict=True)]
    path = write_table(tmp_path / "data.csv", table(f"path,{columns}", *rows), **FOUR)
    read = DataSource.of(path, **options).read()
    assert (class_names, labels) == (read.class_names, read.train.labels.tolist())
    with pytest.raises(DataError, match=f"may be in .* or .*set --{next(iter(options)).replace('_', '-')}"):
        listing(path)
    with pytest.raises(UsageError, match=r"--label-column 'nope' is not a column of .*: expected 'path'"):
        listing(path, **options | {"label_column": "nope"})


def pixel_rows(images, labels, place):
    rows = images.reshape(len(images), -1).astype(str).tolist()
    for row, label in zip(rows, labels, strict=True):
        row.insert(len(row) if place == "last" else 0, str(label))
    return rows


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("labels", [[1, 0, 2, 1], [3, 4, 3, 4], ["x", "y", "x", "z"], ["0.0", "1.0", "0.0", "1.0"]])
@pytest.mark.parametrize("header", ["", "counted"])
def test_the_labels_of_pixels_are_found_at_either_end(place, labels, header, tmp_path):
    images = random_bytes(4, 5, 5, 1)
    rows = pixel_rows(images, labels, place)
    counted = [",".join(map(str, range(26)))] if header else []
    path = write_table(tmp_path / "px.csv", "\n".join([*counted, *map(",".join, rows)]) + "\n")
    for found in (listing(path), listing(path, label_column=place)):
        np.testing.assert_array_equal(images, found.train.images)
        assert len({*labels}) == len(found.class_names)


def test_pixels_may_have_an_index_an_id_and_a_split(tmp_path):
    images = random_bytes(4, 5, 5, 1)
    cells = zip(("0,x,a,train", "1,y,b,test", "2,z,a,test", "3,w,b,train"), images, strict=True)
    rows = [",".join([others, *map(str, image.ravel())]) for others, image in cells]
    columns = ",id,label,split," + ",".join(f"pixel{number}" for number in range(25))
    found = listing(write_table(tmp_path / "px.csv", table(columns, *rows)))
    np.testing.assert_array_equal(images[[0, 3]], found.train.images)
    np.testing.assert_array_equal(images[[1, 2]], found.test.images)


def test_pixels_may_be_in_one_cell(tmp_path):
    images = random_bytes(4, 5, 5, 1)
    rows = [f"{number % 2},{' '.join(map(str, image.ravel()))},Training" for number, image in enumerate(images)]
    path = write_table(tmp_path / "fer.csv", table("emotion, pixels, Usage", *rows))
    np.testing.assert_array_equal(images, listing(path).train.images)
    with pytest.raises(DataError, match=r"line 3, must have 25 integers from 0 to 255 in 'pixels'"):
        listing(write_table(tmp_path / "bad.csv", table("emotion,pixels,Usage", *rows).replace("\n1,", "\n1,x ")))


def jsonl(columns, *rows):
    entries = [dict(zip(columns.split(","), row.split(","), strict=True)) for row in rows]
    return "".join(json.dumps(entry) + "\n" for entry in entries)


@pytest.mark.parametrize(("suffix", "form"), [("csv", table), ("jsonl", jsonl)])
@pytest.mark.parametrize("image", ["file_name", "front_file_name", "image"])
def test_metadata_of_hugging_face_is_read_beside_images_and_instead_of_folders(suffix, form, image, tmp_path):
    files = ("train/a/1.png", "train/b/2.png", "train/a/3.png", "test/a/4.png")
    for name in files:
        write_image(tmp_path / "faces" / name, 1)
    rows = {"train": ("a/1.png,x", "b/2.png,y", "a/3.png,y"), "test": ("a/4.png,x",)}
    for split, some in rows.items():
        write_table(tmp_path / "faces" / split / f"metadata.{suffix}", form(f"{image},label", *some))
    expected = [[("train/a/1.png", 0), ("train/a/3.png", 1), ("train/b/2.png", 1)], [("test/a/4.png", 0)]]
    assert expected == [ids_and_labels(split) for split in listing(tmp_path / "faces").splits.values()]
    for split in rows:
        (tmp_path / "faces" / split / f"metadata.{suffix}").unlink()
    all_rows = [f"{split}/{row}" for split, some in rows.items() for row in some]
    write_table(tmp_path / "faces" / f"metadata.{suffix}", form(f"{image},label", *all_rows))
    assert expected == [ids_and_labels(split) for split in listing(tmp_path / "faces").splits.values()]


def test_metadata_without_labels_leaves_class_folders_and_is_named(tmp_path):
    for name in ("a/1.png", "b/2.png"):
        write_image(tmp_path / name, 1)
    write_table(tmp_path / "metadata.csv", "file_name,caption,words\na/1.png,one,1\nb/2.png,two,2\n")
    found = listing(tmp_path)
    assert (("a", "b"), ["not-used"]) == (found.class_names, [one.kind for one in found.findings])


@pytest.mark.parametrize("name", ["HAM10000_metadata.csv", "labels.csv"])
def test_folders_that_hold_the_images_of_a_table_are_no_classes(name, tmp_path):
    for file in ("part_1/a.jpg", "part_2/b.jpg"):
        write_image(tmp_path / file, 1)
    write_table(tmp_path / name, "image_id,dx\na,mel\nb,nv\n")
    write_table(tmp_path / "sample_submission.csv", "image_id,dx\nz,mel\n")
    assert ("mel", "nv") == listing(tmp_path).class_names


def test_lists_named_after_splits_are_tables(tmp_path):
    write_table(tmp_path / "train.txt", "a.png 0\nb.png 1\n", **FOUR)
    write_table(tmp_path / "test.txt", "c.png 1\n")
    assert {"train": 2, "test": 1} == {name: len(split) for name, split in listing(tmp_path).splits.items()}


def test_a_table_of_test_images_without_labels_is_not_used_and_named(tmp_path):
    write_table(tmp_path / "train.csv", labeled("x", "y"), a=1, b=2)
    write_table(tmp_path / "test.csv", "path\nc.png\n", c=1)
    found = listing(tmp_path)
    assert (["train"], 2) == ([*found.splits], len(found.train))
    assert "test.csv, which has no column 'label'" in [one.reason for one in found.findings]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [("[1]", "must be a JSON object"), ("{", "is not JSON"), ("[" * 100_000, "is not JSON"), ('{"a": 1}', "line 1, h")],
)
def test_lines_that_are_no_json_objects_are_an_error(line, complaint, tmp_path):
    with pytest.raises(DataError, match=complaint if complaint != "line 1, h" else "has the columns 'a'"):
        listing(write_table(tmp_path / "data.jsonl", f"{line}\n"))


def test_parquet_obeys_the_same_rules(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = {"image_id": ["a", "b", "c", "d"], "cat": [1.0, 0.0, 1.0, 0.0], "dog": [0.0, 1.0, 1.0, 0.0]}
    pq.write_table(pa.table(rows), tmp_path / "data.parquet")
    write_table(tmp_path / "data.csv", "", **FOUR)
    found = listing(tmp_path / "data.parquet")
    assert (TWO, [("a.png", 0), ("b.png", 1)]) == (found.class_names, ids_and_labels(found.train))
    reasons = {one.kind: one.reason for one in found.findings}
    assert "(data.parquet: row 3)" in reasons["no-label"]
    assert "'cat|dog' (data.parquet: row 2)" in reasons["several-labels"]
