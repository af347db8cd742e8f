"""Options of training and of reading data, defined once for the command line and for Python.

A field's docstring is its help text. Whatever can be checked without reading a file is checked here.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from diptych.errors import UsageError
from diptych.spec import ModelSpec, Recipe
from diptych.spec.recipe import field_names
from diptych.spec.typed import did_you_mean

EngineName: TypeAlias = Literal["torch", "tensorflow"]
Device: TypeAlias = Literal["auto", "cpu", "cuda"]
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def option(
    default: Any = MISSING,
    *,
    metavar: str | None = None,
    parse: Callable[[str], Any] | None = None,
    place: str = "name",
) -> Any:
    """A dataclass field with what the command line needs to know about it.

    Args:
        default: its default; without one, the option is required.
        metavar: its placeholder in help texts.
        parse: converts its text; raises ValueError with what is accepted.
        place: "name" for `--name VALUE`, "position" for a positional argument.
    """
    return field(default=default, metadata={"metavar": metavar, "parse": parse, "place": place})


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from `32` or `24x32`."""
    if not re.fullmatch(r"\d{1,6}(x\d{1,6})?", text):
        raise ValueError("a side such as 32, or height and width such as 24x32")
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def parse_pixel_shape(text: str) -> tuple[int, int, int]:
    """Height, width and channels from `28x28x1`."""
    if not re.fullmatch(r"\d{1,6}x\d{1,6}x[13]", text):
        raise ValueError("height, width and channels (1 or 3) such as 28x28x1")
    height, width, channels = map(int, text.split("x"))
    return height, width, channels


@dataclass(frozen=True)
class DataOptions:
    """How data is read."""

    data_dir: str | Path | None = None
    """Folder for named datasets (default: DIPTYCH_DATA or ~/.cache/diptych)."""
    image_size: tuple[int, int] | None = option(None, metavar="SIZE", parse=parse_size)
    """Resize images to this height and width: 32 or 24x32 (default: 64 for image files)."""
    channels: Literal[1, 3] | None = None
    """Convert images to grey (1) or RGB (3)."""
    root: str | Path | None = None
    """Folder that the paths in a table are relative to (default: the table's folder)."""
    pixel_shape: tuple[int, int, int] | None = option(None, metavar="HxWxC", parse=parse_pixel_shape)
    """Shape of the pixels in a CSV file, such as 28x28x1 (default: inferred)."""
    bad_images: Literal["fail", "skip"] = "fail"
    """Stop at image files that cannot be decoded, or skip them."""
    cache: Literal["auto", "always", "never"] = "auto"
    """Keep decoded images for the next run: up to 4 GiB, always, or never."""

    def __post_init__(self) -> None:
        """Check every field; raises UsageError."""
        check_at_least(1, image_size=min(self.image_size) if self.image_size else None)
        check_choice("bad_images", self.bad_images, ("fail", "skip"))
        check_choice("cache", self.cache, ("auto", "always", "never"))


@dataclass(frozen=True)
class OtherDataOptions:
    """How data is read for a trained model; None is what the run's own record says, else the default of training."""

    data_dir: str | Path | None = None
    """Folder for named datasets."""
    root: str | Path | None = None
    """Folder that the paths in a table are relative to (default: the table's folder)."""
    pixel_shape: tuple[int, int, int] | None = option(None, metavar="HxWxC", parse=parse_pixel_shape)
    """Shape of the pixels in a CSV file, such as 28x28x1 (default: inferred)."""
    bad_images: Literal["fail", "skip"] | None = None
    """Stop at image files that cannot be decoded, or skip them (default: as in training, else fail)."""

    def given(self) -> dict[str, Any]:
        """The options that have a value."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class TrainOptions:
    """What is trained, where, and how its state is saved."""

    engine: Literal["torch", "tensorflow", "both"] = "torch"
    """Framework to train with; `both` trains one after the other from the same weights on the same batches."""
    model: str | Path | ModelSpec = option("cnn", metavar="MODEL", parse=str)
    """Model name (see `diptych models`) or a spec.json."""
    recipe: str | Path | Recipe = option("default", metavar="RECIPE", parse=str)
    """Recipe name (see `diptych recipes`) or a recipe.json."""
    seed: int = 0
    """Seed of the initial weights, the order of samples, augmentation, dropout and the validation split."""
    out: str | Path = "runs"
    """Folder for all runs."""
    name: str | None = None
    """Name of the run's folder (default: DATA-MODEL-ENGINE)."""
    device: Device = "auto"
    """Where to compute: auto uses a GPU if the framework finds one."""
    threads: int | None = None
    """Processor threads (default: all cores)."""
    workers: int | None = None
    """Threads that prepare batches; does not affect results (default: all cores if images are decoded on the fly)."""
    stop_after: int | None = None
    """Stop after this many epochs; resume later with --resume."""
    checkpoint_steps: int | None = None
    """Save a checkpoint every N steps (default: as often as costs less than 2 % of the time)."""
    keep_checkpoints: int = 2
    """Number of checkpoints to keep."""

    def __post_init__(self) -> None:
        """Check every field; raises UsageError."""
        check_choice("engine", self.engine, ("torch", "tensorflow", "both"))
        check_choice("device", self.device, ("auto", "cpu", "cuda"))
        check_at_least(0, seed=self.seed, workers=self.workers)
        check_at_least(1, threads=self.threads, stop_after=self.stop_after)
        check_at_least(1, checkpoint_steps=self.checkpoint_steps, keep_checkpoints=self.keep_checkpoints)
        if self.name is not None and (self.name in {"", ".", ".."} or self.name != Path(self.name).name):
            raise UsageError(
                f"'name' must be a folder name without '/', got '{self.name}'; 'out' sets its parent folder."
            )


