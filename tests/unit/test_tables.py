"""CSV files of paths and of pixels, and folders of them."""

import numpy as np
import pytest
from data_files import ids_and_labels, levels_of, listing, random_bytes, write_image, write_table

from diptych.data import datasets, sources
from diptych.data.readers.layout import split_named
from diptych.errors import DataError, UsageError

PETS = "path,label\nb.png,dog\na.png,cat\nc.png,cat\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pets.csv", PETS),
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
    ids=["plain", "tsv", "semicolons", "byte order mark", "CRLF", "no last newline", "empty lines", "quotes", "spaces",
         "other columns", "unknown names", "a quoted newline", "paths with dots"],
)  # fmt: skip
def test_a_table_lists_images_and_classes_in_sorted_order_however_it_is_written(name, text, tmp_path):
    pets = sources.find(str(write_table(tmp_path / name, text, a=10, b=20, c=30)))
    assert ("pets", False, ("cat", "dog")) == (pets.name, pets.mirror, pets.listing.class_names)
    assert [("a.png", 0), ("b.png", 1), ("c.png", 0)] == ids_and_labels(pets.listing.train)
    assert [10, 20, 30] == levels_of(pets.listing.train)
    assert (None, None) == (pets.listing.validation, pets.listing.test)


def test_a_split_column_divides_the_rows(tmp_path):
    text = "path,label,split\na.png,x,train\nb.png,y,Training\nc.png,y,valid\nd.png,x,test\ne.png,y,test\n"
    pets = listing(write_table(tmp_path / "pets.csv", text, a=1, b=2, c=3, d=4, e=5))
    assert [("a.png", 0), ("b.png", 1)] == ids_and_labels(pets.train)
    assert [("c.png", 1)] == ids_and_labels(pets.validation)
    assert [("d.png", 0), ("e.png", 1)] == ids_and_labels(pets.test)


def test_the_order_of_rows_changes_nothing_and_class_folders_of_the_same_files_agree(tmp_path):
    names = [f"{folder}/{number}.png" for folder in ("cats", "cats-", "dogs/old", "dogs/young") for number in range(10)]
    for level, name in enumerate(names):
        write_image(tmp_path / "pets" / name, level)
    rows = [f"{name},{name.split('/')[0]}\n" for name in names]
    tables = [write_table(tmp_path / f"{step}.csv", "path,label\n" + "".join(rows[::step])) for step in (1, -1)]
    loaded = [datasets.load(str(path), root=tmp_path / "pets") for path in tables]
    loaded.append(datasets.load(str(tmp_path / "pets")))
    assert 1 == len({dataset.fingerprint for dataset in loaded})
    assert 1 == len({tuple(dataset.test.ids.tolist()) for dataset in loaded})


def test_a_column_class_name_names_labels_that_are_numbers(tmp_path):
    text = "path,label,class_name\na.png,10,ten\nb.png,9,nine\nc.png,9,nine\n"
    pets = listing(write_table(tmp_path / "pets.csv", text, a=1, b=2, c=3))
    assert (("nine", "ten"), [1, 0, 0]) == (pets.class_names, pets.train.labels.tolist())


@pytest.mark.parametrize(
    ("labels", "class_names"), [(("1", "2"), ("cat", "big dog")), (("10", "9"), ("cat", "big dog")), ("xy", ("x", "y"))]
)
def test_classes_txt_names_labels_that_are_numbers_and_leaves_others(labels, class_names, tmp_path):
    (tmp_path / "classes.txt").write_text("cat\nbig dog\n")
    text = f"path,label\na.png,{labels[0]}\nb.png,{labels[1]}\n"
    assert class_names == listing(write_table(tmp_path / "pets.csv", text, a=1, b=2)).class_names
    with pytest.raises(DataError, match=r"pets\.csv' has 3 labels, but classes\.txt beside it has 2"):
        listing(write_table(tmp_path / "pets.csv", "path,label\na.png,-1\nb.png,9\nc.png,10\n", c=3))


