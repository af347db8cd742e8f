"""TensorFlow Lite files that are cut, stirred, or whole flatbuffers of what no converter writes."""

import zipfile
from functools import partial

import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from ground import half, spoilt

from diptych.engines.contract import CARD


def behind(make):
    """A flatbuffer of somebody's own before a sound archive with the card."""

    def build(ground):
        content = ground.sound["tflite"].read_bytes()
        start = content.rindex(b"PK\3\4")
        made = make(content[:start])
        made += bytes(max(0, start - len(made)))
        path = ground.path(like="tflite")
        path.write_bytes(made)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(CARD, ground.card("tflite"))
        return path

    return build


def stirred(content, *, seed):
    spoilt = bytearray(content)
    state = seed
    for _ in range(50):
        state = (1103515245 * state + 12345) % 2**31
        spoilt[8 + state % 4000] ^= 1 + state % 255
    return bytes(spoilt)


def remade(change):
    """A sound model, unpacked, changed in place and packed again."""

    def make(content):
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        change(model, model.subgraphs[0])
        builder = flatbuffers.Builder(len(content))
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    return behind(make)


def operation(name, code="CUSTOM", options="NONE"):
    """The first operation becomes another; the options of a loop, a branch and a call name the graph they are in."""

    def change(model, graph):
        made, first = schema.OperatorCodeT(), graph.operators[0]
        made.builtinCode = getattr(schema.BuiltinOperator, code)
        made.deprecatedBuiltinCode = min(made.builtinCode, 127)  # a byte; 127 means that the other counts
        made.customCode, made.version = name, 1
        model.operatorCodes.append(made)
        first.opcodeIndex, first.builtinOptionsType = (
            len(model.operatorCodes) - 1,
            getattr(schema.BuiltinOptions, options),
        )
        first.builtinOptions = getattr(schema, f"{options}T", lambda: None)()

    return remade(change)


def weights(**fields):
    """The tensor of the first weights becomes something else."""

    def change(model, graph):
        held = (tensor for tensor in graph.tensors if model.buffers[tensor.buffer].data is not None)
        vars(next(held)).update(fields)

    return remade(change)


def renamed(model, graph):
    for one in model.signatureDefs[0].outputs:
        one.name = b"answers"


CASES = {
    "a flatbuffer cut in half": half("tflite"),
    "a flatbuffer without its card": spoilt("tflite", lambda content: content[: content.rindex(b"PK\3\4")]),
}
# LiteRT refuses the rest, each kind of damage in its own words.
TOLD = {
    **{f"a stirred flatbuffer, {seed}": behind(partial(stirred, seed=seed)) for seed in (1, 8)},
    "an operation of somebody's own in a flatbuffer": operation("Evil"),
    "an operation of TensorFlow's in a flatbuffer": operation("FlexReadFile"),
    "a loop over its own graph": operation(None, "WHILE", "WhileOptions"),
    "a branch into its own graph": operation(None, "IF", "IfOptions"),
    "a call of its own graph": operation(None, "CALL_ONCE", "CallOnceOptions"),
    "an operation on a tensor far away": remade(
        lambda model, graph: vars(graph.operators[-1]).update(inputs=[10**6, 1, 2])
    ),
    "weights of a shape that is not theirs": weights(shape=[2**30, 2**30]),
    "weights from a buffer far away": weights(buffer=10**6),
    "a flatbuffer's outputs by another name": remade(renamed),
    "a flatbuffer without graphs": remade(lambda model, graph: vars(model).update(subgraphs=[])),
}
HARMLESS = {"a flatbuffer packed again": remade(lambda model, graph: None)}
