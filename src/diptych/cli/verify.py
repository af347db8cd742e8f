"""`diptych verify`: prove that a model is the same in both frameworks."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.cli.arguments import parse, positional
from diptych.cli.output import print_json
from diptych.options import option
from diptych.spec.recipe import Rule

if TYPE_CHECKING:
    from diptych.comparison.parity.certificate import Rung

# Without a terminal, such as in a log of CI.
SECONDS_BETWEEN_LINES = 20


@dataclass(frozen=True)
class Verify:
    """Prove that a model is the same in PyTorch and in TensorFlow; exits with 1 if it is not."""

    model: str = positional("MODEL")
    """Model name (see `diptych models`) or a spec.json."""
    optimizer: tuple[Rule, ...] = option(("sgd", "adam", "adamw", "rmsprop"), metavar="RULE")
    """Optimizers to take steps with."""
    input_shape: tuple[int, int, int] = (32, 32, 3)
    """Height, width and channels of the images, for a named model."""
    num_classes: int = 10
    """Number of classes, for a named model."""
    steps: int = 50
    """Steps per optimizer."""
    digits_epochs: int = 3
    """Epochs of a training on digits; 0 skips it."""
    seed: int = 0
    """Seed of weights, images and batches."""
    out: Path | None = None
    """Folder for parity.json and parity.txt (default: certificates/MODEL)."""
    json: bool = False
    """Print the certificate as JSON."""


def main(args: list[str]) -> int:
    """Run every test, write the certificate, print the verdict."""
    parsed = parse(Verify, "verify", args)
    from diptych.api import models
    from diptych.comparison.parity import certificate

    printed = time.monotonic()

    def on_rung(rung: Rung) -> None:
        nonlocal printed
        if not parsed.json and (sys.stderr.isatty() or time.monotonic() - printed > SECONDS_BETWEEN_LINES):
            line = f"{rung.status:4}  {rung.precision:8} {rung.name:28} {rung.relative:.1e}"
            print(line, file=sys.stderr, flush=True)
            printed = time.monotonic()

    result = models.verify(
        parsed.model,
        input_shape=parsed.input_shape,
        num_classes=parsed.num_classes,
        optimizers=parsed.optimizer,
        steps=parsed.steps,
        digits_epochs=parsed.digits_epochs,
        seed=parsed.seed,
        on_rung=on_rung,
    )
    paths = certificate.write(result, parsed.out or Path("certificates") / result.model)
    if parsed.json:
        print_json(result.to_json())
    else:
        print(result.to_text())
        print(f"certificate: {paths[0]}, {paths[1]}")
    return 0 if result.passed else 1
