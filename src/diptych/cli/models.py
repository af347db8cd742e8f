"""`diptych models`: the zoo."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from diptych.cli.arguments import parsed, print_json
from diptych.errors import SpecError, UsageError
from diptych.spec import ModelSpec, codec, zoo


@dataclass(frozen=True)
class Models:
    """List the models that have a name, with what they cost at one input size."""

    input_shape: tuple[int, int, int] = (32, 32, 3)
    """Height, width and channels of the images."""
    num_classes: int = 10
    """Number of classes."""
    json: bool = False
    """Print as JSON, with the whole spec of every model that fits: a start for a spec.json of your own."""


def main(arguments: list[str]) -> int:
    """List the zoo."""
    asked = parsed(Models, "models", arguments)
    if min(*asked.input_shape, asked.num_classes) < 1:
        raise UsageError(
            "models wants a height, width, number of channels and number of classes of at least 1, "
            f"got {asked.input_shape} and {asked.num_classes}."
        )
    specs = {name: _fitted(name, asked) for name in zoo.MODELS}
    if asked.json:
        print_json({name: codec.model_to_json(spec) for name, spec in specs.items() if spec})
        return 0
    table = Table("model", "parameters", "MFLOPs/image", "what it is")
    for name, spec in specs.items():
        _, summary = zoo.MODELS[name]
        if spec:
            table.add_row(name, f"{spec.num_parameters:,}", f"{spec.flops / 1e6:,.1f}", summary)
        else:
            table.add_row(name, "—", "—", f"{summary} (images too small)")
    Console().print(table)
    return 0


def _fitted(name: str, asked: Models) -> ModelSpec | None:
    """A model for the images asked for; None where they are too small for it."""
    try:
        return zoo.model(name, asked.input_shape, asked.num_classes)
    except SpecError:
        return None
