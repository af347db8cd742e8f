"""Readers on files written byte by byte in the published formats."""

import gzip
import pickle
import struct
import tarfile
import warnings

import numpy as np
import pytest
from data_files import idx_bytes, python_batch, random_bytes, tar_bytes, write_files

from diptych.data.readers import arrays
from diptych.data.readers.arrays import parse_idx, read_idx_files
from diptych.errors import DataError

PACKS = pytest.mark.parametrize("pack", [bytes, gzip.compress])


@PACKS
def test_an_idx_file_is_read_packed_and_plain(pack):
    values = random_bytes(5, 4, 3)
    np.testing.assert_array_equal(values, parse_idx(pack(idx_bytes(values)), "images", num_axes=3))


@PACKS
def test_an_idx_file_truncated_anywhere_is_an_error_that_names_it(pack):
    content = pack(idx_bytes(random_bytes(5, 4, 3)))
    for length in range(len(content)):
        with pytest.raises(DataError, match=r"images.* byte \d+"):
            parse_idx(content[:length], "images", num_axes=3)


@PACKS
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (idx_bytes(random_bytes(5), type_code=9), "00000901.* at byte 0, expected 00000801"),
        (idx_bytes(random_bytes(5)) + b"x", "'labels' ends at byte 14, expected 13"),
        (bytes((0, 0, 8, 1)) + struct.pack(">I", 2**32 - 1), "ends at byte 8, expected 4294967303 for the shape"),
    ],
)
def test_a_wrong_idx_file_is_an_error_that_says_where(content, complaint, pack):
    with pytest.raises(DataError, match=complaint):
        parse_idx(pack(content), "labels", num_axes=1)


def test_a_damaged_gzip_stream_is_an_error_that_names_the_file():
    content = bytearray(gzip.compress(idx_bytes(random_bytes(50, 4, 3))))
    content[300] ^= 0xFF
    with pytest.raises(DataError, match=r"images\.gz.*damaged near byte \d+"):
        parse_idx(bytes(content), "images.gz", num_axes=3)


def read_pair(folder, num_images, labels):
    (folder / "images").write_bytes(idx_bytes(random_bytes(num_images, 4, 3)))
    (folder / "labels").write_bytes(idx_bytes(np.array(labels, dtype=np.uint8)))
    return read_idx_files(folder, ["images", "labels"], 10)[0]


def test_a_pair_is_gray_images_with_a_channel_axis_and_int64_labels(tmp_path):
    images_nhwc, labels_n = read_pair(tmp_path, 3, [0, 9, 4])
    assert ((3, 4, 3, 1), np.uint8) == (images_nhwc.shape, images_nhwc.dtype)
    assert ([0, 9, 4], np.int64) == (labels_n.tolist(), labels_n.dtype)


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ([0, 9, 10], "labels.*label 10 for image 2, expected 0 to 9"),
        ([0, 1], "images.*3 images.*labels.*2 labels.*byte 4"),
    ],
)
def test_labels_that_do_not_fit_are_an_error_that_names_the_file(labels, complaint, tmp_path):
    with pytest.raises(DataError, match=complaint):
        read_pair(tmp_path, 3, labels)


LABELS = [6, 9, 0]
ROWS = random_bytes(3, arrays.NUM_PIXEL_BYTES)


def hostile_pickles(marker):
    touch = f"touch {marker}".encode()
    short = bytes([len(touch)]) + touch
    return {
        "os.system": b"cos\nsystem\n(S'" + touch + b"'\ntR.",
        "numpy.load": b"\x80\x02cnumpy\nload\nU\x04fileS'x'\n\x86R.",
        "numpy.core.multiarray.scalar": b"\x80\x02cnumpy.core.multiarray\nscalar\n)R.",
        "numpy.ndarray.tofile": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        "an instance by the i opcode": b"(S'" + touch + b"'\nios\nsystem\n.",
        "a persistent id": b"\x80\x02K\x01Q.",
        "an extension code": b"\x80\x02\x82\x01.",
        "within the labels": python_batch(ROWS, LABELS, labels_opcodes=b"cos\nsystem\nU" + short + b"\x85R"),
    }


@pytest.mark.parametrize("kind", list(hostile_pickles("")))
def test_a_pickle_of_anything_else_is_an_error_and_does_not_run(kind, tmp_path):
    content = hostile_pickles(tmp_path / "marker")[kind]
    with pytest.raises(DataError, match=r"data_batch_1.*at byte \d+"):
        arrays.parse_python(content, "data_batch_1")
    assert not (tmp_path / "marker").exists()


def test_the_hostile_pickles_run_in_the_pickle_module(tmp_path):
    pickle.loads(hostile_pickles(tmp_path / "marker")["os.system"])
    assert (tmp_path / "marker").exists()


def test_a_pickle_cannot_change_how_the_next_one_is_read():
    for poison in (b"N}U\x08__code__K\x00s\x86b.", b"}U\x0c__setstate__K\x00sb."):
        with pytest.raises(DataError):
            arrays.parse_python(b"\x80\x02cnumpy\ndtype\n" + poison, "poison")
    _, labels_n = arrays.parse_python(python_batch(ROWS, LABELS), "data_batch_1")
    assert labels_n.tolist() == LABELS


