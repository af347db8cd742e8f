"""The ledger and the code's markers correspond, and every row has a proof."""

import re
from dataclasses import replace
from pathlib import Path

import diptych
from diptych.engines.differences import LEDGER

PACKAGE = Path(diptych.__file__).parent
ROOT = Path(__file__).parents[2]
MARKER = re.compile(r"^\s*# differs: (.+)$", re.MULTILINE)


def marked_keys(package):
    """Keys of all `# differs:` comments, with their files."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        for keys in MARKER.findall(path.read_text(encoding="utf-8")):
            for key in keys.split(", "):
                found.setdefault(key, set()).add(path.relative_to(package).as_posix())
    return found


def faults(package, ledger, root):
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
    assert [] == faults(PACKAGE, LEDGER, ROOT)


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
    assert ["model.py: no row 'weather'"] == faults(tmp_path, LEDGER, ROOT)


def test_a_row_without_a_marker_or_a_proof_or_twice_is_found():
    first, *others = LEDGER
    assert ["'weather' is marked nowhere"] == faults(PACKAGE, (*LEDGER, replace(first, key="weather")), ROOT)
    assert [f"'{first.key}' has 2 rows"] == faults(PACKAGE, (*LEDGER, first), ROOT)
    for proof in ("test_absent.py::test_it", "test_engine.py::test_absent", "tiny.py::train"):
        unproven = replace(first, proof=f"tests/contract/{proof}")
        assert [f"'{first.key}': no test {unproven.proof}"] == faults(PACKAGE, (unproven, *others), ROOT)
