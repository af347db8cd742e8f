"""Training hyperparameters; none is left to a framework's default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

from diptych.errors import SpecError
from diptych.spec.typed import check_types

Rule: TypeAlias = Literal["sgd", "adam", "adamw", "rmsprop"]
UpdateForm: TypeAlias = Literal["torch", "keras"]
ScheduleKind: TypeAlias = Literal["constant", "step", "cosine", "one_cycle", "plateau"]
Precision: TypeAlias = Literal["auto", "float32", "bfloat16", "float16", "float64"]
Decayed: TypeAlias = Literal["kernel", "bias", "scale", "shift"]
Flip: TypeAlias = Literal["auto", "none", "horizontal", "vertical", "both"]


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training; on the command line, field names have dashes."""

    epochs: int = 10
    """Passes over the training split."""
    batch_size: int = 64
    """Images per step."""
    precision: Precision = "auto"
    """Floating-point format of the training; auto is bfloat16 if the processor supports it, else float32."""

    optimizer: Rule = "adamw"
    """Optimizer."""
    learning_rate: float | None = None
    """Peak learning rate; by default 0.05 for sgd, 0.002 for adam and adamw, 0.0005 for rmsprop."""
    momentum: float = 0.9
    """Momentum of sgd and rmsprop."""
    nesterov: bool = True
    """Use Nesterov momentum in sgd."""
    beta1: float = 0.9
    """Decay of Adam's first moment."""
    beta2: float = 0.999
    """Decay of Adam's second moment."""
    rho: float = 0.99
    """Decay of RMSprop's squared gradient."""
    update_form: UpdateForm = "torch"
    """Framework whose update formula is used; they differ in epsilon and momentum (see diptych differences)."""
    epsilon: float = 1e-8
    """Added to the denominator of adam, adamw and rmsprop."""
    l2: float = 0.0
    """L2 weight decay, added to the gradient: gradient + l2 · weight."""
    decoupled_decay: float | None = None
    """Decoupled weight decay: weight · (1 − learning rate · decay); by default 0.05 for adamw, else 0."""
    no_decay: tuple[Decayed, ...] = ("bias", "scale", "shift")
    """Roles of the arrays exempt from weight decay."""
    clip_norm: float = 0.0
    """Maximum global norm of the gradients; 0 disables clipping."""
    average_decay: float = 0.0
    """Decay of the exponential moving average of the weights (EMA), which is evaluated and saved; 0 disables it."""

    schedule: ScheduleKind = "one_cycle"
    """Learning-rate schedule."""
    warmup_epochs: float = 0.0
    """Epochs of linear warmup before constant, step, cosine and plateau."""
    step_epochs: tuple[int, ...] = (5, 8)
    """Epochs after which the step schedule multiplies the rate by step_factor."""
    step_factor: float = 0.1
    """Factor of the step and plateau schedules."""
    final_factor: float = 0.01
    """Final learning rate of cosine and one_cycle, as a fraction of the peak."""
    rise: float = 0.25
    """Fraction of the training in which one_cycle increases the rate."""
    plateau_patience: int = 3
    """Epochs without a lower validation loss before the plateau schedule multiplies the rate by step_factor."""

    label_smoothing: float = 0.0
    """Fraction of each target that is spread evenly over all classes."""
    class_weights: tuple[float, ...] | Literal["none", "balanced"] = "none"
    """Weight of each class in the loss; balanced is inversely proportional to its frequency in the training split."""

    flip: Flip = "auto"
    """Random flips; auto is horizontal if the dataset declares that a flip keeps the class."""
    crop_padding: int = 2
    """Pixels of padding before a random crop to the original size."""
    rotation: float = 0.0
    """Maximum random rotation in degrees, in either direction."""
    brightness: float = 0.0
    """Maximum random change of brightness, as a fraction."""
    contrast: float = 0.0
    """Maximum random change of contrast, as a fraction."""
    saturation: float = 0.0
    """Maximum random change of saturation, as a fraction (color images)."""
    cutout: int = 0
    """Side of a random square filled with the mean color, in pixels."""
    mixup: float = 0.0
    """Alpha of mixup's Beta distribution (Zhang et al. 2018); 0 disables it."""
    cutmix: float = 0.0
    """Alpha of CutMix's Beta distribution (Yun et al. 2019); 0 disables it. With both, each sample gets one of them."""

    validation_fraction: float = 0.1
    """Fraction of the training split held out for validation."""
    early_stopping: int = 0
    """Epochs without a lower validation loss before the training stops; 0 disables early stopping."""
    keep_best: bool = False
    """Save the weights of the best validation accuracy instead of the last ones."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            SpecError: A field is invalid; the message names it.
        """
        check_types(self, "Recipe")
        for names, is_valid, expected in _RANGES:
            for name in names.split():
                value = getattr(self, name)
                if value is not None and not is_valid(value):
                    raise SpecError(f"Recipe, '{name}': expected {expected}, got {value}.")
        if self.wants_validation and not self.validation_fraction:
            raise SpecError(
                "Recipe, 'validation_fraction': early_stopping, keep_best and the plateau schedule need a validation "
                "split; expected a fraction above 0, got 0."
            )

    @property
    def wants_validation(self) -> bool:
        """Whether the training uses a validation split."""
        return bool(self.early_stopping or self.keep_best or self.schedule == "plateau")

    @property
    def rate(self) -> float:
        """Peak learning rate, by default that of the optimizer."""
        return _DEFAULT_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def decay(self) -> float:
        """Decoupled weight decay, by default that of the optimizer."""
        if self.decoupled_decay is None:
            return 0.05 if self.optimizer == "adamw" else 0.0
        return self.decoupled_decay


_DEFAULT_RATES: dict[Rule, float] = {"sgd": 0.05, "adam": 2e-3, "adamw": 2e-3, "rmsprop": 5e-4}
_SHARES = "momentum beta1 beta2 rho average_decay label_smoothing validation_fraction"
_RANGES: tuple[tuple[str, Callable[..., bool], str], ...] = (
    ("epochs batch_size plateau_patience", lambda n: n >= 1, "an integer of at least 1"),
    ("crop_padding cutout early_stopping", lambda n: n >= 0, "an integer of at least 0"),
    ("learning_rate epsilon", lambda x: x > 0, "a number above 0"),
    ("l2 decoupled_decay clip_norm warmup_epochs rotation mixup cutmix", lambda x: x >= 0, "a number of at least 0"),
    (_SHARES, lambda x: 0 <= x < 1, "a number in [0, 1)"),
    ("rise final_factor step_factor", lambda x: 0 < x <= 1, "a number in (0, 1]"),
    ("brightness contrast saturation", lambda x: 0 <= x <= 1, "a number in [0, 1]"),
)


def field_names() -> tuple[str, ...]:
    """Return the names of all fields, in order."""
    return tuple(field.name for field in fields(Recipe))
