"""Keras archives whose configuration asks for more than layers, or whose weights lead elsewhere."""

import base64
import io
import json
import marshal
import zipfile
from functools import partial

import h5py
import numpy as np
from hostile_zips import rezipped

from diptych.engines.contract import CARD

CONFIG, WEIGHTS = "config.json", "model.weights.h5"


def configured(ground, change):
    """A sound archive whose configuration was changed in place."""
    with zipfile.ZipFile(ground.sound["keras"]) as archive:
        config = json.loads(archive.read(CONFIG))
    change(config, ground)
    return rezipped(ground.sound["keras"], ground.path(like="keras"), replace={CONFIG: json.dumps(config)})


def layer_of(config, name):
    (found,) = [layer for layer in config["config"]["layers"] if layer["name"] == name]
    return found


def instead_of_relu(make):
    """A change that puts another object where a ReLU was."""

    def change(config, ground):
        layer = layer_of(config, "relu1")
        layer.pop("build_config", None)
        layer.update({"registered_name": None, **make(ground)})
        layer["config"] = {"name": "relu1", **layer["config"]} if isinstance(layer["config"], dict) else layer["config"]

    return partial(configured, change=change)


def code(ground):
    """A function's marshaled code, as Keras keeps a Lambda's."""
    compiled = compile(f"lambda x: [{ground.python}, x][1]", "model", "eval").co_consts[0]
    return base64.b64encode(marshal.dumps(compiled)).decode()


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": "function"}


def as_activation(make):
    def change(config, ground):
        layer_of(config, "fc1")["config"]["activation"] = make(ground)

    return partial(configured, change=change)


def as_argument(make):
    """Where CVE-2025-1550 had its call: among the arguments of a layer's call."""

    def change(config, ground):
        layer_of(config, "relu1")["inbound_nodes"][0]["kwargs"] = {"mask": make(ground)}

    return partial(configured, change=change)


def lambda_of(ground):
    return {"class_name": "__lambda__", "config": {"code": code(ground), "defaults": None, "closure": None}}


def widened(config, ground):
    layer_of(config, "fc2")["config"]["units"] = 30_000_000
    layer_of(config, "fc3").pop("build_config")
    for name in ("relu2", "fc3"):
        for node in layer_of(config, name)["inbound_nodes"]:
            node["args"][0]["config"]["shape"] = [None, 30_000_000]


def nested(ground):
    path = ground.path(like="keras")
    return rezipped(ground.sound["keras"], path, replace={CONFIG: "[" * 10**6})


def with_weights(ground, change):
    """A sound archive in whose HDF5 something was changed."""
    with zipfile.ZipFile(ground.sound["keras"]) as archive:
        weights = io.BytesIO(archive.read(WEIGHTS))
    with h5py.File(weights, "r+") as file:
        change(file, ground)
    return rezipped(ground.sound["keras"], ground.path(like="keras"), replace={WEIGHTS: weights.getvalue()})


def linked(file, ground):
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = h5py.ExternalLink(ground.outside / "secret.h5", "values")


def stored_elsewhere(file, ground):
    del file["layers/dense/vars/0"]
    file.create_dataset("layers/dense/vars/0", (16, 256), "float32", external=[(ground.secret, 0, 2**14)])


def promising(file, ground):
    del file["layers/dense/vars/0"]
    file.create_dataset("layers/dense/vars/0", (10**6, 10**6), np.float32, chunks=(1000, 1000))


def two_files_in_one(ground):
    """A sound archive that, called `.h5`, is an HDF5 file too: one with a Lambda, of the format that wants trust."""
    old = ground.folder / "inside.h5"
    with h5py.File(old, "w", userblock_size=512) as file, h5py.File(ground.sound["h5"]) as sound:
        for name in sound:
            sound.copy(name, file)
        config = json.loads(sound.attrs["model_config"])
        layer_of(config, "relu1").update(class_name="Lambda", config={"name": "relu1", "function": lambda_of(ground)})
        file.attrs.update({**sound.attrs, "model_config": json.dumps(config)})
    first = "metadata.json"
    body = old.read_bytes()[512:]
    old.unlink()
    path = ground.path(like="h5")
    with zipfile.ZipFile(ground.sound["keras"]) as sound, zipfile.ZipFile(path, "w") as archive:
        archive.writestr(first, bytes(512 - 30 - len(first)) + body)
        for name in (CONFIG, WEIGHTS, CARD):
            archive.writestr(name, sound.read(name))
    assert h5py.is_hdf5(path)
    return path


def called(module, name):
    """A class (or function) of a module, as if it were a layer, called with a command."""
    return instead_of_relu(lambda g: {"module": module, "class_name": name, "config": {"args": g.command}})


# The weights in these are sound, and bringing them elsewhere asks for no layer.
MOVED = {
    "a Lambda with marshaled code": instead_of_relu(
        lambda g: {"module": "keras.layers", "class_name": "Lambda", "config": {"function": lambda_of(g)}}
    ),
    "a Lambda of keras.utils.get_file": instead_of_relu(
        lambda g: {
            "module": "keras.layers",
            "class_name": "Lambda",
            "config": {
                "function": function("keras.utils", "get_file"),
                "arguments": {"origin": f"file://{g.secret}", "cache_dir": str(g.outside)},
            },
        }
    ),
    "a layer that is subprocess.run": called("subprocess", "run"),
    "a layer that is os.system": called("os", "system"),
    "a layer that is builtins.exec": called("builtins", "exec"),
    "a layer that is keras.utils.get_file": called("keras.src.utils.file_utils", "get_file"),
    "a layer by a known name in a strange module": called("os", "Dense"),
    "a layer without a module": called(None, "Lambda"),
    "a layer registered by another name": instead_of_relu(
        lambda g: {"module": "keras.layers", "class_name": "ReLU", "config": {}, "registered_name": "os>system"}
    ),
    "a TFSMLayer": instead_of_relu(
        lambda g: {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": str(g.outside)}}
    ),
    "a TorchModuleWrapper": instead_of_relu(
        lambda g: {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"module": "aGk="}}
    ),
    "a StringLookup with another file's words": instead_of_relu(
        lambda g: {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": str(g.secret)}}
    ),
    "an activation that is marshaled code": as_activation(lambda_of),
    "an activation that is os.system": as_activation(lambda g: function("os", "system")),
    "an argument that turns safety off": as_argument(
        lambda g: function("keras.config", "enable_unsafe_deserialization")
    ),
    "an argument that is a call": as_argument(
        lambda g: {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "canary"]}}
    ),
    "a Dense layer of thirty million units": partial(configured, change=widened),
    "an archive that is an HDF5 file too": two_files_in_one,
    "an archive with assets": lambda g: rezipped(
        g.sound["keras"], g.path(like="keras"), add={"assets/layers/words.txt": b"x"}
    ),
}
CASES = {
    "a configuration of a million brackets": nested,
    "a configuration that is a list": lambda g: rezipped(
        g.sound["keras"], g.path(like="keras"), replace={CONFIG: "[1]"}
    ),
    "an archive without weights": lambda g: rezipped(g.sound["keras"], g.path(like="keras"), leave_out=(WEIGHTS,)),
    "weights linked to another file": partial(with_weights, change=linked),
    "weights stored in another file": partial(with_weights, change=stored_elsewhere),
    "weights that promise four terabytes": partial(with_weights, change=promising),
}
