"""The two engines are each other's mirror: same files, same public functions, same parameters, same first lines."""

import ast
import shutil
from itertools import zip_longest
from pathlib import Path

import pytest

import diptych

ENGINES = Path(diptych.__file__).parent / "engines"


def public_functions(path):
    """Public functions of a file, in order: name, names of the parameters, first line of the docstring."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return [_signature(node) for node in nodes if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]


def exported_names(package):
    """What a package's `__all__` lists."""
    for node in ast.parse((package / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def contract_verbs(path):
    """The methods of the protocol `Engine`, by name, as `public_functions` gives functions."""
    classes = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    (engine,) = [node for node in classes if node.name == "Engine"]
    verbs = [_signature(node) for node in engine.body if isinstance(node, ast.FunctionDef)]
    return {name: (parameters[1:], first_line) for name, parameters, first_line in verbs}


def faults(first, second, contract):
    """What breaks the mirror between two engines' folders, or their likeness to the contract."""
    names = [{path.name for path in folder.glob("*.py")} for folder in (first, second)]
    found = [f"{name} is in one engine only" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        pairs = zip_longest(public_functions(first / name), public_functions(second / name))
        found += [f"{name}: {one} is not {other}" for one, other in pairs if not _same(one, other)]
    verbs = contract_verbs(contract)
    for folder in (first, second):
        if exported_names(folder) != sorted(verbs):
            found.append(f"{folder.name}/__init__.py exports other names than the contract's")
        known = {function[0]: function for path in sorted(folder.glob("*.py")) for function in public_functions(path)}
        for name, wanted in verbs.items():
            if name not in known or known[name][1:] != wanted:
                found.append(f"{folder.name}: {name} is not as in the contract: {wanted}")
    return found


# Between a model's own functions only these stand for the same thing under two names.
def _same(one, other):
    return one == other


def _signature(node):
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    rest = [argument for argument in (node.args.vararg, node.args.kwarg) if argument]
    first_line = (ast.get_docstring(node) or "").partition("\n")[0]
    return node.name, [argument.arg for argument in (*arguments, *rest)], first_line
