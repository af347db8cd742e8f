"""No file of the package is too long or runs code from data: ruff knows most such calls, this file the others."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import diptych

PACKAGE = Path(diptych.__file__).parent
ROOT = Path(__file__).parents[2]
MOST_LINES = 300
NEVER = {"compile", "__import__"}
# What these calls must contain; their defaults have changed between versions.
SAFE_WITH = {"torch.load": "weights_only=True", "keras.models.load_model": "safe_mode=True"}
PLANTED = '''"""Planted."""
import os, pickle as sound, subprocess
from pickle import loads
eval(text)
exec(text)
loads(text)
sound.Unpickler(file).load()
os.system(text)
subprocess.run(text, shell=True)
try: os.sync()
except Exception: pass
'''


def faults(source):
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = {ast.unparse(call): ast.unparse(call.func) for call in calls}
    found = [call for call, name in names.items() if name in NEVER or SAFE_WITH.get(name, "") not in call]
    found += [call for call in names if "allow_pickle=True" in call]
    return found + ([f"more than {MOST_LINES} lines"] if source.count("\n") > MOST_LINES else [])


def test_no_file_has_a_fault():
    found = {path: faults(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    assert {} == {path: calls for path, calls in found.items() if calls}


FAULTS = ["compile(a)", "torch.load(a, weights_only=b)", "keras.models.load_model(a)", "np.load(a, allow_pickle=True)"]


@pytest.mark.parametrize("source", [*FAULTS, "\n" * 301])
def test_a_fault_is_found(source):
    assert 1 == len(faults(source))


def test_ruff_finds_what_runs_code_from_data_or_hides_errors():
    options = ["--output-format", "concise", "--stdin-filename", str(ROOT / "src/diptych/planted.py")]
    ruff = [sys.executable, "-m", "ruff", "check", *options]
    found = subprocess.run(ruff, cwd=ROOT, input=PLANTED, capture_output=True, text=True, check=False).stdout
    for rule in ("4:1: S307", "5:1: S102", "6:1: S301", "7:1: TID251", "8:1: S605", "9:1: S602", "11:1: S110"):
        assert f"planted.py:{rule}" in found
