"""README and docs agree with the code: commands, options, names, links, tables and examples."""

import json
import re
import shlex
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
from commands import golden
from images_corpus import corpus

from diptych import cli
from diptych.cli.arguments import parse
from diptych.data import signatures
from diptych.data.decode import MAX_PIXELS
from diptych.data.sources import NAMED
from diptych.deployment.formats import FORMATS
from diptych.engines import NAMES
from diptych.errors import ImageError
from diptych.native.projects import project
from diptych.spec import Recipe, zoo
from diptych.spec.codec import model_from_json, recipe_from_json
from diptych.spec.layers import Layer

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import results  # noqa: E402  (a script beside the package)

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
TEXT = README + "".join(PAGES.values())
CONSOLE = "".join(re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL))
TYPED = [*re.findall(r"^\$ (.*)$", CONSOLE, re.MULTILINE), *re.findall(r"`((?:diptych|make) [^`]+)`", TEXT)]
COMMANDS = [shlex.split(line, comments=True) for line in TYPED]
DIPTYCH = [command[1:] for command in COMMANDS if command[0] == "diptych"]
PYTHON = re.findall(r"```python\n(.*?)```", README + PAGES["training"], re.DOTALL)
FORMAT_ROW = re.compile(r"^\| `([\w-]+)` \| `cnn(\S*)` \| (.+?) \| (\S*) ?\| ([\d.]+)% \|$", re.MULTILINE)


def test_the_readme_shows_the_main_verbs_and_some_python():
    assert {"train", "evaluate", "predict", "verify"} <= {verb for verb, *_ in DIPTYCH}
    assert PYTHON


@pytest.mark.parametrize("args", [args for args in DIPTYCH if args[0] != "VERB"], ids=" ".join)
def test_a_command_is_valid(args):
    verb, *rest = args
    module = import_module(f"diptych.cli.{cli.MODULES.get(verb, verb)}")
    if verb == "data":
        parse(getattr(module, rest[0].capitalize()), f"data {rest[0]}", rest[1:])
        return
    parse(getattr(module, verb.capitalize()), verb, rest)
    if verb == "train" and not rest[0].startswith("-"):
        assert rest[0] in {*NAMED, "DATA"}
    if verb == "verify":
        assert rest[0] in {*zoo.MODELS, "runs/digits-cnn-torch", "MODEL", "RUN"}


def test_the_page_on_native_code_shows_what_is_written():
    """`DIPTYCH_UPDATE_GOLDEN=1` writes it into the page."""
    spec, page = zoo.model("fashion_cnn", (28, 28, 1), mean=(0.286,), std=(0.353,)), PAGES["code"]
    for engine, start in (("torch", "self.layers = nn.Sequential("), ("tensorflow", "return keras.Sequential(")):
        source = project(spec, Recipe(), engine).files["model.py"]
        code = re.search(rf"^( +){re.escape(start)}.*?\n\1\)$", source, re.DOTALL | re.MULTILINE)[0]
        block = re.compile(rf"(?<=<!-- {engine} -->\n```python\n).*?(?=```)", re.DOTALL)
        page = block.sub(lambda _, code=code: textwrap.dedent(code) + "\n", page)
    assert page == golden("../../docs/code.md", page)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command[0] == "make"], ids=" ".join)
def test_a_make_target_exists(command):
    assert re.search(rf"^{command[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)", README))))
def test_a_link_points_to_a_file(target):
    assert (ROOT / target).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.splitlines()[-1].split("#")[0].strip())
def test_a_python_example_runs_with_one_epoch(block, tmp_path, request):
    chosen = request.config.getoption("engine")
    if chosen and {*chosen} != {*NAMES}:
        pytest.skip("the example uses both engines, and --engine chose one")
    code = re.sub(r"epochs=\d+", "epochs=1", block)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    assert 1 == len(list((tmp_path / "runs").iterdir()))


@pytest.mark.parametrize("page", sorted(results.BLOCKS))
def test_generated_blocks_are_current(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for name, lines in results.BLOCKS[page].items():
        assert results.replaced(text, name, "\n".join(lines())) == text, f"{name}: run python benchmarks/results.py"
        assert f"<!-- {name}" in text


def test_the_models_page_shows_a_valid_model_and_recipe_and_every_layer():
    model, recipe = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGES["models"], re.DOTALL))
    assert model_from_json(model).is_chain
    assert ("sgd", 64) == (recipe_from_json(recipe).optimizer, recipe_from_json(recipe).batch)
    (layers,) = re.findall(r"^- Layers: (.*?)\.", PAGES["models"], re.MULTILINE)
    assert [kind.__name__ for kind in get_args(Layer)] == re.findall(r"`(\w+)`", layers)


def test_the_page_on_formats_lists_every_format_with_its_file_and_limits():
    rows = FORMAT_ROW.findall(PAGES["formats"])
    shown = {name: (suffix, float(least or 1), float(share)) for name, suffix, _, least, share in rows}
    folders = {"saved-model": "/1/", "openvino": "_openvino/"}
    files = {name: folders.get(name, form.suffix) for name, form in FORMATS.items()}
    assert shown == {name: (files[name], form.tolerance, 100 * form.agreement) for name, form in FORMATS.items()}


def test_the_page_on_formats_shows_how_to_load_each():
    shown = set(re.findall(r"^### (\S+)$", PAGES["formats"], re.MULTILINE))
    assert {"tflite-fp16", "tflite-dynamic", "tflite-int8", "onnx-int8"} == FORMATS.keys() - shown  # like their parents


def test_the_page_on_images_lists_every_error_format_and_limit():
    page = PAGES["images"]
    assert list(ImageError.KINDS) == re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)
    formats = re.findall(r"^\| ([A-Z]\w+) \|", page.partition("## Formats")[2].partition("\n## ")[0], re.MULTILINE)
    assert {name.lower() for name in formats} == {
        signatures.FORMATS.get(suffix[1:], suffix[1:]) for suffix in signatures.SUFFIXES
    }
    assert f"{MAX_PIXELS:,} pixels" in page
    assert f"({len(corpus())} of them)" in page
