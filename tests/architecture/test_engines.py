"""The engines mirror each other in files and signatures; ledger and markers correspond, and every row has a proof."""

import ast
import re
import shutil
from dataclasses import replace
from functools import cache
from itertools import zip_longest
from pathlib import Path

import pytest

import diptych
from diptych.engines.differences import LEDGER

PACKAGE = Path(diptych.__file__).parent
TESTS = Path(__file__).parents[1]
ENGINES = ("torch", "tensorflow")
# Each framework's own types by their common name.
NATIVE_TYPES = {"torch": {"Network": "Model"}, "tensorflow": {"keras.Model": "Model", "Variable": "Tensor"}}
# Functions and classes used by other files that may differ between the engines, and why.
UNMIRRORED = {
    "export.py: Served": "Keras builds the exported model from layers, without a class.",
    "export.py: pixels_of": "Only a SavedModel decodes images, in its second signature.",
    "model.py: BatchNorm": "Exported Keras models contain the stock layer instead.",
    "model.py: Dropout": "A layer of a framework has the methods of its base class.",
    "model.py: DropPath": "Keras's Dropout takes the shape of its mask.",
    "model.py: Network": "In TensorFlow the model is a plain `keras.Model`.",
    "model.py: is_depthwise": "Keras has a separate layer and kernel layout for depthwise convolutions.",
    "model.py: native_order": "Keras flattens maps in height, width, channel order.",
    "model.py: set_masks": "TensorFlow traces the step, so seed and step are tensors.",
    "optimizer.py: Optimizer.update": "TensorFlow traces the update, so gradients and step number are arguments.",
    "weights.py: from_numpy": "Keras's layout of an array depends on its layer.",
    "weights.py: to_numpy": "Keras's layout of an array depends on its layer.",
}


def body(path):
    return ast.parse(path.read_text(encoding="utf-8")).body


@cache
def imported_names(folder):
    """What the files of a folder import from any engine's files, as `train.py: train_epoch`."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            module = re.fullmatch(r"diptych\.engines\.\w+\.(\w+)", getattr(node, "module", None) or "")
            if isinstance(node, ast.ImportFrom) and module:
                names |= {f"{module[1]}.py: {alias.name}" for alias in node.names}
    return names


def signature(node, types):
    """Parameters with order, defaults and types, the return type, and the docstring's first line."""
    arguments = node.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        if argument.annotation:
            argument.annotation = ast.Name(canonical(argument.annotation, types))
    first_line = (ast.get_docstring(node) or "").partition("\n")[0]
    return f"({ast.unparse(arguments)}) -> {canonical(node.returns, types)}: {first_line}"


def canonical(annotation, types):
    """An annotation with the framework's own types under the contract's names."""
    text = ast.unparse(annotation) if annotation else "None"
    for own, name in types.items():
        text = re.sub(rf"(?<![\w.]){re.escape(own)}\b", name, text)
    return text


def surface(folder, used, types):
    """Signature of each function, class and public method that another file uses, by `file: name`, in order."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        for node in body(path):
            key = f"{path.name}: {getattr(node, 'name', '')}"
            if key not in used:
                continue
            if isinstance(node, ast.FunctionDef):
                found[key] = signature(node, types)
            elif isinstance(node, ast.ClassDef):
                found[key] = f"class: {(ast.get_docstring(node) or '').partition(chr(10))[0]}"
                for method in (method for method in node.body if isinstance(method, ast.FunctionDef)):
                    if method.name == "__init__" or not method.name.startswith("_"):
                        found[f"{key}.{method.name}"] = signature(method, types)
    return found


def faults(engines, folders=(PACKAGE, TESTS), stated=UNMIRRORED):
    """What breaks the mirror between the engines' folders, or their likeness to the contract."""
    files = [{path.name for path in (engines / name).glob("*.py")} for name in ENGINES]
    result = [f"{name}: in one engine only" for name in sorted(files[0] ^ files[1])]
    used = set().union(*map(imported_names, folders))
    first, second = (surface(engines / name, used, NATIVE_TYPES[name]) for name in ENGINES)
    # A class that is stated differs as a whole, so its methods are not compared.
    differing = {key for key in {*first, *second} if first.get(key) != second.get(key)}
    unstated = {key for key in differing if not any(key == name or key.startswith(f"{name}.") for name in stated)}
    result += [f"{key}: {first.get(key)} against {second.get(key)}" for key in sorted(unstated)]
    result += [f"{key}: stated, but does not differ" for key in stated if not any(k.startswith(key) for k in differing)]
    orders = ([key for key in keys if key in first and key in second] for keys in (first, second))
    result += [f"order: {one} against {other}" for one, other in zip_longest(*orders) if one != other]
    return result + [
        fault for name in ENGINES for fault in breaches(engines / name, engines / "contract.py", NATIVE_TYPES[name])
    ]


