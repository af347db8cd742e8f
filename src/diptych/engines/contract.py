"""The functions of an engine, implemented by `engines/torch` and `engines/tensorflow` and documented here.

An engine is a module. Its functions take and return NumPy arrays with canonical names and layouts (PyTorch's); its
models are plain models of its framework.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from diptych.data.batches import Batch
from diptych.data.images import Images
from diptych.errors import ArtifactError
from diptych.options import Device
from diptych.processes import memory
from diptych.spec import ArraySpec, ModelSpec, Recipe

Arrays: TypeAlias = dict[str, np.ndarray]
Model: TypeAlias = Any
Optimizer: TypeAlias = Any
# Names of the input, the outputs and the card in every exported file.
INPUT = "images"
OUTPUTS = ("logits", "probabilities")
CARD = "diptych.json"
OPSET = 18
# What a plain model takes: uint8 images, any number format from 0 to 255, or floats from 0 to 1.
Pixels: TypeAlias = Literal["uint8", "0-255", "0-1"]
# Small gradients underflow in float16; PyTorch's GradScaler starts and grows the same way.
# differs: loss-scale
FIRST_LOSS_SCALE = 2.0**16
STEPS_TO_GROW = 2000
_MOMENTS = ("first_moment", "second_moment")
_SLOTS = {"sgd": ("momentum",), "adam": _MOMENTS, "adamw": _MOMENTS, "rmsprop": ("square", "momentum")}
# Weights files with more bytes of arrays are not read.
MOST_BYTES = 8 * 2**30


def chunk_size(spec: ModelSpec) -> int:
    """Return how many images a model predicts at once: 256, or as many as half of the memory holds."""
    largest = max(map(math.prod, spec.shapes.values()))
    return max(1, min(256, memory() // 2 // (8 * largest)))  # a layer's input and output in float32


@dataclass(frozen=True)
class Totals:
    """Sums over the samples and steps of an epoch so far, in float64."""

    loss: float = 0.0
    """Weighted; not finite after a step whose loss is not."""
    weight: float = 0.0
    correct: int = 0
    """Samples whose prediction is their largest target."""
    count: int = 0
    steps: int = 0

    @property
    def diverged(self) -> bool:
        """Whether the last step's loss was not finite."""
        return not math.isfinite(self.loss)


NO_STEPS = Totals()


@dataclass(frozen=True, eq=False)
class Stored:
    """The content of a weights file: float arrays, named and laid out as in a PyTorch state dict."""

    arrays: Arrays
    """`<layer>.weight`, `.bias`, `.running_mean` and `.running_var`, with the file's own layer names."""
    sequences: Sequence[Sequence[str]] = ()
    """Lists of layers in their order of use; a layer may be in none."""
    permutes: Sequence[str] | None = None
    """Layers that reorder the axes of maps, in a framework that flattens in height, width, channel order; else None."""
    remarks: tuple[str, ...] = ()
    """What was chosen or left out in reading, one line each."""
    config: Mapping[str, Any] | None = None
    """The configuration of a Keras model, as data."""

    def __post_init__(self) -> None:
        """Raise for names with control characters."""
        odd = next((name for name in (*self.arrays, *(self.permutes or ())) if not name.isprintable()), None)
        if odd is not None:
            raise ArtifactError(f"Cannot read the weights file: invalid array or layer name {odd!r:.60}.")


def optimizer_slots(recipe: Recipe) -> tuple[str, ...]:
    """Return the names of the optimizer's arrays per weight."""
    return tuple(slot for slot in _SLOTS[recipe.optimizer] if slot != "momentum" or recipe.momentum)


def optimizer_arrays(spec: ModelSpec, recipe: Recipe) -> tuple[ArraySpec, ...]:
    """Return every array of the optimizer's state: `step`, `<slot>/<array>`, `average/<array>` with a weight average.

    In float16 also `loss_scale`: the scale, and the number of steps since it last changed.
    """
    state = [ArraySpec("step", (), "kernel", "zeros")]
    if recipe.precision == "float16":
        state.append(ArraySpec("loss_scale", (2,), "kernel", "zeros"))
    for array in spec.trainable:
        slots = optimizer_slots(recipe)
        state += [ArraySpec(f"{slot}/{array.name}", array.shape, array.role, "zeros") for slot in slots]
    if recipe.average_decay:
        state += [ArraySpec(f"average/{array.name}", array.shape, array.role, "zeros") for array in spec.arrays]
    return tuple(state)


def check_arrays(arrays: Mapping[str, np.ndarray], expected: Iterable[ArraySpec], what: str) -> None:
    """Raise ArtifactError, which calls them `what`, unless `arrays` have the names and shapes of `expected`."""
    shapes = {array.name: array.shape for array in expected}
    missing = [name for name in shapes if name not in arrays][:3]
    extra = [name for name in arrays if name not in shapes][:3]
    if missing or extra:
        names = f"Missing: {', '.join(missing) or 'none'}. Unexpected: {', '.join(extra) or 'none'}."
        raise ArtifactError(f"Cannot load {what}: expected {len(shapes)} arrays, got {len(arrays)}. {names}")
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ArtifactError(f"Cannot load {what}: '{name}' has shape {arrays[name].shape}, expected {shape}.")


