"""Parquet with an image column: real files, written as Hugging Face lays them out and as others do."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_files import levels_of, listing, png, write_files

from diptych.data import datasets
from diptych.data.datasets import ingest
from diptych.data.preprocess import each
from diptych.data.readers import parquet
from diptych.errors import DataError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
COLUMNS = ("image", "label")
DICTIONARY = pa.dictionary(pa.int32(), pa.string())
NAMES = ["cat", "dog", "bird"]


def features(label="label", names=NAMES):
    metadata = {"image": {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
    return {"huggingface": json.dumps({"info": {"features": metadata}})}


def write(path, images, labels, *, metadata=None, image_type=IMAGE, label_type=None, names=COLUMNS, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = [pa.array(images, image_type), pa.array(labels, label_type or (pa.int64() if metadata else None))]
    table = pa.table(arrays, pa.schema(list(zip(names, (array.type for array in arrays), strict=True)), metadata))
    pq.write_table(table, path, **options)
    return path


def encoded(*levels):
    return [{"bytes": png(level), "path": f"{level}.png"} for level in levels]


def write_faces(folder, prefix=""):
    """A dataset as the Hub keeps it: two shards of training, one of test, three classes."""
    for number, levels in enumerate(((0, 1, 2, 3), (4, 5, 6, 7, 8))):
        path = folder / f"{prefix}train-0000{number}-of-00002.parquet"
        write(path, encoded(*levels), [level % 3 for level in levels], metadata=features(), row_group_size=2)
    write(folder / f"{prefix}test-00000-of-00001.parquet", encoded(20, 21, 22), [2, 1, 0], metadata=features())
    return folder


@pytest.mark.parametrize("prefix", ["", "data/"])
def test_shards_of_a_folder_are_read_as_the_hub_lays_them_out(prefix, tmp_path):
    faces = listing(write_faces(tmp_path / "faces", prefix))
    assert tuple(NAMES) == faces.class_names
    assert [0, 1, 2, 0, 1, 2, 0, 1, 2] == faces.train.labels.tolist()
    assert list(range(9)) == levels_of(faces.train)
    assert ([2, 1, 0], [20, 21, 22]) == (faces.test.labels.tolist(), levels_of(faces.test))
    assert faces.validation is None
    assert ("train-00000-of-00002.parquet:3", "train-00001-of-00002.parquet:0") == tuple(faces.train.ids[3:5])


def test_shards_without_a_split_in_their_names_are_one_set_in_the_order_of_rows(tmp_path):
    for number in range(2):
        write(tmp_path / f"{number:04}.parquet", encoded(5 + number, number), ["x", "y"])
    assert [5, 0, 6, 1] == levels_of(listing(tmp_path).train)


@pytest.mark.parametrize(
    ("images", "labels", "options", "class_names"),
    [
        ([png(1), png(2)], [7, 10], {"image_type": pa.binary(), "names": ("img", "target")}, ("7", "10")),
        (encoded(1, 2), [5, 6], {"metadata": {"huggingface": '{"info": [1, 2]}', "pandas": "{"}}, ("5", "6")),
        (encoded(1, 2), ["x", "y"], {"label_type": pa.large_string()}, ("x", "y")),
        (encoded(1, 2), pa.array(["x", "y"]).dictionary_encode(), {"label_type": DICTIONARY}, ("x", "y")),
    ],
    ids=["bytes without a struct", "unknown metadata", "long texts", "a dictionary"],
)
def test_columns_may_have_other_types_names_and_metadata(images, labels, options, class_names, tmp_path):
    faces = listing(write(tmp_path / "a.parquet", images, labels, **options))
    assert (class_names, [0, 1], [1, 2]) == (faces.class_names, faces.train.labels.tolist(), levels_of(faces.train))


def write_paths(path, paths, *, in_struct):
    """Write a table of paths, as texts or in the structs of Hugging Face."""
    images = [{"bytes": None, "path": path} for path in paths] if in_struct else paths
    return write(path, images, ["x", "y"], image_type=IMAGE if in_struct else pa.string())


@pytest.mark.parametrize("root", [None, "elsewhere"])
@pytest.mark.parametrize("in_struct", [False, True])
def test_images_may_be_paths_below_the_folder_or_the_root_and_plain_ones_are_sorted(in_struct, root, tmp_path):
    write_files(tmp_path / (root or "."), {f"images/{level}.png": png(level) for level in (3, 4)})
    path = write_paths(tmp_path / "a.parquet", ["images/4.png", "images/3.png"], in_struct=in_struct)
    train = listing(path, root=root and tmp_path / root).train
    expected = ([4, 3], [0, 1]) if in_struct else ([3, 4], [1, 0])
    assert expected == (levels_of(train), train.labels.tolist())


@pytest.mark.parametrize("path", ["../secret.png", "/secret.png", "link/secret.png", "a\0b"])
@pytest.mark.parametrize("in_struct", [False, True])
def test_a_path_cannot_leave_the_folder(path, in_struct, tmp_path):
    write_files(tmp_path, {"secret.png": png(1), "in/b.png": png(2)})
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    table = write_paths(tmp_path / "in" / "a.parquet", [path, "b.png"], in_struct=in_struct)
    with pytest.raises(DataError, match="The path"):
        levels_of(listing(table).train)


def test_a_column_split_divides_files_without_a_split_in_their_names(tmp_path):
    divided = write(tmp_path / "faces.parquet", encoded(*range(6)), [0, 1] * 3, metadata=features(names=["cat", "dog"]))
    splits = pa.array(["test", "train", "train", "val", "Train", "test"])
    pq.write_table(pq.read_table(divided).append_column("split", splits), divided)
    (tmp_path / "more").mkdir()
    for data in (divided, Path(shutil.copy(divided, tmp_path / "more" / "train.parquet"))):
        faces = listing(data)
        assert [[1, 2, 4], [3], [0, 5]] == [levels_of(one) for one in (faces.train, faces.validation, faces.test)]
        assert ([0, 1], ["0", "5"]) == (faces.test.labels.tolist(), [name[-1] for name in faces.test.ids])
    assert [1, 2, 4] == levels_of(listing(tmp_path / "more").train)
    shutil.copy(divided, tmp_path / "test.parquet")
    divided.rename(tmp_path / "train.parquet")
    assert 6 == len(listing(tmp_path).train)


def test_a_missing_shard_is_named(tmp_path):
    write_faces(tmp_path)
    (tmp_path / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"lacks train-00001-of-00002: download it"):
        listing(tmp_path)
    assert 4 == len(listing(tmp_path / "train-00000-of-00002.parquet").train)


def test_a_class_name_without_rows_is_not_a_class(tmp_path):
    path = write(tmp_path / "a.parquet", encoded(1, 2, 3, 4, 5, 6), [0, 2] * 3, metadata=features())
    assert (("cat", "bird"), [0, 1] * 3) == (listing(path).class_names, listing(path).train.labels.tolist())
    assert 2 == datasets.load(str(path)).num_classes


def test_a_class_missing_from_training_is_an_error_with_its_name(tmp_path):
    write(tmp_path / "train.parquet", encoded(1, 2), [0, 1], metadata=features())
    write(tmp_path / "test.parquet", encoded(3), [2], metadata=features())
    with pytest.raises(DataError, match=r"missing from training: bird: 1 images"):
        datasets.load(str(tmp_path))


def test_a_missing_image_can_be_skipped(tmp_path):
    images = [*encoded(1, 2, 3), {"bytes": None, "path": None}, None, {"bytes": b"no image", "path": None}]
    path = write(tmp_path / "a.parquet", images, ["x", "y", "x", "y", "x", "y"], image_type=IMAGE)
    parts = ingest(listing(path), (6, 8, 3), caching="never", bad_images="skip")
    assert ["a.parquet:3", "a.parquet:4", "a.parquet:5"] == [name for name, _ in parts.skipped]
    assert [1, 2, 3] == parts.train.images[:][:, 0, 0, 0].tolist()


WRONG = {
    "a label that is null": (
        (encoded(1, 2), [0, None]), {"metadata": features()}, r"1 of 2 rows have no label .a\.parquet: row 1"),
    "a label out of range": (
        (encoded(1, 2), [0, 3]), {"metadata": features()}, "row 1, has the label '3': expected 0 to 2"),
    "no rows": (([], []), {"metadata": features()}, "has no rows"),
    "two classes of one name": (
        (encoded(1, 2), [0, 1]), {"metadata": features(names=["a", "a"])}, "gives two labels the name 'a'"),
    "no image column": (([1.5, 2.5], ["x", "y"]), {"image_type": pa.float64()}, "none of them seems to hold the image"),
    "no label column": ((encoded(1, 2), [[1], [2]]), {}, "none of them seems to hold the labels"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_a_file_without_images_or_labels_is_an_error_in_one_line(kind, tmp_path):
    columns, options, complaint = WRONG[kind]
    path = write(tmp_path / "a.parquet", *columns, **options)
    with pytest.raises(DataError, match=complaint) as raised:
        datasets.load(str(path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "names", "complaint"),
    [
        ("validation-0", ["dog", "cat", "bird"], r"validation-0\.parquet' has other columns or classes than .*test"),
        ("more", NAMES, r"more\.parquet' must contain train"),
    ],
)
def test_a_shard_of_other_classes_or_without_a_split_is_an_error(name, names, complaint, tmp_path):
    write_faces(tmp_path)
    write(tmp_path / f"{name}.parquet", encoded(1), [0], metadata=features(names=names))
    with pytest.raises(DataError, match=complaint):
        listing(tmp_path)


def test_a_damaged_file_is_an_error_when_listed_or_read(tmp_path):
    path = write(tmp_path / "a.parquet", [{"bytes": bytes([level]) * 5000, "path": None} for level in range(8)],
                 ["x", "y"] * 4, image_type=IMAGE, compression="snappy")  # fmt: skip
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(DataError, match=r"Cannot read .*a\.parquet' as Parquet"):
        listing(path)
    path.write_bytes(b"\xff" * 400 + content[400:])
    faces = listing(path)
    with pytest.raises(DataError, match=r"Cannot read row group 0 of .*a\.parquet'"):
        faces.train.images.read(3)


def large(tmp_path):
    """Ten row groups of 1 MB."""
    images = [{"bytes": bytes([number % 256]) * 20_000, "path": None} for number in range(500)]
    return listing(write(tmp_path / "a.parquet", images, ["x", "y"] * 250, row_group_size=50)).train


@pytest.fixture
def groups_read(monkeypatch):
    """The row groups that were read, in order; listing reads whole columns of labels instead."""
    groups, read = [], parquet._read

    def counted(path, column, group=None):
        groups.extend([] if group is None else [group])
        return read(path, column, group)

    monkeypatch.setattr(parquet, "_read", counted)
    return groups


def test_a_scan_by_several_threads_reads_each_row_group_once(tmp_path, groups_read):
    listed, seen = large(tmp_path), {}
    assert [] == groups_read

    def one(place):
        seen[place] = listed.images.read(place)[0]

    each(one, len(listed))
    assert {place: place % 256 for place in range(500)} == seen
    assert set(range(10)) == set(groups_read)
    assert len(groups_read) < 20


def test_two_row_groups_stay_in_memory(tmp_path, groups_read):
    listed = large(tmp_path)
    before, most = pa.total_allocated_bytes(), 0
    for place in np.random.default_rng(0).permutation(len(listed)).tolist():
        assert place % 256 == listed.images.read(place)[0]
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 7_000_000  # two groups of 1 MB, and the one being read
    assert len(groups_read) > 10


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    write_faces(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs pyarrow: pip install 'diptych\[parquet\]'\.$"):
        listing(tmp_path)
