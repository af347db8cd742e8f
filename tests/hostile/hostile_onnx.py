"""ONNX programs that read other files, never end, or answer something else than they promise."""

from functools import partial

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from diptych.engines.contract import CARD

FOREVER = 2**62


def changed(ground, change):
    """A sound program, changed in place."""
    program = onnx.load(ground.sound["onnx"])
    change(program, ground)
    path = ground.path(like="onnx")
    path.write_bytes(program.SerializeToString())
    return path


def elsewhere(where, tensor=None):
    """A tensor whose values are in another file."""
    made = tensor or TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[256, 16])
    made.data_location = TensorProto.EXTERNAL
    made.ClearField("raw_data")
    for key, value in (("location", where), ("offset", "0"), ("length", str(4 * 4096))):
        made.external_data.add(key=key, value=value)
    return made


def external(where):
    """The first weights, moved to another file."""

    def change(program, ground):
        (tensor,) = [one for one in program.graph.initializer if one.name.endswith("fc1.weight")]
        elsewhere(where(ground), tensor)

    return partial(changed, change=change)


def graph(outputs, nodes, initializers=()):
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", 4, 4, 1])
    return helper.make_graph(nodes, "g", [images], outputs, list(initializers))


def replaced(*nodes, constants=None, kind=TensorProto.FLOAT, **settings):
    """Another program with a sound card: its last two nodes give 'logits' and 'probabilities'."""

    def build(ground):
        outputs = [helper.make_tensor_value_info(name, kind, None) for name in ("logits", "probabilities")]
        # As many bytes as the card's model may be, so that nobody stumbles over these.
        values = {**(constants or {}), "ballast": np.zeros(10**5, np.uint8)}
        held = [numpy_helper.from_array(np.array(value), name) for name, value in values.items()]
        imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
        made = [make(ground) for make in nodes]
        program = helper.make_model(graph(outputs, made, held), opset_imports=imports, ir_version=9, **settings)
        program.metadata_props.add(key=CARD, value=ground.card("onnx"))
        path = ground.path(like="onnx")
        path.write_bytes(program.SerializeToString())
        return path

    return build


def node(kind, inputs, outputs, **attributes):
    return lambda ground: helper.make_node(kind, inputs, outputs, **attributes)


def constant_elsewhere(ground):
    return helper.make_node("Constant", [], ["logits"], value=elsewhere(str(ground.secret)))


def branch(ground):
    """An If whose branch reads another file."""
    output = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    inner = helper.make_graph(
        [helper.make_node("Identity", ["weights"], ["inner"])], "b", [], [output], [elsewhere(str(ground.secret))]
    )
    return helper.make_node("If", ["yes"], ["logits"], then_branch=inner, else_branch=inner)


def loop(ground):
    """A Loop that goes round for a hundred thousand years."""
    values = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("go", 9), ("sum", 1))]
    step = helper.make_tensor_value_info("step", TensorProto.INT64, [])
    outputs = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("still", 9), ("more", 1))]
    nodes = [helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Add", ["sum", "sum"], ["more"])]
    body = helper.make_graph(nodes, "b", [step, *values], outputs)
    return helper.make_node("Loop", ["forever", "yes", "one"], ["logits"], body=body)


def function(body):
    return [helper.make_function("own", "F", ["x"], ["y"], [body], [helper.make_opsetid("own", 1)])]


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

    return partial(changed, change=change)


def without_card(program, ground):
    del program.metadata_props[:]


def second_card(program, ground):
    program.metadata_props.add(key=CARD, value="{}")


def empty_weights(program, ground):
    (tensor,) = [one for one in program.graph.initializer if one.name.endswith("fc1.weight")]
    tensor.ClearField("raw_data")
    tensor.dims[:] = [10**7, 10**7]


def same(kind, inputs, constants, **attributes):
    """One node, and its answer as the probabilities too."""
    twin = node("Identity", ["logits"], ["probabilities"])
    return replaced(node(kind, inputs, ["logits"], **attributes), twin, constants=constants)


YES, TWIN = {"yes": True}, node("Identity", ["logits"], ["probabilities"])
CASES = {
    "weights at an absolute path": external(lambda ground: str(ground.secret)),
    "weights at a path that climbs out": external(lambda ground: "../outside/secret.txt"),
    "weights at a path beside the file": external(lambda ground: "weights.bin"),
    "weights at an address in memory": external(lambda ground: "*/_ORT_MEM_ADDR_/*"),
    "a constant at an absolute path": replaced(constant_elsewhere, TWIN),
    "a branch with weights elsewhere": replaced(branch, TWIN, constants=YES),
    "sparse weights elsewhere": partial(changed, change=sparse),
    "a function with weights elsewhere": lambda ground: replaced(
        node("F", ["images"], ["logits"], domain="own"), TWIN, functions=function(constant_elsewhere(ground))
    )(ground),
    "a function that calls itself": replaced(
        node("F", ["images"], ["logits"], domain="own"),
        TWIN,
        functions=function(helper.make_node("F", ["x"], ["y"], domain="own")),
    ),
    "a loop without end": replaced(loop, TWIN, constants={"forever": FOREVER, "yes": True, "one": np.float32(1)}),
    "an ONNX file cut in half": lambda ground: ground.spoilt("onnx", lambda sound: sound[: len(sound) // 2]),
    "an ONNX file that is HTML": lambda ground: ground.spoilt(
        "onnx", lambda sound: b"<!DOCTYPE html><html><body>404: not found</body></html>\n"
    ),
    "an ONNX file of one byte again and again": lambda ground: ground.spoilt("onnx", lambda sound: b"\x0a" * 100_000),
    "an ONNX file without a card": partial(changed, change=without_card),
    "an ONNX file with two cards": partial(changed, change=second_card),
}
# The card is sound, and nothing but the runtime can tell what else is wrong.
TOLD = {
    "an operation of somebody's own": replaced(node("Evil", ["images"], ["logits"], domain="own"), TWIN),
    "an input by another name": renamed("images", "pixels"),
    "an output by another name": renamed("logits", "answers"),
    "weights of ten to the fourteen numbers": partial(changed, change=empty_weights),
    "an answer of four terabytes": same("ConstantOfShape", ["shape"], {"shape": [2**40]}),
    "an answer for other classes": same("ConstantOfShape", ["shape"], {"shape": [1, 1000]}),
    "an answer of no class": same("ConstantOfShape", ["shape"], {"shape": [0]}),
    "an answer of texts": replaced(
        node("Identity", ["words"], ["logits"]), TWIN, constants={"words": ["a", "b", "c"]}, kind=TensorProto.STRING
    ),
}
