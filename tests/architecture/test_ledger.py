"""The ledger of differences and the code's markers correspond both ways, and every row has its proof."""

import ast
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import diptych
from diptych.engines.differences import LEDGER

PACKAGE = Path(diptych.__file__).parent
ROOT = Path(__file__).parents[2]
MARKER = re.compile(r"^\s*# differs: (.+)$", re.MULTILINE)


def marked_keys(package):
    """Every key that a `# differs:` comment names, with the files that name it."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        for keys in MARKER.findall(path.read_text(encoding="utf-8")):
            for key in keys.split(", "):
                found.setdefault(key, set()).add(path.relative_to(package).as_posix())
    return found


def faults(package, ledger, root):
    """What the ledger and the code do not have in common, rows without proof, and rows that say the same twice."""
    marked = marked_keys(package)
    keys = [row.key for row in ledger]
    found = [f"{', '.join(sorted(marked[key]))}: no row '{key}'" for key in sorted(marked.keys() - set(keys))]
    found += [f"'{key}' is marked nowhere" for key in keys if key not in marked]
    found += [f"'{key}' has {keys.count(key)} rows" for key in sorted(set(keys)) if keys.count(key) > 1]
    return found + [f"'{row.key}': no test {row.proof}" for row in ledger if not _is_a_test(row.proof, root)]


def _is_a_test(node_id, root):
    file, _, name = node_id.partition("::")
    path = root / file
    if not (path.is_file() and path.name.startswith("test_") and name.startswith("test_")):
        return False
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return name in {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_markers_rows_and_proofs_correspond():
    assert [] == faults(PACKAGE, LEDGER, ROOT)


def test_every_row_says_all_it_should_in_sentences():
    for row in LEDGER:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", row.key)
        assert all(text.endswith(".") for text in (row.torch, row.tensorflow, row.rule)), row.key


def test_no_proof_serves_two_rows():
    proofs = [row.proof for row in LEDGER]
    assert len(set(proofs)) == len(proofs)


def test_the_engines_mark_a_difference_in_both_or_where_it_is_settled():
    engines = {
        key: {file.split("/")[1] for file in files if file.startswith(("engines/torch/", "engines/tensorflow/"))}
        for key, files in marked_keys(PACKAGE).items()
    }
    only_tensorflow_departs = {key for key, names in engines.items() if names == {"tensorflow"}}
    in_the_saved_model = {"decode", "resize"}  # whose signature on encoded files does what `data/` does
    assert {"constant-cast", "rescaling-constants"} | in_the_saved_model == only_tensorflow_departs
    assert {"torch"} not in engines.values()


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(PACKAGE, tmp_path / "diptych", ignore=shutil.ignore_patterns("__pycache__"))


def test_a_marker_without_a_row_is_found(copy):
    path = copy / "engines" / "torch" / "model.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n# differs: gelu, weather\n", encoding="utf-8")
    assert ["engines/torch/model.py: no row 'weather'"] == faults(copy, LEDGER, ROOT)


def test_a_row_without_a_marker_is_found(copy):
    unmarked = replace(LEDGER[0], key="weather")
    assert ["'weather' is marked nowhere"] == faults(copy, (*LEDGER, unmarked), ROOT)


@pytest.mark.parametrize(
    "proof",
    [
        "tests/contract/test_absent.py::test_it",
        "tests/contract/test_engine.py::test_absent",
        "tests/contract/tiny.py::train",
    ],
)
def test_a_row_without_a_proof_is_found(proof):
    unproven = replace(LEDGER[0], proof=proof)
    assert [f"'{unproven.key}': no test {proof}"] == faults(PACKAGE, (unproven, *LEDGER[1:]), ROOT)


def test_a_row_that_is_there_twice_is_found():
    assert [f"'{LEDGER[0].key}' has 2 rows"] == faults(PACKAGE, (*LEDGER, LEDGER[0]), ROOT)