@dataclass(frozen=True)
class CompareOptions:
    """Which runs a comparison consists of."""

    seeds: int = 3
    """Number of pairs of runs; the runs of a pair share a seed."""
    arms: Literal["aligned", "native"] = "aligned"
    """The same mathematics in both frameworks, or each framework's own defaults."""
    explain: bool = False
    """Also switch one framework default at a time, to see what each does to accuracy."""
    model: str | Path | ModelSpec = option("cnn", metavar="MODEL", parse=str)
    """Model name (see `diptych models`) or a spec.json."""
    recipe: str | Path | Recipe = option("default", metavar="RECIPE", parse=str)
    """Recipe name (see `diptych recipes`) or a recipe.json."""
    seed: int = 0
    """Seed of the first pair; the others count up from it."""
    out: str | Path = "runs"
    """Folder for all runs, and for the comparison's own folder."""
    threads: int | None = None
    """Processor threads (default: all cores)."""

    def __post_init__(self) -> None:
        """Check every field; raises UsageError."""
        check_choice("arms", self.arms, ("aligned", "native"))
        check_at_least(0, seed=self.seed)
        check_at_least(1, seeds=self.seeds, threads=self.threads)


def check_at_least(least: int, /, **counts: int | None) -> None:
    """Raise UsageError for a count below `least`; None passes."""
    for name, count in counts.items():
        if count is not None and count < least:
            raise UsageError(f"'{name}' must be a whole number of at least {least}, got {count}.")


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise UsageError for a value that is not among the choices."""
    options = [str(choice) for choice in choices]
    if str(value) not in options:
        raise bad_choice(f"'{name}'", str(value), options)


def bad_choice(name: str, value: str, choices: Sequence[str]) -> UsageError:
    """The error for a value that is not among the choices; suggests the one that was meant."""
    answer = FOREIGN_VALUES.get(value.lower())
    meant = f"; use {answer}" if answer in choices else did_you_mean(value, choices)
    return UsageError(f"{name} must be one of {', '.join(choices)}, got '{value}'{meant}.")


# Options of Ultralytics, Keras, Lightning and others, and the answer to each; a word is looked up without `-` and `_`.
FOREIGN_WORDS = {
    "--learning-rate": "lr lr0 baselr maxlr initiallr",
    "--batch-size": "batch bs batchsz trainbatchsize perdevicetrainbatchsize",
    "--epochs": "epoch maxepochs numepochs nepochs numtrainepochs",
    "--image-size": "imgsz imgsize img imagesz inputsize resolution targetsize",
    "--validation-fraction": "valsplit validationsplit valfraction valsize valpercent fraction",
    "--early-stopping": "patience earlystop earlystoppingpatience",
    "--optimizer": "optim opt",
    "--schedule": "scheduler lrscheduler lrschedule sched",
    "--schedule cosine": "coslr",
    "--warmup-epochs": "warmup",
    "--decoupled-decay (AdamW) or --l2": "weightdecay wd decay",
    "--beta1": "adambeta1",
    "--beta2": "adambeta2",
    "--clip-norm": "gradientclipval clipgrad gradclip clipnorm maxgradnorm globalclipnorm",
    "--average-decay": "ema emadecay modelema",
    "--label-smoothing": "smoothing",
    "--class-weights": "classweight clsweights",
    "--precision": "amp fp16 bf16 half dtype mixedprecision",
    "--flip": "fliplr flipud hflip vflip horizontalflip",
    "--rotation": "degrees rotate",
    "--cutout": "erasing randomerasing reprob",
    "--keep-best": "savebest savebestonly saveweightsonly",
    "--device": "accelerator devices gpus",
    "--device cuda": "gpu cuda usecuda",
    "--device cpu": "cpu nogpu nocuda",
    "--engine": "framework backend",
    "--model": "arch architecture net network cfg modelname",
    "--out": "project output outputdir savedir logdir rootdir defaultrootdir workdir runsdir dir",
    "--name": "experiment experimentname expname runname version tag",
    "--workers": "numworkers nworkers dataloaders j",
    "--threads": "numthreads nthreads cores cpus",
    "--checkpoint-steps": "saveperiod savesteps savefreq everyntrainsteps checkpointinterval",
    "--keep-checkpoints": "savetopk savetotallimit",
    "--resume": "ckpt ckptpath checkpoint resumefrom restore fromcheckpoint",
    "--seed": "randomseed randomstate",
    "--to": "format formats",
    "--top": "topk",
    "--trust": "trustremotecode weightsonly",
    "DATA, the first argument": "data dataset traindir datapath",
    "IMAGE, after the model": "source images image input",
}
ANSWERS = {word: answer for answer, words in FOREIGN_WORDS.items() for word in words.split()}
FOREIGN_VALUES = {
    **dict.fromkeys(("gpu", "0"), "cuda"),
    **dict.fromkeys(("pytorch", "pt"), "torch"),
    **dict.fromkeys(("tf", "keras"), "tensorflow"),
    **dict.fromkeys(("fp16", "half", "16"), "float16"),
    **dict.fromkeys(("bf16", "bf16-mixed"), "bfloat16"),
    **dict.fromkeys(("fp32", "32"), "float32"),
    **dict.fromkeys(("onecycle", "1cycle"), "one_cycle"),
    "ignore": "skip",
}


def unknown_option(where: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for an option that does not exist; suggests the one that was meant.

    Args:
        where: verb or function.
        name: the option as written: `--lr` on the command line, `lr` in Python.
        known: the options that exist, written the same way.
    """
    known = tuple(known)
    answer = ANSWERS.get(re.sub("[-_]", "", name).lower(), "")
    if not name.startswith("-"):
        answer = re.sub(r"--([\w-]+)", lambda match: match[1].replace("-", "_"), answer).replace(" ", "=", 1)
    first = answer.partition(" " if name.startswith("-") else "=")[0]
    meant = f"; use {answer}" if first in known or (answer and first.isupper()) else did_you_mean(name, known)
    return UsageError(f"{where} has no option '{name}'{meant}.")


