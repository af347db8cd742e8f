"""A training as a notebook: the code of a project in cells, with plots, saved models and the class of a new image."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from textwrap import dedent

import jupytext
import nbformat

from diptych.errors import SpecError
from diptych.native import data, projects, shared
from diptych.native.data import Reading, default
from diptych.native.projects import Project
from diptych.options import EngineName
from diptych.spec import ModelSpec, Recipe

_IMPORT = re.compile(r"^(?:import|from) .*\n", re.MULTILINE)
_STEPS = {
    "read": "read_data",
    "batch": "make_batches",
    "build": "set_random_seed|manual_seed",
    "fit": "fit",
    "predict": "predict",
    "end": "report",
}
"""The steps of a project's `main`, and the function that the first statement of each calls."""
_WORKERS = "        num_workers=2,\n"
_FORKED = '        multiprocessing_context="fork",  # classes of a notebook cannot be pickled\n'
_KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def notebook(
    spec: ModelSpec, recipe: Recipe, engine: EngineName, reading: Reading | None = None, title: str = ""
) -> Project:
    """Write a training as a notebook, `notebook.ipynb`, and the same cells as a script, `notebook.py`.

    The arguments are those of `projects.project`.

    Raises:
        SpecError: the images have neither 1 nor 3 channels.
    """
    if (channels := spec.input_shape[2]) not in (1, 3):
        raise SpecError(f"A notebook shows images of 1 or 3 channels; model '{spec.name}' has {channels}.")
    written = projects.project(spec, recipe, engine, reading, title)
    known = default(spec) if reading is None else reading
    sources = {name: written.files[f"{name}.py"] for name in ("data", "model", "train")}
    text = shared.render(
        "notebook",
        title=written.title,
        left_out=written.left_out,
        keras=engine == "tensorflow",
        spec=spec,
        recipe=recipe,
        reading=known,
        is_files=known.is_files,
        augments=shared.augments(recipe),
        mixes=bool(recipe.mixup or recipe.cutmix),
        stored_channels=(*(known.shape or spec.input_shape), 1)[2],
        validates=data.validates(known, recipe),
        **_blocks(**{name: _IMPORT.sub("", source.partition("\n\n")[2]).strip() for name, source in sources.items()}),
    )
    found = re.findall(r"^%% (\w+)\n(.*?)(?=^%% |\Z)", _IMPORT.sub("", text), re.MULTILINE | re.DOTALL)
    cells = [(kind, content.strip()) for kind, content in found if content.strip()]
    code = "\n".join(content for kind, content in cells if kind == "code")
    imports = _imports(_IMPORT.findall("\n".join([*sources.values(), text])), code)
    required = projects.requirements(imports)
    packages = " ".join(line.partition(">=")[0] for line in required)
    cells[1:1] = [("code", f"%pip install --quiet {packages}"), ("code", imports)]
    return replace(written, files={**files(cells), "requirements.txt": "\n".join([*required, ""])})


def _blocks(data: str, model: str, train: str) -> dict[str, object]:
    """Divide the files of a project into what the cells show."""
    settings, functions = train.partition("\n\n\ndef report(")[0].split("\n\n\n", 1)
    head, _, rest = data.partition("def read_data(")
    reader, _, batches = rest.partition("\n\n\n")
    main = dedent(train.partition(".parse_args().epochs\n\n")[2].partition("\n\n\n")[0])
    steps, step = dict.fromkeys(_STEPS, ""), ""
    for line in main.splitlines(keepends=True):
        step = next((name for name, call in _STEPS.items() if re.search(rf"\b({call})\(", line)), step)
        steps[step] += re.sub(r"\bepochs\b", "EPOCHS", line)
    return {
        "settings": settings,
        "read_data": f"{head}def read_data({reader}",
        "make_batches": batches.replace(_WORKERS, _WORKERS + _FORKED),
        "model": model,
        "fit": functions,
        "steps": {name: text.strip() for name, text in steps.items()},
    }


def _imports(lines: Iterable[str], code: str) -> str:
    """Return the imports that the code uses, sorted as Ruff sorts them."""
    names: dict[str, set[str]] = {}
    for line in lines:
        module, _, imported = line.strip().partition("import ")
        used = {name for name in imported.split(", ") if re.search(rf"\b{name.split()[-1]}\b", code)}
        if module not in ("from data ", "from model "):
            names.setdefault(module, set()).update(used)
    statements = [("", f"import {name}") for name in names.pop("", ())]
    for module, used in names.items():
        ordered = sorted(used, key=lambda name: (not name.split()[0].isupper(), name.islower(), name))
        statements += [(module.lower(), f"{module}import {', '.join(ordered)}")] if used else []
    standard = [statement.split()[1].partition(".")[0] in sys.stdlib_module_names for _, statement in statements]
    groups = ([one for one, known in zip(statements, standard, strict=True) if known == want] for want in (True, False))
    return "\n\n".join("\n".join(line for _, line in sorted(group)) for group in groups if group)


def files(cells: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the notebook, without outputs, and the script, given the kind (markdown or code) and text of each cell."""
    kinds = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    made = nbformat.v4.new_notebook(
        cells=[kinds[kind](content, id=f"cell-{place}") for place, (kind, content) in enumerate(cells)],
        metadata=_KERNEL,
    )
    notebook = nbformat.writes(made) + "\n"
    made.metadata["jupytext"] = {"notebook_metadata_filter": "-all"}
    script = jupytext.writes(made, fmt="py:percent")
    # A formatter leaves two blank lines above a cell that begins with a function, Jupytext one.
    script = re.sub(r"(?<!\n)\n\n(?=# %%\n(?:def|class|@))", "\n\n\n", script)
    return {"notebook.ipynb": notebook, "notebook.py": script}
