"""Model files are told by their content, and other files by what they are."""

import os
import pickle
import struct

import numpy as np
import pytest
from safetensors.numpy import save

from diptych.deployment.file_types import file_type_of
from diptych.deployment.transfer import transfer
from diptych.errors import ArtifactError
from diptych.spec import zoo

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 1116712\n"
CONTENTS = {  # content and what is said of it
    "nothing": (b"", "it is an empty file"),
    "page": (b"\n <!DOCTYPE html><html><body>Log in", "it is an HTML page; download the file again"),
    "error": (b'<?xml version="1.0"?><Error><Code>AccessDenied', "it is an XML file; download the file again"),
    "pointer": (LFS, r"Git LFS pointer \(run `git lfs pull`\)"),
    "gzip": (b"\x1f\x8b\x08\0" * 9, "it is an archive; unpack it first"),
    "tar": (b"a" * 257 + b"ustar", "it is an archive; unpack it first"),
    "index": (
        b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}',
        "it is a JSON file, which contains no weights",
    ),
    "image": (b"\x89PNG\r\n\x1a\n" + bytes(99), "it is an image"),
    "array": (b"\x93NUMPY\x01\0" + bytes(99), "a NumPy array; expected named arrays"),
    "zeros": (bytes(999), "not completely written"),
    "checkpoint": (b"\0\x06\x01" * 30 + struct.pack("<Q", 0xDB4775248B80FB57), "part of a TensorFlow checkpoint"),
    "noise": (b"\x7fELF" * 9, r"it is a file that starts with b'"),
    "page.onnx": (b"<html>", "it is an HTML page; download the file again"),
    "page.safetensors": (b"<html>", "it is an HTML page; download the file again"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_in_no_known_format_is_told_by_its_content(name, tmp_path):
    content, fault = CONTENTS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=fault):
        file_type_of(tmp_path / name)


@pytest.mark.parametrize("name", ["model", "model.ckpt", "model.bin", "model.onnx", "model.pt"])
def test_the_name_of_a_file_decides_nothing(name, tmp_path):
    (tmp_path / name).write_bytes(save({"fc.weight": np.zeros((3, 4), np.float32)}))
    assert "safetensors file" == file_type_of(tmp_path / name).title
    (tmp_path / name).write_bytes(pickle.dumps({}, 2))
    assert "PyTorch weights file" == file_type_of(tmp_path / name).title


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "model.pt")
    for path in (tmp_path / "model.pt", tmp_path.__class__("/dev/zero")):
        with pytest.raises(ArtifactError, match="is a pipe or a device"):
            transfer(path, tmp_path / "new.pt", spec=zoo.model("mlp"))
