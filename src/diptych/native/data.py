"""How native code reads data: a few readers of what people have, as a user of each framework writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from diptych.data.readers import Files, Listing, remote
from diptych.data.readers.columns import choose_columns
from diptych.data.readers.csv_table import CsvTable
from diptych.data.readers.objects import array_names
from diptych.data.readers.tables import open_table
from diptych.data.sources import NAMED, Source
from diptych.errors import DataError
from diptych.native import shared
from diptych.options import SourceOptions
from diptych.spec import ModelSpec, Recipe

Kind: TypeAlias = Literal["digits", "keras", "idx", "cifar", "npz", "csv", "folder", "paths"]
KERAS = {name: name.replace("-", "_") for name in ("mnist", "fashion-mnist", "cifar10", "cifar100")}
"""Names that `keras.datasets` has."""


@dataclass(frozen=True)
class Reading:
    """What `data.py` reads, and what it does not follow."""

    kind: Kind
    place: str
    """A dataset's name, or the path of a file or folder."""
    class_names: tuple[str, ...]
    shape: tuple[int, ...] | None
    """Height, width and channels of the stored images; None for image files."""
    splits: Mapping[str, str | tuple[str, str]] = field(default_factory=dict)
    """The folder of each split, or the names of its images and labels."""
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    encodes: bool = False
    """Whether labels are stored as class names."""
    mirror: bool | None = None
    """Whether a mirrored image keeps its class; None if the data are not known."""
    num_images: int = 0
    """Images that are not for testing, and in no validation split; 0 if unknown."""
    test_fraction: float = 0.2
    suffixes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The data's name, for people."""
        return Path(self.place).stem

    @property
    def is_files(self) -> bool:
        """Whether images are decoded one by one."""
        return self.shape is None


def default(spec: ModelSpec, class_names: tuple[str, ...] = (), reason: str = "") -> Reading:
    """Return how to read `data.npz`, for unknown data and data without a reader."""
    names = class_names or tuple(map(str, range(spec.num_classes)))
    said = f"{reason}: this code reads x_train, y_train, x_test and y_test from data.npz" if reason else ""
    splits = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}
    return Reading("npz", "data.npz", names, spec.input_shape, splits, left_out=(said,) * bool(said))


def reading_of(data: str, source: Source, spec: ModelSpec, options: SourceOptions, test_fraction: float) -> Reading:
    """Return how to read DATA, whose images `source` lists; never raises for data that training accepts."""
    listing, path = source.listing, Path(data).expanduser()
    try:
        found = _named(data, listing) or _folder(data, listing) or _table(path, listing, options) or _npz(path, listing)
    except (DataError, ValueError, OSError):  # the listing knows how to read it, the code does not
        found = None
    given = found.splits if found else listing.splits
    found = found or default(spec, listing.class_names, "there is no reader for this kind of data")
    sizes = {split: len(listed.labels) for split, listed in listing.splits.items()}
    num_images = sum(size for split, size in sizes.items() if split == "train" or split not in given)
    if "test" not in given:
        num_images = round(num_images * (1 - test_fraction))
    return replace(found, mirror=source.mirror, num_images=num_images, test_fraction=test_fraction)


def _named(data: str, listing: Listing) -> Reading | None:
    kinds: dict[str, Kind] = {"digits": "digits", "kmnist": "idx", **dict.fromkeys(KERAS, "keras")}
    if data not in NAMED or data not in kinds:
        return None
    splits = dict.fromkeys(listing.splits, "")
    return Reading(kinds[data], data, listing.class_names, NAMED[data].image_shape, splits)


def _folder(data: str, listing: Listing) -> Reading | None:
    """Read class folders; all images of a class are below one folder of each split."""
    files = listing.train.images
    if not Path(data).expanduser().is_dir() or not isinstance(files, Files):
        return None
    splits, suffixes = {}, set[str]()
    for split, listed in listing.splits.items():
        assert isinstance(listed.images, Files)
        names = [str(name) for name in listed.images.names]
        classes = [listing.class_names[label] for label in listed.labels.tolist()]
        if not names:
            continue
        parts = names[0].split("/")
        splits[split] = prefix = "/".join(parts[: parts.index(classes[0])])
        folders = [f"{prefix}/{name}/".lstrip("/") for name in classes]
        if not all(name.startswith(folder) for name, folder in zip(names, folders, strict=True)):
            return None
        suffixes |= {Path(name).suffix.lower() for name in names}
    root = Path(data).expanduser().resolve()
    place = data if files.root.resolve() == root else str(files.root)
    return Reading("folder", place, listing.class_names, None, splits, suffixes=tuple(sorted(suffixes)))


