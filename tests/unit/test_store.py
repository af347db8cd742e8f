"""Files are written whole or not at all, equal content gives equal bytes, broken files are named."""

import numpy as np
import pytest
import safetensors.numpy

from diptych.artifacts.store import (
    array_parts,
    atomic_write,
    read_arrays,
    read_json,
    read_npz,
    sha256_of,
    write_arrays,
    write_json,
    write_npz,
)
from diptych.data.readers import as_names
from diptych.errors import ArtifactError


def test_a_file_appears_when_it_is_whole_and_two_writers_do_not_mix(tmp_path):
    path = tmp_path / "new" / "folder" / "metrics.json"
    with atomic_write(path) as slow:
        slow.write(b"slow")
        assert not path.exists()
        with atomic_write(path) as quick:
            quick.write(b"quick")
        assert path.read_bytes() == b"quick"
    assert path.read_bytes() == b"slow"


def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write(b"new, but not al")
        raise KeyboardInterrupt
    assert ([path], b"old") == (list(tmp_path.iterdir()), path.read_bytes())


def test_what_cannot_be_written_is_named_with_its_bytes(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"Cannot write '.*file/a\.json'"):
        write_json(tmp_path / "file" / "a.json", {})
    with pytest.raises(ArtifactError, match="safetensors does not support str32, the type of 'names'"):
        write_arrays(tmp_path / "a", {"names": np.array(["x"])}, {})
    (tmp_path / "file").unlink()
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArtifactError, match=r"Cannot write '.*/folder': Is a directory after 3 of 3 bytes\. Write to"):
        write_json(tmp_path / "folder", {})
    message = r"Cannot write '.*/folder': Is a directory after 2 bytes\. "
    with pytest.raises(ArtifactError, match=message), atomic_write(tmp_path / "folder") as file:
        file.write(b"ab")
    assert [tmp_path / "folder"] == list(tmp_path.iterdir())


@pytest.mark.parametrize("read", [read_json, read_arrays, read_npz, sha256_of])
def test_a_missing_file_is_an_artifact_error(tmp_path, read):
    with pytest.raises(ArtifactError, match=r"Cannot read '.*absent': No such file"):
        read(tmp_path / "absent")


ARRAYS = {
    "kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scalar": np.array(7, dtype=np.int64),
    "empty": np.zeros((0, 4), dtype=np.float64),
    "half": np.array([0.5], dtype=np.float16),
    "big_endian": np.arange(3, dtype=">f4"),
    "mask": np.array([True, False]),
    # safetensors 0.8 writes such an array as it is in memory.
    "transposed": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)[:, ::2],
}
KINDS = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64".split()


def assert_equal(expected, actual):
    assert expected.keys() == actual.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(array, actual[name], strict=name != "big_endian")


def test_arrays_and_metadata_return_and_the_library_reads_and_writes_the_same(tmp_path):
    arrays = {f"of {kind}": np.arange(6).reshape(2, 3).astype(kind) for kind in KINDS} | ARRAYS
    metadata = {"model": "fashion_cnn", "π": 'a "quoted"\nline'}
    write_arrays(tmp_path / "ours", arrays, metadata)
    safetensors.numpy.save_file({**arrays, "transposed": arrays["transposed"].copy()}, tmp_path / "theirs")
    assert metadata == read_arrays(tmp_path / "ours")[1]
    for actual in (read_arrays(tmp_path / "ours")[0], safetensors.numpy.load_file(tmp_path / "ours")):
        assert_equal(arrays, actual)
    assert_equal(arrays, read_arrays(tmp_path / "theirs")[0])


def test_equal_arrays_and_metadata_are_equal_bytes_in_any_order(tmp_path):
    arrays, metadata = dict.fromkeys("xyz", np.ones(3, np.float32)), {"format": "pt"}
    write_arrays(tmp_path / "forth", arrays, metadata)
    write_arrays(tmp_path / "back", dict(reversed(arrays.items())), metadata)
    safetensors.numpy.save_file(arrays, tmp_path / "theirs", metadata)
    assert 1 == len({sha256_of(tmp_path / name) for name in ("forth", "back", "theirs")})
    *_, numbers = array_parts({"x": arrays["x"]}, {})
    assert np.shares_memory(arrays["x"], np.frombuffer(numbers, np.uint8))  # numbers are written from where they are


def test_npz_arrays_return_even_texts_of_any_width(tmp_path):
    arrays = {"logits": np.ones((2, 3), np.float32), "ids": np.array(["a/1.png", "b/é.png"])}
    write_npz(tmp_path / "a.npz", {**arrays, "names": as_names(["a", "b" * 300])})
    actual = read_npz(tmp_path / "a.npz")
    assert ["a", "b" * 300] == actual.pop("names").tolist()
    assert_equal(arrays, actual)


@pytest.mark.parametrize(
    ("read", "name", "kept", "fault"),
    [
        (read_arrays, "a.safetensors", -1, "the safetensors file is corrupt or truncated"),
        *((read_npz, "a.npz", kept, r"the \.npz file is corrupt or truncated") for kept in (0, 10, -1)),
        (read_json, "a.json", 5, "it is not JSON .*truncated"),
        (read_json, "list.json", None, "expected `object`, got `array`"),
    ],
)
def test_a_truncated_file_is_named_with_its_fault(tmp_path, read, name, kept, fault):
    write_arrays(tmp_path / "a.safetensors", ARRAYS, {})
    write_npz(tmp_path / "a.npz", {"logits": np.ones(50)})
    (tmp_path / "a.json").write_text('{"a": {}}')
    (tmp_path / "list.json").write_text("[1]")
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ArtifactError, match=rf"Cannot read '.*{name}': {fault}"):
        read(path)


def test_json_returns_as_plain_values(tmp_path):
    content = {"path": tmp_path, "array": np.arange(3), "tuple": (1, "é"), "lost": [float("nan"), np.inf], 3: None}
    write_json(tmp_path / "a.json", {**content, "scalar": np.float32(0.5)})
    expected = {"path": str(tmp_path), "array": [0, 1, 2], "tuple": [1, "é"], "lost": [None, None], "3": None}
    assert {**expected, "scalar": 0.5} == read_json(tmp_path / "a.json")


def test_numbers_that_numpy_lacks_are_an_artifact_error(tmp_path):
    header = b'{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(ArtifactError, match="NumPy lacks the number type F8_E4M3 of 'a'"):
        read_arrays(tmp_path / "a.safetensors")


def test_arrays_of_python_objects_are_neither_written_nor_read(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_npz(tmp_path / "b.npz", {"ids": objects})
    np.savez(tmp_path / "a.npz", ids=objects)
    with pytest.raises(ArtifactError, match=r"the \.npz file is corrupt or truncated .*allow_pickle"):
        read_npz(tmp_path / "a.npz")
