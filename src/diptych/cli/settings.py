"""Options that several verbs share: how data is read, and the fields of the recipe that the arguments name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import tyro

from diptych.cli.arguments import MaybeInt, MaybePath
from diptych.errors import UsageError
from diptych.spec import Recipe, recipes
from diptych.spec.codec import read_recipe

PixelShape: TypeAlias = Annotated[str | None, tyro.conf.arg(metavar="HxWxC")]


@dataclass(frozen=True)
class DataOptions:
    """How data is read."""

    data_dir: MaybePath = None
    """Where named datasets are kept; DIPTYCH_DATA or ~/.cache/diptych unless given."""
    image_size: MaybeInt = None
    """Side in pixels that images are brought to; image files become 64 unless given."""
    channels: Annotated[Literal[1, 3] | None, tyro.conf.arg(metavar="1|3")] = None
    """3 for RGB, 1 for grey."""
    root: MaybePath = None
    """What the paths in a table are relative to; the table's own folder unless given."""
    pixel_shape: PixelShape = None
    """Height, width and channels of a CSV's pixels, such as 28x28x1; inferred unless given."""
    bad_images: Literal["fail", "skip"] = "fail"
    """What to do, before the first step, about image files that cannot be decoded."""
    cache: Literal["auto", "always", "never"] = "auto"
    """Keep decoded image files for next time: those that take up to 4 GiB, all, or none."""

    def keywords(self) -> dict[str, Any]:
        """As the functions of the API take them.

        Raises:
            UsageError: the pixel shape is none.
        """
        size = None if self.image_size is None else (self.image_size, self.image_size)
        return {**vars(self), "image_size": size, "pixel_shape": shape_of(self.pixel_shape)}


@dataclass(frozen=True)
class OtherData:
    """How data is read for a model whose image size is settled."""

    data_dir: MaybePath = None
    """Where named datasets are kept."""
    root: MaybePath = None
    """What the paths in a table are relative to; the table's own folder unless given."""
    pixel_shape: PixelShape = None
    """Height, width and channels of a CSV's pixels, such as 28x28x1; inferred unless given."""
    bad_images: Annotated[Literal["fail", "skip"] | None, tyro.conf.arg(metavar="fail|skip")] = None
    """What to do about image files that cannot be decoded; as in the training for its own data, else fail."""

    def keywords(self) -> dict[str, Any]:
        """As the functions of the API take them.

        Raises:
            UsageError: the pixel shape is none.
        """
        return {**vars(self), "pixel_shape": shape_of(self.pixel_shape)}


def shape_of(text: str | None) -> tuple[int, int, int] | None:
    """What `--pixel-shape` says.

    Raises:
        UsageError: it is no shape.
    """
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,6}x\d{1,6}x[13]", text):
        raise UsageError(
            f"--pixel-shape wants height, width and channels (1 or 3), such as 28x28x1 or 32x32x3, got '{text}'."
        )
    height, width, channels = map(int, text.split("x"))
    return height, width, channels


def named_recipe(arguments: list[str]) -> Recipe:
    """The recipe that the arguments name: its fields are the defaults of the options."""
    names = [after for before, after in pairwise(arguments) if before == "--recipe"]
    names += [argument.partition("=")[2] for argument in arguments if argument.startswith("--recipe=")]
    name = names[-1] if names else "default"
    return read_recipe(Path(name)) if name.endswith(".json") else recipes.recipe(name)
