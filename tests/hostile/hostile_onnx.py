"""ONNX programs that read other files, never end, or answer something else than they promise."""

import numpy as np
import onnx
from ground import half
from onnx import TensorProto, helper, numpy_helper

from diptych.engines.contract import CARD


def written(ground, program):
    path = ground.path(like="onnx")
    path.write_bytes(program.SerializeToString())
    return path


def changed(change):
    """How to build a sound program that is changed in place."""

    def build(ground):
        program = onnx.load(ground.sound["onnx"])
        change(program, ground)
        return written(ground, program)

    return build


def first_weights(program):
    (tensor,) = [tensor for tensor in program.graph.initializer if tensor.name.endswith("fc1.weight")]
    return tensor


def elsewhere(where, tensor=None):
    """A tensor whose values are in another file."""
    made = tensor or TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[256, 16])
    made.data_location = TensorProto.EXTERNAL
    made.ClearField("raw_data")
    for key, value in (("location", where), ("offset", "0"), ("length", str(4 * 4096))):
        made.external_data.add(key=key, value=value)
    return made


def external(where):
    return changed(lambda program, ground: elsewhere(where.format(secret=ground.secret), first_weights(program)))


def value(name, kind=TensorProto.FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def replaced(make, kind=TensorProto.FLOAT, functions=lambda ground: [], **constants):
    """Another program with a sound card, in which one node gives the logits; they are the probabilities, too."""

    def build(ground):
        # As many bytes as the card's model may be, so that nobody stumbles over these.
        constants["ballast"] = np.zeros(10**5, np.uint8)
        held = [numpy_helper.from_array(np.array(content), name) for name, content in constants.items()]
        nodes = [make(ground), helper.make_node("Identity", ["logits"], ["probabilities"])]
        outputs = [value(name, kind) for name in ("logits", "probabilities")]
        graph = helper.make_graph(nodes, "g", [value("images", TensorProto.UINT8, ["n", 4, 4, 1])], outputs, held)
        imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
        program = helper.make_model(graph, opset_imports=imports, ir_version=9, functions=functions(ground))
        program.metadata_props.add(key=CARD, value=ground.card("onnx"))
        return written(ground, program)

    return build


def node(kind, inputs, **attributes):
    return lambda ground: helper.make_node(kind, inputs, ["logits"], **attributes)


def constant_elsewhere(ground):
    return helper.make_node("Constant", [], ["logits"], value=elsewhere(str(ground.secret)))


def branch(ground):
    """An If whose branch reads another file."""
    nodes, weights = [helper.make_node("Identity", ["weights"], ["inner"])], [elsewhere(str(ground.secret))]
    inner = helper.make_graph(nodes, "b", [], [value("inner")], weights)
    return helper.make_node("If", ["yes"], ["logits"], then_branch=inner, else_branch=inner)


def loop(ground):
    """A Loop that goes round for a hundred thousand years."""
    inputs = [value("step", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("sum", shape=[])]
    outputs = [value("still", TensorProto.BOOL, []), value("more", shape=[])]
    nodes = [helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Add", ["sum", "sum"], ["more"])]
    body = helper.make_graph(nodes, "b", inputs, outputs)
    return helper.make_node("Loop", ["forever", "yes", "one"], ["logits"], body=body)


def function(body):
    """A program that calls a function with this body."""
    imports = [helper.make_opsetid("own", 1)]
    return replaced(
        node("F", ["images"], domain="own"),
        functions=lambda ground: [helper.make_function("own", "F", ["x"], ["y"], [body(ground)], imports)],
    )


def sparse(program, ground):
    made = program.graph.sparse_initializer.add(dims=[256, 16])
    made.values.CopyFrom(elsewhere(str(ground.secret)))


def renamed(old, new):
    """A sound program in which one name is another, wherever it stands."""

    def change(program, ground):
        for one in (*program.graph.input, *program.graph.output):
            one.name = new if one.name == old else one.name
        for inside in program.graph.node:
            for names in (inside.input, inside.output):
                names[:] = [new if name == old else name for name in names]

    return changed(change)


def empty_weights(program, ground):
    first_weights(program).ClearField("raw_data")
    first_weights(program).dims[:] = [10**7, 10**7]


CASES = {
    "weights at an absolute path": external("{secret}"),
    "weights at a path that climbs out": external("../outside/secret.txt"),
    "weights at a path beside the file": external("weights.bin"),
    "weights at an address in memory": external("*/_ORT_MEM_ADDR_/*"),
    "a constant at an absolute path": replaced(constant_elsewhere),
    "a branch with weights elsewhere": replaced(branch, yes=True),
    "sparse weights elsewhere": changed(sparse),
    "a function with weights elsewhere": function(constant_elsewhere),
    "a function that calls itself": function(lambda ground: helper.make_node("F", ["x"], ["y"], domain="own")),
    "a loop without end": replaced(loop, forever=2**62, yes=True, one=np.float32(1)),
    "an ONNX file cut in half": half("onnx"),
    "an ONNX file without a card": changed(lambda program, ground: program.ClearField("metadata_props")),
    "an ONNX file with two cards": changed(lambda program, ground: program.metadata_props.add(key=CARD, value="{}")),
}
# The card is sound, and nothing but the runtime can tell what else is wrong.
TOLD = {
    "an operation of somebody's own": replaced(node("Evil", ["images"], domain="own")),
    "an input by another name": renamed("images", "pixels"),
    "an output by another name": renamed("logits", "answers"),
    "weights of ten to the fourteen numbers": changed(empty_weights),
    "an answer of four terabytes": replaced(node("ConstantOfShape", ["shape"]), shape=[2**40]),
    "an answer for other classes": replaced(node("ConstantOfShape", ["shape"]), shape=[1, 1000]),
    "an answer of no class": replaced(node("ConstantOfShape", ["shape"]), shape=[0]),
    "an answer of texts": replaced(node("Identity", ["words"]), TensorProto.STRING, words=["a", "b", "c"]),
}
