"""HDF5 files that lead elsewhere, go round in circles, or promise more than they hold."""

import json
import shutil
from functools import partial

import h5py
import numpy as np
from hostile_keras import lambda_of, layer_of, linked, promising, stored_elsewhere

from diptych.engines.contract import CARD

FIRST = "layers/dense/vars/0"


def changed(ground, change, form="weights-h5"):
    """A copy of a sound file in which something was changed."""
    path = ground.path(like=form)
    shutil.copyfile(ground.sound[form], path)
    with h5py.File(path, "r+") as file:
        change(file, ground)
    return path


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


def references(file, ground):
    del file[FIRST]
    file.create_dataset(FIRST, (4,), h5py.ref_dtype)


def texts(file, ground):
    del file[FIRST]
    file.create_dataset(FIRST, (4,), h5py.string_dtype(), data=["a", "b", "c", "d"])


def card_is(value):
    def change(file, ground):
        del file.attrs[CARD]
        file.attrs[CARD] = value

    return partial(changed, change=change)


def linked_layer(file, ground):
    del file["layers/dense"]
    file["layers/dense"] = h5py.ExternalLink(ground.outside / "secret.h5", "/")


def with_lambda(ground, form):
    """Keras's older format, whose reader runs a Lambda whatever its safe mode says (CVE-2025-9905)."""

    def change(file, ground):
        config = json.loads(file.attrs["model_config"])
        layer_of(config, "relu1").update(class_name="Lambda", config={"name": "relu1", "function": lambda_of(ground)})
        file.attrs["model_config"] = json.dumps(config)
        file.attrs[CARD] = ground.card(form)

    return changed(ground, change, "h5")


def cut(share):
    return lambda ground: ground.spoilt("weights-h5", lambda content: content[: int(len(content) * share)])


def stirred(content):
    """Every hundredth byte of the first pages is another one; the signature stays."""
    spoilt = bytearray(content)
    for place in range(9, 20_000, 100):
        spoilt[place] ^= 0x5A
    return bytes(spoilt)


CASES = {
    "an external link to weights": partial(changed, change=linked),
    "an external link to a layer": partial(changed, change=linked_layer),
    "a soft link": partial(changed, change=soft),
    "a virtual dataset": partial(changed, change=virtual),
    "a dataset stored in another file": partial(changed, change=stored_elsewhere),
    "a dataset of four terabytes that were never written": partial(changed, change=promising),
    "a dataset of four gigabytes that packs well": partial(changed, change=packed),
    "a group inside itself": partial(changed, change=circle),
    "a group inside itself a hundred times": partial(changed, change=brush),
    "an HDF5 card that is a number": card_is(7),
    "an HDF5 card that is a list": card_is(["a", "b"]),
    "an HDF5 card that is empty": card_is(h5py.Empty("f")),
    "an HDF5 file cut in half": cut(0.5),
    "an HDF5 file cut after its signature": cut(0.0001),
    "an HDF5 file with stirred pages": lambda ground: ground.spoilt("weights-h5", stirred),
}
TOLD = {
    "a dataset of references": partial(changed, change=references),
    "a dataset of texts": partial(changed, change=texts),
}
# Nobody asked for trust, and weights alone can be had without any.
MOVED = {"an .h5 with a Lambda": partial(with_lambda, form="h5")}
# Its weights are sound, and nothing else is taken.
HARMLESS = {"an .h5 with a Lambda that says it is weights alone": partial(with_lambda, form="weights-h5")}
