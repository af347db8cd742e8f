"""Keras archives whose configuration asks for more than layers, or whose weights lead elsewhere."""

import base64
import io
import json
import marshal
import zipfile
from functools import partial

import h5py
from ground import entry_of, rezipped

from diptych.engines.contract import CARD

CONFIG, WEIGHTS, FIRST = "config.json", "model.weights.h5", "layers/dense/vars/0"


def configured(ground, **entries):
    """A sound archive in whose configuration the layer relu1 has other entries."""
    config = json.loads(entry_of(ground, "keras", CONFIG))
    layer_of(config, "relu1").update(entries)
    return rezipped(ground, "keras", replace={CONFIG: json.dumps(config)})


def layer_of(config, name):
    (found,) = [layer for layer in config["config"]["layers"] if layer["name"] == name]
    return found


def lambda_of(ground):
    """A Lambda layer whose marshalled code leaves a trace."""
    code = compile(f"lambda x: [{ground.python}, x][1]", "model", "eval").co_consts[0]
    code = {"code": base64.b64encode(marshal.dumps(code)).decode(), "defaults": None, "closure": None}
    function = {"class_name": "__lambda__", "config": code}
    return {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "relu1", "function": function}}


def layer(module, name, **config):
    return {"module": module, "class_name": name, "config": {"name": "relu1", **config}, "registered_name": None}


def with_weights(ground, change):
    """A sound archive in whose HDF5 something was changed."""
    weights = io.BytesIO(entry_of(ground, "keras", WEIGHTS))
    with h5py.File(weights, "r+") as file:
        change(file, ground)
    return rezipped(ground, "keras", replace={WEIGHTS: weights.getvalue()})


def linked(file, ground):
    del file[FIRST]
    file[FIRST] = h5py.ExternalLink(ground.outside / "secret.h5", "values")


def dataset(shape, kind="float32", settings=lambda ground: {}, **more):
    """The first weights become another dataset."""

    def change(file, ground):
        del file[FIRST]
        file.create_dataset(FIRST, shape, kind, **settings(ground), **more)

    return change


stored_elsewhere = dataset((16, 256), settings=lambda ground: {"external": [(ground.secret, 0, 2**14)]})
promising = dataset((10**6, 10**6), chunks=(1000, 1000))


def two_files_in_one(ground):
    """A sound archive that, called `.h5`, is an HDF5 file too: one with a Lambda, of the format that wants trust."""
    old = ground.folder / "inside.h5"
    with h5py.File(old, "w", userblock_size=512) as file, h5py.File(ground.sound["h5"]) as sound:
        for name in sound:
            sound.copy(name, file)
        config = json.loads(sound.attrs["model_config"])
        layer_of(config, "relu1").update(lambda_of(ground))
        file.attrs.update({**sound.attrs, "model_config": json.dumps(config)})
    first = "metadata.json"
    body = old.read_bytes()[512:]
    old.unlink()
    path = ground.path(like="h5")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(first, bytes(512 - 30 - len(first)) + body)
        for name in (CONFIG, WEIGHTS, CARD):
            archive.writestr(name, entry_of(ground, "keras", name))
    assert h5py.is_hdf5(path)
    return path


# Only their weights are taken, and those are sound.
HARMLESS = {
    "a Lambda with marshalled code": lambda g: configured(g, **lambda_of(g)),
    "a layer that is os.system": lambda g: configured(g, **layer("os", "system", args=g.command)),
    "a TFSMLayer": lambda g: configured(g, **layer("keras.layers", "TFSMLayer", filepath=str(g.outside))),
    "a StringLookup with another file's words": lambda g: configured(
        g, **layer("keras.layers", "StringLookup", vocabulary=str(g.secret))
    ),
    "a Dense layer of thirty million units": lambda g: configured(g, **layer("keras.layers", "Dense", units=3 * 10**7)),
    # Where CVE-2025-1550 had its call: among the arguments of a layer's call.
    "an argument that is a call": lambda g: configured(
        g, inbound_nodes=[{"args": [], "kwargs": {"mask": layer("subprocess", "Popen", args=["touch", "canary"])}}]
    ),
    "an archive that is an HDF5 file too": two_files_in_one,
    "an archive with assets": lambda g: rezipped(g, "keras", add={"assets/layers/words.txt": b"x"}),
}
# The card is sound, and all that describing reads.
TOLD = {
    "a configuration of a million brackets": lambda g: rezipped(g, "keras", replace={CONFIG: "[" * 10**6}),
    "a configuration that is a list": lambda g: rezipped(g, "keras", replace={CONFIG: "[1]"}),
    "an archive without weights": lambda g: rezipped(g, "keras", leave_out=(WEIGHTS,)),
    "weights linked to another file": partial(with_weights, change=linked),
    "weights stored in another file": partial(with_weights, change=stored_elsewhere),
    "weights that promise four terabytes": partial(with_weights, change=promising),
}
