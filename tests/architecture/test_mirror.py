"""The two engines are each other's mirror: same files, same public functions, same parameters, same first lines."""

import ast
import re
import shutil
from itertools import zip_longest
from pathlib import Path

import pytest

import diptych

ENGINES = Path(diptych.__file__).parent / "engines"


def public_functions(path):
    """Functions that a file makes public, in its order: name, names of parameters, first line of the docstring.

    Public is what `__all__` lists or, where there is none, what begins with no underscore.
    """
    functions = [node for node in _body(path) if isinstance(node, ast.FunctionDef)]
    listed = exported_names(path)
    return [_signature(node) for node in functions if (node.name in listed if listed else node.name[0] != "_")]


def exported_names(path):
    """What the `__all__` of a file lists."""
    assigned = [node for node in _body(path) if isinstance(node, ast.Assign)]
    return next((ast.literal_eval(node.value) for node in assigned if ast.unparse(node.targets[0]) == "__all__"), [])


def contract_verbs(path):
    """The methods of the protocol `Engine`: parameters and first line by name."""
    (engine,) = [node for node in _body(path) if isinstance(node, ast.ClassDef) and node.name == "Engine"]
    verbs = [_signature(node) for node in engine.body if isinstance(node, ast.FunctionDef)]
    return {name: (parameters[1:], first_line) for name, parameters, first_line in verbs}


def faults(first, second, contract):
    """What breaks the mirror between two engines' folders, or their likeness to the contract."""
    names = [{path.name for path in folder.glob("*.py")} for folder in (first, second)]
    found = [f"{name}: in one engine only" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        pairs = zip_longest(public_functions(first / name), public_functions(second / name))
        found += [f"{name}: {one} against {other}" for one, other in pairs if one != other]
    verbs = contract_verbs(contract)
    return found + [fault for folder in (first, second) for fault in _breaches(folder, verbs)]


def _breaches(folder, verbs):
    if exported_names(folder / "__init__.py") != sorted(verbs):
        yield f"{folder.name}: exports other names than the contract's"
    known = {name: rest for path in sorted(folder.glob("*.py")) for name, *rest in public_functions(path)}
    for name, wanted in verbs.items():
        if tuple(known.get(name, ())) != wanted:
            yield f"{folder.name}: {name} is {known.get(name)}, the contract has {wanted}"


def _signature(node):
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    first_line = (ast.get_docstring(node) or "").partition("\n")[0]
    return node.name, [argument.arg for argument in arguments if argument], first_line


def _body(path):
    return ast.parse(path.read_text(encoding="utf-8")).body


def test_the_engines_mirror_each_other_and_the_contract():
    assert [] == faults(ENGINES / "torch", ENGINES / "tensorflow", ENGINES / "contract.py")


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(ENGINES, tmp_path / "engines", ignore=shutil.ignore_patterns("__pycache__"))


def faults_of(copy):
    return faults(copy / "torch", copy / "tensorflow", copy / "contract.py")


@pytest.mark.parametrize(
    ("file", "pattern", "replacement", "fault"),
    [
        ("torch/train.py", r"def gradients\(", "def slopes(", "train.py: ('slopes'"),
        ("torch/train.py", r"def loss_of\(", "def loss(", "train.py: ('loss'"),
        (
            "tensorflow/predict.py",
            r"def predict\(model: keras.Model, images:",
            "def predict(model, pictures:",
            "pictures",
        ),
        ("tensorflow/runtime.py", r'"""The GPU if there is one, ', '"""A GPU, ', "A GPU"),
        ("torch/__init__.py", r'    "gradients",\n', "", "torch: exports other names"),
        ("contract.py", r"batch: Batch\)", "batch: Batch, seed: int)", "the contract has (['model', 'batch', 'seed']"),
    ],
)
def test_a_crack_in_the_mirror_is_found(copy, file, pattern, replacement, fault):
    path = copy / file
    source, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), count=1)
    assert 1 == count
    path.write_text(source, encoding="utf-8")
    assert any(fault in line for line in faults_of(copy))


def test_functions_in_another_order_are_found(copy):
    path = copy / "torch" / "train.py"
    source = path.read_text(encoding="utf-8")
    start, end = source.index("def gradients("), source.index("def loss_of(")
    path.write_text(source[:start] + source[end:] + "\n\n" + source[start:end], encoding="utf-8")
    assert any(line.startswith("train.py: ('loss_of'") for line in faults_of(copy))


def test_a_file_in_one_engine_only_is_found(copy):
    (copy / "torch" / "extra.py").touch()
    assert ["extra.py: in one engine only"] == faults_of(copy)