def _table(path: Path, listing: Listing, options: SourceOptions) -> Reading | None:
    """Read a CSV file with a header, a column of labels, and a column of paths or one for each pixel."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return None
    table = open_table(path, options)
    columns = choose_columns(table, options)
    if not isinstance(table, CsvTable) or not table.has_header or len(columns["label"]) != 1:
        return None
    if not {*table.texts(columns["label"][0])} <= {*listing.class_names}:
        return None
    kept = {name: tuple(some) for name, some in columns.items()}
    kept["others"] = tuple(name for name in table.columns if name != columns["label"][0])
    said = tuple(f"the splits in column '{name}': this code divides at random" for name in columns["split"])
    settings = {"columns": kept, "encodes": True, "left_out": said, "suffixes": (table.delimiter,)}
    if table.levels is not None and isinstance(listing.train.images, np.ndarray):
        return Reading("csv", str(path), listing.class_names, listing.train.images.shape[1:], **settings)  # type: ignore[arg-type]
    root = Path(options.root or path.parent)
    if not isinstance(listing.train.images, Files) or not columns["image"]:
        return None
    if not all((root / name).is_file() for name in table.texts(columns["image"][0])):
        return None
    return Reading("paths", str(path), listing.class_names, None, {"root": str(root)}, **settings)  # type: ignore[arg-type]


def _npz(path: Path, listing: Listing) -> Reading | None:
    """Read the arrays of an `.npz`: images, uint8, (N, H, W, C) or (N, H, W), and numbers or names of classes."""
    if path.suffix.lower() != ".npz" or not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        images, labels = array_names(stored.files)
        encodes = False
        for split, listed in listing.splits.items():
            pixels, given = stored[images[split]], stored[labels[split]]
            assert isinstance(listed.images, np.ndarray)
            if pixels.dtype != np.uint8 or pixels.reshape(listed.images.shape).shape[:3] != pixels.shape[:3]:
                return None
            encodes |= given.dtype.kind not in "iu" or not np.array_equal(given.ravel(), listed.labels)
            if encodes and not {*map(str, given.ravel().tolist())} <= {*listing.class_names}:
                return None
            shape = pixels.shape[1:]
    splits = {split: (images[split], labels[split]) for split in listing.splits}
    return Reading("npz", str(path), listing.class_names, shape, splits, encodes=encodes)


def source(
    reading: Reading, spec: ModelSpec, recipe: Recipe, template: str, has_datasets: bool, smooths_classes: bool
) -> str:
    """Return the source of `data.py` for a framework; see `native.torch`."""
    kind = reading.kind
    if kind == "keras" and not has_datasets:
        kind = "cifar" if reading.place.startswith("cifar") else "idx"
    address = remote.published(reading.place)[0].urls[0].rpartition("/")[0] if kind in ("idx", "cifar") else ""
    height, width, channels = spec.input_shape
    native = (*(reading.shape or spec.input_shape), 1)[:3]
    return shared.render(
        template,
        reading=reading,
        kind=kind,
        keras_name=KERAS.get(reading.place, ""),
        address=address,
        recipe=recipe,
        height=height,
        width=width,
        channels=channels,
        native=native,
        resizes=not reading.is_files and native[:2] != (height, width),
        recolors=not reading.is_files and native[2] != channels,
        augments=shared.augments(recipe),
        mixes=bool(recipe.mixup or recipe.cutmix),
        soft=bool(recipe.mixup or recipe.cutmix or (recipe.label_smoothing and not smooths_classes)),
        num_classes=spec.num_classes,
        norms=any(type(layer).__name__ == "BatchNorm" for layer in spec.layers),
        has_test="test" in reading.splits,
        has_validation="validation" in reading.splits,
        validates=validates(reading, recipe),
    )


def num_train(reading: Reading, recipe: Recipe) -> int:
    """Return about how many images the code trains on; 0 if unknown."""
    held_out = 0 if "validation" in reading.splits else recipe.validation_fraction
    return round(reading.num_images * (1 - held_out))


def validates(reading: Reading | None, recipe: Recipe) -> bool:
    """Whether there is a validation split, or the recipe holds one out."""
    return recipe.validation_fraction > 0 or (reading is not None and "validation" in reading.splits)


def left_out(reading: Reading, spec: ModelSpec) -> tuple[str, ...]:
    """List how reading the data differs from diptych's."""
    resizes = reading.is_files or reading.shape[:2] != spec.input_shape[:2]  # type: ignore[index]
    said = "resizing by averages of whole blocks: here bilinear, with antialiasing"
    return (*reading.left_out, *[said] * resizes)
