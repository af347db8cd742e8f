"""What is said of files and folders before anything is parsed, and where what parses them is missing."""

import pytest

from diptych.deployment import packages
from diptych.deployment.containers import find_card, open_artifact
from diptych.errors import ArtifactError, MissingEngine


@pytest.mark.parametrize(
    ("name", "content", "package", "extra"),
    [("model.onnx", b"", "onnx", "export"), ("model.h5", b"\x89HDF\r\n\x1a\n", "h5py", "tensorflow")],
)
def test_a_missing_reader_is_named_with_what_to_install(tmp_path, monkeypatch, name, content, package, extra):
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(MissingEngine, match=rf"needs the package '{package}', .*pip install 'diptych\[{extra}\]'"):
        open_artifact(tmp_path / name)


def test_a_folder_that_is_no_model_is_not_walked_through(tmp_path, monkeypatch):
    monkeypatch.setattr(type(tmp_path), "rglob", None)
    with pytest.raises(ArtifactError, match="is neither a SavedModel"):
        find_card(tmp_path)


@pytest.mark.parametrize("name", ["absent.onnx", "no\0name.onnx", "long" * 2000])
def test_what_cannot_be_there_is_not_there(tmp_path, name):
    with pytest.raises(ArtifactError, match="There is no file or folder"):
        find_card(tmp_path / name)
