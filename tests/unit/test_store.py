"""Files are written whole or not at all, equal content gives equal bytes, broken files are named."""

import json

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


def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")

    def write_half():
        with atomic_write(path) as file:
            file.write(b"new, but not al")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [path] == list(tmp_path.iterdir())
    assert path.read_bytes() == b"old"


def test_a_file_appears_under_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "model.bin"
    with atomic_write(path) as file:
        file.write(b"part")
        assert not path.exists()
    assert path.read_bytes() == b"part"


def test_two_who_write_the_same_file_at_once_do_not_mix(tmp_path):
    path = tmp_path / "metrics.json"
    with atomic_write(path) as slow:
        slow.write(b"slow")
        with atomic_write(path) as quick:
            quick.write(b"quick")
        assert path.read_bytes() == b"quick"
    assert path.read_bytes() == b"slow"


def test_a_new_file_has_the_permissions_of_any_other_new_file(tmp_path):
    (tmp_path / "plain").touch()
    write_json(tmp_path / "a.json", {})
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_cannot_be_made_is_an_artifact_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"Cannot write '.*file/a\.json'"):
        write_json(tmp_path / "file" / "a.json", {})


def test_what_cannot_be_written_is_named_with_its_bytes(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArtifactError, match=r"Cannot write '.*/folder': Is a directory after 3 of 3 bytes\. Write to"):
        write_json(tmp_path / "folder", {})
    with (
        pytest.raises(ArtifactError, match=r"Cannot write '.*/folder': Is a directory after 2 bytes\. "),
        atomic_write(tmp_path / "folder") as file,
    ):
        file.write(b"ab")
    assert [tmp_path / "folder"] == list(tmp_path.iterdir())


def test_json_comes_back_as_plain_values(tmp_path):
    content = {
        "path": tmp_path,
        "array": np.arange(3),
        "scalar": np.float32(0.5),
        "tuple": (1, "é"),
        "lost": [float("nan"), np.inf],
        3: None,
    }
    write_json(tmp_path / "a.json", content)
    expected = {
        "path": str(tmp_path),
        "array": [0, 1, 2],
        "scalar": 0.5,
        "tuple": [1, "é"],
        "lost": [None, None],
        "3": None,
    }
    assert expected == read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"a": ', "it is not JSON .*line 1 column 7"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[1]", "it holds a list, not a JSON object"),
    ],
)
def test_a_broken_json_file_is_named_with_its_fault(tmp_path, content, complaint):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"Cannot read '.*run\.json': {complaint}"):
        read_json(path)


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
}


def test_arrays_and_metadata_come_back_as_they_were(tmp_path):
    metadata = {"model": "fashion_cnn", "π": 'a "quoted"\nline'}
    write_arrays(tmp_path / "a.safetensors", ARRAYS, metadata)
    arrays, read_metadata = read_arrays(tmp_path / "a.safetensors")
    assert metadata == read_metadata
    assert set(ARRAYS) == set(arrays)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(array, arrays[name], strict=name != "big_endian")


def test_the_library_of_the_format_reads_and_writes_the_same(tmp_path):
    kinds = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
    kinds += ["float16", "float32", "float64", "complex64"]
    arrays = {f"of {kind}": np.arange(6).reshape(2, 3).astype(kind) for kind in kinds} | ARRAYS
    write_arrays(tmp_path / "ours", arrays, {})
    safetensors.numpy.save_file(arrays, tmp_path / "theirs")
    for found in (safetensors.numpy.load_file(tmp_path / "ours"), read_arrays(tmp_path / "theirs")[0]):
        assert arrays.keys() == found.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, found[name], strict=name != "big_endian")


def test_the_bytes_of_float_arrays_are_those_of_the_library(tmp_path):
    arrays = {
        name: np.random.default_rng(0).standard_normal((3, 2), np.float32) for name in ("b.weight", "a.bias", "c")
    }
    write_arrays(tmp_path / "ours", arrays, {"format": "pt"})
    safetensors.numpy.save_file(arrays, tmp_path / "theirs", {"format": "pt"})
    assert (tmp_path / "theirs").read_bytes() == (tmp_path / "ours").read_bytes()


