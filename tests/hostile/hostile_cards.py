"""safetensors files with lying headers, and cards that say what no model can be."""

import json
import struct
from itertools import pairwise

from ground import half, spoilt

from diptych.engines.contract import CARD

MARKUP = ["[/red]", "[link=file:///]b", ":smile:"]


def parts(content):
    """A safetensors file's header and its data."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def whole(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def headed(change):
    """A sound file whose header was changed in place."""

    def spoil(content):
        header, data = parts(content)
        change(header)
        return whole(header, data)

    return spoilt("safetensors", spoil)


def carded(**entries):
    """A sound file whose card has other entries; functions are given the ground and the old entry."""

    def build(ground):
        old = json.loads(ground.card("safetensors"))
        new = {key: value(old[key]) if callable(value) else value for key, value in entries.items()}
        return card_text(ground.card("safetensors", **new))(ground)

    return build


def card_text(text):
    return headed(lambda header: header["__metadata__"].update({CARD: text}))


def spec(change):
    """A change to a card's spec."""

    def changed(old):
        made = json.loads(json.dumps(old))
        change({layer["name"]: layer for layer in made["layers"]}, made)
        return made

    return carded(spec=changed)


def set_(name, **entries):
    return spec(lambda layers, made: layers[name].update(entries))


def longer(layers, made):
    """Ten thousand activations in a row."""
    last = made["layers"].pop()
    names = [last["inputs"][0], *(f"more{place}" for place in range(10_000))]
    for before, name in pairwise(names):
        made["layers"].append({**layers["relu1"], "name": name, "inputs": [before]})
    made["layers"].append({**last, "inputs": [names[-1]]})


def pooled(layers, made):
    """Hardly any weights, behind the mean over an image of a million times a million pixels."""
    pool = {"type": "GlobalAvgPool", "name": "pool", "inputs": ["normalize"]}
    made["layers"] = [layers["normalize"], pool, {**layers["fc3"], "inputs": ["pool"]}]
    made["input_shape"] = [10**6, 10**6, 1]


def moved(name, start, end):
    return headed(lambda header: header[name].update(data_offsets=[start, end]))


CASES = {
    "a header of two to the sixty bytes": spoilt("safetensors", lambda content: struct.pack("<Q", 2**60) + content[8:]),
    "a header of twenty megabytes of blanks": spoilt(
        "safetensors", lambda content: whole(b"{" + b" " * 20_000_000, b"")
    ),
    "arrays that overlap": moved("fc2.bias", 0, 1024),
    "an array that ends behind the file": moved("fc2.bias", 10**9, 10**9 + 1024),
    "safetensors cut in half": half("safetensors"),
    "a card of a hundred thousand brackets": card_text('{"kind":' + "[" * 100_000),
    "a card of a number with a million digits": card_text('{"kind": ' + "1" * 10**6 + "}"),
    "a card of a kind a million letters long": carded(kind="a" * 10**6),
    "a card without a spec": carded(spec=None),
    "a card whose classes are one word": carded(class_names="abc"),
    "a card whose class commands the terminal": carded(class_names=["\x1b]0;owned\x07", "b", "c"]),
    "a card whose class is two lines": carded(class_names=["a\nb", "b", "c"]),
    "a card whose input is a word": carded(input="images"),
    "a card whose trainers are a number": carded(trained_by=3),
    "a card whose ranges are a list": carded(calibration=[1, 2]),
    "a card of a format that commands the terminal": carded(format="\x1b[2J\nonnx"),
    "a spec of a trillion weights": set_("fc1", units=10**12),
    "a spec of weights without end": set_("fc1", units=10**4000),
    "a spec of a negative number of weights": set_("fc1", units=-5),
    "a spec of images as large as a city": spec(lambda layers, made: made.update(input_shape=[10**9, 10**9, 1])),
    "a spec of more weights than its file holds": set_("fc2", units=200_000),
    "a spec of images of numbers without end": spec(lambda layers, made: made.update(input_shape=[10**4000] * 2 + [1])),
    "a spec of few weights and images as large as a city": spec(pooled),
    "a spec whose layer is of a type four million letters long": set_("fc1", type="A" * 4_000_000),
    "a spec whose name commands the terminal": spec(lambda layers, made: made.update(name="\x1b[2J")),
    "a spec whose layer is its own input": set_("relu1", inputs=["relu1"]),
    "a spec of not a number": carded(spec=lambda old: {**old, "layers": [{**old["layers"][0], "std": [float("nan")]}]}),
}
# The card is sound, but not of these arrays.
TOLD = {
    "a spec of other weights": set_("fc1", units=255),
    "an array too few": headed(lambda header: header.pop("fc3.bias")),
}
# Its weights are sound, and the card's format matters to nobody but who runs it.
MOVED = {
    "safetensors without a card": headed(lambda header: header.pop("__metadata__")),
    "a card of a format unknown here": carded(format="gguf"),
    "a card of another file's format": carded(format="onnx"),
}
# These are only odd.
HARMLESS = {
    "a spec of ten thousand layers": spec(longer),
    "a card whose classes are a terminal's markup": carded(class_names=MARKUP),
}
