"""`diptych transfer`: weights from one file into another, across frameworks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from diptych import api
from diptych.cli.arguments import parsed, print_json
from diptych.deployment.transfer import Transfer as Done
from diptych.errors import UsageError


@dataclass(frozen=True)
class Transfer:
    """Bring the weights in one file into another, bit for bit, whichever framework wrote or will read it.

    Files are .pt, .pth, .safetensors, .keras, .h5 and .weights.h5. Nothing in SRC is run. Its layers are found by name
    and by structure; where that leaves two of them open, --map decides.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SRC")]
    """The file to read."""
    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DST")]
    """The file to write."""
    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """A model's name (see `diptych models`) or a spec.json; what SRC says of itself unless given."""
    input_shape: tuple[int, int, int] = (32, 32, 3)
    """Height, width and channels of the images, for a model that has a name."""
    num_classes: int = 10
    """Number of classes, for a model that has a name."""
    map: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="SRCLAYER=DSTLAYER")] = ()
    """A layer of SRC, and the layer of the model that it is; as often as needed."""
    force: bool = False
    """Replace DST if it is there."""
    json: bool = False
    """Print as JSON."""


def main(arguments: list[str]) -> int:
    """Transfer, and tell how the layers were found."""
    asked = parsed(Transfer, "transfer", arguments)
    done = api.transfer(
        asked.source,
        asked.target,
        model=asked.model,
        input_shape=asked.input_shape,
        num_classes=asked.num_classes,
        layer_map=_layer_map(asked.map),
        force=asked.force,
    )
    if asked.json:
        print_json(done.to_json())
    else:
        _print(done)
    return 0


def _layer_map(texts: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        source, equals, target = text.partition("=")
        if not (source and equals and target) or source in found:
            raise UsageError(f"--map wants SRCLAYER=DSTLAYER, once for each layer, got '{text}'.")
        found[source] = target
    return found


def _print(done: Done) -> None:
    print(f"{done.model}: {done.num_arrays} arrays, {done.num_parameters:,} parameters")
    print(f"layers found: {done.by_name} by name, {done.by_structure} by structure, {done.by_map} by --map")
    for line in done.casts:
        print(line)
    print(f"inside the model: (pixels / 255 - {_listed(done.mean)}) / {_listed(done.std)}")
    print(f"{done.target}: read back, every bit is as it was read")


def _listed(numbers: tuple[float, ...]) -> str:
    return f"({', '.join(f'{number:.4g}' for number in numbers)})"
