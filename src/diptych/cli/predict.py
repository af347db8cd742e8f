"""`diptych predict`: the most probable classes of images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from diptych import api
from diptych.cli.arguments import MaybeEngine, ModelPath, parsed, print_json
from diptych.cli.quiet import framework_silent
from diptych.errors import UsageError


@dataclass(frozen=True)
class Predict:
    """Classify images with a finished run or a shipped file."""

    model: ModelPath
    """A finished run, or a file that `diptych export` wrote."""
    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...")]
    """Files, folders, or patterns such as 'photos/*.png'."""
    top: int = 3
    """How many classes to name."""
    engine: MaybeEngine = None
    """Who computes; the one that trained it unless given."""
    trust: bool = False
    """Load a file whose format can run code: torchscript, torch-export, h5, saved-model."""
    json: bool = False
    """Print as JSON."""


def main(arguments: list[str]) -> int:
    """Predict and print."""
    asked = parsed(Predict, "predict", arguments)
    if not asked.images:
        raise UsageError("predict: wants IMAGE...: files, folders, or patterns such as 'photos/*.png'.")
    if asked.top < 1:
        raise UsageError(f"--top wants a whole number of at least 1, got {asked.top}.")
    with framework_silent():
        predictions = api.predict(asked.model, asked.images, engine=asked.engine, top=asked.top, trust=asked.trust)
    if asked.json:
        print_json([asdict(prediction) for prediction in predictions])
        return 0
    table = Table("image", "class", "probability")
    for prediction in predictions:
        names = "\n".join(name for name, _ in prediction.classes)
        shares = "\n".join(f"{share:.2%}" for _, share in prediction.classes)
        table.add_row(prediction.image, names, shares)
    Console(markup=False, emoji=False).print(table)
    return 0