class Engine(Protocol):
    """The functions of an engine."""

    def configure(self, threads: int, device: Device = "auto") -> None:
        """Set device, threads, determinism and logging; call it before anything else.

        TensorFlow keeps its own number of threads, with a warning, if it is already in use. The device `auto` is a GPU
        if the framework finds one; raises UsageError if it finds none for `cuda`.
        """

    def runtime(self) -> dict[str, Any]:
        """Return the device, threads and versions in use."""

    def build(self, spec: ModelSpec, precision: str = "float32", plain: Pixels | None = None) -> Model:
        """Build the model of `spec`: uint8 images, (N, H, W, C), in; float logits, (N, K), out.

        The precisions bfloat16 and float16 apply to the layers' arithmetic, with float32 weights. A `plain` model is
        for use without the engine, and takes only these images. In TensorFlow it consists of Keras's own layers, so
        batch norms are slower in training and keep a biased running variance.
        """

    def read_weights(self, model: Model) -> Arrays:
        """Return every array of a model, running statistics included, by canonical name in canonical layout."""

    def load_weights(self, model: Model, arrays: Mapping[str, np.ndarray]) -> None:
        """Load arrays into a model; raise ArtifactError if names or shapes do not match."""

    def make_optimizer(self, model: Model, recipe: Recipe) -> Optimizer:
        """Create the optimizer of `recipe` for the weights of `model`, at step 0."""

    def read_optimizer(self, optimizer: Optimizer) -> Arrays:
        """Return the optimizer's state: `step`, and `<slot>/<array name>` for each slot, in canonical layout."""

    def load_optimizer(self, optimizer: Optimizer, arrays: Mapping[str, np.ndarray]) -> None:
        """Load a state that either engine returned; raise ArtifactError if names or shapes do not match."""

    def train_epoch(
        self,
        model: Model,
        optimizer: Optimizer,
        batches: Iterable[Batch],
        rates: Sequence[float],
        seed: int,
        so_far: Totals = NO_STEPS,
        stops: Callable[[], bool] = lambda: False,
    ) -> Totals:
        """Train on each batch with its learning rate; stop at the first loss that is not finite.

        Model and optimizer are changed in place. An epoch split into several calls gives the same bits as a single
        call; the result includes the earlier steps, `so_far`.

        Args:
            batches: the call ends with `batches` or `rates`, whichever is shorter.
            seed: seed of the dropout masks, which depend on it and on the optimizer's step count; see `engines.masks`.
            stops: called before each step or group of steps; if it returns True, the call ends and batches already
                drawn are dropped.
        """

    def predict(self, model: Model, images: Images) -> np.ndarray:
        """Return logits, (N, K), float32 (float64 for a float64 model), of uint8 images, (N, H, W, C)."""

    def gradients(self, model: Model, batch: Batch) -> tuple[float, Arrays]:
        """Return the loss and its gradient for every trainable array, in training mode, without changing a weight.

        The dropout masks are those of seed 0 and step 0, as in `layer_outputs`.
        """

    def layer_outputs(self, model: Model, images: np.ndarray, training: bool) -> Arrays:
        """Return every layer's output; maps as (N, H, W, C), flattened maps in channel, height, width order."""

    def layer_alone(
        self, model: Model, name: str, inputs: Arrays, slopes: np.ndarray, training: bool, step: int = 0
    ) -> Arrays:
        """Run one layer forward and backward; layouts as in `layer_outputs`.

        Returns its `output`; its running statistics, updated in training; and, given `slopes`, the gradient of its
        output, the gradients of its trainable arrays and of the `inputs` (`input/<name>`). Changes no weight. The
        dropout masks are those of seed 0 and `step`.
        """

    def apply_gradients(self, optimizer: Optimizer, gradients: Arrays, rate: float) -> None:
        """Update the weights once; in float16 the gradients are those of the scaled loss."""

    def export(self, model: Model, form: str, path: Path, card: str, calibration: np.ndarray | None) -> None:
        """Write a model to a file (or folder) of the given format.

        The model is float32 and stays as it is; `path` must not exist. The `card`, a JSON text, is stored in the file;
        `calibration`, uint8 images, (N, H, W, C), is for integer formats.
        """

    def read_file(self, path: Path, key: str | None = None) -> Stored:
        """Read a weights file of this framework without running code from it.

        The sizes in a zip archive have been checked; `key` is the entry of a PyTorch checkpoint with several state
        dicts. Raises ArtifactError if the file is corrupt, contains more than weights, or refers to other files.
        """