@pytest.mark.parametrize("is_fortran", [False, True])
def test_a_python_batch_reads_as_in_numpy(is_fortran):
    content = python_batch(ROWS, LABELS, is_fortran=is_fortran)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the old name numpy.core
        by_numpy = pickle.loads(content, encoding="bytes")
    images_nhwc, labels_n = arrays.parse_python(content, "data_batch_1")
    by_planes = by_numpy[b"data"].reshape(3, 3, 32, 32)
    np.testing.assert_array_equal(np.moveaxis(by_planes, 1, 3), images_nhwc)
    assert (by_numpy[b"labels"], np.int64) == (labels_n.tolist(), labels_n.dtype)


def test_a_python_batch_truncated_anywhere_is_an_error_with_an_offset():
    content = python_batch(ROWS, LABELS)
    for length in (*range(0, 250), *range(250, len(content) - 60, 97), *range(len(content) - 60, len(content))):
        with pytest.raises(DataError, match=rf"data_batch_1.*at byte {length}"):
            arrays.parse_python(content[:length], "data_batch_1")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (python_batch(ROWS, [6, 9]), r"size 2 into shape \(3,\)"),
        (python_batch(ROWS[:, :3000], LABELS), "size 9000 into shape"),
        (python_batch(ROWS, [6, 10, 0]), "label 10 for image 1, expected 0 to 9"),
        (python_batch(ROWS, [], labels_opcodes=b"](U\x01aK\x01K\x02e"), "N numbers in labels"),
        (python_batch(ROWS, [], labels_opcodes=b"K\x01"), "not iterable"),
        (python_batch(ROWS, LABELS, type_code=b"O8"), "array of type b'O8'"),
        (pickle.dumps([1, 2], protocol=2), "expected a pickled dictionary"),
        (b"\x80\x02}(U\x04dataK\x01U\x06labels]u.", r"expected .* uint8 \(N, 3072\) in data"),
    ],
)
def test_a_pickle_of_something_else_says_what_is_wrong(content, complaint):
    with pytest.raises(DataError, match=complaint):
        arrays.parse_python(content, "data_batch_1")


def binary_batch(rows, labels):
    return b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, rows, strict=True))


def test_a_damaged_binary_batch_is_an_error_with_an_offset():
    content = binary_batch(ROWS, LABELS)
    with pytest.raises(DataError, match="the label 10 for image 1, expected 0 to 9"):
        arrays.parse_binary(binary_batch(ROWS, [6, 10, 0]), "data_batch_1.bin")
    for length in [0, 1, 3072, 3074, 6000, len(content) - 1]:
        with pytest.raises(DataError, match=rf"data_batch_1\.bin.*truncated at byte {length}"):
            arrays.parse_binary(content[:length], "data_batch_1.bin")


FORMS = [(arrays.PYTHON, python_batch), (arrays.BINARY, binary_batch)]


def cifar_members(form, write):
    return {name: write(random_bytes(2, 3072) ^ np.uint8(index), [index, 9]) for index, name in enumerate(form.members)}


@pytest.mark.parametrize(("form", "write"), FORMS)
def test_an_archive_and_its_unpacked_folder_hold_the_batches_in_their_order(form, write, tmp_path):
    members = cifar_members(form, write)
    (tmp_path / form.archive.name).write_bytes(tar_bytes(dict(reversed(members.items()))))
    write_files(tmp_path, members)
    images_nhwc = random_bytes(2, 3072).reshape(2, 3, 32, 32).transpose(0, 2, 3, 1)
    for listed in (arrays.read_cifar(tmp_path / form.archive.name, form), arrays.read_cifar(tmp_path, form)):
        assert [0, 9, 1, 9, 2, 9, 3, 9, 4, 9] == listed.train.labels.tolist()
        assert [5, 9] == listed.test.labels.tolist()
        batches = np.concatenate([listed.train.images, listed.test.images]).reshape(6, 2, 32, 32, 3)
        np.testing.assert_array_equal([images_nhwc ^ np.uint8(number) for number in range(6)], batches)
    (tmp_path / form.members[2]).unlink()
    with pytest.raises(DataError, match=rf"{form.members[2]}.*No such file"):
        arrays.read_cifar(tmp_path, form)


def test_a_link_in_an_archive_is_not_followed(tmp_path):
    members = cifar_members(arrays.BINARY, binary_batch)
    link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
    link.type, link.linkname = tarfile.SYMTYPE, "data_batch_1.bin"
    del members[link.name]
    (tmp_path / "a.tar.gz").write_bytes(tar_bytes(members, link))
    with pytest.raises(DataError, match=r"a\.tar\.gz.*test_batch\.bin' that is a link"):
        arrays.read_cifar(tmp_path / "a.tar.gz", arrays.BINARY)


@pytest.mark.parametrize(("form", "write"), FORMS)
def test_an_archive_truncated_anywhere_in_its_batches_is_an_error_that_names_it(form, write, tmp_path):
    content = tar_bytes(cifar_members(form, write))
    for percent in range(0, 96, 5):
        (tmp_path / "cut.tar.gz").write_bytes(content[: len(content) * percent // 100])
        with pytest.raises(DataError, match=r"cut\.tar\.gz"):
            arrays.read_cifar(tmp_path / "cut.tar.gz", form)
