"""How a model is trained: every number that matters to the mathematics; no framework default is inherited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

from diptych.errors import SpecError
from diptych.spec.typed import settled

Rule: TypeAlias = Literal["sgd", "adam", "adamw", "rmsprop"]
UpdateForm: TypeAlias = Literal["torch", "keras"]
ScheduleKind: TypeAlias = Literal["constant", "step", "cosine", "one_cycle", "plateau"]
Precision: TypeAlias = Literal["auto", "float32", "bfloat16", "float16", "float64"]
Flip: TypeAlias = Literal["auto", "none", "horizontal", "vertical", "both"]


@dataclass(frozen=True)
class Recipe:
    """A training, as flat data; fields are named on the command line as they are here, with dashes."""

    epochs: int = 10
    """Passes over the training split."""
    batch_size: int = 64
    """Images a step."""
    precision: Precision = "auto"
    """Number format of the training; auto is bfloat16 where the processor computes in it, else float32."""

    optimizer: Rule = "adamw"
    """Update rule, the same in both engines."""
    learning_rate: float | None = None
    """Peak learning rate; left out, 0.05 for sgd, 0.002 for adam and adamw, 0.0005 for rmsprop."""
    momentum: float = 0.9
    """Momentum of sgd and rmsprop."""
    nesterov: bool = True
    """Nesterov's look-ahead, for sgd."""
    beta1: float = 0.9
    """Decay of adam's first moment."""
    beta2: float = 0.999
    """Decay of adam's second moment."""
    rho: float = 0.99
    """Decay of rmsprop's squared gradient."""
    update_form: UpdateForm = "torch"
    """Whose form of the rule: where epsilon is added, and whether momentum holds the learning rate."""
    epsilon: float = 1e-8
    """Added to the root; in torch's form outside it, after bias correction."""
    l2: float = 0.0
    """Weight decay as a term of the gradient: gradient + l2 · weight."""
    decoupled_decay: float | None = None
    """Weight decay apart from the gradient: weight · (1 − learning rate · decay); left out, 0.05 for adamw, else 0."""
    no_decay: tuple[str, ...] = ("bias", "scale", "shift")
    """Roles of arrays that neither decay touches (kernel, bias, scale, shift)."""
    clip_norm: float = 0.0
    """Largest norm of all gradients together; 0 leaves them alone."""
    average_decay: float = 0.0
    """Decay of the running average of the weights (EMA) that is evaluated and kept; 0 keeps the weights."""

    schedule: ScheduleKind = "one_cycle"
    """Shape of the learning rate over the training."""
    warmup_epochs: float = 0.0
    """Epochs of linear rise before constant, step, cosine and plateau begin."""
    step_epochs: tuple[int, ...] = (5, 8)
    """Epochs after which the step schedule multiplies by step_factor."""
    step_factor: float = 0.1
    """Factor of the step and plateau schedules."""
    final_factor: float = 0.01
    """Learning rate that cosine and one_cycle fall towards, as a share of the peak."""
    rise: float = 0.25
    """Share of the training in which one_cycle rises."""
    plateau_patience: int = 3
    """Epochs without a lower validation loss before the plateau schedule multiplies by step_factor."""

    label_smoothing: float = 0.0
    """Share of each target that is spread evenly over all classes."""
    class_weights: tuple[float, ...] | Literal["none", "balanced"] = "none"
    """Weight of each class in the loss; balanced is inverse to its share of the training split."""

    flip: Flip = "auto"
    """Random mirroring; auto is horizontal where the dataset says that a mirrored image keeps its class."""
    crop_padding: int = 2
    """Pixels of padding before a random crop back to size."""
    rotation: float = 0.0
    """Largest random rotation, in degrees either way."""
    brightness: float = 0.0
    """Largest random change of brightness, as a share."""
    contrast: float = 0.0
    """Largest random change of contrast, as a share."""
    saturation: float = 0.0
    """Largest random change of saturation, as a share (colour images)."""
    cutout: int = 0
    """Side of a random square of the mean colour, in pixels."""
    mixup: float = 0.0
    """Alpha of mixup's Beta distribution (Zhang et al. 2018); 0 is off."""
    cutmix: float = 0.0
    """Alpha of cutmix's Beta distribution (Yun et al. 2019); 0 is off. With mixup too, a sample takes one of them."""

    validation_fraction: float = 0.1
    """Share of the training split held out for early stopping and the best checkpoint."""
    early_stopping: int = 0
    """Epochs without a lower validation loss before the training stops; 0 never stops early."""
    keep_best: bool = False
    """Keep the weights of the best validation accuracy instead of the last ones."""

    def __post_init__(self) -> None:
        """Check every field once.

        Raises:
            SpecError: names the field, what it wants and what came.
        """
        settled(self, "Recipe")
        for names, holds, wanted in _RANGES:
            for name in names:
                value = getattr(self, name)
                if value is not None and not holds(value):
                    raise SpecError(f"Recipe, '{name}': wants {wanted}, got {value}.")
        if self.wants_validation and not self.validation_fraction:
            raise SpecError(
                "Recipe, 'validation_fraction': early stopping, keep_best and the plateau schedule look at a "
                "validation split, never at the test set; give it a share above 0."
            )

    @property
    def wants_validation(self) -> bool:
        """Whether the training looks at a validation split."""
        return bool(self.early_stopping or self.keep_best or self.schedule == "plateau")

    @property
    def rate(self) -> float:
        """The peak learning rate, given or usual."""
        return _USUAL_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def decay(self) -> float:
        """The decoupled weight decay, given or usual."""
        if self.decoupled_decay is None:
            return 0.05 if self.optimizer == "adamw" else 0.0
        return self.decoupled_decay


_USUAL_RATES: dict[Rule, float] = {"sgd": 0.05, "adam": 2e-3, "adamw": 2e-3, "rmsprop": 5e-4}
_RANGES: tuple[tuple[tuple[str, ...], Callable[..., bool], str], ...] = (
    (("epochs", "batch_size", "plateau_patience"), lambda n: n >= 1, "a whole number of at least 1"),
    (("learning_rate", "epsilon"), lambda x: x > 0, "a number above 0"),
    (
        ("momentum", "beta1", "beta2", "rho", "average_decay", "label_smoothing", "validation_fraction"),
        lambda x: 0 <= x < 1,
        "a number from 0 up to, not including, 1",
    ),
    (("rise", "final_factor", "step_factor"), lambda x: 0 < x <= 1, "a share above 0 and at most 1"),
    (
        ("l2", "decoupled_decay", "clip_norm", "warmup_epochs", "rotation", "mixup", "cutmix"),
        lambda x: x >= 0,
        "a number of at least 0",
    ),
    (("brightness", "contrast", "saturation"), lambda x: 0 <= x <= 1, "a share from 0 to 1"),
    (("crop_padding", "cutout", "early_stopping"), lambda n: n >= 0, "a whole number of at least 0"),
    (
        ("no_decay",),
        lambda roles: set(roles) <= {"kernel", "bias", "scale", "shift"},
        "roles out of kernel, bias, scale, shift",
    ),
)


def field_names() -> tuple[str, ...]:
    """Names of every recipe field, in order."""
    return tuple(field.name for field in fields(Recipe))