def split_options(where: str, options: Mapping[str, Any], *kinds: type) -> tuple[list[Any], dict[str, Any]]:
    """Options by the dataclass that defines them, and the fields of the recipe.

    Args:
        where: the function they were passed to.
        options: by name.
        kinds: dataclasses of options.

    Raises:
        UsageError: an option does not exist or has a value that is not accepted.
    """
    names = {kind: {one.name for one in fields(kind)} for kind in kinds}
    known = {*field_names()}.union(*names.values())
    for name in options:
        if name not in known:
            raise unknown_option(f"{where}()", name, known)
    made = [kind(**{name: value for name, value in options.items() if name in names[kind]}) for kind in kinds]
    taken = set().union(*names.values())
    return made, {name: value for name, value in options.items() if name not in taken}


@cache
def field_docs(kind: type) -> dict[str, str]:
    """The docstring of each field of a dataclass, on one line."""
    (body,) = ast.parse(inspect.cleandoc(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for before, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            docs[ast.unparse(before.target)] = " ".join(str(after.value.value).split())
    return docs


def accepts(*kinds: type) -> Callable[[F], F]:
    """Put the fields of dataclasses into the signature and the docstring of a function with `**options`.

    The docstring's line `options: …` is replaced.
    """

    def documented(function: F) -> F:
        shown = [one for one in inspect.signature(function).parameters.values() if one.kind is not one.VAR_KEYWORD]
        rest = inspect.Parameter("recipe_fields", inspect.Parameter.VAR_KEYWORD)
        lines = []
        for kind in kinds:
            for one in fields(kind):
                shown.append(inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default))
                lines.append(f"{one.name}: {field_docs(kind)[one.name]}")
        lines.append("recipe_fields: fields of the recipe, by name, such as `epochs=5`.")
        function.__signature__ = inspect.Signature([*shown, rest])  # type: ignore[attr-defined]
        before, indent, after = re.split(r"^( +)options: .*", function.__doc__ or "", maxsplit=1, flags=re.MULTILINE)
        function.__doc__ = before + "\n".join(indent + line for line in lines) + after
        return function

    return documented
