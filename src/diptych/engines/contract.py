"""What an engine is: the verbs that `engines/torch` and `engines/tensorflow` both answer to, each documented once.

An engine is a module. Its functions take and return NumPy arrays with canonical names and layouts
(PyTorch's); its models are plain models of its framework.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from diptych.data.batches import Batch
from diptych.data.images import Images
from diptych.errors import ArtifactError
from diptych.options import Device
from diptych.spec import ArraySpec, ModelSpec, Recipe

Arrays: TypeAlias = dict[str, np.ndarray]
Model: TypeAlias = Any
Optimizer: TypeAlias = Any
# What every shipped file calls its input, its outputs, and the text in it that says what it is.
INPUT = "images"
OUTPUTS = ("logits", "probabilities")
CARD = "diptych.json"
OPSET = 18
# More than any classifier's weights; what claims to hold more is not read.
MOST_BYTES = 8 * 2**30


@dataclass(frozen=True)
class Totals:
    """An epoch summed up as far as it has come, step by step in float64.

    Attributes:
        loss: the sum of the samples' losses, each by its weight; not finite once a step's loss was not.
        weight: the sum of the samples' weights.
        correct: how many of `count` samples hit their largest target.
        count: samples seen.
        steps: steps taken.
    """

    loss: float = 0.0
    weight: float = 0.0
    correct: int = 0
    count: int = 0
    steps: int = 0

    @property
    def diverged(self) -> bool:
        """Whether the last step's loss was not a finite number."""
        return not math.isfinite(self.loss)


NO_STEPS = Totals()


@dataclass(frozen=True, eq=False)
class Stored:
    """The content of a weights file: float arrays, named and laid out as in a PyTorch state dict.

    Attributes:
        arrays: `<layer>.weight`, `.bias`, `.running_mean` and `.running_var`, with the file's own layer names.
        sequences: lists of layers in their order of definition; a layer may be in none.
        permutes: layers that reorder the axes of maps, in a framework that flattens in height, width, channel
            order; None in one that flattens in channel, height, width order.
    """

    arrays: Arrays
    sequences: Sequence[Sequence[str]] = ()
    permutes: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Raise for names with control characters."""
        odd = next((name for name in (*self.arrays, *(self.permutes or ())) if not name.isprintable()), None)
        if odd is not None:
            raise ArtifactError(f"Cannot read the weights file: {odd!r:.60} is the name of an array or a layer in it.")


def check_arrays(arrays: Mapping[str, np.ndarray], wanted: Iterable[ArraySpec], what: str) -> None:
    """Refuse arrays that are not exactly the `wanted` ones.

    Raises:
        ArtifactError: names what is missing, too much, or of another shape.
    """
    shapes = {array.name: array.shape for array in wanted}
    missing = [name for name in shapes if name not in arrays]
    extra = [name for name in arrays if name not in shapes]
    if missing or extra:
        raise ArtifactError(
            f"Cannot load {what}: {len(arrays)} arrays came, {len(shapes)} were wanted."
            f"{_listed('Missing', missing)}{_listed('Extra', extra)}"
        )
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ArtifactError(f"Cannot load {what}: '{name}' has shape {arrays[name].shape}, wanted {shape}.")


def _listed(label: str, names: list[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f" {label}: {', '.join(names[:3])}{rest}." if names else ""


class Engine(Protocol):
    """The verbs of an engine."""

    def configure(self, threads: int, device: Device = "auto") -> None:
        """Set device, threads, determinism and logging; once in a process, before anything else.

        Args:
            threads: processor threads to compute with.
            device: cpu, cuda, or auto for a GPU if the framework finds one.

        Raises:
            UsageError: the framework finds no GPU.
        """

    def runtime(self) -> dict[str, Any]:
        """Device, threads and versions, as they are in force now."""

    def build(self, spec: ModelSpec, precision: str = "float32") -> Model:
        """A model of this framework for `spec`: uint8 images, (N, H, W, C), in; float logits, (N, K), out.

        Args:
            spec: the model.
            precision: float32 or float64 for everything; bfloat16 or float16 for the layers' arithmetic,
                with float32 weights.
        """

    def read_weights(self, model: Model) -> Arrays:
        """Every array of a model, running statistics included, by canonical name in canonical layout."""

    def load_weights(self, model: Model, arrays: Mapping[str, np.ndarray]) -> None:
        """Put arrays into a model.

        Raises:
            ArtifactError: names or shapes do not fit; says which.
        """

    def make_optimizer(self, model: Model, recipe: Recipe) -> Optimizer:
        """The update rule of `recipe` over the weights of `model`, with its state at step 0."""

    def read_optimizer(self, optimizer: Optimizer) -> Arrays:
        """The optimizer's whole state: `step`, and `<slot>/<array name>` for each slot, in canonical layout."""

    def load_optimizer(self, optimizer: Optimizer, arrays: Mapping[str, np.ndarray]) -> None:
        """Put a state that either engine read into an optimizer.

        Raises:
            ArtifactError: names or shapes do not fit; says which.
        """

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
        """Train on every batch, one step each, at that step's learning rate; ends with the first loss not finite.

        An epoch cut anywhere into several calls gives the same bits as one.

        Args:
            model: changed in place.
            optimizer: changed in place.
            batches: what ends before `rates` ends the call.
            rates: learning rate of each step.
            seed: of the dropout streams; a step's masks follow from it and from the optimizer's step count.
            so_far: what the epoch's earlier steps came to.
            stops: asked before a framework takes a step, or several at once; where it says so, no further one is
                taken, and batches that were drawn for it are left out.

        Returns:
            The epoch's totals, the earlier steps' among them.
        """

    def predict(self, model: Model, images: Images) -> np.ndarray:
        """Logits, (N, K), float32 (float64 for a float64 model), of uint8 images, (N, H, W, C)."""

    def gradients(self, model: Model, batch: Batch) -> tuple[float, Arrays]:
        """Loss and its gradient for every trainable array, in training mode, changing no weight."""

    def layer_outputs(self, model: Model, images: np.ndarray, training: bool) -> Arrays:
        """Output of every layer by name; maps as (N, H, W, C), flattened maps in channel, height, width order."""

    def export(self, model: Model, form: str, path: Path, card: str, calibration: np.ndarray | None) -> None:
        """Write a model as a file (or folder) of the named format.

        Args:
            model: a float32 model; it is not changed.
            form: a format that this framework writes, such as onnx.
            path: where; nothing may be there yet.
            card: JSON text that says what the file is; it travels inside.
            calibration: uint8 images, (N, H, W, C), from which integer formats take their ranges.

        Raises:
            UsageError: this framework writes no such format, or it needs calibration images.
        """

    def read_file(self, path: Path) -> Stored:
        """What a weights file of this framework holds; nothing in it is run.

        Args:
            path: a zip archive among them has been looked over for its size.

        Raises:
            ArtifactError: it is damaged, holds more than weights, or refers to other files.
        """
