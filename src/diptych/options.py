"""Options of training and of reading data, defined once for the command line and for Python.

A field's docstring is its help text. Whatever can be checked without reading a file is checked here.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from diptych.errors import UsageError, why_not_installed
from diptych.spec import ModelSpec, Recipe, codec
from diptych.spec.recipe import recipe_named
from diptych.spec.typed import Count, Natural, Part, Positive, Threads, Workers, check_types, field_docs
from diptych.vocabulary import unknown_option

EngineName: TypeAlias = Literal["torch", "tensorflow"]
Device: TypeAlias = Literal["auto", "cpu", "cuda"]
TrackerName: TypeAlias = Literal["mlflow", "wandb", "tensorboard"]
BadImages: TypeAlias = Literal["fail", "skip"]
Caching: TypeAlias = Literal["auto", "always", "never"]
F = TypeVar("F", bound=Callable[..., Any])


def option(
    default: Any = MISSING, *, metavar: str = "", parse: Callable[[str], Any] | None = None, is_positional: bool = False
) -> Any:
    """A dataclass field for the command line; without a default, the option is required.

    `metavar` is its placeholder in help texts; `parse` converts its text and raises ValueError with what is accepted.
    """
    return field(default=default, metadata={"metavar": metavar or None, "parse": parse, "is_positional": is_positional})


@dataclass(frozen=True)
class Options:
    """Options that are checked when they are made."""

    def __post_init__(self) -> None:
        """Raise UsageError for a value of another type or out of range."""
        check_types(self, error=UsageError)


def _size(text: str) -> tuple[int, ...]:
    """Height and width from `32` or `24x32`."""
    if not re.fullmatch(r"\d{1,6}(x\d{1,6})?", text):
        raise ValueError(f"must be a side such as 32, or height and width such as 24x32, got '{text}'")
    return tuple(map(int, (text.split("x") * 2)[:2]))


def _pixel_shape(text: str) -> tuple[int, ...]:
    """Height, width and channels from `28x28x1`."""
    if not re.fullmatch(r"\d{1,6}x\d{1,6}x[13]", text):
        raise ValueError(f"must be height, width and channels (1 or 3) such as 28x28x1, got '{text}'")
    return tuple(map(int, text.split("x")))


@dataclass(frozen=True)
class SourceOptions(Options):
    """The location of data, and the content of its tables."""

    data_dir: str | Path | None = None
    """Folder for named datasets (default: DIPTYCH_DATA or ~/.cache/diptych)."""
    root: str | Path | None = None
    """Base folder of the paths in a table (default: the table's folder)."""
    pixel_shape: tuple[Count, Count, Literal[1, 3]] | None = option(None, metavar="HxWxC", parse=_pixel_shape)
    """Shape of the pixels in a CSV file, such as 28x28x1 (default: inferred)."""
    label_column: str | None = option(None, metavar="COLUMN")
    """Column of a table's labels: a name, first, last, or a number from 1 (default: inferred)."""
    image_column: str | None = option(None, metavar="COLUMN")
    """Column of a table's images or their paths (default: inferred)."""
    split_column: str | None = option(None, metavar="COLUMN")
    """Column of a table's splits; COLUMN=VALUE tests on the rows with VALUE (default: inferred)."""


@dataclass(frozen=True)
class DataOptions(SourceOptions):
    """How data is read."""

    image_size: tuple[Count, Count] | None = option(None, metavar="SIZE", parse=_size)
    """Resize images to this height and width: 32 or 24x32 (default: 64 for image files)."""
    channels: Literal[1, 3] | None = None
    """Convert images to grayscale (1) or RGB (3)."""
    test_fraction: Part = 0.2
    """Share of the training images to hold out for the test if the data has no test split."""
    bad_images: BadImages = "fail"
    """Fail if an image cannot be decoded, or skip it."""
    cache: Caching = "auto"
    """Cache decoded images for later runs: up to 4 GiB, always, or never."""


@dataclass(frozen=True)
class OtherDataOptions(SourceOptions):
    """How data is read for a trained model; None means the value in the run's record, or else the default."""

    bad_images: BadImages | None = None
    """Fail if an image cannot be decoded, or skip it (default: as in training, else fail)."""

    def given(self) -> dict[str, Any]:
        """The options that have a value."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class RunFileOptions(Options):
    """How the files of a finished run are checked."""

    verify_files: bool = False
    """Also verify a run's files of more than 64 MB against its manifest.json; smaller files always are."""


@dataclass(frozen=True)
class ModelOptions(RunFileOptions):
    """How a finished run or an exported file is opened."""

    engine: EngineName | None = None
    """Framework to compute with (default: the one that trained the run)."""
    trust: bool = False
    """Load files whose format can execute code: torchscript, torch-export, h5, saved-model."""


@dataclass(frozen=True)
class ImageOptions(Options):
    """The images and classes of a named model."""

    input_shape: tuple[Count, Count, Count] = (32, 32, 3)
    """Height, width and channels of the images (built-in models only)."""
    num_classes: Count = 10
    """Number of classes (built-in models only)."""


@dataclass(frozen=True)
class RunOptions(Options):
    """What to train, and where to write it."""

    model: str | Path | ModelSpec = option("cnn", metavar="MODEL")
    """Model name (see `diptych models`) or a spec.json."""
    recipe: str | Path | Recipe = option("default", metavar="RECIPE")
    """Recipe name (see `diptych recipes`) or a recipe.json."""
    seed: Natural = 0
    """Random seed of initial weights, sample order, augmentation, dropout and validation split."""
    out: str | Path = "runs"
    """Folder for all runs."""
    threads: Threads | None = None
    """CPU threads (default: all cores)."""
    log: tuple[TrackerName, ...] = ()
    """Also log to MLflow or W&B; tensorboard adds hyperparameters and test metrics to the curves that every run writes
    (see docs/training.md)."""

    def __post_init__(self) -> None:
        """Check every field; raises UsageError, also for a tracker that is not installed."""
        if isinstance(self.log, str):  # `log="mlflow"`
            object.__setattr__(self, "log", (self.log,))
        super().__post_init__()
        if why := next(filter(None, map(why_not_installed, self.log)), ""):
            raise UsageError(why)

    @property
    def spec(self) -> ModelSpec | None:
        """The model's spec; None if `model` is the name of one."""
        return self.model if isinstance(self.model, ModelSpec) else spec_from_file(self.model)

    def recipe_with(self, changes: Mapping[str, Any]) -> Recipe:
        """The recipe with some fields changed."""
        return replace(self.recipe if isinstance(self.recipe, Recipe) else find_recipe(self.recipe), **changes)


def find_recipe(recipe: str | Path) -> Recipe:
    """The recipe in a JSON file, or with a name."""
    is_file = str(recipe).endswith(".json")
    return codec.read(Path(recipe), codec.recipe_from_json) if is_file else recipe_named(str(recipe))


def spec_from_file(model: str | Path) -> ModelSpec | None:
    """The spec in a JSON file; None if `model` is a name."""
    return codec.read(Path(model), codec.model_from_json) if str(model).endswith(".json") else None


@dataclass(frozen=True)
class TrainOptions(RunOptions):
    """What to train, where to write it, and how to save checkpoints."""

    from_: str | Path | None = option(None, metavar="RUN|FILE")
    """Start from the weights of a run, or of a file written by `diptych transfer` or `export`."""
    engine: Literal["torch", "tensorflow", "both"] = "torch"
    """Framework to train with; both trains in one after the other, from the same weights on the same batches."""
    name: str | None = None
    """Name of the run's folder (default: DATA-MODEL-ENGINE)."""
    device: Device = "auto"
    """Device to train on; auto uses a GPU if the framework finds one."""
    workers: Workers | None = None
    """Threads that prepare batches; the results do not depend on it (default: all cores if images are streamed)."""
    stop_after: Count | None = None
    """Stop after N epochs; continue later with --resume."""
    checkpoint_steps: Count | None = None
    """Save a checkpoint every N steps (default: as often as possible in less than 2% of the time)."""
    keep_checkpoints: Count = 2
    """Number of checkpoints to keep."""

    def __post_init__(self) -> None:
        """Check every field; raises UsageError."""
        super().__post_init__()
        if self.name is not None and (self.name in {"", ".", ".."} or self.name != Path(self.name).name):
            accepted = "must be a folder name without '/'"
            raise UsageError(f"'name' {accepted}, got '{self.name}'; 'out' sets its parent folder.")


@dataclass(frozen=True)
class CompareOptions(RunOptions):
    """The runs of a comparison."""

    seed: Natural = 0
    """Seed of the first pair of runs; each further pair adds 1."""
    seeds: Count = 3
    """Number of pairs of runs; the runs of a pair share a seed."""
    arms: Literal["aligned", "native"] = "aligned"
    """Use the same mathematics in both frameworks, or each framework's own defaults."""
    explain: bool = False
    """Also measure the effect of each framework default on accuracy, by switching one at a time."""


@dataclass(frozen=True)
class TuneOptions(RunOptions):
    """A study of hyperparameters."""

    seed: Natural = 0
    """Random seed of the sampler and of every trial; the finalists' trainings use the next ones."""
    threads: Threads | None = None
    """CPU threads of all workers together (default: all cores)."""
    engine: EngineName = "torch"
    """Framework of the trials; the finalists are trained in every installed framework."""
    trials: Count | None = None
    """Number of trials, including those of earlier calls (default: 40, or no limit with --hours)."""
    hours: Positive | None = None
    """Stop starting trials after this many hours, minus the estimated time for the finalists."""
    workers: Count = 1
    """Number of trials to run at once; each gets an equal share of the threads."""
    max_params: Count | None = None
    """Skip models with more parameters."""
    max_flops: Count | None = None
    """Skip models with more floating-point operations per image."""
    max_latency_ms: Positive | None = None
    """Exclude models with a higher latency for one image, in milliseconds, from the finalists."""
    finalists: Natural = 3
    """Number of best trials to train again, along with the default recipe; 0 skips this and the test."""
    seeds: Count = 3
    """Number of fresh seeds for each finalist."""


def split_options(where: str, options: Mapping[str, Any], *kinds: type) -> tuple[list[Any], dict[str, Any]]:
    """An instance of each dataclass in `kinds`, and the fields of the recipe, from the keywords of the API `where`.

    Raises UsageError for an option that does not exist or has a value that is not accepted.
    """
    names = {kind: {one.name for one in fields(kind)} for kind in kinds}
    taken = set[str]().union(*names.values())
    takes_recipe = any(hasattr(kind, "recipe") for kind in kinds)
    known = taken | ({one.name for one in fields(Recipe)} if takes_recipe else set())
    for name in options:
        if name not in known:
            raise unknown_option(f"{where}()", name, known)
    made = [kind(**{name: value for name, value in options.items() if name in names[kind]}) for kind in kinds]
    return made, {name: value for name, value in options.items() if name not in taken}


def accepts(*kinds: type) -> Callable[[F], F]:
    """Put the fields of dataclasses into the signature and the docstring of a function with `**options`.

    The docstring's line `options: …` is replaced.
    """

    def documented(function: F) -> F:
        shown = [one for one in inspect.signature(function).parameters.values() if one.kind is not one.VAR_KEYWORD]
        lines = []
        for kind in kinds:
            for one in fields(kind):
                shown.append(inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default))
                lines.append(f"{one.name}: {field_docs(kind)[one.name]}")
        if any(hasattr(kind, "recipe") for kind in kinds):
            shown.append(inspect.Parameter("recipe_fields", inspect.Parameter.VAR_KEYWORD))
            lines.append("recipe_fields: fields of the recipe, by name, such as `epochs=5`.")
        function.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        before, indent, after = re.split(r"^( +)options: .*", function.__doc__ or "", maxsplit=1, flags=re.MULTILINE)
        function.__doc__ = before + "\n".join(indent + line for line in lines) + after
        return function

    return documented
