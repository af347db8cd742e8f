"""No file of the package runs code from data, swallows every error, or is too long."""

import ast
import re
from pathlib import Path

import pytest

import diptych

PACKAGE = Path(diptych.__file__).parent
MOST_LINES = 300
UNSAFE_CALLS = {
    *("eval", "exec", "compile", "__import__"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("yaml.load", "yaml.unsafe_load", "keras.config.enable_unsafe_deserialization"),
}
UNSAFE_KEYWORDS = {("shell", True), ("allow_pickle", True), ("weights_only", False), ("safe_mode", False)}
# Calls that are safe only with this argument; their defaults have changed between versions.
SAFE_WITH = {"torch.load": "weights_only=True", "keras.models.load_model": "safe_mode=True"}
GUARDED = {*UNSAFE_CALLS, *SAFE_WITH}
BROAD = {None, "Exception", "BaseException"}


def faults(source):
    """Line and kind of each fault in a source."""
    tree = ast.parse(source)
    found = [f"{node.lineno}: {fault}" for node in ast.walk(tree) for fault in _faults_of(node)]
    if not ast.get_docstring(tree):
        found.append("1: no docstring")
    num_lines = len(source.splitlines())
    return found + ([f"{num_lines}: more than {MOST_LINES} lines"] if num_lines > MOST_LINES else [])


def _faults_of(node):
    match node:
        case ast.Call(func=function, keywords=keywords):
            name, given = ast.unparse(function), [ast.unparse(keyword) for keyword in keywords]
            if name in UNSAFE_CALLS:
                yield f"{name}()"
            if name in SAFE_WITH and SAFE_WITH[name] not in given:
                yield f"{name}() without {SAFE_WITH[name]}"
            yield from (one for one in given if one in {f"{key}={value}" for key, value in UNSAFE_KEYWORDS})
        case ast.ClassDef(bases=bases, body=body) if "pickle.Unpickler" in map(ast.unparse, bases):
            if "find_class" not in {getattr(item, "name", None) for item in body}:
                yield "a pickle.Unpickler without find_class"
        case ast.Import(names=names):  # an alias would hide a call
            modules = {name.rpartition(".")[0] for name in GUARDED}
            yield from (ast.unparse(node) for alias in names if alias.asname and alias.name in modules)
        case ast.ImportFrom(module=module, names=names):
            unsafe = [alias.name for alias in names if f"{module}.{alias.name}" in GUARDED]
            yield from (f"from {module} import {name}" for name in unsafe)
        case ast.ExceptHandler(type=kind, body=[ast.Pass()]) if (kind and ast.unparse(kind)) in BROAD:
            yield "swallows every error"


def test_no_file_has_a_fault():
    sources = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    found = [f"{name}:{fault}" for name, source in sorted(sources.items()) for fault in faults(source)]
    # Both ends of a worker's socket are diptych's own processes.
    assert [] == [fault for fault in found if not re.fullmatch(r"processes\.py:\d+: pickle\.loads\(\)", fault)]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("eval(text)", "2: eval()"),
        ("from pickle import loads", "2: from pickle import loads"),
        ("import pickle as sound", "2: import pickle as sound"),
        ("pickle.Unpickler(file).load()", "2: pickle.Unpickler()"),
        ("class Reader(pickle.Unpickler): pass", "2: a pickle.Unpickler without find_class"),
        ("subprocess.run(command, shell=True)", "2: shell=True"),
        ("torch.load(path, weights_only=trust)", "2: torch.load() without weights_only=True"),
        ("from torch import load", "2: from torch import load"),
        ("keras.models.load_model(path)", "2: keras.models.load_model() without safe_mode=True"),
        ("try: run()\nexcept Exception: pass", "3: swallows every error"),
        ("try: run()\nexcept: pass", "3: swallows every error"),
        ("\n" * MOST_LINES, f"{MOST_LINES + 1}: more than {MOST_LINES} lines"),
    ],
)
def test_a_fault_is_found(line, fault):
    assert [fault] == faults(f'"""Planted."""\n{line}')


def test_a_file_without_a_docstring_is_found():
    assert ["1: no docstring"] == faults("x = 1\n")


def test_similar_code_is_accepted():
    assert [] == faults('''"""Sound."""
import torch
import pickle
import numpy as np
class Reader(pickle.Unpickler):
    def find_class(self, module, name): raise pickle.UnpicklingError
model.eval(); model.compile(); re.compile(text); run(shell=False)
np.load(path); np.load(path, allow_pickle=False)
torch.load(path, weights_only=True); keras.models.load_model(path, safe_mode=True)
try: run()
except OSError: pass
''')
