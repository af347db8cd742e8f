"""Training hyperparameters, independent of framework defaults; `benchmarks/recipes.py` writes the measured results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from diptych.errors import SpecError
from diptych.spec.typed import Count, Factor, Fraction, Natural, NonNegative, Positive, Share, check_types
from diptych.vocabulary import did_you_mean

Rule: TypeAlias = Literal["sgd", "adam", "adamw", "rmsprop"]
UpdateForm: TypeAlias = Literal["torch", "keras"]
ScheduleKind: TypeAlias = Literal["constant", "step", "cosine", "one_cycle", "plateau"]
Precision: TypeAlias = Literal["auto", "float32", "bfloat16", "float16", "float64"]
Decayed: TypeAlias = Literal["kernel", "bias", "scale", "shift"]
Flip: TypeAlias = Literal["auto", "none", "horizontal", "vertical", "both"]


@dataclass(frozen=True)
class Recipe:
    """Training hyperparameters; on the command line, field names have dashes."""

    epochs: Count = 10
    """Passes over the training split."""
    batch_size: Count | None = None
    """Images per step (default: 64, or 32 or 16 if training would take fewer than 4,000 steps)."""
    precision: Precision = "auto"
    """Floating-point format for training; auto is bfloat16 if the processor supports it, else float32."""

    optimizer: Rule = "adamw"
    """Optimizer."""
    learning_rate: Positive | None = None
    """Peak learning rate (default: 0.05 for sgd, 0.003 for adam and adamw, 0.0005 for rmsprop)."""
    momentum: Share = 0.9
    """Momentum of sgd and rmsprop."""
    nesterov: bool = True
    """Use Nesterov momentum in sgd."""
    beta1: Share = 0.9
    """Decay of Adam's first moment."""
    beta2: Share = 0.999
    """Decay of Adam's second moment."""
    rho: Share = 0.99
    """Decay of RMSprop's squared gradient."""
    update_form: UpdateForm = "torch"
    """Framework whose update rule is used; they differ in epsilon and momentum (see `diptych differences`)."""
    epsilon: Positive = 1e-8
    """Epsilon in the denominator of adam, adamw and rmsprop."""
    l2: NonNegative = 0.0
    """L2 weight decay, added to the gradient: gradient + l2 · weight."""
    decoupled_decay: NonNegative | None = None
    """Decoupled weight decay: weight · (1 − learning rate · decay) (default: 0.05 for adamw, else 0)."""
    no_decay: tuple[Decayed, ...] = ("bias", "scale", "shift")
    """Kinds of parameters without weight decay; scale and shift are those of batch norm."""
    clip_norm: NonNegative = 0.0
    """Maximum global norm of the gradients; 0 disables clipping."""
    average_decay: Share = 0.0
    """Decay of the exponential moving average (EMA) of the weights, which is evaluated and saved; 0 disables it."""

    schedule: ScheduleKind = "one_cycle"
    """Learning-rate schedule."""
    warmup_epochs: NonNegative = 0.0
    """Epochs of linear warmup before constant, step, cosine and plateau."""
    step_epochs: tuple[int, ...] = (5, 8)
    """Epochs after which the step schedule multiplies the learning rate by step_factor."""
    step_factor: Factor = 0.1
    """Factor of the step and plateau schedules."""
    final_factor: Factor = 0.01
    """Final learning rate of cosine and one_cycle, as a fraction of the peak."""
    rise: Factor = 0.25
    """Fraction of training during which one_cycle increases the learning rate."""
    plateau_patience: Count = 3
    """Epochs without a lower validation loss before plateau multiplies the learning rate by step_factor."""

    label_smoothing: Share = 0.0
    """Fraction of each target that is spread evenly over all classes."""
    class_weights: tuple[float, ...] | Literal["none", "balanced"] = "none"
    """Weight of each class in the loss; balanced is inversely proportional to its frequency in the training split."""

    flip: Flip = "auto"
    """Random flips; auto is horizontal for 16 or more epochs if the dataset is known to allow it, else none."""
    crop_padding: Natural | None = None
    """Pixels of padding before a random crop (default: 1/16 of the shorter side for 16 or more epochs, else 0)."""
    rotation: NonNegative = 0.0
    """Maximum random rotation in degrees, in either direction."""
    brightness: Fraction = 0.0
    """Maximum random change of brightness, as a fraction."""
    contrast: Fraction = 0.0
    """Maximum random change of contrast, as a fraction."""
    saturation: Fraction = 0.0
    """Maximum random change of saturation, as a fraction (color images)."""
    cutout: Natural = 0
    """Side of a random square filled with the mean color, in pixels."""
    mixup: NonNegative = 0.0
    """Alpha of mixup's Beta distribution (Zhang et al. 2018); 0 disables it."""
    cutmix: NonNegative = 0.0
    """Alpha of CutMix's Beta distribution (Yun et al. 2019); 0 disables it. If both are set, each sample gets one."""

    validation_fraction: Share = 0.1
    """Fraction of the training split held out for validation."""
    early_stopping: Natural = 0
    """Epochs without a lower validation loss before training stops; 0 disables early stopping."""
    keep_best: bool = False
    """Save the weights with the best validation accuracy instead of the last ones."""

    def __post_init__(self) -> None:
        """Check every field; raise SpecError, which names the field, if one is invalid."""
        check_types(self, "Recipe: ")
        if self.wants_validation and not self.validation_fraction:
            raise SpecError(
                "Recipe: 'validation_fraction' must be > 0, because early_stopping, keep_best and the plateau "
                "schedule need a validation split; got 0."
            )

    @property
    def wants_validation(self) -> bool:
        """Whether training uses a validation split."""
        return bool(self.early_stopping or self.keep_best or self.schedule == "plateau")

    @property
    def batch(self) -> int:
        """Images per step; 64 if neither set nor chosen for the data."""
        return _BATCH_SIZES[0] if self.batch_size is None else self.batch_size

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

    def for_data(self, image_shape: tuple[int, ...], mirror: bool, num_train: int = 0) -> Recipe:
        """Return the recipe with its defaults and `auto` replaced, but for the precision.

        Images have `image_shape` (height, width, channels); `mirror` says whether a mirrored one keeps its class;
        `num_train` is the number of training images, 0 if unknown. A model that sees each image only a few times
        learns less from changed images than from the originals, and one trained for few steps does better with smaller
        batches.
        """
        sizes = (size for size in _BATCH_SIZES if not num_train or self.epochs * num_train >= _MIN_STEPS * size)
        augments = self.epochs >= _EPOCHS_TO_AUGMENT
        crop = round(min(image_shape[:2]) / 16) if augments else 0
        return replace(
            self,
            batch_size=self.batch_size or next(sizes, _BATCH_SIZES[-1]),
            learning_rate=self.rate,
            decoupled_decay=self.decay,
            flip=("horizontal" if augments and mirror else "none") if self.flip == "auto" else self.flip,
            crop_padding=crop if self.crop_padding is None else self.crop_padding,
        )


