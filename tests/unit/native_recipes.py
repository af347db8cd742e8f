"""Recipes with every setting that native code follows, and data of every kind that it reads."""

from dataclasses import replace

from diptych.native.data import Reading
from diptych.spec import Recipe
from diptych.spec.recipe import resnet_cifar, sgd

BARE = Recipe(precision="float32", schedule="constant", flip="none", crop_padding=0, decoupled_decay=0.0)
RECIPES = {
    "default": Recipe(flip="both"),
    "bare": replace(BARE, validation_fraction=0.0),
    "sgd": replace(sgd(), flip="none"),
    "resnet": replace(resnet_cifar(), flip="horizontal"),
    "rmsprop": replace(
        BARE,
        optimizer="rmsprop",
        decoupled_decay=0.01,
        no_decay=("bias",),
        label_smoothing=0.1,
        class_weights="balanced",
        clip_norm=1.0,
        precision="bfloat16",
        flip="vertical",
    ),
    "plateau": replace(
        BARE,
        optimizer="adam",
        schedule="plateau",
        warmup_epochs=2.0,
        l2=1e-4,
        decoupled_decay=0.1,
        class_weights=(1.0,) * 10,
    ),
    "everything": Recipe(
        mixup=0.2,
        cutmix=1.0,
        cutout=6,
        brightness=0.2,
        contrast=0.3,
        saturation=0.1,
        rotation=10.0,
        early_stopping=3,
        keep_best=True,
        average_decay=0.99,
        flip="horizontal",
    ),
    "mixup": replace(BARE, mixup=0.2, schedule="step", warmup_epochs=1.0, early_stopping=2),
    "cutmix": replace(BARE, cutmix=0.2, schedule="cosine", class_weights="balanced", label_smoothing=0.1),
    "cutout": replace(BARE, cutout=3, schedule="plateau", keep_best=True),
    "color": replace(BARE, brightness=0.2, saturation=0.2, rotation=5.0, average_decay=0.9),
    "contrast": replace(BARE, contrast=0.2, warmup_epochs=0.5, crop_padding=2, optimizer="adam", l2=1e-4, no_decay=()),
}

NAMES = tuple(f"class {number}" for number in range(10))
_NAMED = {"train": "", "test": ""}
READINGS = {
    "digits": Reading("digits", "digits", tuple("0123456789"), (8, 8, 1), {"train": ""}),
    "fashion": Reading("keras", "fashion-mnist", NAMES, (28, 28, 1), _NAMED),
    "cifar10": Reading("keras", "cifar10", NAMES, (32, 32, 3), _NAMED),
    "cifar100": Reading("keras", "cifar100", NAMES, (32, 32, 3), _NAMED),
    "kmnist": Reading("idx", "kmnist", NAMES, (28, 28, 1), _NAMED),
    "npz": Reading(
        "npz",
        "/data/a.npz",
        NAMES,
        (20, 20),
        {"train": ("images", "labels"), "validation": ("a", "b"), "test": ("c", "d")},
        encodes=True,
    ),
    "csv": Reading(
        "csv",
        "/data/a.csv",
        NAMES,
        (8, 8, 1),
        columns={"label": ("label",), "others": ("id",)},
        encodes=True,
        suffixes=(";",),
    ),
    "paths": Reading(
        "paths",
        "/data/a.csv",
        NAMES,
        None,
        {"root": "/data"},
        {"label": ("label",), "image": ("path",)},
        encodes=True,
        suffixes=(",",),
    ),
    "folder": Reading(
        "folder", "/data/photos", NAMES, None, {"train": "train", "test": "test"}, suffixes=(".jpg", ".png")
    ),
}
