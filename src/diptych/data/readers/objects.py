"""Python objects as data: arrays, lists of paths, data frames, and datasets of PyTorch, TensorFlow and Hugging Face.

An object is read once and written to the cache under a digest of its content: pixels as `.npz`, paths and frames as
CSV. From then on it is a file like any other: a run names it, so any process can resume, evaluate and export. Types are
recognized by their attributes; no framework is imported.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from operator import length_hint
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.artifacts.store import read_npz, write_npz, write_parts
from diptych.data.archives import Progress, quiet
from diptych.data.decode import decode, from_pillow
from diptych.data.paths import folder_named_by, read_file, user_path
from diptych.data.preprocess import as_array, levels, resize, to_channels
from diptych.data.readers import ListedSplit, Listing
from diptych.data.readers.columns import ROLES
from diptych.data.readers.csv_table import CsvTable, names_beside
from diptych.data.readers.labels import find_classes, texts_of
from diptych.data.readers.layout import SPLITS, split_named, words
from diptych.errors import ArtifactError, DataError, UsageError, first_of, in_one_line

Remark: TypeAlias = Callable[[str], object]

FOLDER = "objects"
FILE_IMAGE_SIZE = (64, 64)
MAX_BYTES = 4 * 2**30
KINDS = (
    "(images, labels), a list of (path, label), (paths, labels), a pandas DataFrame, a torch Dataset, a finite "
    "tf.data.Dataset, or a dict of these by split"
)
_IMAGES = {"x", "data", "image", "images", "img", "path", "file", "filename", "file_name", "filepath", "image_path"}
_LABELS = {"targets", *ROLES["label"].split("|")}
_MIXED = "Some images are paths, others are pixels: expected one kind."


def stored(
    data: Any,
    root: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    image_size: tuple[int, int] | None = None,
    progress: Progress = quiet,
) -> tuple[str, str | Path | None]:
    """Write an object to the cache; return its path, and the base folder of the paths in it.

    Args:
        data: a name or path, returned as it is; or one of KINDS. Raises UsageError for anything else.
        root: base folder of relative paths (default: the working directory).
        class_names: names of the labels 0, 1, … (default: the dataset's own, or else the labels themselves).
        image_size: (height, width) of the images of a list or dataset (default: theirs if all are equal, or else 64).
        progress: called as images are read.
    """
    if isinstance(data, str | os.PathLike):
        return str(data), root
    if is_frame(data):
        base, frame = root or Path.cwd(), data.reset_index() if data.index.name is not None else data.copy()
        for column, series in frame.items():
            cells = series.tolist()
            if any(isinstance(cell, bytes | dict) or hasattr(cell, "__array_interface__") for cell in cells[:1]):
                raise UsageError(
                    f"Column {column!r} of the DataFrame contains no texts or numbers: pass (images, labels)."
                )
            if cells and all(isinstance(cell, str | os.PathLike) and os.path.isabs(cell) for cell in cells):  # noqa: PTH117
                base, frame[column] = _relative(cells, base)
        path = _written("frame.csv", text=frame.to_csv(index=False))
        return path, None if CsvTable.open(Path(path)).holds_pixels else str(base)
    arrays, remarks, rows = dict[str, NDArray[Any]](), dict[str, None](), list[tuple[Any, ...]]()
    parts = _by_split(data)
    names, *others = dict.fromkeys(tuple(map(str, class_names or _names_of(part))) for part in parts.values())
    if others:
        raise UsageError(f"The splits have different class names, such as {names[:3]} and {others[0][:3]}.")
    for split, part in parts.items():
        images, labels = _read(part, image_size, progress, lambda text: remarks.update({text: None}))
        texts = _as_indices(texts_of(labels, len(images)), names)
        if isinstance(images, list):
            named = ((text, names[int(text)]) if names else (text,) for text in texts)
            rows += [(path, *cells, split) for path, cells in zip(images, named, strict=True)]
        else:
            arrays |= {f"x_{split}": images, f"y_{split}": np.array(texts, np.str_)}
    if rows and arrays:
        raise UsageError(_MIXED)
    if not rows:
        lists = {"class_names": names, "inferred": tuple(remarks)}
        arrays |= {name: np.array(texts, np.str_) for name, texts in lists.items()}
        return _written("arrays.npz", arrays=arrays), None
    base, paths = _relative([row[0] for row in rows], root or Path.cwd())
    text = io.StringIO()
    csv.writer(text).writerow(("path", "label", *(["class_name"] if names else []), "split"))
    csv.writer(text).writerows((path, *row[1:]) for path, row in zip(paths, rows, strict=True))
    return _written("files.csv", text=text.getvalue()), base


def is_frame(data: Any) -> bool:
    """Return whether an object is a DataFrame of pandas."""
    return hasattr(data, "to_csv") and hasattr(data, "columns")


def array_names(names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the names of the arrays of images, and of labels, by split."""
    images, labels = (
        {split_named(name) or "train": name for name in names if known.intersection(words(name))}
        for known in (_IMAGES, _LABELS)
    )
    return images, labels


def read_pixels(path: Path, arrays: dict[str, NDArray[Any]] | None = None) -> Listing:
    """List the images of an `.npz`, as `stored` or Keras writes it, or of arrays read from elsewhere.

    Arrays are told by their names: images (`x`, `images`, …) and labels (`y`, `labels`, …), with a split, as `x_train`.
    """
    try:
        arrays = arrays or read_npz(path)
    except ArtifactError as error:
        raise DataError(str(error)) from error
    names, inferred = (arrays.pop(name, np.array((), np.str_)).tolist() for name in ("class_names", "inferred"))
    images, labels = ({split: arrays[name] for split, name in named.items()} for named in array_names([*arrays]))
    images = {split: levels(array, f"The array of {split} images", 4) for split, array in images.items()}
    if len({image.shape[1:] for image in images.values()}) != 1 or images.keys() != labels.keys():
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise DataError(f"{str(path)!r} has {found}: expected images of one shape, and labels, as x_train and y_train.")
    texts = {split: texts_of(labels[split], len(some)) for split, some in images.items()}
    named = {str(number): name for number, name in enumerate(names)}
    class_names, encode = find_classes({*chain(*texts.values())}, named, path, names_beside(path))
    splits = {split: ListedSplit.of_pixels(some, encode(texts[split])) for split, some in images.items()}
    return Listing.of(class_names, splits, inferred=tuple(inferred))


def pixels(image: Any, what: str, remark: Remark = str) -> NDArray[np.uint8]:
    """Return one image as uint8, (H, W, 1 or 3); `image` is a path, bytes, an image of Pillow, an array or a tensor.

    Raises ImageError if it cannot be decoded; see `levels`.
    """
    if isinstance(image, str | os.PathLike):
        return decode(read_file(user_path(str(image), "image")), str(image))
    if isinstance(image, bytes):
        return decode(image, what)
    return from_pillow(image, what) if isinstance(image, Image.Image) else levels(image, what, 3, remark)


def _by_split(data: Any) -> dict[str, Any]:
    if isinstance(data, Mapping):
        if unknown := [name for name in data if str(name).lower() not in SPLITS] or [None] * (not data):
            raise UsageError(f"Unknown split {unknown[0]!r}: expected a dict by split, one of {', '.join(SPLITS)}.")
        return {SPLITS[str(name).lower()]: part for name, part in data.items()}
    if isinstance(data, tuple) and len(data) in (2, 3) and all(map(_is_pair, data)):  # as Keras's `load_data`
        return dict(zip(("train", "test") if len(data) == 2 else ("train", "val", "test"), data, strict=True))
    return {"train": data}


def _is_pair(part: Any) -> bool:
    """Return whether something is images in one array, and labels."""
    return isinstance(part, tuple | list) and len(part) == 2 and len(getattr(part[0], "shape", ())) >= 3


def _read(data: Any, size: tuple[int, int] | None, progress: Progress, remark: Remark) -> tuple[Any, Any]:
    """Return the images of a part, a list of paths or an array, and its labels."""
    if _is_pair(data):
        return levels(data[0], "The array of images", 4, remark), data[1]
    if getattr(data, "transform", None) is not None:
        remark("the dataset's transform applied once to each image")
    paths, images, labels = list[str](), list[NDArray[np.uint8]](), list[Any]()
    total = length_hint(data[0] if isinstance(data, tuple) and data else data)  # 0 if it is unknown
    for number, (image, label) in enumerate(_items(data), start=1):
        labels.append(as_array(label, f"Label {number - 1}").tolist())
        if isinstance(image, str | os.PathLike):
            paths.append(str(image))
            continue
        image_hwc = pixels(image, f"Image {number - 1}", remark)
        if size is None and images and image_hwc.shape[:2] != images[0].shape[:2]:
            size = FILE_IMAGE_SIZE
            remark(f"images of several sizes resized to {size[0]} × {size[1]}")
            images = [resize(one, size) for one in images]
        images.append(resize(image_hwc, size or image_hwc.shape[:2]))
        if not total and number * images[0].nbytes > MAX_BYTES:
            raise UsageError(f"The dataset does not end after {number:,} images: add .take(n).")
        progress("Reading", number, max(total, number))
    if not labels or (paths and images):
        raise UsageError(_MIXED if labels else f"There are no images in {type(data).__name__}.")
    channels = max((image.shape[2] for image in images), default=1)
    return paths or np.concatenate([to_channels(image[np.newaxis], channels) for image in images]), labels


def _items(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the images and labels of a pair of columns, a list, a map-style dataset or a `tf.data.Dataset`."""
    if hasattr(data, "as_numpy_iterator"):
        if int(data.cardinality()) == -1:
            raise UsageError("The tf.data.Dataset is infinite: remove .repeat(), or add .take(n).")
        for number, element in enumerate(data.as_numpy_iterator()):
            images, labels = _sample(element, number)
            is_batch = np.ndim(images) in (1, 4) or (np.ndim(images) == 3 and np.shape(images)[-1] not in (1, 3))
            yield from zip(images, labels, strict=True) if is_batch else [(images, labels)]
    elif isinstance(data, tuple) and len(data) == 2 and all(hasattr(column, "__len__") for column in data):
        if len(data[0]) != len(data[1]):
            raise UsageError(f"There are {len(data[0]):,} images, but {len(data[1]):,} labels.")
        yield from zip(*data, strict=True)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        for number in range(len(data)):
            try:
                item = data[number]
            except Exception as error:  # the user's code can raise anything
                raise DataError(f"Item {number} of the dataset cannot be read: {in_one_line(error)}.") from error
            yield _sample(item, number)
    else:
        fix = "pass its .dataset" if hasattr(data, "dataset") else "pass list(…) of what ends"
        raise UsageError(f"Unsupported data, {type(data).__name__}: expected a name, a path, {KINDS}; {fix}.")


def _sample(item: Any, number: int) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        found = [[key for key in item if str(key).lower() in known] for known in (_IMAGES, _LABELS)]
        if all(len(keys) == 1 for keys in found):
            return item[found[0][0]], item[found[1][0]]
        raise UsageError(f"Item {number} has {', '.join(map(repr, item))}: expected one 'image' and one 'label'.")
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise UsageError(f"Item {number} is of type {type(item).__name__}, expected (image, label). Data is {KINDS}.")


def _names_of(data: Any) -> Sequence[str]:
    """Return the class names that a dataset, or the one it is a subset of, has."""
    features = getattr(data, "features", None)
    columns = features.items() if isinstance(features, Mapping) else ()
    holders = [data, *(feature for name, feature in columns if name.lower() in _LABELS)]
    for names in (getattr(one, name, None) for one in holders for name in ("classes", "class_names", "names")):
        if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
            return names
    return _names_of(data.dataset) if hasattr(data, "dataset") else ()


def _as_indices(texts: list[str], names: Sequence[str]) -> list[str]:
    """Return labels, indices or names, as indices of the names, if there are any."""
    index = {text: str(number) for number, name in enumerate(names) for text in (str(number), name)}
    for number, text in enumerate(texts if names else ()):
        if text not in index:
            known = f"one of 0 to {len(names) - 1} or {first_of(names, 5)}"
            raise UsageError(f"Label {number} is {text!r}: expected {known}.")
    return [index[text] for text in texts] if names else texts


def _relative(paths: Sequence[Any], root: str | Path) -> tuple[str, list[str]]:
    """Return the deepest folder that contains all paths, and the paths below it."""
    start = str(user_path(root, "root"))
    absolute = [os.path.normpath(os.path.join(start, os.path.expanduser(path))) for path in paths]  # noqa: PTH111, PTH118  (a Path for each is slow)
    base = os.path.commonpath(list(map(os.path.dirname, absolute)))
    return base, [os.path.relpath(path, base) for path in absolute]


def _written(name: str, text: str = "", arrays: Mapping[str, NDArray[Any]] | None = None) -> str:
    """Write a file to the cache unless it is there; return its path."""
    digest = hashlib.sha256(text.encode(errors="replace"))
    for key, array in (arrays or {}).items():
        digest.update(f"{key} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    path = folder_named_by("DIPTYCH_CACHE").absolute() / FOLDER / digest.hexdigest()[:16] / name
    if not path.exists():
        write_npz(path, arrays) if arrays else write_parts(path, text.encode(errors="replace"))
    return str(path)
