"""Keras archives and HDF5 files that ask for more than layers, lead elsewhere, or promise more than they hold."""

import base64
import io
import json
import marshal
import shutil
import zipfile
from functools import partial

import h5py
import numpy as np
from ground import entry_of, half, rezipped, spoilt

from diptych.engines.contract import CARD

CONFIG, WEIGHTS, FIRST = "config.json", "model.weights.h5", "layers/dense/vars/0"


def configured(ground, **entries):
    """A sound archive in whose configuration the layer relu1 has other entries."""
    return rezipped(ground, "keras", replace={CONFIG: with_entries(entry_of(ground, "keras", CONFIG), entries)})


def with_entries(text, entries):
    """A configuration in which the layer relu1 has other entries."""
    config = json.loads(text)
    (found,) = [layer for layer in config["config"]["layers"] if layer["name"] == "relu1"]
    found.update(entries)
    return json.dumps(config)


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


def instead(make, path=FIRST):
    """Something else stands where the first weights, or their layer, should be."""

    def change(file, ground):
        del file[path]
        file[path] = make(ground)

    return change


def dataset(shape, kind="float32", settings=lambda ground: {}, **more):
    """The first weights become another dataset."""

    def change(file, ground):
        del file[FIRST]
        file.create_dataset(FIRST, shape, kind, **settings(ground), **more)

    return change


linked = instead(lambda ground: h5py.ExternalLink(ground.outside / "secret.h5", "values"))
stored_elsewhere = dataset((16, 256), settings=lambda ground: {"external": [(ground.secret, 0, 2**14)]})
promising = dataset((10**6, 10**6), chunks=(1000, 1000))


def two_files_in_one(ground):
    """A sound archive that, called `.h5`, is an HDF5 file too: one with a Lambda, of the format that wants trust."""
    old = ground.folder / "inside.h5"
    with h5py.File(old, "w", userblock_size=512) as file, h5py.File(ground.sound["h5"]) as sound:
        for name in sound:
            sound.copy(name, file)
        config = with_entries(sound.attrs["model_config"], lambda_of(ground))
        file.attrs.update({**sound.attrs, "model_config": config})
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


def changed(change, form="weights-h5"):
    """How to build a sound file in which something is changed."""

    def build(ground):
        path = ground.path(like=form)
        shutil.copyfile(ground.sound[form], path)
        with h5py.File(path, "r+") as file:
            change(file, ground)
        return path

    return build


def virtual(file, ground):
    del file[FIRST]
    layout = h5py.VirtualLayout((16, 256), "float32")
    layout[:] = h5py.VirtualSource(ground.outside / "secret.h5", "values", (16, 256))
    file.create_virtual_dataset(FIRST, layout)


def packed(file, ground):
    """A dataset of four gigabytes of zeros, of which each mebibyte packs to a kilobyte."""
    del file[FIRST]
    made = file.create_dataset(FIRST, (2**30,), np.float32, chunks=(2**18,), compression="gzip", compression_opts=9)
    for place in range(32):
        made[place * 2**18 : (place + 1) * 2**18] = 0.0


def brush(file, ground, number):
    """Every group holds itself; if a hundred times, there are more paths than atoms."""
    for place in range(number):
        file[f"layers/dense/again{place}"] = file["layers"]


def card_is(value):
    return changed(lambda file, ground: file.attrs.update({CARD: value}))


def with_lambda(card_form):
    """Keras's older format, whose reader runs a Lambda whatever its safe mode says (CVE-2025-9905)."""

    def change(file, ground):
        config = with_entries(file.attrs["model_config"], lambda_of(ground))
        file.attrs.update({"model_config": config, CARD: ground.card(card_form)})

    return changed(change, "h5")


def stirred(content):
    """Every hundredth byte of the first pages is another one; the signature stays."""
    places = range(9, 20_000, 100)
    return bytes(byte ^ 0x5A if place in places else byte for place, byte in enumerate(content))


CASES = {
    "an external link to weights": changed(linked),
    "an external link to a layer": changed(
        instead(lambda ground: h5py.ExternalLink(ground.outside / "secret.h5", "/"), "layers/dense")
    ),
    "a soft link": changed(instead(lambda ground: h5py.SoftLink("/layers/dense_1/vars/0"))),
    "a virtual dataset": changed(virtual),
    "a dataset stored in another file": changed(stored_elsewhere),
    "a dataset of four terabytes that were never written": changed(promising),
    "a dataset of four gigabytes that packs well": changed(packed),
    "a group inside itself": changed(partial(brush, number=1)),
    "a group inside itself a hundred times": changed(partial(brush, number=100)),
    "an HDF5 card that is a number": card_is(7),
    "an HDF5 card that is a list": card_is(["a", "b"]),
    "an HDF5 card that is empty": card_is(h5py.Empty("f")),
    "an HDF5 file cut in half": half("weights-h5"),
    "an HDF5 file cut after its signature": spoilt("weights-h5", lambda content: content[:8]),
    "an HDF5 file with stirred pages": spoilt("weights-h5", stirred),
}
# The card is sound, and all that describing reads.
TOLD = {
    "a configuration of a million brackets": lambda g: rezipped(g, "keras", replace={CONFIG: "[" * 10**6}),
    "a configuration that is a list": lambda g: rezipped(g, "keras", replace={CONFIG: "[1]"}),
    "a card of narrower layers": lambda g: rezipped(g, "keras", replace={CARD: g.card("keras").replace("256", "255")}),
    "an archive without weights": lambda g: rezipped(g, "keras", leave_out=(WEIGHTS,)),
    "weights linked to another file": partial(with_weights, change=linked),
    "weights stored in another file": partial(with_weights, change=stored_elsewhere),
    "weights that promise four terabytes": partial(with_weights, change=promising),
    "a dataset of references": changed(dataset((4,), h5py.ref_dtype)),
    "a dataset of texts": changed(dataset((4,), h5py.string_dtype(), data=["a", "b", "c", "d"])),
}
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
    "an .h5 with a Lambda that says it is weights alone": with_lambda("weights-h5"),
}
# Nobody asked for trust, and weights alone can be had without any.
FOR_TRUST = {"an .h5 with a Lambda": with_lambda("h5")}
