"""HDF5 files that lead elsewhere, go round in circles, or promise more than they hold."""

import json
import shutil

import h5py
import numpy as np
from ground import half, spoilt
from hostile_keras import FIRST, dataset, lambda_of, layer_of, linked, promising, stored_elsewhere

from diptych.engines.contract import CARD


def changed(change, form="weights-h5"):
    """How to build a sound file in which something is changed."""

    def build(ground):
        path = ground.path(like=form)
        shutil.copyfile(ground.sound[form], path)
        with h5py.File(path, "r+") as file:
            change(file, ground)
        return path

    return build


def soft(file, ground):
    del file[FIRST]
    file[FIRST] = h5py.SoftLink("/layers/dense_1/vars/0")


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


def circle(file, ground):
    file["layers/dense/again"] = file["layers"]


def brush(file, ground):
    """Every group holds itself a hundred times: there are more paths than atoms."""
    for place in range(100):
        file[f"layers/again{place}"] = file["layers"]


def card_is(value):
    return changed(lambda file, ground: file.attrs.update({CARD: value}))


def linked_layer(file, ground):
    del file["layers/dense"]
    file["layers/dense"] = h5py.ExternalLink(ground.outside / "secret.h5", "/")


def with_lambda(card_form):
    """Keras's older format, whose reader runs a Lambda whatever its safe mode says (CVE-2025-9905)."""

    def change(file, ground):
        config = json.loads(file.attrs["model_config"])
        layer_of(config, "relu1").update(lambda_of(ground))
        file.attrs.update({"model_config": json.dumps(config), CARD: ground.card(card_form)})

    return changed(change, "h5")


def stirred(content):
    """Every hundredth byte of the first pages is another one; the signature stays."""
    places = range(9, 20_000, 100)
    return bytes(byte ^ 0x5A if place in places else byte for place, byte in enumerate(content))


CASES = {
    "an external link to weights": changed(linked),
    "an external link to a layer": changed(linked_layer),
    "a soft link": changed(soft),
    "a virtual dataset": changed(virtual),
    "a dataset stored in another file": changed(stored_elsewhere),
    "a dataset of four terabytes that were never written": changed(promising),
    "a dataset of four gigabytes that packs well": changed(packed),
    "a group inside itself": changed(circle),
    "a group inside itself a hundred times": changed(brush),
    "an HDF5 card that is a number": card_is(7),
    "an HDF5 card that is a list": card_is(["a", "b"]),
    "an HDF5 card that is empty": card_is(h5py.Empty("f")),
    "an HDF5 file cut in half": half("weights-h5"),
    "an HDF5 file cut after its signature": spoilt("weights-h5", lambda content: content[:8]),
    "an HDF5 file with stirred pages": spoilt("weights-h5", stirred),
}
TOLD = {
    "a dataset of references": changed(dataset((4,), h5py.ref_dtype)),
    "a dataset of texts": changed(dataset((4,), h5py.string_dtype(), data=["a", "b", "c", "d"])),
}
# Nobody asked for trust, and weights alone can be had without any.
FOR_TRUST = {"an .h5 with a Lambda": with_lambda("h5")}
# Its weights are sound, and nothing else is taken.
HARMLESS = {"an .h5 with a Lambda that says it is weights alone": with_lambda("weights-h5")}
