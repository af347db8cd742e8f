"""Parquet with an image column, in the layout of Hugging Face: `image` {bytes, path}, and `label`.

An image is bytes, a path below the folder, or a struct of both; a label is a number that the schema names
(ClassLabel), a number, or a text. Labels are read when the files are listed. Images are read a row group at a time
when they are asked for; the last few groups are kept, so that reading in order decodes each once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych.data.listing import Listed, Listing, none_of
from diptych.data.readers.classes import LABEL_COLUMNS, shown, to_classes
from diptych.data.readers.row_groups import RowGroups
from diptych.errors import DataError, in_one_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SUFFIX = ".parquet"
_IMAGE_COLUMNS = ("image", "img", "images", "picture", "photo", "path", "file_name")


@dataclass(frozen=True)
class _Columns:
    """What to read: the columns, what the image's holds, and the classes that the schema names."""

    image: str
    label: str
    class_names: tuple[str, ...] | None


def list_parquet(shards: Mapping[str, Sequence[Path]], root: Path | None = None) -> Listing:
    """Find the images of Parquet files, and their classes.

    Args:
        shards: the files of each split, in order.
        root: the folder that paths are relative to, and cannot leave; the files' own unless given.

    Raises:
        DataError: pyarrow is not installed; a file is damaged, or has no such columns, or others than those before; a
            label is missing or out of range. See `to_classes` for the labels.
    """
    paths = [path for split in shards.values() for path in split]
    metadata = {path: _metadata(path) for path in paths}
    schemas = {path: metadata[path].schema.to_arrow_schema() for path in paths}
    columns = _columns(paths[0], schemas[paths[0]])
    for path in paths[1:]:
        if _columns(path, schemas[path]) != columns:
            raise DataError(f"{str(path)!r} has other columns or classes than {str(paths[0])!r}: wanted the same.")
    code_of = {name: code for code, name in enumerate(columns.class_names or ())}
    codes = {
        split: np.concatenate([_codes(path, columns, code_of) for path in split_paths])
        for split, split_paths in shards.items()
    }
    if not any(map(len, codes.values())):
        raise DataError(f"{str(paths[0])!r} has columns and no rows: wanted one for each image.")
    if columns.class_names is None:
        class_names, labels = to_classes(list(code_of), codes, repr(str(paths[0])))
    else:
        class_names, labels = columns.class_names, codes
    splits = {}
    for split, split_paths in shards.items():
        groups = RowGroups(tuple(split_paths), [metadata[path] for path in split_paths], columns.image, root)
        ids = [f"{path.name}:{row}" for path in split_paths for row in range(metadata[path].num_rows)]
        splits[split] = Listed(groups, labels[split], np.array(ids, dtype=np.str_))
    train = splits.get("train") or none_of(next(iter(splits.values())))
    return Listing(class_names, train, splits.get("validation"), splits.get("test"))


def _metadata(path: Path) -> pq.FileMetaData:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise DataError(
            f"{str(path)!r} is a Parquet file, and pyarrow, which reads those, is not installed: "
            "pip install 'diptych[parquet]'."
        ) from error
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"Cannot read {str(path)!r} as Parquet: {in_one_line(error)}.") from error


def _columns(path: Path, schema: pa.Schema) -> _Columns:
    features = _features(schema)
    images = [name for name in schema.names if features.get(name, {}).get("_type") == "Image"]
    if not images:
        likely = [name for name in schema.names if _holds_images(schema.field(name).type)]
        images = _known([name for name in likely if name.lower() not in LABEL_COLUMNS], _IMAGE_COLUMNS)
    image = _only(path, schema, "images", images, "an image column of bytes, of paths, or of {bytes, path}")
    others = [name for name in schema.names if name != image]
    labels = [name for name in others if features.get(name, {}).get("_type") == "ClassLabel"]
    if len(labels) != 1:
        labels = _known(labels or [name for name in others if _holds_labels(schema.field(name).type)], LABEL_COLUMNS)
    label = _only(path, schema, "labels", labels, "a column label of numbers or texts")
    class_names = features.get(label, {}).get("names")
    return _Columns(image, label, tuple(map(str, class_names)) if class_names else None)


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What the `huggingface` metadata says of the columns; nothing where it is missing or of another form."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: told for name, told in features.items() if isinstance(told, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _known(names: list[str], known: tuple[str, ...]) -> list[str]:
    """Those that have a known name, or all if none has."""
    return [name for name in names if name.lower() in known] or names


def _only(path: Path, schema: pa.Schema, what: str, found: list[str], wanted: str) -> str:
    if len(found) != 1:
        which = " or ".join(map(repr, found)) or "none of them"
        columns = ", ".join(f"{field.name!r} ({field.type})" for field in schema)
        raise DataError(f"{str(path)!r} has the columns {columns}; {what} may be in {which}: wanted {wanted}.")
    return found[0]


def _holds_images(kind: pa.DataType) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(kind.field(place).name == "bytes" for place in range(kind.num_fields))
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_string(kind))


def _holds_labels(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or _is_text(kind))


def _is_text(kind: pa.DataType) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _codes(path: Path, columns: _Columns, code_of: dict[str, int]) -> NDArray[np.int64]:
    """The labels of a file, int64, (N,), as places among the texts in `code_of`, which grows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        column = pq.ParquetFile(path).read(columns=[columns.label]).column(columns.label)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"Cannot read {str(path)!r} as Parquet: {in_one_line(error)}.") from error
    if column.null_count:
        row = column.is_null().to_numpy().argmax()
        raise DataError(f"{str(path)!r}, row {row}, has no label: wanted one for every image.")
    if columns.class_names is None:
        texts = column.to_pylist()
        for row, text in enumerate(texts):
            if not str(text).strip():
                raise DataError(f"{str(path)!r}, row {row}, has an empty label: wanted one for every image.")
        return np.array([code_of.setdefault(str(text).strip(), len(code_of)) for text in texts], dtype=np.int64)
    if _is_text(column.type):
        raise DataError(f"{str(path)!r} has texts in {columns.label!r}, numbers of its classes were wanted.")
    labels_n: NDArray[np.int64] = column.to_numpy().astype(np.int64)
    wrong = (labels_n < 0) | (labels_n >= len(columns.class_names))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{str(path)!r}, row {row}, has the label {shown(str(labels_n[row]))}: wanted 0 to "
            f"{len(columns.class_names) - 1}. Images without labels can be predicted, not trained or tested with."
        )
    return labels_n
