"""`diptych verify`: the parity ladder and its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from diptych import api
from diptych.cli.arguments import MaybePath, parsed, print_json
from diptych.comparison.parity import certificate
from diptych.comparison.parity.certificate import Rung
from diptych.spec.recipe import Rule


@dataclass(frozen=True)
class Verify:
    """Prove that a model is the same in PyTorch and in TensorFlow; exits with 1 when it is not."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A model's name (see `diptych models`) or a spec.json."""
    optimizer: tuple[Rule, ...] = ("sgd", "adam", "adamw", "rmsprop")
    """Update rules to take steps with."""
    input_shape: tuple[int, int, int] = (32, 32, 3)
    """Height, width and channels of the images, for a model that has a name."""
    num_classes: int = 10
    """Number of classes, for a model that has a name."""
    steps: int = 50
    """Steps that each optimizer takes."""
    digits_epochs: int = 3
    """Epochs of the training on scikit-learn's digits; 0 leaves it out."""
    seed: int = 0
    """Of weights, images and batches."""
    out: MaybePath = None
    """Folder for the certificate, parity.json and parity.txt; certificates/MODEL unless given."""
    json: bool = False
    """Print the certificate as JSON."""


def main(arguments: list[str]) -> int:
    """Climb the ladder, write the certificate, tell the verdict."""
    asked = parsed(Verify, "verify", arguments)
    progress = Console(stderr=True)
    shown = progress.is_terminal and not asked.json

    def on_rung(rung: Rung) -> None:
        if shown:
            progress.print(f"{rung.status:4}  {rung.precision:8} {rung.name:28} {rung.relative:.1e}", highlight=False)

    found = api.verify(
        asked.model,
        input_shape=asked.input_shape,
        num_classes=asked.num_classes,
        optimizers=asked.optimizer,
        steps=asked.steps,
        digits_epochs=asked.digits_epochs,
        seed=asked.seed,
        on_rung=on_rung,
    )
    paths = certificate.write(found, asked.out or Path("certificates") / found.model)
    if asked.json:
        print_json(found.to_json())
    else:
        print(found.to_text())
        print(f"certificate: {paths[0]}, {paths[1]}")
    return 0 if found.passed else 1