def breaches(folder, contract, types):
    """Where an engine does not fit the protocol `Engine`."""
    (engine,) = [node for node in body(contract) if isinstance(node, ast.ClassDef) and node.name == "Engine"]
    verbs = {node.name: node for node in engine.body if isinstance(node, ast.FunctionDef)}
    imports = [node for node in body(folder / "__init__.py") if isinstance(node, ast.ImportFrom)]
    if sorted(alias.name for node in imports for alias in node.names) != sorted(verbs):
        yield f"{folder.name}: exports other names than the contract's"
    nodes = (node for path in sorted(folder.glob("*.py")) for node in body(path) if isinstance(node, ast.FunctionDef))
    known = {node.name: signature(node, types) for node in nodes if node.name in verbs}
    for name, node in verbs.items():
        node.args.args.pop(0)
        expected = signature(node, {})
        if known.get(name) != expected:
            yield f"{folder.name}: {name} is {known.get(name)}, the contract has {expected}"


def test_the_engines_mirror_each_other_and_the_contract():
    assert [] == faults(PACKAGE / "engines")


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(PACKAGE / "engines", tmp_path / "engines", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.parametrize(
    ("file", "pattern", "replacement", "fault"),
    [
        ("torch/train.py", r"def gradients\(", "def slopes(", "train.py: gradients: None against"),
        ("tensorflow/train.py", r"images: Images\) ->", "pictures: Images) ->", "pictures: Images"),
        ("torch/train.py", r"so_far: Totals = NO_STEPS", "so_far: Totals = None", "so_far: Totals=None"),
        ("torch/train.py", r"-> np.ndarray:", "-> Tensor:", "train.py: predict"),
        ("torch/optimizer.py", r"def scaled\(self, loss", "def enlarged(self, loss", "Optimizer.enlarged"),
        ("tensorflow/runtime.py", r"def device\(\) -> str", "def device(index: int) -> str", "runtime.py: device"),
        ("torch/train.py", r'"""Return the loss and its', '"""Give the loss and its', "Give the loss"),
        ("torch/__init__.py", r"import gradients, ", "import ", "torch: exports other names"),
        ("contract.py", r"batch: Batch\)", "batch: Batch, seed: int)", "has (model: Model, batch: Batch, seed: int)"),
    ],
)
def test_a_crack_in_the_mirror_is_found(copy, file, pattern, replacement, fault):
    path = copy / file
    source, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
    assert 1 == count
    path.write_text(source, encoding="utf-8")
    assert any(fault in line for line in faults(copy))


def test_an_exception_that_does_not_differ_is_found(copy):
    stated = {**UNMIRRORED, "train.py: predict": ""}
    assert ["train.py: predict: stated, but does not differ"] == faults(copy, stated=stated)


def test_functions_in_another_order_are_found(copy):
    path = copy / "torch" / "train.py"
    source = path.read_text(encoding="utf-8")
    start, end = source.index("def gradients("), source.index("def predict(")
    path.write_text(source[:start] + source[end:] + "\n\n" + source[start:end], encoding="utf-8")
    assert any(line.startswith("order: train.py: predict") for line in faults(copy))


def test_what_a_new_file_uses_must_be_mirrored(copy, tmp_path):
    (tmp_path / "user.py").write_text("from diptych.engines.torch.train import _tensor\n")
    assert any("train.py: _tensor" in line for line in faults(copy, (PACKAGE, TESTS, tmp_path)))


def test_a_file_in_one_engine_only_is_found(copy):
    (copy / "torch" / "extra.py").touch()
    assert ["extra.py: in one engine only"] == faults(copy)


MARKER = re.compile(r"^\s*# differs: (.+)$", re.MULTILINE)


def marked_keys(package):
    """Keys of all `# differs:` comments, with their files."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        for keys in MARKER.findall(path.read_text(encoding="utf-8")):
            for key in keys.split(", "):
                found.setdefault(key, set()).add(path.relative_to(package).as_posix())
    return found


def ledger_faults(package, ledger, root):
    """Markers without rows, rows without markers or proofs, and rows with the same key."""
    marked = marked_keys(package)
    keys = [row.key for row in ledger]
    found = [f"{', '.join(sorted(marked[key]))}: no row '{key}'" for key in sorted(marked.keys() - set(keys))]
    found += [f"'{key}' is marked nowhere" for key in keys if key not in marked]
    found += [f"'{key}' has {keys.count(key)} rows" for key in sorted(set(keys)) if keys.count(key) > 1]
    return found + [f"'{row.key}': no test {row.proof}" for row in ledger if not _is_a_test(row.proof, root)]


def _is_a_test(node_id, root):
    file, _, name = node_id.partition("::")
    path = root / file
    return path.match("test_*.py") and path.is_file() and f"\ndef {name}(" in path.read_text(encoding="utf-8")


def test_markers_rows_and_proofs_correspond():
    assert [] == ledger_faults(PACKAGE, LEDGER, TESTS.parent)


def test_every_row_consists_of_sentences_and_has_its_own_proof():
    for row in LEDGER:
        assert all(text.endswith(".") for text in (row.torch, row.tensorflow, row.rule)), row.key
    assert len({row.proof for row in LEDGER}) == len(LEDGER)


def test_a_difference_is_marked_in_both_engines_or_outside_them():
    engines = {
        key: {file.split("/")[1] for file in files if file.startswith(("engines/torch/", "engines/tensorflow/"))}
        for key, files in marked_keys(PACKAGE).items()
    }
    only_tensorflow = {key for key, names in engines.items() if names == {"tensorflow"}}
    in_the_saved_model = {"decode", "resize"}  # its signature for encoded files repeats `data/`
    assert {"constant-cast", "rescaling-constants"} | in_the_saved_model == only_tensorflow
    assert {"torch"} not in engines.values()


def test_a_marker_without_a_row_is_found(tmp_path):
    (tmp_path / "model.py").write_text(f"# differs: {', '.join(row.key for row in LEDGER)}, weather\n")
    assert ["model.py: no row 'weather'"] == ledger_faults(tmp_path, LEDGER, TESTS.parent)


def test_a_row_without_a_marker_or_a_proof_or_twice_is_found():
    first, *others = LEDGER
    assert ["'weather' is marked nowhere"] == ledger_faults(
        PACKAGE, (*LEDGER, replace(first, key="weather")), TESTS.parent
    )
    assert [f"'{first.key}' has 2 rows"] == ledger_faults(PACKAGE, (*LEDGER, first), TESTS.parent)
    for proof in ("test_absent.py::test_it", "test_engine.py::test_absent", "tiny.py::train"):
        unproven = replace(first, proof=f"tests/contract/{proof}")
        assert [f"'{first.key}': no test {unproven.proof}"] == ledger_faults(PACKAGE, (unproven, *others), TESTS.parent)
