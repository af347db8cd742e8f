"""Sound files of every kind, of one small model, to be spoilt; and what a case may use and must leave alone."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from diptych.artifacts.store import write_arrays
from diptych.comparison.parity import samples
from diptych.deployment.card import Card, parity_digest
from diptych.deployment.formats import FORMATS, convert
from diptych.engines.contract import CARD
from diptych.engines.session import session
from diptych.spec import zoo

SPEC = zoo.model("mlp", (4, 4, 1), num_classes=3)
WRITTEN = {
    "torch": ("state-dict", "torchscript", "torch-export", "onnx"),
    "tensorflow": ("keras", "h5", "weights-h5", "saved-model", "tflite"),
}
SECRET = "SECRET-OF-ANOTHER-FILE"


def sound_files(folder):
    """Every float format, by name."""
    weights = {name: array.astype("float32") for name, array in samples.weights(SPEC, seed=0).items()}
    card = Card("safetensors", SPEC, ("a", "b", "c"), "area", "digits", ("torch",), parity_digest(SPEC, weights))
    paths = {name: folder / f"sound{form.suffix}" for name, form in FORMATS.items() if not form.is_quantized}
    write_arrays(paths["safetensors"], weights, {"format": "pt", CARD: card.to_text()})
    for engine, forms in WRITTEN.items():
        with session(engine, 1) as worker:
            worker.build(SPEC, "float32")
            worker.load_weights(weights)
            for form in forms:
                worker.export(form, paths[form], card.for_format(form).to_text(), None)
    openvino = card.for_format("openvino").to_text()
    convert(FORMATS["openvino"], paths["onnx"], paths["openvino"], openvino, None)
    return {name: path for name, path in paths.items() if path.exists()}


def make_outside(folder):
    """Files that no model has any business with."""
    folder.mkdir()
    (folder / "secret.txt").write_text(f"{SECRET}\n" * 1000)
    with h5py.File(folder / "secret.h5", "w") as file:
        file["values"] = np.full((16, 256), 0.5, "float32")
    return folder


@dataclass(frozen=True)
class Ground:
    """Where a case builds its file."""

    sound: dict[str, Path]
    folder: Path
    """The case's own."""
    outside: Path

    @property
    def command(self):
        """What a shell would do to leave a trace."""
        return f"touch {self.outside / 'canary'}"

    @property
    def python(self):
        """What Python would do to leave a trace."""
        return f"open({str(self.outside / 'canary')!r}, 'w').close()"

    @property
    def secret(self):
        return self.outside / "secret.txt"

    def card(self, form, **entries):
        """The text of a sound card, but for these entries."""
        return json.dumps({**json.loads(entry_of(self, "keras", CARD)), "format": form, **entries})

    def path(self, *, like):
        """A path with the suffix of a format."""
        return self.folder / f"model{FORMATS[like].suffix}"

    def spoilt(self, form, change):
        """A copy of a sound file, its bytes changed."""
        path = self.path(like=form)
        path.write_bytes(change(self.sound[form].read_bytes()))
        return path


def spoilt(form, change):
    """How to build a file from the bytes of a sound one."""
    return lambda ground: ground.spoilt(form, change)


def half(form):
    return spoilt(form, lambda content: content[: len(content) // 2])


def rezipped(ground, form="state-dict", *, like=None, replace=None, add=None, leave_out=(), method=zipfile.ZIP_STORED):
    """A sound archive with other entries, under the suffix of the format `like`."""
    path = ground.path(like=like or form)
    with zipfile.ZipFile(ground.sound[form]) as old, zipfile.ZipFile(path, "w", method) as new:
        for name in old.namelist():
            if name not in leave_out:
                new.writestr(name, (replace or {}).get(name, old.read(name)))
        for name, content in (add or {}).items():
            new.writestr(name, content)
    return path


def entry_of(ground, form, name):
    """The content of an entry of a sound archive."""
    with zipfile.ZipFile(ground.sound[form]) as archive:
        return archive.read(name)
