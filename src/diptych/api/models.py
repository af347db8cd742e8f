"""Build models, prove them equal, and transfer weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any, Literal, cast

from diptych import engines
from diptych.api.inference import evaluate, open_weights
from diptych.artifacts.run import Run, is_run
from diptych.comparison import parity
from diptych.comparison.parity.certificate import Certificate
from diptych.deployment.options import CardOptions
from diptych.deployment.transfer import Transfer
from diptych.deployment.transfer import transfer as transfer_weights
from diptych.engines.contract import Pixels
from diptych.errors import DiptychError, SpecError, UsageError
from diptych.options import EngineName, ImageOptions, accepts, find_recipe, spec_from_file, split_options
from diptych.spec import ModelSpec, Recipe, zoo
from diptych.spec.init import initial_weights
from diptych.spec.typed import Natural
from diptych.training.machine import check_memory
from diptych.training.provenance import load_data, resolve
from diptych.vocabulary import did_you_mean


@dataclass(frozen=True)
class BuildOptions(ImageOptions):
    """A plain model of a framework."""

    precision: Literal["float32", "float64", "bfloat16", "float16"] = "float32"
    """Number format of the arithmetic; the weights are float64 or float32."""
    seed: Natural = 0
    """Random seed of the initial weights: those that `diptych.train` starts from, in both frameworks."""
    images: Pixels = "uint8"
    """What the model takes: uint8 images, 0-255 in any number format, or 0-1 in floats."""


@accepts(BuildOptions)
def build(model: str | Path | ModelSpec, engine: EngineName, **options: Any) -> Any:
    """Build a plain `torch.nn.Module` or `keras.Model` from images, (N, H, W, C), to logits, (N, K).

    In both frameworks, images have channels last and are normalized by the model (mean 0.5 and standard deviation 0.25
    in built-in models). Number formats that `images` excludes raise TypeError in PyTorch and ValueError in Keras.
    A Keras model consists of Keras's own layers, so its file loads without diptych; a loaded model casts its images.

    Args:
        model: model name, `spec.json`, or spec.
        engine: torch or tensorflow.
        options: fields of `BuildOptions`.

    Raises:
        SpecError: there is no such model, or it does not fit the shape.
        MissingEngine: the framework is not installed.
    """
    (chosen,), _ = split_options("build", options, BuildOptions)
    spec, framework = _spec(model, chosen), engines.get(engine)
    network = framework.build(spec, chosen.precision, chosen.images)
    framework.load_weights(network, initial_weights(spec.arrays, chosen.seed))
    return network


def verify(
    model: str | Path | ModelSpec | Run,
    *,
    recipe: str | Path | Recipe | None = None,
    input_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 10,
    seed: int | None = None,
    **settings: Any,
) -> Certificate:
    """Prove that a model is the same in both frameworks; see `comparison.parity.verify` for the settings.

    Args:
        model: model name, `spec.json`, or spec; or a run, to use its model, recipe, seed, data and initial weights.
        recipe: recipe name, `recipe.json`, or recipe: test the options that it uses (default: all recipe options).
        input_shape: (height, width, channels), for a named model.
        num_classes: number of logits, for a named model.
        seed: seed of weights, images, batches and dropout masks (default: the run's, or 0).
        settings: optimizers, precisions, steps, digits_epochs, thorough, on_step.

    Raises:
        SpecError: there is no such model or recipe, or it does not fit the shape.
        ArtifactError: the run cannot be read, or its data has changed.
        UsageError: the run's data no longer exists, or an argument is invalid.
        MissingEngine: a framework is not installed.
    """
    run = model if isinstance(model, Run) else None
    name = "" if isinstance(model, ModelSpec | Run) else str(model)
    if name and not name.endswith(".json") and (is_run(name) or name not in zoo.MODELS):
        if "/" not in name and not Path(name).exists():
            meant = did_you_mean(name, zoo.MODELS)
            raise SpecError(f"No model, run or file '{name}'{meant}. `diptych models` lists the models.")
        run = Run.open(name)
    if run:
        record = run.read_record()
        if recipe is not None:
            raise UsageError(f"'{model}' is a run, which has its own recipe; omit 'recipe'.")
        weights = run.read_start(record.start.sha256) if record.start else None
        data = load_data(record)
        settings |= {"recipe": resolve(record.recipe, data, "cpu"), "dataset": data, "weights": weights}
        return parity.verify(record.spec, seed=record.seed if seed is None else seed, **settings)
    chosen = find_recipe(recipe) if isinstance(recipe, str | Path) else recipe
    spec = _spec(cast(str | Path | ModelSpec, model), ImageOptions(input_shape, num_classes))
    return parity.verify(spec, recipe=chosen, seed=seed or 0, **settings)


@accepts(ImageOptions, CardOptions)
def transfer(
    source: str | Path,
    target: str | Path,
    *,
    model: str | Path | ModelSpec | None = None,
    layer_map: Mapping[str, str] | None = None,
    key: str | None = None,
    ignore: Sequence[str] = (),
    force: bool = False,
    **options: Any,
) -> Transfer:
    """Copy weights from one file to another, bit for bit, between PyTorch, Keras and safetensors.

    Layers are matched by name and by structure, never by a guess. Runs nothing in the source.
    `remarks` of the result say what was chosen, left out or could not be checked.

    Args:
        source: a PyTorch, safetensors or Keras file, with any suffix; or a finished run.
        target: a file that ends in `.pt`, `.pth`, `.safetensors`, `.keras`, `.h5` or `.weights.h5`.
        model: model name, `spec.json`, or spec (default: the model in the source).
        layer_map: name of each layer of the source to the name of the model's layer.
        key: the state dict to read, where a checkpoint has several.
        ignore: names or patterns of arrays to leave out, such as `criterion.*`.
        force: replace an existing target, and use `model` even if the source contains another.
        options: fields of `ImageOptions` and `CardOptions`.

    Raises:
        ArtifactError: the source is damaged, contains another model, or its layers cannot be matched.
        UsageError: a suffix is unknown, the target exists, or the source has no spec.
        SpecError: there is no such model, or it does not fit the shape.
        MissingEngine: a framework needed for one of the files is not installed.
    """
    (images, described), _ = split_options("transfer", options, ImageOptions, CardOptions)
    spec, path, card = None if model is None else _spec(model, images), Path(source), None
    folder = path.parent if path.name == "model.safetensors" else path
    if is_run(folder):
        path, (card, _) = Run(folder).model_path, open_weights(folder)
    settings: dict[str, Any] = {"layer_map": layer_map, "key": key, "ignore": ignore, "force": force}
    settings["size"] = images.input_shape
    done = transfer_weights(path, Path(target), spec=spec, card=card, described=described, **settings)
    return done if described.check is None else replace(done, remarks=(*done.remarks, _sanity(target, described.check)))


def _sanity(path: str | Path, data: str | Path) -> str:
    """Return the accuracy of a file on labeled images in one line, which says so if it is not better than chance."""
    try:
        metrics = evaluate(path, data, trust=True)  # diptych has just written it
    except DiptychError as error:
        fault = f"'{path}' is written, but cannot be checked (--class-names names its classes): {error}"
        raise type(error)(fault) from error
    count, accuracy, rows = metrics["num_samples"], metrics["accuracy"], metrics["per_class"]
    chance = max(max(row["support"] for row in rows) / count, 1 / len(rows))
    used = "{used} of {name}".format_map(metrics["data"])
    line = f"check: {accuracy:.1%} of {count:,} images are right ({used})"
    if accuracy - chance > max(2 * sqrt(chance * (1 - chance) / count), 0.1 * (1 - chance)):
        return f"{line}; {chance:.1%} would be chance"
    faults = "the order of the classes (--class-names), the normalization (--mean, --std), the colors or the model"
    return f"warning: {line}; chance would be {chance:.1%}: {faults} may be wrong"


def _spec(model: str | Path | ModelSpec, images: ImageOptions) -> ModelSpec:
    spec = model if isinstance(model, ModelSpec) else spec_from_file(model)
    spec = spec or zoo.model(str(model), images.input_shape, images.num_classes)
    check_memory(spec)
    return spec
