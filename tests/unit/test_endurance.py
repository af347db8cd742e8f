"""Whatever a terminal, a folder, a path or a number may be, a command succeeds or says in one line why it does not."""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import diptych, process, refused
from data_files import write_images
from finished import finished
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diptych.cli.output import NARROWEST, WIDEST
from diptych.data.readers.folder import list_folder
from diptych.engines.contract import chunk_size
from diptych.errors import DataError, SpecError
from diptych.files import expanded
from diptych.options import TrainOptions
from diptych.processes import engine_environment, memory
from diptych.spec import zoo
from diptych.spec.codec import model_to_json, recipe_to_json
from diptych.spec.recipe import Recipe
from diptych.training.machine import check_memory

LONG, NOT_UTF8 = "a" * 300, os.fsdecode(b"\xff\xfe")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a run, data, and pipes named like files."""
    monkeypatch.chdir(tmp_path)
    finished(tmp_path, "run")
    for name in "ab":
        write_images(tmp_path / "data" / name, *range(3))
    for name in ("pipe", "pipe.json", "pipe.csv", "pipe.png", "pipe.onnx", "pipe.keras", "pipe.safetensors"):
        os.mkfifo(name)
    spec = model_to_json(zoo.model("mlp", (8, 8, 1), num_classes=10))
    spec["layers"][2]["units"] = 10**9
    spec["layers"][4]["units"] = 10**6
    Path("billion.json").write_text(json.dumps(spec))
    for depth in (300, 900, 100_000):
        deep = "[" * depth + "]" * depth
        for name, content in (("spec", spec | {"name": None}), ("recipe", recipe_to_json(Recipe()) | {"epochs": None})):
            Path(f"{name}{depth}.json").write_text(json.dumps(content).replace("null", deep, 1))
    return tmp_path


# The first word of each line is what the error must contain.
REFUSED = f"""
regular     train digits --model pipe.json
regular     train digits --recipe pipe.json
regular     verify pipe.json
regular     predict run pipe.png
source      train pipe
source      train pipe.csv
source      train /dev/zero
run         evaluate pipe.onnx digits
run         compare run pipe
pipe        describe pipe.keras
pipe        transfer pipe.safetensors x.pth
folder      train digits --out pipe
folder      train digits --out /dev/null/x
home        train ~nosuch/x
home        train digits --out ~nosuch/x
home        train digits --model ~nosuch/x.json
home        train --resume ~nosuch/x
home        data check data --out ~nosuch/x
home        data check data --quarantine ~nosuch/x
home        evaluate ~nosuch/x digits
home        predict run ~nosuch/x.png
home        describe ~nosuch/x.onnx
home        compare ~nosuch/x ~nosuch/y
home        transfer ~nosuch/x.pth y.pth --model mlp
home        transfer run/model.safetensors ~nosuch/y.pth --model mlp
long        train {LONG}
long        train digits --out {LONG}
long        train digits --name {LONG}
long        train digits --recipe {LONG}.json
long        train --resume {LONG}
long        data check data --out {LONG}
long        evaluate {LONG} digits
long        predict run {LONG}.png
long        describe {LONG}.onnx
long        transfer run/model.safetensors {LONG}.pth --model mlp
long        export run --to onnx --out {LONG}
UTF-8       train {NOT_UTF8}
UTF-8       train digits --out {NOT_UTF8}
UTF-8       train digits --name {NOT_UTF8}
UTF-8       data check data --out {NOT_UTF8}
UTF-8       predict run {NOT_UTF8}.png
UTF-8       evaluate {NOT_UTF8} digits
recipe300   train digits --recipe recipe300.json
recipe900   train digits --recipe recipe900.json
recipe1000  train digits --recipe recipe100000.json
spec300     verify spec300.json
spec900     train digits --model spec900.json
spec1000    verify spec100000.json
1024        train digits --threads 100000
1024        export run --to onnx --threads 100000
1024        train digits --workers 100000
images      train digits --image-size 9000x9000 --channels 3
parameters  verify mlp --input-shape 99999 99999 3
parameters  train digits --model billion.json
parameters  transfer run/model.safetensors x.pth --model mlp --input-shape 99999 99999 3
"""


@pytest.mark.parametrize("line", REFUSED.strip().splitlines())
def test_a_path_or_a_number_that_cannot_be_used_is_one_line(line, folder):
    word, *arguments = line.split()
    assert word in refused(*arguments)


STREAMS = {
    "models >/dev/full": 2,
    "train --help >/dev/full": 2,
    "differences --json >/dev/full": 2,
    "models 2>/dev/full": 0,
    "models --nope 2>/dev/full": 2,
    "models <&-": 0,
    "models 2>&-": 0,
    "models --nope 2>&-": 2,
    "models >&-": 2,
    "data check data >&- 2>&-": 2,
    "differences --json | true": 141,
    "train --help | true": 141,
}


@pytest.mark.parametrize("line", STREAMS)
def test_output_that_cannot_be_written_is_no_traceback_and_no_success(line, folder):
    script = f"set -o pipefail; {sys.executable} -m diptych {line}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=False, text=True)
    assert (STREAMS[line], "") == (done.returncode, re.sub("^diptych: .*\\n", "", done.stderr))
    assert bool(done.stderr) == (STREAMS[line] == 2 and "2>" not in line)


@pytest.mark.parametrize(
    ("line", "encoding", "code"),
    [
        ("differences", "ascii", 0),
        ("differences", "latin-1", 0),
        ("differences", "cp437", 0),
        ("datasets", "ascii", 0),
        ("train --help", "ascii", 0),
        ("train \N{CYRILLIC SMALL LETTER ZHE}", "ascii", 2),
    ],
)
def test_text_that_a_terminal_lacks_is_spelled(line, encoding, code):
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding, "COLUMNS": "200"}
    done = process(*line.split(), env=environment, encoding=encoding)
    assert (code, int(code > 0)) == (done.code, done.err.count("\n"))
    assert "\\" not in done.out


def test_json_is_the_same_in_any_encoding():
    texts = [
        process("differences", "--json", env={**os.environ, "PYTHONIOENCODING": one}) for one in ("utf-8", "ascii")
    ]
    assert texts[0].json == texts[1].json
    assert texts[1].out.isascii() and not texts[0].out.isascii()


@pytest.mark.parametrize("columns", ["1", "0", "-5", "x", "39", "9" * 9])
@pytest.mark.parametrize("line", ["train --help", "models", "differences"])
def test_a_layout_is_bounded_at_both_ends(line, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    result = diptych(*line.split())
    assert 0 == result.code
    assert NARROWEST - 10 <= max(map(len, result.out.splitlines())) <= WIDEST


def test_a_batch_that_fits_in_memory_is_named_where_one_does_not():
    check_memory(zoo.model("resnet20", (32, 32, 3), 10), batch_size=512)
    with pytest.raises(SpecError, match=r"269,722 parameters take 0.0 GB, outputs.*Set batch_size to \d+ or less"):
        check_memory(zoo.model("resnet20", (512, 512, 3), 10), batch_size=10**6)
    with pytest.raises(SpecError, match="Use fewer filters or units"):
        check_memory(zoo.model("mlp", (99_999, 99_999, 3), 10), batch_size=1)


def test_large_images_are_predicted_a_few_at_a_time():
    assert 256 == chunk_size(zoo.model("cnn", (64, 64, 3), 10))
    assert 1 <= chunk_size(zoo.model("resnet20", (8192, 8192, 3), 10)) < memory() // 2**33
    assert 1 == chunk_size(zoo.model("resnet20", (2**20, 2**20, 3), 10))


def test_a_home_folder_is_expanded_in_every_option():
    assert Path.home() / "runs" == Path(TrainOptions(out="~/runs").out) == expanded("~/runs")
    assert "cnn" == TrainOptions(model="cnn").model


# What Python itself imports before it runs `diptych`.
STARTUP = "import runpy, sys, site; print(*sys.modules, 'sitecustomize', 'usercustomize')"


@pytest.fixture
def planted(folder):
    """The working folder, with a file for every module that could be imported, each of which leaves a trace."""
    loaded = subprocess.check_output([sys.executable, "-c", STARTUP], text=True).split()
    installed = {
        path.stem for place in sys.path for path in Path(place or ".").glob("[a-z]*") if path.suffix in ("", ".py")
    }
    for name in (installed | sys.stdlib_module_names | {"tf2onnx", "evil"}) - {*loaded, "diptych", "data", "run"}:
        Path(f"{name}.py").write_text(
            f"open({str(folder / 'ran')!r}, 'a').write({name!r} + ' ')\nraise SystemExit(9)\n"
        )
    Path("matplotlibrc").write_text("backend: module://evil\ntext.usetex: True\nsavefig.dpi: 1\n")
    return folder


def run_in(folder, line, path=""):
    source = engine_environment()["PYTHONPATH"].split(os.pathsep)[0]
    done = process(*line.split(), cwd=folder, env={**os.environ, "PYTHONPATH": source + path})
    ran = (folder / "ran").read_text() if (folder / "ran").exists() else ""
    assert "" == ran
    assert done.code == int(line.startswith("data check")), done  # there are duplicates


@pytest.mark.parametrize("path", ["", os.pathsep, f"{os.pathsep}."])
@pytest.mark.parametrize("line", ["models", "datasets --json", "differences", "data check data --out report"])
def test_no_file_in_the_working_folder_runs(line, path, planted):
    run_in(planted, line, path)


def test_no_file_in_the_working_folder_runs_in_another_process(engine_name, planted):
    line = f"train digits --model mlp --epochs 1 --threads 1 --engine {engine_name} --name trained"
    run_in(planted, line, os.pathsep)
    run_in(planted, "evaluate runs/trained", os.pathsep)
    run_in(planted, f"export runs/trained --to {'torchscript' if engine_name == 'torch' else 'tflite'}", os.pathsep)


def test_a_tree_of_other_files_is_no_dataset_and_is_listed_with_progress(tmp_path):
    for name in "ab":
        write_images(tmp_path / name, *range(100))
    for number in range(1001):
        (tmp_path / f"{number}.o").write_bytes(b"\x7fELF")
    counts = []
    with pytest.raises(DataError, match="is not a dataset: it has 200 images and 1,001 "):
        list_folder(tmp_path, lambda *progress: counts.append(progress))
    assert [("Listing", 1000, 0)] == counts


NAMES = st.one_of(
    st.sampled_from(["", ".", "/", "..", "~", "~nosuch/x", LONG, NOT_UTF8, "\0", "pipe", "/dev/null", "absent", "run"]),
    st.text(max_size=8),
)
VALUES = st.one_of(
    NAMES,
    st.integers().map(str),
    st.floats(allow_subnormal=False).map(str),
    st.sampled_from(["9" * 400, "1x1", "-", "--"]),
)
JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_subnormal=False), st.text(max_size=5)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
FILES = {"spec": model_to_json(zoo.model("cnn", (8, 8, 1), 10)), "recipe": recipe_to_json(Recipe())}
QUICK = {
    "models": "--input-shape --num-classes --json",
    "recipes": "--json",
    "describe": "--trust --json",
    "data check": "--root --pixel-shape --data-dir --out --quarantine --strict",
    "transfer": "--model --input-shape --map --force --json",
    "train absent": "--epochs --batch-size --learning-rate --class-weights --threads --workers --seed --name --out "
    "--image-size --channels --pixel-shape --data-dir --root --stop-after --precision --step-epochs --resume",
    "evaluate": "--data-dir --engine --trust --root",
    "predict": "--top --json",
    "export run": "--to --out --threads",
    "compare absent": "--seeds --margin --out --plan --seed",
}


@st.composite
def commands(draw):
    """The words of a command, and the environment."""
    verb = draw(st.sampled_from([*QUICK]))
    words = [*verb.split(), *draw(st.lists(VALUES, max_size=2))]
    for option in draw(st.lists(st.sampled_from(QUICK[verb].split()), max_size=3)):
        words += [option, *draw(st.lists(VALUES, max_size=3))]
    names = ("COLUMNS", "LINES", "TERM", "NO_COLOR", "DIPTYCH_CACHE", "DIPTYCH_DATA")
    given = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
    return words, draw(st.dictionaries(st.sampled_from(names), given, max_size=2))


@st.composite
def changed_files(draw):
    """A spec or a recipe in which something is replaced, and the option that reads it."""
    kind = draw(st.sampled_from([*FILES]))
    content = copy.deepcopy(FILES[kind])
    place = draw(st.sampled_from(content["layers"])) if kind == "spec" and draw(st.booleans()) else content
    for key in draw(st.lists(st.sampled_from([*place]), min_size=1, max_size=2)):
        place[key] = draw(JSON | st.sampled_from([10**9, 10**400, -1, 1e308, [10**6] * 2, "relu"]))
    return kind, json.dumps(content)


def said_in_one_line(words):
    """Whether a command succeeds, or says in one line why not."""
    result = diptych(*words)
    lines = [line for line in result.err.splitlines() if not line.startswith(("Listing", "Hashing"))]
    assert (result.code, len(lines)) in {(0, len(lines)), (1, 0), (2, 1)}, result
    assert result.code < 2 or lines[0].startswith("diptych: ")


EVERY = settings(
    max_examples=int(os.environ.get("DIPTYCH_EXAMPLES", "60")),
    deadline=None,
    derandomize="DIPTYCH_EXAMPLES" not in os.environ,
    suppress_health_check=[*HealthCheck],
)


@EVERY
@given(commands())
def test_any_command_succeeds_or_says_in_one_line_why_not(folder, drawn):
    words, environment = drawn
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        said_in_one_line(words)


@EVERY
@given(changed_files())
def test_any_spec_and_recipe_is_read_or_refused_in_one_line(folder, drawn):
    kind, text = drawn
    Path("changed.json").write_text(text)
    said_in_one_line(["train", "absent", "--model" if kind == "spec" else "--recipe", "changed.json"])