def test_paths_and_ids_are_relative_to_the_root(tmp_path):
    write_image(tmp_path / "images" / "deep" / "a.png", 10)
    write_image(tmp_path / "images" / "b.png", 20)
    path = write_table(tmp_path / "tables" / "pets.csv", "path,label\ndeep/a.png,x\nb.png,y\n")
    pets = listing(path, root=tmp_path / "images")
    assert (["b.png", "deep/a.png"], [20, 10]) == (pets.train.ids.tolist(), levels_of(pets.train))
    with pytest.raises(
        DataError, match=r"line 2, names the image 'deep/a\.png', which is not a file below .*tables.*set --root"
    ):
        listing(path)


@pytest.mark.parametrize("path", ["../secret.png", "{outside}/secret.png", "link.png", "in\\..\\secret.png"])
def test_a_path_cannot_leave_its_root(path, tmp_path):
    write_image(tmp_path / "secret.png", 1)
    write_image(tmp_path / "inside" / "b.png", 2)
    (tmp_path / "inside" / "link.png").symlink_to(tmp_path / "secret.png")
    table = write_table(tmp_path / "inside" / "pets.csv", f"path,label\nb.png,y\n{path.format(outside=tmp_path)},x\n")
    with pytest.raises(DataError, match=r"pets\.csv', line 3, leaves the folder"):
        listing(table)


HEAD, ROW, DIVIDED = "path,label\n", "path,label\na.png,x\n", "path,label,split\na.png,x,train\nb.png,y,train\n"
WRONG_PATHS = {
    "a folder as a file": (f"{ROW}.,y\n", "line 3, leaves the folder"),
    "an empty label": (f"{ROW}b.png,\n", r"Without a label.*1 of 2 rows .*data\.csv: line 3"),
    "the same image under two labels": (
        f"{ROW}b.png,y\nc.png,x\n./a.png,y\n", "2 of 4 rows name 'a.png' or others again .*line 2, line 5"),
    "a row cut short": (f"{ROW}b.png\n", "line 3, has 1 cells, the header 2"),
    "a NUL": (f"{ROW}b\0.png,y\n", "line 3, .*contains a NUL"),
    "Latin-1": (f"{ROW}b.png,caf\xe9\n".encode("latin-1"), "line 3, is not UTF-8"),
    "a huge cell": (f"{ROW}b.png,{'y' * 200_000}\n", "line 3, cannot be read: field larger than"),
    "a quote that is not closed": (f'{ROW}"b.png,y\nc.png,x\n', "line 4, cannot be read"),
    "nothing": ("", "is empty: expected a header and rows"),
    "no rows": (HEAD, "has no rows"),
    "a split that is none": (f"{DIVIDED}c.png,y,holdout\n", "line 4, has the split 'holdout'"),
    "one class": (f"{ROW}b.png,x\n", "has 1 class, 'x'"),
    "a class that training lacks": (f"{DIVIDED}c.png,z,test\n", "missing from training: z: 1 images"),
    "a number in two spellings": (
        f"{HEAD}a.png,1\nb.png,01\nc.png,2\n", "has the labels '01' and '1' for the same number"),
    "two columns of labels": (
        "path,label,target\na.png,x,y\nb.png,y,x\n",
        "'target'; the labels may be in 'label' or 'target': set --label-column"),
    "two columns of paths": (
        "path,file,label\na.png,b.png,x\nb.png,a.png,y\n", "images may be in 'path' or 'file': set --image-column"),
    "no column of labels": ("path\na.png\nb.png\n", "none of them seems to hold the labels: add one, .*predict"),
    "columns that could all be labels": (
        "path,color,size\na.png,x,1\nb.png,y,2\n", "labels may be in 'color' or 'size': set --label-column"),
    "neither paths nor pixels": ("a,b\n1,2\n3,4\n", "has the columns 'a', 'b'; none of them seems to hold the images"),
    "two names for a number": (
        "path,label,class_name\na.png,1,one\nb.png,2,two\nc.png,1,uno\n",
        "line 4, names the label '1' 'uno', rows before it 'one'"),
    "one name for two numbers": (
        "path,label,class_name\na.png,1,one\nb.png,2,one\n", "gives two labels the name 'one'"),
}  # fmt: skip


def test_a_table_may_have_only_test_rows_but_not_to_train_on(tmp_path):
    path = write_table(tmp_path / "pets.csv", "path,label,split\na.png,x,test\nb.png,y,test\n", a=1, b=2)
    assert (("x", "y"), 0, 2) == (listing(path).class_names, len(listing(path).train), len(listing(path).test))
    with pytest.raises(DataError, match=r"Classes missing from training \(2\): .* Add images to a folder or table"):
        datasets.load(str(path))


