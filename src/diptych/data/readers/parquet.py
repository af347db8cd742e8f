"""Parquet with an image column, in the layout of Hugging Face: `image` {bytes, path}, and `label`.

An image is bytes, a path below the folder, or a struct of both; a label is a number that the schema names
(ClassLabel), a number, or a text. A column `split` divides the rows of files whose names say no split. Labels are read
when the files are listed. Images are read a row group at a time when they are asked for; the last few groups are kept,
so that reading in order decodes each once. Rows keep their order, but where images are paths: these are sorted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych.data.readers import ListedSplit, Listing, as_names
from diptych.data.readers.classes import LABEL_COLUMNS, shown, split_named, to_classes
from diptych.data.readers.folder import by_path
from diptych.data.readers.row_groups import RowGroups
from diptych.errors import DataError, in_one_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SUFFIX = ".parquet"
_IMAGE_COLUMNS = ("image", "img", "images", "picture", "photo", "path", "file_name")


@dataclass(frozen=True)
class _Columns:
    """What to read: the columns, whether the image's holds paths, and the classes that the schema names."""

    image: str
    label: str
    split: str | None
    are_paths: bool
    class_names: tuple[str, ...] | None


@dataclass(frozen=True, eq=False)
class _Chosen:
    """Some of a column's images, in an order of their own."""

    images: RowGroups
    rows: NDArray[np.intp]

    def read(self, place: int) -> bytes:
        """The bytes of the image at a place, from any thread."""
        return self.images.read(int(self.rows[place]))


def list_parquet(shards: Mapping[str, Sequence[Path]], root: Path | None = None) -> Listing:
    """Find the images of Parquet files, and their classes.

    Args:
        shards: the files of each split, in order; or those of `""`, which a column `split` may divide.
        root: the folder that paths are relative to, and cannot leave; the files' own unless given.

    Raises:
        DataError: pyarrow is not installed; a file is damaged, or has no such columns, or others than those before; a
            label is missing or out of range, or a split is none. See `to_classes` for the labels.
    """
    paths = [path for split in shards.values() for path in split]
    metadata = {path: _metadata(path) for path in paths}
    schemas = {path: metadata[path].schema.to_arrow_schema() for path in paths}
    is_divided = "" in shards
    columns = _columns(paths[0], schemas[paths[0]], is_divided=is_divided)
    for path in paths[1:]:
        if _columns(path, schemas[path], is_divided=is_divided) != columns:
            raise DataError(f"{str(path)!r} has other columns or classes than {str(paths[0])!r}: wanted the same.")
    code_of = {str(number): number for number in range(len(columns.class_names or ()))}
    names = columns.class_names and dict(zip(code_of, columns.class_names, strict=True))
    codes, ids = {}, {}
    images: dict[str, RowGroups | _Chosen] = {}
    for shard, files in shards.items():
        groups = RowGroups(tuple(files), [metadata[path] for path in files], columns.image, root)
        codes_n = np.concatenate([_codes(path, columns, code_of) for path in files])
        ids_n = as_names(f"{path.name}:{row}" for path in files for row in range(metadata[path].num_rows))
        for split, rows_n in _rows(files, columns, shard, len(codes_n)).items():
            codes[split], ids[split] = codes_n[rows_n], ids_n[rows_n]
            is_all = np.array_equal(rows_n, np.arange(len(codes_n)))
            images[split] = groups if is_all else _Chosen(groups, rows_n)
    if not any(map(len, codes.values())):
        raise DataError(f"{str(paths[0])!r} has columns and no rows: wanted one for each image.")
    class_names, labels = to_classes(list(code_of), codes, repr(str(paths[0])), names or None)
    splits = {split: ListedSplit(images[split], labels[split], ids[split]) for split in labels}
    return Listing.of(class_names, splits)


def _rows(files: Sequence[Path], columns: _Columns, shard: str, num_rows: int) -> dict[str, NDArray[np.intp]]:
    """The rows of each split, in the order that images come in."""
    order = np.arange(num_rows)
    if columns.are_paths:
        names = [name or "" for path in files for name in _column(path, columns.image).to_pylist()]
        order = np.array(by_path(names), dtype=np.intp)
    if columns.split is None:
        return {shard or "train": order}
    told = [
        split_named(str(cell), f"{str(path)!r}, row {row},")
        for path in files
        for row, cell in enumerate(_column(path, columns.split).to_pylist())
    ]
    split_n = np.array(told, dtype=np.str_)[order]
    return {split: order[split_n == split] for split in sorted(set(told))}


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


def _columns(path: Path, schema: pa.Schema, *, is_divided: bool) -> _Columns:
    features = _features(schema)
    split = next((name for name in schema.names if name.lower() == "split"), None)
    images = [name for name in schema.names if features.get(name, {}).get("_type") == "Image"]
    if not images:
        likely = [name for name in schema.names if name != split and _holds_images(schema.field(name).type)]
        images = _known([name for name in likely if name.lower() not in LABEL_COLUMNS], _IMAGE_COLUMNS)
    image = _only(path, schema, "images", images, "an image column of bytes, of paths, or of {bytes, path}")
    others = [name for name in schema.names if name not in (image, split)]
    labels = [name for name in others if features.get(name, {}).get("_type") == "ClassLabel"]
    if len(labels) != 1:
        labels = _known(labels or [name for name in others if _holds_labels(schema.field(name).type)], LABEL_COLUMNS)
    label = _only(path, schema, "labels", labels, "a column label of numbers or texts")
    class_names = features.get(label, {}).get("names")
    are_paths = _is_text(schema.field(image).type)
    return _Columns(
        image, label, split if is_divided else None, are_paths, tuple(map(str, class_names)) if class_names else None
    )


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
    column = _column(path, columns.label)
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


def _column(path: Path, name: str) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path).read(columns=[name]).column(name)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"Cannot read {str(path)!r} as Parquet: {in_one_line(error)}.") from error