# Validation accuracy without and with flips and crops, `fashion_cnn` on Fashion-MNIST, one seed: 88.4 and 85.9% after
# 2 epochs, 90.3 and 88.3% after 4, 91.5 and 90.6% after 8.
_EPOCHS_TO_AUGMENT = 16
# Test accuracy in PyTorch after 4 epochs with batches of 64 and 32: `fashion_cnn` on Fashion-MNIST 90.3 and 90.6%,
# `cifar_sequential` on CIFAR-10 70.8 and 72.0% (rate 0.003, one seed); a small CNN on the digits 94.3 and 97.1%, and
# 97.1% with 16 (rate 0.004, two seeds).
_BATCH_SIZES = (64, 32, 16)
_MIN_STEPS = 4000
_DEFAULT_RATES: dict[Rule, float] = {"sgd": 0.05, "adam": 3e-3, "adamw": 3e-3, "rmsprop": 5e-4}


def default() -> Recipe:
    """AdamW with a one-cycle schedule; ten epochs. Batch size, crops and flips follow the data and the epochs.

    Measured: digits 99.00 ± 0.25% over 5 seeds, 15 s a run (cnn, 2 threads of AMD EPYC).
    """
    return Recipe()


def sgd() -> Recipe:
    """SGD with Nesterov momentum and a cosine schedule, batches of 64, no crops; ten epochs.

    Measured: digits 98.83 ± 0.31% over 5 seeds, 9 s a run (cnn, 2 threads of AMD EPYC).
    """
    return Recipe(
        batch_size=64,
        optimizer="sgd",
        learning_rate=0.05,
        schedule="cosine",
        warmup_epochs=0.5,
        l2=1e-4,
        crop_padding=0,
    )


def resnet_cifar() -> Recipe:
    """He et al. 2015, section 4.2: SGD at 0.1, divided by 10 at half and three quarters, L2 1e-4; 164 epochs.

    Measured: not here, because 164 epochs take too long on a CPU. The paper reports 91.25% for resnet20 on CIFAR-10.
    """
    return Recipe(
        epochs=164,
        batch_size=128,
        optimizer="sgd",
        learning_rate=0.1,
        nesterov=False,
        schedule="step",
        warmup_epochs=1.0,
        step_epochs=(82, 123),
        l2=1e-4,
        no_decay=(),
        crop_padding=4,
    )


def quick() -> Recipe:
    """The default recipe in three epochs.

    Measured: digits 98.55 ± 0.50% over 5 seeds, 10 s a run (cnn, 2 threads of AMD EPYC).
    """
    return Recipe(epochs=3)


RECIPES: dict[str, Callable[[], Recipe]] = {one.__name__: one for one in (default, sgd, resnet_cifar, quick)}


def recipe_named(name: str) -> Recipe:
    """Return a recipe by name; raise SpecError if the name is unknown."""
    if name not in RECIPES:
        raise SpecError(f"Unknown recipe '{name}'{did_you_mean(name, RECIPES)}. `diptych recipes` lists them.")
    return RECIPES[name]()