def test_numbers_are_written_from_where_they_lie():
    array = np.ones((1000, 1000), np.float32)
    *_, numbers = array_parts({"a": array}, {})
    assert np.shares_memory(array, np.frombuffer(numbers, np.float32))


def test_a_transposed_array_keeps_its_values(tmp_path):
    # Written as it lies in memory by safetensors 0.8.
    kernel_oihw = np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)
    write_arrays(tmp_path / "a.safetensors", {"kernel": kernel_oihw, "part": kernel_oihw[:, ::2]}, {})
    arrays, _ = read_arrays(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(kernel_oihw, arrays["kernel"])
    np.testing.assert_array_equal(kernel_oihw[:, ::2], arrays["part"])


def test_equal_arrays_and_metadata_give_equal_bytes_in_whatever_order_they_come(tmp_path):
    arrays, metadata = dict.fromkeys("xyz", np.ones(3)), {letter: letter for letter in "abcdefgh"}
    write_arrays(tmp_path / "forth", arrays, metadata)
    write_arrays(tmp_path / "back", dict(reversed(arrays.items())), dict(reversed(metadata.items())))
    assert sha256_of(tmp_path / "forth") == sha256_of(tmp_path / "back")


def test_a_safetensors_file_of_ours_is_aligned_as_the_format_asks(tmp_path):
    write_arrays(tmp_path / "a", {"x": np.ones(2)}, {"key": "é" * 3})
    content = (tmp_path / "a").read_bytes()
    header_length = int.from_bytes(content[:8], "little")
    assert header_length % 8 == 0
    assert {"key": "é" * 3} == json.loads(content[8 : 8 + header_length])["__metadata__"]


def test_numbers_that_numpy_lacks_are_an_artifact_error(tmp_path):
    header = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(ArtifactError, match="NumPy lacks its number type"):
        read_arrays(tmp_path / "a.safetensors")


def test_a_truncated_safetensors_file_is_an_artifact_error(tmp_path):
    path = tmp_path / "model.safetensors"
    write_arrays(path, ARRAYS, {})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"model\.safetensors': the safetensors file is corrupt or truncated"):
        read_arrays(path)


def test_an_array_that_safetensors_cannot_hold_is_an_artifact_error(tmp_path):
    with pytest.raises(ArtifactError, match=r"Cannot write '.*': .*str32"):
        write_arrays(tmp_path / "a", {"names": np.array(["x"])}, {})
    assert not list(tmp_path.iterdir())


def test_npz_arrays_come_back_as_they_were_even_texts(tmp_path):
    arrays = {"logits": np.ones((2, 3), np.float32), "sample_ids": np.array(["a/1.png", "b/é.png"])}
    write_npz(tmp_path / "predictions.npz", arrays)
    read = read_npz(tmp_path / "predictions.npz")
    assert list(arrays) == list(read)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, read[name], strict=True)


def test_names_of_any_width_come_back_from_an_npz(tmp_path):
    names = as_names(["a/1.png", "b/é.png", "c" * 300])
    write_npz(tmp_path / "predictions.npz", {"sample_ids": names})
    assert names.tolist() == read_npz(tmp_path / "predictions.npz")["sample_ids"].tolist()


def test_arrays_of_python_objects_are_refused_on_both_ways(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    with pytest.raises(ArtifactError, match="ids holds Python objects"):
        write_npz(tmp_path / "a.npz", {"ids": objects})
    np.savez(tmp_path / "b.npz", ids=objects)
    with pytest.raises(ArtifactError, match=r"the \.npz file is corrupt or truncated .*allow_pickle"):
        read_npz(tmp_path / "b.npz")


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_a_truncated_npz_file_is_an_artifact_error(tmp_path, keep):
    path = tmp_path / "predictions.npz"
    write_npz(path, {"logits": np.ones(50)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match=r"predictions\.npz': the \.npz file is corrupt or truncated"):
        read_npz(path)


def test_a_digest_is_the_sha256_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert expected == sha256_of(tmp_path / "a")
