"""`diptych models`, `datasets`, `recipes` and `differences`: lists of what has a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from inspect import getdoc
from typing import Any

from diptych.cli.arguments import parse
from diptych.cli.output import print_json
from diptych.errors import SpecError
from diptych.options import check_at_least
from diptych.spec import ModelSpec, codec, zoo


@dataclass(frozen=True)
class Models:
    """List the named models, with their cost at one input size."""

    input_shape: tuple[int, int, int] = (32, 32, 3)
    """Height, width and channels of the images."""
    num_classes: int = 10
    """Number of classes."""
    json: bool = False
    """Print the spec of every model that fits as JSON, to start a spec.json from."""


@dataclass(frozen=True)
class Datasets:
    """List the named datasets."""

    json: bool = False
    """Print as JSON."""


@dataclass(frozen=True)
class Recipes:
    """List the named recipes."""

    json: bool = False
    """Print every field as JSON, to start a recipe.json from."""


@dataclass(frozen=True)
class Differences:
    """List where TensorFlow and PyTorch differ, and which rule diptych follows."""

    json: bool = False
    """Print as JSON."""


def models(args: list[str]) -> int:
    """List the models."""
    parsed = parse(Models, "models", args)
    check_at_least(1, input_shape=min(parsed.input_shape), num_classes=parsed.num_classes)
    specs = {name: _fitted(name, parsed) for name in zoo.MODELS}
    if parsed.json:
        print_json({name: codec.model_to_json(spec) for name, spec in specs.items() if spec})
        return 0
    rows = []
    for name, spec in specs.items():
        _, summary = zoo.MODELS[name]
        if spec:
            rows.append((name, f"{spec.num_parameters:,}", f"{spec.flops / 1e6:,.1f}", summary))
        else:
            rows.append((name, "—", "—", f"{summary} (images too small)"))
    _print(("model", "parameters", "MFLOPs/image", "description"), rows)
    return 0


def datasets(args: list[str]) -> int:
    """List the datasets."""
    parsed = parse(Datasets, "datasets", args)
    from diptych.data.sources import KINDS, names

    known = names()
    if parsed.json:
        fields = {"name": "name", "train": "num_train", "test": "num_test", "image_shape": "image_shape"}
        fields |= {"mirror": "mirror", "description": "description"}
        rows = [{key: getattr(one, attribute) for key, attribute in fields.items()} for one in known]
        print_json([{**row, "classes": len(one.class_names)} for row, one in zip(rows, known, strict=True)])
        return 0
    table = []
    for one in known:
        size = "×".join(map(str, one.image_shape))
        images = one.num_train + one.num_test
        table.append((one.name, one.description, f"{len(one.class_names):,}", f"{images:,}", size))
    _print(("dataset", "description", "classes", "images", "size"), table)
    print(f"DATA may also be a path: {KINDS}.")
    return 0


def recipes(args: list[str]) -> int:
    """List the recipes."""
    parsed = parse(Recipes, "recipes", args)
    from diptych.spec.codec import recipe_to_json
    from diptych.spec.recipes import RECIPES

    if parsed.json:
        print_json({name: recipe_to_json(recipe()) for name, recipe in RECIPES.items()})
        return 0
    _print(("recipe", "description"), [(name, getdoc(recipe) or "") for name, recipe in RECIPES.items()])
    return 0


def differences(args: list[str]) -> int:
    """List the differences."""
    parsed = parse(Differences, "differences", args)
    from diptych.engines.differences import LEDGER

    if parsed.json:
        print_json([asdict(row) for row in LEDGER])
        return 0
    rows = [(row.key, row.torch, row.tensorflow, row.rule) for row in LEDGER]
    _print(("key", "PyTorch", "TensorFlow / Keras", "rule"), rows, show_lines=True)
    return 0


def _fitted(name: str, parsed: Models) -> ModelSpec | None:
    """A model for the given images; None if they are too small for it."""
    try:
        return zoo.model(name, parsed.input_shape, parsed.num_classes)
    except SpecError:
        return None


def _print(titles: Sequence[str], rows: Sequence[Sequence[str]], **settings: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*titles, **settings)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, emoji=False, highlight=False).print(table)
