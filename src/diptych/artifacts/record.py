"""Typed records: the JSON files of a run, parsed and checked once, where they are read."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from msgspec.structs import astuple

from diptych.artifacts.store import parse_json, read_bytes
from diptych.errors import SpecError
from diptych.options import BadImages, Caching, EngineName
from diptych.spec import ModelSpec, Recipe
from diptych.spec.codec import model_from_json, recipe_from_json

T = TypeVar("T", bound=msgspec.Struct)
Status = Literal["created", "running", "stopped", "failed", "diverged", "finished"]
ADVICE = "Restore the file, or use the diptych version that wrote it."


class Skipped(msgspec.Struct, frozen=True):
    """An image that was skipped because it cannot be decoded."""

    id: str
    fault: str


class DataSettings(msgspec.Struct, frozen=True):
    """DATA with absolute paths, and how it is read."""

    data: str
    data_dir: str | None = None
    image_size: tuple[int, int] | None = None
    channels: int | None = None
    seed: int = 0
    validation_fraction: float = 0.1
    root: str | None = None
    pixel_shape: tuple[int, int, int] | None = None
    bad_images: BadImages = "fail"
    cache: Caching = "auto"
    test_fraction: float = 0.2
    label_column: str | None = None
    image_column: str | None = None
    split_column: str | None = None


class DataRecord(DataSettings, frozen=True, kw_only=True):
    """The data of a run: how to load them, and what they were then."""

    name: str
    fingerprint: str
    test_fingerprint: str | None = None
    skipped: tuple[Skipped, ...] = ()
    inferred: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class SplitSizes(msgspec.Struct, frozen=True):
    """Number of images in each split."""

    train: int
    validation: int
    test: int

    def __str__(self) -> str:
        sizes = zip(self.__struct_fields__, astuple(self), strict=True)
        return ", ".join(f"{name} {size:,}" for name, size in sizes if size)


class Preprocessing(msgspec.Struct, frozen=True):
    """Size of the model's images and the name of the resizing method."""

    height: int
    width: int
    channels: int
    resize: str


class Machine(msgspec.Struct, frozen=True):
    """The machine that a run was created on."""

    processor: str
    cores: int | None
    system: str
    python: str


class CheckpointOptions(msgspec.Struct, frozen=True):
    """Steps between checkpoints (None: chosen by cost), and how many to keep."""

    steps: int | None = None
    keep: int = 2


class EngineStart(msgspec.Struct, frozen=True):
    """A start or resumption of training: the engine, the progress so far, and the engine's `runtime()`."""

    engine: EngineName
    after_epoch: int = 0
    after_step: int = 0
    version: str = ""
    device: str = "cpu"
    threads: int | None = None
    compiled: bool = False
    numpy: str = ""
    keras: str | None = None


class StartRecord(msgspec.Struct, frozen=True):
    """The weights that a training started from: their source, the SHA-256 of `start.safetensors`, what is new."""

    source: str
    sha256: str
    remark: str


class Forced(msgspec.Struct, frozen=True):
    """A resumption with --force, and what had changed."""

    time: float
    differences: tuple[str, ...]


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, dict=True, tag_field="format", tag="diptych-run"):
    """`run.json`: everything that determines a training, and how it ended."""

    version: Literal[1]
    status: Status
    created: float = 0.0
    command: tuple[str, ...] = ()
    engine: EngineName
    seed: int
    data: DataRecord
    class_names: tuple[str, ...]
    split_sizes: SplitSizes
    preprocessing: Preprocessing
    spec_json: dict[str, Any] = msgspec.field(name="spec")
    recipe_json: dict[str, Any] = msgspec.field(name="recipe")
    machine: Machine
    versions: dict[str, str]
    checkpoints: CheckpointOptions = CheckpointOptions()
    evaluates: Literal["test", "validation"] = "test"
    """The split of `metrics.json` and `predictions.npz`: the trials of a study never see the test split."""
    engines: tuple[EngineStart, ...]
    start: StartRecord | msgspec.UnsetType = msgspec.UNSET
    key: str | msgspec.UnsetType = msgspec.UNSET
    """Identifies the run in a comparison."""
    forced: tuple[Forced, ...] | msgspec.UnsetType = msgspec.UNSET
    failure: str | msgspec.UnsetType = msgspec.UNSET
    finished: float | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        """Check entries against each other."""
        try:
            num_classes, _ = self.spec.num_classes, self.recipe
        except SpecError as error:
            raise ValueError(str(error)) from error
        if len(self.class_names) != num_classes:
            raise ValueError(f"{len(self.class_names)} class names, but the model has {num_classes} classes.")
        if self.status == "finished" and not self.engines:
            raise ValueError("the status is finished, but 'engines' is empty.")

    @cached_property
    def spec(self) -> ModelSpec:
        """The model."""
        return model_from_json(self.spec_json)

    @cached_property
    def recipe(self) -> Recipe:
        """The training."""
        return recipe_from_json(self.recipe_json)

    @property
    def last_engine(self) -> EngineName:
        """The engine that trained last."""
        return self.engines[-1].engine if self.engines else self.engine

    @property
    def last_threads(self) -> int | None:
        """Its number of processor threads."""
        return self.engines[-1].threads if self.engines else None


def read_record(path: Path, kind: type[T]) -> T:
    """Read a JSON file as a struct; raises ArtifactError, which names the entry and the fault."""
    return parse_json(path, read_bytes(path), kind, f" {ADVICE}")