def pixel_table(images_nhwc, labels, *, names="pixel{}", label="label", label_at=0, delimiter=","):
    """Return a table of pixels; its header, if there are `names`, consists of these and `label`."""
    rows = images_nhwc.reshape(len(images_nhwc), -1).astype(str).tolist()
    rows.insert(0, [names.format(number) for number in range(len(rows[0]))])
    for row, cell in zip(rows, [label, *labels], strict=True):
        row.insert(label_at, str(cell))
    return "".join(delimiter.join(row) + "\n" for row in (rows if names else rows[1:]))


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (5, 5, 1), (8, 8, 3)])
def test_a_csv_of_pixels_becomes_images_of_the_square_shape_that_fits(shape, tmp_path):
    images = random_bytes(5, *shape)
    digits = sources.find(str(write_table(tmp_path / "digits.csv", pixel_table(images, [7, 0, 10, 7, 0]))))
    train = digits.listing.train
    np.testing.assert_array_equal(images, train.images)
    assert (("0", "7", "10"), [1, 0, 2, 1, 0]) == (digits.listing.class_names, train.labels.tolist())
    assert (np.uint8, np.int64) == (train.images.dtype, train.labels.dtype)
    assert ("digits", False) == (digits.name, digits.mirror)


FORMS = {
    "label within": {"label_at": 3},
    "label last": {"label_at": 25},
    "semicolons": {"delimiter": ";"},
    "tabs": {"delimiter": "\t"},
    "no header": {"names": ""},
    "spaces": {"delimiter": " , "},
    "numbers as a header": {"names": "{}"},
    "label of another name": {"label": "what"},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_csv_of_pixels_reads_the_same_however_it_is_written(form, tmp_path):
    images = random_bytes(3, 5, 5, 1)
    for labels in ([1, 0, 1], ["T-shirt", '"Bag, big"', "T-shirt"]):
        digits = listing(write_table(tmp_path / "digits.csv", pixel_table(images, labels, **FORMS[form])))
        np.testing.assert_array_equal(images, digits.train.images)
        assert [1, 0, 1] == digits.train.labels.tolist()


def test_the_shape_of_pixels_is_an_option(tmp_path):
    images = random_bytes(2, 4, 12, 3)
    path = write_table(tmp_path / "wide.csv", pixel_table(images, [0, 1]))
    np.testing.assert_array_equal(images, listing(path, pixel_shape=(4, 12, 3)).train.images)
    assert (12, 12, 1) == listing(path).train.images.shape[1:]
    with pytest.raises(DataError, match=r"has 144 pixel columns, which is not \(5, 5, 1\)"):
        listing(path, pixel_shape=(5, 5, 1))
    with pytest.raises(DataError, match="21 pixel columns, not those of a square grayscale or RGB image: set"):
        listing(write_table(tmp_path / "odd.csv", pixel_table(random_bytes(2, 3, 7, 1), [0, 1])))


PIXELS = pixel_table(np.full((4, 3, 3, 1), 7), [0, 1, 0, 1])
WRONG_PIXELS = {
    "256": (PIXELS.replace("1,7,7", "1,7,256", 1), "line 3, has '256' in column 'pixel1': expected an integer"),
    "-1": (f"{PIXELS[:-2]}-1\n", "line 5, has '-1' in column 'pixel8'"),
    "a fraction": (PIXELS.replace("0,7", "0,3.5"), "line 2, has '3.5' in column 'pixel0'"),
    "a word": (PIXELS.replace("1,7", "1,x"), "line 3, has 'x'"),
    "no label": (PIXELS.replace("\n1,", "\n,"), r"2 of 4 rows have no label .*line 3, line 5"),
    "a NUL": (PIXELS.replace("\n1", "\n\0"), "line 3, .*contains a NUL"),
    "256 before the label": (
        pixel_table(np.full((2, 3, 3, 1), 256), [0, 1], label_at=9), "line 2, has '256' in column 'pixel0'"),
    "a counted header without a label": (
        ",".join(map(str, range(9))) + "\n" + "7,7,7,7,7,7,7,7,7\n" * 2, "has no label column, only 9 pixels"),
    "two columns of labels": (PIXELS.replace("pixel8", "class"), "labels may be in 'label' or 'class'"),
    "two ends that may be labels": ("1,7,7,7,2\n2,7,7,7,1\n1,7,7,7,2\n", "the first or the last column: set --label-c"),
    "a row cut short": (f"{PIXELS[:-3]}\n", "line 5, has 9 cells, the header 10"),
    "Latin-1": (PIXELS.replace("\n1", "\ncaf\xe9").encode("latin-1"), "line 3, is not UTF-8"),
    "no rows": (PIXELS.partition("\n")[0], "has no rows"),
    "one class": (PIXELS.replace("\n1", "\n0"), "has 1 class, '0'"),
}  # fmt: skip
FAULTS = [*WRONG_PATHS, *(f"pixels: {kind}" for kind in WRONG_PIXELS)]


@pytest.mark.parametrize(("text", "complaint"), [*WRONG_PATHS.values(), *WRONG_PIXELS.values()], ids=FAULTS)
def test_a_fault_in_a_table_is_an_error_with_its_line(text, complaint, tmp_path):
    with pytest.raises(DataError, match=rf"data.*{complaint}") as raised:
        datasets.load(str(write_table(tmp_path / "data.csv", text, a=1, b=2, c=3)))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_tables_named_train_and_test_are_splits(tmp_path):
    train, test = random_bytes(6, 4, 4, 1), random_bytes(2, 4, 4, 1)
    write_table(tmp_path / "fashion-mnist_train.csv", pixel_table(train, [0, 1, 2, 0, 1, 2]))
    write_table(tmp_path / "fashion-mnist_test.csv", pixel_table(test, [2, 0]))
    fashion = listing(tmp_path)
    np.testing.assert_array_equal(train, fashion.train.images)
    np.testing.assert_array_equal(test, fashion.test.images)
    assert ([2, 0], None) == (fashion.test.labels.tolist(), fashion.validation)


def test_tables_of_paths_named_after_splits_are_read_beside_their_images(tmp_path):
    for level, name in enumerate(("train_images/a.png", "train_images/b.png", "test_images/c.png")):
        write_image(tmp_path / name, level)
    write_table(tmp_path / "train.csv", "image,label\ntrain_images/a.png,x\ntrain_images/b.png,y\n")
    write_table(tmp_path / "val.csv", "image,label\ntest_images/c.png,y\n")
    write_table(tmp_path / "sample_submission.csv", "image,label\nc.png,x\n")
    pets = listing(tmp_path)
    assert [("train_images/a.png", 0), ("train_images/b.png", 1)] == ids_and_labels(pets.train)
    assert [("test_images/c.png", 1)] == ids_and_labels(pets.validation)


@pytest.mark.parametrize("names", [("test.csv",), ("test.csv", "other.csv")])
def test_a_folder_may_have_only_test_tables(names, tmp_path):
    for name in names:
        write_table(tmp_path / name, PETS, a=1, b=2, c=3)
    assert (0, 3) == (len(listing(tmp_path).train), len(listing(tmp_path).test))


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
        listing(tmp_path)


@pytest.mark.parametrize(
    ("name", "split"),
    [("train.csv", "train"), ("mnist_test.csv", "test"), ("validation-00000-of-00002.parquet", "validation"),
     ("Train-1.csv", "train"), ("training.csv", "train"), ("val.csv", "validation"), ("labels.csv", ""),
     ("train_test.csv", ""), ("contest.csv", "")],
)  # fmt: skip
def test_a_word_of_the_name_is_the_split(name, split, tmp_path):
    assert split == split_named(name.partition(".")[0])


def test_pixel_shape_is_not_for_paths_nor_root_for_pixels(tmp_path):
    with pytest.raises(UsageError, match="--pixel-shape is for a table of pixels"):
        listing(write_table(tmp_path / "pets.csv", PETS, a=1, b=2, c=3), pixel_shape=(6, 8, 3))
    with pytest.raises(UsageError, match="--root is for a table of paths"):
        listing(write_table(tmp_path / "px.csv", PIXELS), root=tmp_path)
