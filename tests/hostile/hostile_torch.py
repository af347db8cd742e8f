"""PyTorch files whose pickles run code, whose tensors are not what they claim, or whose zip archives lie."""

import io
import pickle
import shutil
import struct
import tarfile
import warnings
import zipfile
from functools import partial

from ground import entry_of, half, rezipped, spoilt

from diptych.engines.contract import CARD

DATA, STATE = "sound/data.pkl", f"sound/{CARD}"


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def inner(ground):
    return b"cos\nsystem\n(" + text(ground.command) + b"tR."


def call(module, name, *arguments):
    """A pickle that calls a function when it is loaded."""
    return b"\x80\x02c%s\n%s\n(%stR." % (module.encode(), name.encode(), b"".join(arguments))


# The ways a pickle has to call a function, and functions that lead to others.
PICKLES = {
    "os.system": lambda ground: call("os", "system", text(ground.command)),
    "posix.system by STACK_GLOBAL": lambda ground: (
        b"\x80\x04" + text("posix") + text("system") + b"\x93(" + text(ground.command) + b"tR."
    ),
    "os.system by INST": lambda ground: b"(S'%s'\nios\nsystem\n." % ground.command.encode(),
    "os.system by OBJ": lambda ground: b"(cos\nsystem\n" + text(ground.command) + b"o.",
    "builtins.exec": lambda ground: call("builtins", "exec", text(ground.python)),
    "torch.load of another": lambda ground: call(
        "torch.storage", "_load_from_bytes", b"B" + struct.pack("<I", len(inner(ground))) + inner(ground)
    ),
    "a class's BUILD": lambda ground: b"\x80\x02ctypes\nSimpleNamespace\n)R}" + text("a") + inner(ground)[:-1] + b"sb.",
    "numpy.memmap": lambda ground: call("numpy", "memmap", text(str(ground.outside / "canary")), text("w+")),
}


def pickled(content):
    """How to build a sound file with another pickle; `content` is given the ground and the sound one."""
    return lambda ground: rezipped(ground, replace={DATA: content(ground, entry_of(ground, "state-dict", DATA))})


def legacy(ground):
    path = ground.path(like="state-dict")
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + inner(ground))
    return path


def tarred(ground):
    path = ground.path(like="state-dict")
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(inner(ground))
            archive.addfile(entry, io.BytesIO(inner(ground)))
    return path


def disguised(form, source):
    """An archive of one format whose card says that it is another."""

    def build(ground):
        with zipfile.ZipFile(ground.sound[source]) as archive:
            (card,) = [name for name in archive.namelist() if name.endswith(CARD)]
        return rezipped(ground, source, like=form, replace={card: ground.card(form)})

    return build


def whole_number(value):
    return b"J" + struct.pack("<i", value)


def instead(*changes):
    """The sound pickle, with some bytes instead of others."""

    def content(ground, sound):
        for old, new in changes:
            assert old in sound
            sound = sound.replace(old, new, 1)
        return sound

    return pickled(content)


# fc1.weight is (256, 16): its storage has 4096 numbers, its strides are (16, 1).
STORAGE, SHAPE, STRIDES = b"M\x00\x10t", b"M\x00\x01K\x10\x86", b"K\x10K\x01\x86"
MANY = whole_number(10**9) + b"K\x10\x86"


ZEROS = bytes(2**20)


def twice(ground):
    """The same card again; zipfile warns whoever writes that."""
    with warnings.catch_warnings(action="ignore"):
        return rezipped(ground, add={STATE: b"{}"})


