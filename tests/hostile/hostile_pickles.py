"""PyTorch files whose pickles run code, or whose tensors are not what they claim to be."""

import io
import pickle
import struct
import tarfile
import zipfile

from ground import entry_of, rezipped

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
