"""`diptych code`: a model and its training as native code."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, fields

from diptych.cli.arguments import parse_given, positional, recipe_named
from diptych.cli.output import print_json
from diptych.errors import UsageError
from diptych.native.options import CodeOptions
from diptych.options import DataOptions
from diptych.spec import Recipe


@dataclass(frozen=True)
class Code:
    """Write a model and its training as native code: PyTorch, Keras, or both, without diptych.

    Each recipe field is an option; those that are given change the recipe of a run. The defaults shown are those of
    the recipe set by --recipe.
    """

    model: str | None = positional("MODEL|RUN", None)
    """Model name (see `diptych models`), a spec.json, or a run, whose model, recipe and data are used."""
    json: bool = False
    """Print the files as JSON."""
    code_options: CodeOptions = field(default_factory=CodeOptions)
    data_options: DataOptions = field(default_factory=DataOptions)
    recipe_fields: Recipe = field(default_factory=Recipe)


def main(args: list[str]) -> int:
    """Write the code, and print its files and how to run it."""
    parsed, given = parse_given(Code, "code", args, Code(recipe_fields=recipe_named(args)))
    if parsed.model is None:
        raise UsageError("code requires MODEL or RUN: a name from `diptych models`, a spec.json, or a run's folder.")
    from diptych.api.code import code

    if parsed.code_options.data and (unused := {"input_shape", "num_classes"} & given):
        raise UsageError(f"--{min(unused).replace('_', '-')} cannot be combined with --data, which determines it.")
    changes = {one.name: getattr(parsed.recipe_fields, one.name) for one in fields(Recipe) if one.name in given}
    options = {**vars(parsed.code_options), **vars(parsed.data_options), **changes}
    projects = code(parsed.model, **options, progress=not parsed.json)
    if parsed.json:
        shown = [(one.engine, str(one.folder), [*one.files], one.left_out) for one in projects]
        print_json([dict(zip(("engine", "folder", "files", "left_out"), values, strict=True)) for values in shown])
        return 0
    for one in projects:
        print(f"{one.folder}/")
        print(*(f"  {name:16}  {text.count(chr(10)):,} lines" for name, text in one.files.items()), sep="\n")
        place = "the end of the notebook" if parsed.code_options.notebook else "README.md"
        print(f"  {len(one.left_out)} settings are ignored or implemented differently: see {place}")
    for one in projects:
        folder = shlex.quote(str(one.folder))
        steps = "pip install -r requirements.txt && python train.py"
        if parsed.code_options.notebook:
            steps = "pip install jupyterlab -r requirements.txt && jupyter lab notebook.ipynb"
        print(f"next: (cd {folder} && {steps})")
    return 0
