"""Keras's weights files that lead elsewhere, unpack without end or are damaged: refused in one line, unread."""

import io
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tiny

from diptych.deployment.transfer import read_weights
from diptych.errors import ArtifactError

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras warns of what it itself calls


def save(path):
    """A file of one Dense layer."""
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)


def linked(file, folder):
    with h5py.File(folder / "secret.h5", "w") as other:
        other["0"] = np.zeros((3, 3, 3, 4), np.float32)
    del file["layers/dense/vars/0"]
    return file["layers/dense/vars"], folder / "secret.h5"


def external_link(file, folder):
    group, secret = linked(file, folder)
    group["0"] = h5py.ExternalLink(str(secret), "0")


def soft_link(file, folder):
    linked(file, folder)[0]["0"] = h5py.SoftLink("/layers/dense/vars/1")


def virtual(file, folder):
    group, secret = linked(file, folder)
    layout = h5py.VirtualLayout((48, 3), np.float32)
    layout[:] = h5py.VirtualSource(str(secret), "0", (48, 3))
    group.create_virtual_dataset("0", layout)


def external_storage(file, folder):
    group, secret = linked(file, folder)
    group.create_dataset("0", (48, 3), np.float32, external=[(str(secret), 0, 576)])


def bomb(file, folder):
    zeros = {"dtype": np.float32, "chunks": (2**20,), "compression": "gzip"}
    file.create_dataset("layers/bomb/vars/0", (2**30,), **zeros)


def circle(file, folder):
    file["layers/dense/inner"] = file["layers"]


HOSTILE = {
    external_link: "'layers/dense/vars/0' is a link, which could lead anywhere",
    soft_link: "'layers/dense/vars/0' is a link, which could lead anywhere",
    virtual: "'layers/dense/vars/0' is stored in another file",
    external_storage: "'layers/dense/vars/0' is stored in another file",
    bomb: "bytes of arrays unpack to 4,294,967,8",
    circle: "its groups form a cycle",
}


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda spoil: spoil.__name__)
def test_a_file_that_leads_elsewhere_is_refused_in_one_line(spoil, suffix, tmp_path):
    weights = tmp_path / "model.weights.h5"
    save(weights)
    with h5py.File(weights, "a") as file:
        spoil(file, tmp_path)
    path = tmp_path / f"model{suffix}"
    if suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": []}}))
            archive.write(weights, "model.weights.h5")
    with pytest.raises(ArtifactError, match=HOSTILE[spoil]) as told:
        read_weights(path, tiny.linear())
    assert "\n" not in str(told.value)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        with archive.open("model.weights.h5", "w", force_zip64=True) as entry:
            for _ in range(400):
                entry.write(bytes(2**20))
    with pytest.raises(ArtifactError, match=r"unpacks to 419,430,402 bytes in 2 entries"):
        read_weights(tmp_path / "model.keras", tiny.linear())


def test_a_heap_that_hdf5_would_read_for_ever_is_refused(tmp_path):
    path = tmp_path / "model.weights.h5"
    save(path)
    content = bytearray(path.read_bytes())
    place = content.index(b"GCOL") + 16 + 8
    content[place : place + 8] = (2**64 - 16).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"the global heap at byte \d+ is damaged"):
        read_weights(path, tiny.linear())


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_a_damaged_file_is_refused_in_one_line(suffix, tmp_path):
    save(tmp_path / f"a{suffix}")
    content = (tmp_path / f"a{suffix}").read_bytes()
    for cut in (0, 8, 600, len(content) // 2, len(content) - 1):
        (tmp_path / f"b{suffix}").write_bytes(content[:cut])
        with pytest.raises(ArtifactError) as told:
            read_weights(tmp_path / f"b{suffix}", tiny.linear())
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("config", ["[", "[]", '{"config": {"layers": 3}}', '"text"', "[" * 100_000, '{"config": []}'])
def test_a_config_that_is_none_is_refused_in_one_line(config, tmp_path):
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((48, 3), np.float32)
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights.getvalue())
    with pytest.raises(ArtifactError) as told:
        read_weights(tmp_path / "model.keras", tiny.linear())
    assert "\n" not in str(told.value)
