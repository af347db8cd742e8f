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


def noise(content):
    return content[:8] + bytes((place * place * 37 + place) % 251 for place in range(5000))


def remade(change):
    """A sound model, unpacked, changed in place and packed again."""

    def make(content):
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        change(model, model.subgraphs[0])
        builder = flatbuffers.Builder(len(content))
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    return behind(make)


def operation(code, options=None, name=None):
    """The first operation becomes another."""

    def change(model, graph):
        made = schema.OperatorCodeT()
        made.builtinCode, made.deprecatedBuiltinCode, made.customCode, made.version = code, min(code, 127), name, 1
        model.operatorCodes.append(made)
        first, kind = graph.operators[0], type(options).__name__.removesuffix("T")
        first.opcodeIndex = len(model.operatorCodes) - 1
        first.builtinOptionsType, first.builtinOptions = getattr(schema.BuiltinOptions, kind, 0), options

    return remade(change)


def calling(kind, *names):
    """Options by which an operation calls the graph that it is in."""
    options = kind()
    vars(options).update(dict.fromkeys(names, 0))
    return options


def operator(**fields):
    return remade(lambda model, graph: vars(graph.operators[-1]).update(fields))


def weights(**fields):
    """The tensor of the first weights becomes something else."""
    return remade(lambda model, graph: vars(weighted(model, graph)).update(fields))


def weighted(model, graph):
    return next(tensor for tensor in graph.tensors if model.buffers[tensor.buffer].data is not None)


def elsewhere(model, graph):
    """The first weights lie far behind the file."""
    fields = {"data": None, "offset": 10**12, "size": 2**14}
    vars(model.buffers[weighted(model, graph).buffer]).update(fields)


def renamed(model, graph):
    for one in model.signatureDefs[0].outputs:
        one.name = b"answers"


CODES = schema.BuiltinOperator
CASES = {
    "a flatbuffer cut in half": half("tflite"),
    "a flatbuffer without its card": spoilt("tflite", lambda content: content[: content.rindex(b"PK\3\4")]),
}
TOLD = {
    "a flatbuffer of noise": behind(noise),
    "a flatbuffer of zeros": behind(lambda content: content[:8]),
    **{f"a stirred flatbuffer, {seed}": behind(partial(stirred, seed=seed)) for seed in range(1, 9)},
    "an operation of somebody's own in a flatbuffer": operation(CODES.CUSTOM, name=b"Evil"),
    "an operation of TensorFlow's in a flatbuffer": operation(CODES.CUSTOM, name=b"FlexReadFile"),
    "an operation that there is not": operation(9999),
    "a loop over its own graph": operation(
        CODES.WHILE, calling(schema.WhileOptionsT, "condSubgraphIndex", "bodySubgraphIndex")
    ),
    "a branch into its own graph": operation(
        CODES.IF, calling(schema.IfOptionsT, "thenSubgraphIndex", "elseSubgraphIndex")
    ),
    "a call of its own graph": operation(CODES.CALL_ONCE, calling(schema.CallOnceOptionsT, "initSubgraphIndex")),
    "an operation on a tensor far away": operator(inputs=[10**6, 1, 2]),
    "an operation on a tensor before the first": operator(inputs=[-7, 1, 2]),
    "an operation into a tensor far away": operator(outputs=[10**6]),
    "an operation without inputs": operator(inputs=[]),
    "weights of a shape that is not theirs": weights(shape=[2**30, 2**30]),
    "weights of a negative shape": weights(shape=[-4, 16]),
    "weights of another type": weights(type=schema.TensorType.STRING),
    "weights from a buffer far away": weights(buffer=10**6),
    "weights behind the end of the file": remade(elsewhere),
    "a flatbuffer's outputs by another name": remade(renamed),
    "a flatbuffer without operations": remade(lambda model, graph: vars(graph).update(operators=[])),
    "a flatbuffer without graphs": remade(lambda model, graph: vars(model).update(subgraphs=[])),
}
HARMLESS = {"a flatbuffer packed again": remade(lambda model, graph: None)}
