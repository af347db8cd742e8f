"""Model files are recognized and checked before they are parsed."""

import pytest

from diptych.deployment import formats
from diptych.deployment.file_types import find_card, open_artifact
from diptych.errors import ArtifactError, MissingEngine


@pytest.mark.parametrize(
    ("name", "content", "package", "extra"),
    [("model.onnx", b"", "onnx", "export"), ("model.h5", b"\x89HDF\r\n\x1a\n", "h5py", "tensorflow")],
)
def test_a_missing_package_is_named_with_how_to_install_it(tmp_path, monkeypatch, name, content, package, extra):
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(MissingEngine, match=rf"needs the package '{package}', .*pip install 'diptych\[{extra}\]'"):
        open_artifact(tmp_path / name)


def test_a_folder_that_is_not_a_model_is_not_walked(tmp_path, monkeypatch):
    monkeypatch.setattr(type(tmp_path), "rglob", None)
    with pytest.raises(ArtifactError, match="is not a SavedModel"):
        find_card(tmp_path)


def test_a_folder_of_more_than_a_hundred_files_is_refused(tmp_path):
    for name in ("model.xml", *map(str, range(99))):
        (tmp_path / name).touch()
    assert find_card(tmp_path) is None
    (tmp_path / "99").touch()
    with pytest.raises(ArtifactError, match="more than 100 files"):
        find_card(tmp_path)


@pytest.mark.parametrize("name", ["absent.onnx", "no\0name.onnx", "long" * 2000])
def test_a_path_that_cannot_exist_is_missing(tmp_path, name):
    with pytest.raises(ArtifactError, match="No file or folder"):
        find_card(tmp_path / name)
