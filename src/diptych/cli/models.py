"""`diptych models`: the zoo."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from diptych.cli.arguments import parsed, print_json
from diptych.errors import SpecError
from diptych.spec import codec, zoo


@dataclass(frozen=True)
class Models:
    """List the models that have a name, with what they cost at one input size."""

    input_shape: tuple[int, int, int] = (32, 32, 3)
    """Height, width and channels of the images."""
    num_classes: int = 10
    """Number of classes."""
    json: bool = False
    """Print as JSON, with every model's whole spec: a start for a spec.json of your own."""


def main(arguments: list[str]) -> int:
    """List the zoo."""
    asked = parsed(Models, "models", arguments)
    if asked.json:
        print_json(
            {name: codec.model_to_json(zoo.model(name, asked.input_shape, asked.num_classes)) for name in zoo.MODELS}
        )
        return 0
    table = Table("model", "parameters", "MFLOPs/image", "what it is")
    for name, (_, summary) in zoo.MODELS.items():
        try:
            spec = zoo.model(name, asked.input_shape, asked.num_classes)
        except SpecError:
            table.add_row(name, "—", "—", f"{summary} (images too small)")
        else:
            table.add_row(name, f"{spec.num_parameters:,}", f"{spec.flops / 1e6:,.1f}", summary)
    Console().print(table)
    return 0
