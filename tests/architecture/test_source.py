"""What no file of the package may hold: ways to run what was read, swallowed errors, and too many lines."""

import ast
from pathlib import Path

import pytest

import diptych

PACKAGE = Path(diptych.__file__).parent
MOST_LINES = 300
UNSAFE_CALLS = {"eval", "exec", "pickle.load", "pickle.loads", "os.system"}
UNSAFE_KEYWORDS = {("shell", True), ("allow_pickle", True), ("weights_only", False)}
BROAD = {None, "Exception", "BaseException"}


def faults(source):
    """What a file's source may not hold: line and fault."""
    tree = ast.parse(source)
    found = [f"{node.lineno}: {fault}" for node in ast.walk(tree) for fault in _faults_of(node)]
    if not ast.get_docstring(tree):
        found.append("1: no docstring")
    num_lines = len(source.splitlines())
    return found + ([f"{num_lines}: more than {MOST_LINES} lines"] if num_lines > MOST_LINES else [])


def _faults_of(node):
    match node:
        case ast.Call(func=function, keywords=keywords):
            if ast.unparse(function) in UNSAFE_CALLS:
                yield f"{ast.unparse(function)}()"
            for keyword in keywords:
                if isinstance(keyword.value, ast.Constant) and (keyword.arg, keyword.value.value) in UNSAFE_KEYWORDS:
                    yield ast.unparse(keyword)
        case ast.ImportFrom(module="pickle", names=names):
            yield from (f"from pickle import {alias.name}" for alias in names if alias.name in ("load", "loads"))
        case ast.ExceptHandler(type=kind, body=[ast.Pass()]) if (kind and ast.unparse(kind)) in BROAD:
            yield "an error that is swallowed, whatever it is"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_file_holds_nothing_it_should_not(path):
    assert [] == faults(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("eval(text)", "2: eval()"),
        ("exec(text)", "2: exec()"),
        ("pickle.load(file)", "2: pickle.load()"),
        ("from pickle import loads", "2: from pickle import loads"),
        ("os.system(command)", "2: os.system()"),
        ("subprocess.run(command, shell=True)", "2: shell=True"),
        ("np.load(path, allow_pickle=True)", "2: allow_pickle=True"),
        ("torch.load(path, weights_only=False)", "2: weights_only=False"),
        ("try: run()\nexcept Exception: pass", "3: an error that is swallowed, whatever it is"),
        ("try: run()\nexcept: pass", "3: an error that is swallowed, whatever it is"),
        ("\n" * MOST_LINES, f"{MOST_LINES + 1}: more than {MOST_LINES} lines"),
    ],
)
def test_a_fault_is_found(line, fault):
    assert [fault] == faults(f'"""Planted."""\n{line}')


def test_a_file_without_a_docstring_is_found():
    assert ["1: no docstring"] == faults("x = 1\n")


def test_what_only_looks_alike_is_left_alone():
    assert [] == faults('"""Sound."""\nmodel.eval()\nrun(shell=False)\ntry: run()\nexcept OSError: pass\n')
