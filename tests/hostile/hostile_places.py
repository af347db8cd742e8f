"""What stands where a model should: folders that lead out of themselves, pipes, devices, nothing."""

import contextlib
import os
import shutil
import socket
from functools import partial
from pathlib import Path

from ground import spoilt

from diptych.deployment.formats import FORMATS
from diptych.engines.contract import CARD

ENTITIES = """<?xml version="1.0"?>
<!DOCTYPE net [
  <!ENTITY a0 "{words}">
  {entities}
  <!ENTITY secret SYSTEM "file://{secret}">
]>
<net name="&a9;" version="11"><layers><layer id="0" name="&secret;" type="Parameter"/></layers></net>
"""


def copied(ground, form):
    path = ground.path(like=form)
    shutil.copytree(ground.sound[form], path)
    return path


def without(ground, form, part):
    path = copied(ground, form)
    (path / part).unlink()
    return path


def linked(ground, form, part, to="secret.txt"):
    """A folder of which one part is a link to a file elsewhere."""
    path = without(ground, form, part)
    (path / part).symlink_to(ground.outside / to)
    return path


def openvino(part, change):
    """How to build a folder in which one part has other content."""

    def build(ground):
        path = copied(ground, "openvino")
        (path / part).write_bytes(change((path / part).read_bytes(), ground))
        return path

    return build


def entities(content, ground):
    """Ten thousand million laughs, and another file."""
    nested = "\n  ".join(f'<!ENTITY a{place} "{f"&a{place - 1};" * 10}">' for place in range(1, 10))
    return ENTITIES.format(words="ha" * 50, entities=nested, secret=ground.secret).encode()


def with_files(make, number=1):
    """How to build a folder with more in it."""

    def build(ground):
        path = copied(ground, "openvino")
        for place in range(number):
            make(path / f"{place}.txt")
        return path

    return build


def nothing(make, form):
    """How to build what is no file, or an empty one."""

    def build(ground):
        path = ground.path(like=form)
        make(path)
        return path

    return build


def bind(path):
    # The name of a socket may be a hundred letters long, so it is bound from inside its folder.
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)


def unreadable(ground):
    path = ground.spoilt("onnx", lambda content: content)
    path.chmod(0)
    return path if not os.access(path, os.R_OK) else ground.folder / "who may read all has no unreadable file.onnx"


FILES = [name for name, form in FORMATS.items() if name not in ("saved-model", "openvino") and not form.is_quantized]
CASES = {
    **{f"an empty {FORMATS[name].suffix}": nothing(Path.touch, name) for name in FILES},
    **{f"a folder called {FORMATS[name].suffix}": nothing(Path.mkdir, name) for name in ("keras", "onnx", "openvino")},
    **{f"a pipe called {FORMATS[name].suffix}": nothing(os.mkfifo, name) for name in ("onnx", "safetensors", "keras")},
    "a device that never ends": nothing(lambda path: path.symlink_to("/dev/zero"), "onnx"),
    "a link to nothing": nothing(lambda path: path.symlink_to("nothing"), "keras"),
    "a link to itself": nothing(lambda path: path.symlink_to(path.name), "onnx"),
    "a socket": nothing(bind, "onnx"),
    "a file that may not be read": unreadable,
    "a SavedModel that is a link": partial(linked, form="saved-model", part="1/saved_model.pb"),
    "a SavedModel whose card is a link": partial(linked, form="saved-model", part=f"1/assets/{CARD}", to="stolen.json"),
    "an OpenVINO folder whose card is a link": partial(linked, form="openvino", part=CARD, to="stolen.json"),
    "a SavedModel whose weights are a link": partial(linked, form="saved-model", part="1/variables/variables.index"),
    "a SavedModel without its graph": partial(without, form="saved-model", part="1/saved_model.pb"),
    "a SavedModel without its card": partial(without, form="saved-model", part=f"1/assets/{CARD}"),
    "an OpenVINO folder that is a link": partial(linked, form="openvino", part="model.bin"),
    "an OpenVINO folder without its card": partial(without, form="openvino", part=CARD),
    "an OpenVINO folder with a pipe": with_files(os.mkfifo),
    "an OpenVINO folder with five hundred files": with_files(Path.touch, 500),
}
TOLD = {
    "an OpenVINO folder without weights": partial(without, form="openvino", part="model.bin"),
    "an OpenVINO folder of entities": openvino("model.xml", entities),
    "an OpenVINO folder with weights behind its end": openvino(
        "model.xml", lambda content, _: content.replace(b'offset="0"', b'offset="99999999999"')
    ),
    # Running it is what would need trust.
    "a SavedModel from a stranger": partial(copied, form="saved-model"),
    "a TorchScript file from a stranger": spoilt("torchscript", bytes),
    "a torch.export file from a stranger": spoilt("torch-export", bytes),
}
