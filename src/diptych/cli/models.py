"""`diptych verify`, `transfer`, `models`, `recipes` and `differences`: models without data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from inspect import getdoc
from pathlib import Path

from diptych.cli.arguments import parse, parse_given, positional
from diptych.cli.output import framework_silent, print_json, print_table, steps
from diptych.deployment.options import CardOptions
from diptych.errors import SpecError, UsageError
from diptych.options import ImageOptions, option
from diptych.spec import codec, zoo
from diptych.spec.recipe import RECIPES, Rule
from diptych.spec.typed import Natural


@dataclass(frozen=True)
class Verify:
    """Prove that a model is the same in PyTorch and in TensorFlow; exits with 1 if it is not."""

    model: str = positional("MODEL|RUN")
    """Model name (see `diptych models`) or spec.json; or a run, to use its recipe, seed, data and initial weights."""
    recipe: str | None = option(None, metavar="RECIPE")
    """Test only what this recipe uses: a name (see `diptych recipes`) or recipe.json (default: all options)."""
    thorough: bool = False
    """Train the model for all steps on all images; also in float32, to show how far training runs drift apart."""
    optimizer: tuple[Rule, ...] | None = option(None, metavar="RULE")
    """Optimizers to test (default: the recipe's, or all)."""
    steps: int = 120
    """Updates with each optimizer."""
    digits_epochs: Natural = 3
    """Without a recipe: epochs of training on digits. 0 skips all training, also with a recipe."""
    seed: Natural | None = None
    """Seed of weights, images, batches and dropout masks (default: the run's, or 0)."""
    out: Path | None = None
    """Folder for parity.json and parity.txt (default: certificates/MODEL, with -RECIPE, or certificates/RUN)."""
    options: ImageOptions = field(default_factory=ImageOptions)
    json: bool = False
    """Print the certificate as JSON."""


@dataclass(frozen=True)
class Transfer:
    """Copy weights from one file to another, bit for bit, between PyTorch, Keras and safetensors.

    SRC is recognized by its content; DST must end in .pt, .pth, .safetensors, .keras, .h5 or .weights.h5. Never
    executes code in SRC. A model in SRC (a card, or Keras's configuration) is used, and --model must not contradict
    it. Layers are mapped as that model uses them; otherwise by name, or by shape and the numbers in their names; if
    that is ambiguous, use --map.
    """

    source: Path = positional("SRC")
    """File to read."""
    target: Path = positional("DST")
    """File to write."""
    model: str | None = option(None, metavar="MODEL")
    """Model name (see `diptych models`) or a spec.json (default: the model in SRC)."""
    map: tuple[str, ...] = option((), metavar="SRCLAYER=DSTLAYER")
    """Copy layer SRCLAYER of SRC to layer DSTLAYER of the model; can be repeated."""
    key: str | None = option(None, metavar="ENTRY")
    """Read this entry of a checkpoint with several state dicts, such as state_dict_ema."""
    ignore: tuple[str, ...] = option((), metavar="PATTERN")
    """Leave out the arrays of SRC with matching names, such as 'criterion.*'; can be repeated."""
    force: bool = False
    """Replace DST if it exists, and use MODEL even if SRC contains another; what differs is recorded in DST."""
    options: ImageOptions = field(default_factory=ImageOptions)
    description_options: CardOptions = field(default_factory=CardOptions)
    json: bool = False
    """Print as JSON."""


@dataclass(frozen=True)
class Models:
    """List the built-in models with their parameters and FLOPs for one input size."""

    options: ImageOptions = field(default_factory=ImageOptions)
    json: bool = False
    """Print the specs as JSON, as templates for a spec.json."""


@dataclass(frozen=True)
class Recipes:
    """List the built-in recipes."""

    json: bool = False
    """Print all fields as JSON, as templates for a recipe.json."""


@dataclass(frozen=True)
class Differences:
    """List how PyTorch and TensorFlow differ and what diptych does."""

    json: bool = False
    """Print as JSON."""


def verify(args: list[str]) -> int:
    """Run every test, write the certificate, print the verdict."""
    parsed, given = parse_given(Verify, "verify", args)
    from diptych.api import models as api
    from diptych.artifacts.run import is_run
    from diptych.comparison.parity import certificate

    run = is_run(parsed.model)
    unused = {"digits_epochs"} & given if parsed.digits_epochs and (run or parsed.recipe) else set[str]()
    unused |= {"input_shape", "num_classes"} & given if run or parsed.model.endswith(".json") else set()
    if unused:
        raise UsageError(
            f"--{min(unused).replace('_', '-')} has no effect here; the run, recipe or spec determines it."
        )
    name = Path(parsed.model).resolve().name if run else Path(parsed.model).stem
    name += f"-{Path(parsed.recipe).stem}" if parsed.recipe else ""
    names = ("recipe", "thorough", "steps", "digits_epochs", "seed")
    settings = {name: getattr(parsed, name) for name in names} | vars(parsed.options)
    with steps(quiet=parsed.json) as on_step:
        result = api.verify(parsed.model, optimizers=parsed.optimizer, on_step=on_step, **settings)
    paths = certificate.write(result, parsed.out or Path("certificates") / name)
    if parsed.json:
        print_json(result.to_json())
    else:
        print(result.to_text())
        print(f"certificate: {paths[0]}, {paths[1]}")
    return 0 if result.passed else 1


def transfer(args: list[str]) -> int:
    """Transfer, and print how the layers were matched."""
    parsed = parse(Transfer, "transfer", args)
    layer_map: dict[str, str] = {}
    for text in parsed.map:
        source, equals, target = text.partition("=")
        if not (source and equals and target) or source in layer_map:
            raise UsageError(f"--map must be SRCLAYER=DSTLAYER, once per layer, got '{text}'.")
        layer_map[source] = target
    from diptych.api import models as api

    settings = {name: getattr(parsed, name) for name in ("model", "key", "ignore", "force")}
    settings |= {**vars(parsed.options), **vars(parsed.description_options)}
    with framework_silent():
        done = api.transfer(parsed.source, parsed.target, layer_map=layer_map, **settings)
    if parsed.json:
        print_json(done)
        return 0
    print(f"{done.model}: {done.num_arrays} arrays, {done.num_parameters:,} parameters")
    print(f"layers mapped: {done.by_name} by name, {done.by_structure} by structure, {done.by_map} by --map")
    for line in (*done.casts, *done.remarks):
        print(line)
    mean, std = (", ".join(f"{number:.4g}" for number in numbers) for numbers in (done.mean, done.std))
    print(f"normalization in the model: (pixels / 255 - ({mean})) / ({std})")
    print(f"{done.target}: verified, all values equal bit for bit")
    return 0


def models(args: list[str]) -> int:
    """List the models."""
    parsed = parse(Models, "models", args)
    specs, rows = {}, []
    for name, (_, summary) in zoo.MODELS.items():
        try:
            spec = specs[name] = zoo.model(name, parsed.options.input_shape, parsed.options.num_classes)
            rows.append((name, f"{spec.num_parameters:,}", f"{spec.flops / 1e6:,.1f}", summary))
        except SpecError:
            rows.append((name, "—", "—", f"{summary} (images too small)"))
    if parsed.json:
        print_json({name: codec.model_to_json(spec) for name, spec in specs.items()})
        return 0
    print_table(("model", "parameters", "MFLOPs/image", "description"), rows)
    return 0


def recipes(args: list[str]) -> int:
    """List the recipes."""
    parsed = parse(Recipes, "recipes", args)
    if parsed.json:
        print_json({name: codec.recipe_to_json(recipe()) for name, recipe in RECIPES.items()})
        return 0
    print_table(("recipe", "description"), [(name, getdoc(recipe) or "") for name, recipe in RECIPES.items()])
    return 0


def differences(args: list[str]) -> int:
    """List the differences."""
    parsed = parse(Differences, "differences", args)
    from diptych.engines.differences import LEDGER

    if parsed.json:
        print_json([asdict(row) for row in LEDGER])
        return 0
    rows = [(row.key, row.torch, row.tensorflow, row.rule) for row in LEDGER]
    print_table(("key", "PyTorch", "TensorFlow / Keras", "rule"), rows, show_lines=True)
    return 0