def bomb_by_ratio(ground, form="state-dict"):
    path = ground.path(like=form)
    shutil.copyfile(ground.sound[form], path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("sound/bomb", "w") as entry:
        for _ in range(400):
            entry.write(ZEROS)
    return path


def bomb_by_directory(ground):
    """A directory that names one entry two hundred thousand times."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("sound/data.pkl", b"")
    start, end = packed.getvalue().index(b"PK\1\2"), packed.getvalue().index(b"PK\5\6")
    number, record = 200_000, packed.getvalue()[start:end]
    tail = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 65535, 65535, number * len(record), start, 0)
    path = ground.path(like="state-dict")
    path.write_bytes(packed.getvalue()[:start] + record * number + tail)
    return path


def lying_card(ground, size):
    """The directory promises another size of the card than there is."""
    path = rezipped(ground, leave_out=(STATE,), add={STATE: ground.card("state-dict")}, method=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    record = content.rindex(b"PK\1\2")
    content[record + 24 : record + 28] = struct.pack("<I", size)
    path.write_bytes(content)
    return path


def with_flag(ground, offset, value):
    """One field of the card's record, in both places where a zip archive keeps it."""
    path = rezipped(ground)
    content = bytearray(path.read_bytes())
    for signature, shift in ((b"PK\1\2", 2), (b"PK\3\4", 0)):
        place = content.rindex(signature) + offset + shift
        content[place : place + 2] = struct.pack("<H", value)
    path.write_bytes(content)
    return path


def overlapping(ground):
    """Two entries over the same bytes."""
    path = rezipped(ground)
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\5\6")
    record = bytearray(content[content.rindex(b"PK\1\2") : end])
    record[46:51] = b"other"
    number, size = struct.unpack("<HI", content[end + 10 : end + 16])
    content[end:end] = record
    tail = struct.pack("<HHI", number + 1, number + 1, size + len(record))
    content[end + len(record) + 8 : end + len(record) + 16] = tail
    path.write_bytes(content)
    return path


CASES = {
    "a zip bomb by ratio": bomb_by_ratio,
    "a zip bomb by number of entries": partial(rezipped, add={f"sound/{place}": b"" for place in range(21_000)}),
    "a zip bomb by its directory": bomb_by_directory,
    "a zip bomb behind a flatbuffer": partial(bomb_by_ratio, form="tflite"),
    "a zip entry larger than it says": partial(lying_card, size=40),
    "a zip entry smaller than it says": partial(lying_card, size=3_000_000),
    "a zip entry of four gigabytes, it says": partial(lying_card, size=2**32 - 2),
    "zip entries that overlap": overlapping,
    "a zip with two cards": partial(rezipped, add={f"other/{CARD}": b"{}"}),
    "a zip with the card twice": twice,
    "a zip entry that climbs out": partial(rezipped, add={"sound/../../canary": b"x"}),
    "a zip entry at the root": partial(rezipped, add={"/tmp/canary": b"x"}),
    "a zip entry that climbs out with backslashes": partial(rezipped, add={"..\\..\\canary": b"x"}),
    "an encrypted zip entry": partial(with_flag, offset=6, value=1),
    "a zip entry of an unknown method": partial(with_flag, offset=8, value=99),
    "a zip entry packed by LZMA": partial(rezipped, method=zipfile.ZIP_LZMA),
    "a zip cut in half": half("state-dict"),
    "a zip without its last byte": spoilt("state-dict", lambda content: content[:-1]),
    "a zip with rubbish behind it": spoilt("state-dict", lambda content: content + ZEROS[:99]),
    "a zip of nothing": spoilt("state-dict", lambda content: b"PK\5\6" + bytes(18)),
    "a zip of something else": partial(rezipped, leave_out=("sound/data.pkl",)),
    "a card of fifty megabytes": partial(
        rezipped, leave_out=(STATE,), add={STATE: b" " * 50_000_000}, method=zipfile.ZIP_DEFLATED
    ),
}
# The card is sound, and all that describing reads.
TOLD = {
    **{
        f"a pickle that calls {name}": pickled(lambda ground, _, make=make: make(ground))
        for name, make in PICKLES.items()
    },
    # Its result is forgotten, and the rest is sound.
    "a pickle that runs code before sound tensors": pickled(
        lambda ground, sound: sound[:2] + inner(ground)[:-1] + b"0" + sound[2:]
    ),
    "a pickle from before zip archives": legacy,
    "a tar archive of pickles": tarred,
    "TorchScript that says it is a state dict": disguised("state-dict", "torchscript"),
    "torch.export that says it is a state dict": disguised("state-dict", "torch-export"),
    "TorchScript that says it is Keras": disguised("keras", "torchscript"),
    "a state dict that says it is safetensors": disguised("safetensors", "state-dict"),
    "a storage larger than its bytes": instead((STORAGE, whole_number(50_000_000) + b"t")),
    "a storage and a tensor larger than its bytes": instead((STORAGE, whole_number(2**30) + b"t"), (SHAPE, MANY)),
    "a tensor larger than its storage": instead((SHAPE, MANY)),
    "a tensor that counts one number often": instead((SHAPE, MANY), (STRIDES, b"K\x00K\x01\x86")),
    "a tensor of negative strides": instead((STRIDES, whole_number(-16) + b"K\x01\x86")),
    "a pickle that ends early": pickled(lambda *_: b"\x80\x02}q\x00("),
    "a pickle of numbers": pickled(lambda *_: pickle.dumps({"fc1.weight": 1}, 2)),
}
