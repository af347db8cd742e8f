"""What stands where a model should: folders that lead out of themselves, pipes, devices, nothing."""

import contextlib
import os
import shutil
import socket
from functools import partial

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


def linked(ground, form, part, to=None):
    """A folder of which one part is a link to the same thing elsewhere."""
    path = copied(ground, form)
    target = ground.outside / "secret.txt" if to is None else to
    (path / part).unlink()
    (path / part).symlink_to(target)
    return path


def linked_card(ground, form, part):
    return linked(ground, form, part, ground.outside / "stolen.json")


def without(ground, form, part):
    path = copied(ground, form)
    (path / part).unlink()
    return path


def rewritten(ground, part, change):
    path = copied(ground, "openvino")
    (path / part).write_bytes(change((path / part).read_bytes(), ground))
    return path


def entities(content, ground):
    """Ten thousand million laughs, and another file."""
    nested = "\n  ".join(f'<!ENTITY a{place} "{f"&a{place - 1};" * 10}">' for place in range(1, 10))
    return ENTITIES.format(words="ha" * 50, entities=nested, secret=ground.secret).encode()


def lying_offsets(content, ground):
    return content.replace(b'offset="0"', b'offset="99999999999"')


def lying_sizes(content, ground):
    return content.replace(b' size="', b' size="9999999999')


def with_pipe(ground):
    path = copied(ground, "openvino")
    os.mkfifo(path / "pipe")
    return path


def crowded(ground):
    path = copied(ground, "openvino")
    for place in range(500):
        (path / f"{place}.txt").touch()
    return path


def empty(ground, form):
    path = ground.path(like=form)
    path.touch()
    return path


def folder(ground, form):
    path = ground.path(like=form)
    path.mkdir()
    return path


def pipe(ground, form):
    path = ground.path(like=form)
    os.mkfifo(path)
    return path


def link(ground, form, to):
    path = ground.path(like=form)
    path.symlink_to(to)
    return path


def unbound(ground):
    path = ground.path(like="onnx")
    # The name of a socket may be a hundred letters long, so it is bound from inside its folder.
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(ground.folder):
        made.bind(path.name)
    return path


def unreadable(ground):
    path = ground.spoilt("onnx", lambda content: content)
    path.chmod(0)
    return path if not os.access(path, os.R_OK) else ground.folder / "who may read all has no unreadable file.onnx"


def named_with_a_line_break(ground):
    return ground.folder / "two\nlines.onnx"


FILES = [name for name, form in FORMATS.items() if name not in ("saved-model", "openvino") and not form.is_quantized]
CASES = {
    **{f"an empty {FORMATS[name].suffix}": partial(empty, form=name) for name in FILES},
    **{f"a folder called {FORMATS[name].suffix}": partial(folder, form=name) for name in ("keras", "onnx", "openvino")},
    **{f"a pipe called {FORMATS[name].suffix}": partial(pipe, form=name) for name in ("onnx", "safetensors", "keras")},
    "a device that never ends": partial(link, form="onnx", to="/dev/zero"),
    "a link to nothing": partial(link, form="keras", to="nothing"),
    "a link to itself": partial(link, form="onnx", to="model.onnx"),
    "a socket": unbound,
    "a file that may not be read": unreadable,
    "a SavedModel that is a link": partial(linked, form="saved-model", part="1/saved_model.pb"),
    "a SavedModel whose card is a link": partial(linked_card, form="saved-model", part=f"1/assets/{CARD}"),
    "an OpenVINO folder whose card is a link": partial(linked_card, form="openvino", part=CARD),
    "a SavedModel whose weights are a link": partial(linked, form="saved-model", part="1/variables/variables.index"),
    "a SavedModel without its graph": partial(without, form="saved-model", part="1/saved_model.pb"),
    "a SavedModel without its card": partial(without, form="saved-model", part=f"1/assets/{CARD}"),
    "an OpenVINO folder that is a link": partial(linked, form="openvino", part="model.bin"),
    "an OpenVINO folder without its card": partial(without, form="openvino", part=CARD),
    "an OpenVINO folder with a pipe": with_pipe,
    "an OpenVINO folder with five hundred files": crowded,
}
TOLD = {
    "an OpenVINO folder without weights": partial(without, form="openvino", part="model.bin"),
    "an OpenVINO folder with half its weights": lambda ground: rewritten(
        ground, "model.bin", lambda content, _: content[: len(content) // 2]
    ),
    "an OpenVINO folder that is HTML": lambda ground: rewritten(ground, "model.xml", lambda *_: b"<html></html>"),
    "an OpenVINO folder of entities": lambda ground: rewritten(ground, "model.xml", entities),
    "an OpenVINO folder with weights behind its end": lambda ground: rewritten(ground, "model.xml", lying_offsets),
    "an OpenVINO folder with weights larger than it": lambda ground: rewritten(ground, "model.xml", lying_sizes),
    # Running it is what would need trust.
    "a SavedModel from a stranger": partial(copied, form="saved-model"),
    "a TorchScript file from a stranger": lambda ground: ground.spoilt("torchscript", bytes),
    "a torch.export file from a stranger": lambda ground: ground.spoilt("torch-export", bytes),
}
