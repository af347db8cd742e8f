"""What the README and the docs tell people to type exists: verbs, options, names, make targets, files, the example."""

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from diptych import cli
from diptych.cli.arguments import parse
from diptych.data.sources import names
from diptych.engines import NAMES
from diptych.errors import UsageError
from diptych.spec import zoo

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import results  # noqa: E402  (a script beside the package)

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = README + "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
CONSOLE = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", PAGES, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
TYPED = [*CONSOLE, *re.findall(r"`((?:diptych|make) [^`]+)`", PAGES)]
COMMANDS = [shlex.split(line, comments=True) for line in TYPED]
DIPTYCH = [command[1:] for command in COMMANDS if command[0] == "diptych"]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def parsed(verb, *arguments):
    """The options that the command line makes of `arguments`."""
    module = import_module(f"diptych.cli.{cli.MODULES.get(verb, verb)}")
    if verb == "data":
        action, *rest = arguments
        return parse(getattr(module, action.capitalize()), f"data {action}", rest)
    return parse(getattr(module, verb.capitalize()), verb, list(arguments))


def test_the_readme_shows_every_main_verb_and_some_python():
    assert {"train", "evaluate", "predict", "verify"} <= {verb for verb, *_ in DIPTYCH}
    assert 1 <= len(PYTHON)


@pytest.mark.parametrize("arguments", DIPTYCH, ids=" ".join)
def test_a_command_has_a_verb_and_options_that_exist(arguments):
    verb, *rest = arguments
    if verb != "VERB":
        parsed(verb, *rest)


def test_a_command_with_an_option_that_does_not_exist_would_be_found():
    with pytest.raises(UsageError, match="no option '--epoch'"):
        parsed("train", "digits", "--epoch", "3")


@pytest.mark.parametrize("arguments", DIPTYCH, ids=" ".join)
def test_a_command_names_a_dataset_or_a_model_that_exists(arguments):
    verb, *rest = arguments
    if verb == "train" and not rest[0].startswith("-"):
        assert rest[0] in {dataset.name for dataset in names()} | {"DATA"}
    if verb == "verify":
        assert rest[0] in zoo.MODELS


@pytest.mark.parametrize("command", [command for command in COMMANDS if command[0] == "make"], ids=" ".join)
def test_a_make_target_exists(command):
    assert re.search(rf"^{command[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)", README))))
def test_a_link_leads_to_a_file(target):
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
def test_what_is_generated_is_current(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for name, lines in results.BLOCKS[page].items():
        assert results.replaced(text, name, "\n".join(lines())) == text, f"{name}: run python benchmarks/results.py"
        assert f"<!-- {name}" in text
