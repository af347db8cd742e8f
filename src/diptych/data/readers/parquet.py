"""Parquet with an image column, in the layout of Hugging Face: `image` {bytes, path}, and `label`.

An image is bytes, a path below the folder, or a struct of both; a label is a number that the schema names
(ClassLabel), a number, or a text. A column `split` divides the rows of files whose names say no split. Labels are read
when the files are listed, images a row group at a time. Rows keep their order, unless images are paths, which are
sorted.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych.data.paths import contained, read_file
from diptych.data.readers import ListedSplit, Listing, as_names
from diptych.data.readers.folder import by_path
from diptych.data.readers.labels import LABEL_COLUMNS, shown, split_named, to_classes
from diptych.errors import DataError, in_one_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SUFFIX = ".parquet"
CACHE_BYTES = 256 * 2**20
_IMAGE_COLUMNS = ("image", "img", "images", "picture", "photo", "path", "file_name")


@dataclass(frozen=True)
class _Columns:
    """The columns to read, whether the images are paths, and the classes that the schema names."""

    image: str
    label: str
    split: str | None
    are_paths: bool
    class_names: tuple[str, ...] | None


@dataclass(frozen=True, eq=False)
class ParquetImages:
    """Some images of Parquet files; the last row groups that were read stay in memory, up to CACHE_BYTES.

    Attributes:
        paths: the files.
        column: of the images.
        root: the folder that paths are relative to; the file's own unless given.
        groups: of all files, one after the other: the file's number, the row group's number there, and its first row.
        rows: intp, (N,), which rows these are, counted over all files.
    """

    paths: tuple[Path, ...]
    column: str
    root: Path | None
    groups: NDArray[np.int64]
    rows: NDArray[np.intp]

    def __post_init__(self) -> None:
        """Start with nothing in memory."""
        vars(self).update(_lock=threading.Lock(), _cached={})

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock(), _cached={})

    def read(self, index: int) -> bytes:
        """Return the bytes of one image; safe to call from any thread.

        Raises:
            DataError: they cannot be read, or there are none.
        """
        row = int(self.rows[index])
        group = int(np.searchsorted(self.groups[:, 2], row, side="right")) - 1
        value = self._group(group)[row - int(self.groups[group, 2])].as_py()
        path = self.paths[self.groups[group, 0]]
        content, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if isinstance(content, str):
            content, name = None, content
        if content is not None:
            return bytes(content)
        if not name:
            raise DataError(f"{str(path)!r} has neither bytes nor a path for an image.")
        return read_file(contained(self.root or path.parent, name))

    def _group(self, group: int) -> pa.ChunkedArray:
        with self._lock:  # type: ignore[attr-defined]
            cached: dict[int, pa.ChunkedArray] = self._cached  # type: ignore[attr-defined]
            if group in cached:
                cached[group] = cached.pop(group)  # now the last to be dropped
            else:
                number, group_number, _ = self.groups[group].tolist()
                cached[group] = _read(self.paths[number], self.column, group_number)
                while len(cached) > 2 and sum(column.nbytes for column in cached.values()) > CACHE_BYTES:
                    del cached[next(iter(cached))]
            return cached[group]


def list_parquet(shards: Mapping[str, Sequence[Path]], root: Path | None = None) -> Listing:
    """List the images of Parquet files, and their classes.

    There are the files of each split, in order, or those of `""`, which a column `split` may divide. Paths are relative
    to `root`, or else to the file's folder, and cannot leave it.

    Raises:
        DataError: pyarrow is not installed; a file is damaged, or lacks such columns, or has others than those before;
            or a row has no label or split, or one out of range. See `to_classes` for the labels.
    """
    paths = [path for split in shards.values() for path in split]
    metadata = {path: _metadata(path) for path in paths}
    found = [_columns(path, metadata[path].schema.to_arrow_schema(), is_divided="" in shards) for path in paths]
    columns = found[0]
    for path, others in zip(paths, found, strict=True):
        if others != columns:
            raise DataError(f"{str(path)!r} has other columns or classes than {str(paths[0])!r}: expected the same.")
    code_of = {str(number): number for number in range(len(columns.class_names or ()))}
    names = dict(zip(code_of, columns.class_names, strict=True)) if columns.class_names else None
    codes: dict[str, NDArray[np.int64]] = {}
    splits: dict[str, ListedSplit] = {}
    for shard, files in shards.items():
        codes_n = np.concatenate([_codes(path, columns, code_of) for path in files])
        ids_n = as_names(f"{path.name}:{row}" for path in files for row in range(metadata[path].num_rows))
        images = ParquetImages(tuple(files), columns.image, root, _groups([metadata[path] for path in files]), _ALL)
        for split, rows_n in _rows(files, columns, shard, len(codes_n)).items():
            codes[split] = codes_n[rows_n]
            splits[split] = ListedSplit(replace(images, rows=rows_n), codes[split], ids_n[rows_n])
    if not any(map(len, codes.values())):
        raise DataError(f"{str(paths[0])!r} has columns and no rows: expected one for each image.")
    class_names, labels = to_classes(list(code_of), codes, repr(str(paths[0])), names)
    splits = {split: replace(splits[split], labels=labels_n) for split, labels_n in labels.items()}
    inferred = f"{paths[0].name}: images in {columns.image!r}, labels in {columns.label!r}"
    return Listing.of(class_names, splits, (inferred,))


_ALL = np.empty(0, dtype=np.intp)


def _groups(metadata: Sequence[pq.FileMetaData]) -> NDArray[np.int64]:
    groups = [(file, group) for file, one in enumerate(metadata) for group in range(one.num_row_groups)]
    counts = [metadata[file].row_group(group).num_rows for file, group in groups]
    return np.column_stack([np.array(groups, dtype=np.int64).reshape(-1, 2), np.cumsum([0, *counts])[:-1]])


def _rows(files: Sequence[Path], columns: _Columns, shard: str, num_rows: int) -> dict[str, NDArray[np.intp]]:
    """Return the rows of each split, in the order of its images."""
    order = np.arange(num_rows)
    if columns.are_paths:
        names = [name or "" for path in files for name in _read(path, columns.image).to_pylist()]
        order = np.array(by_path(names), dtype=np.intp)
    if columns.split is None:
        return {shard or "train": order}
    cells = [
        split_named(str(cell), f"{str(path)!r}, row {row},")
        for path in files
        for row, cell in enumerate(_read(path, columns.split).to_pylist())
    ]
    split_n = np.array(cells, dtype=np.str_)[order]
    return {split: order[split_n == split] for split in sorted(set(cells))}


def _metadata(path: Path) -> pq.FileMetaData:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise DataError(f"Reading {str(path)!r} needs pyarrow: pip install 'diptych[parquet]'.") from error
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"Cannot read {str(path)!r} as Parquet: {in_one_line(error)}.") from error


def _read(path: Path, column: str, group: int | None = None) -> pa.ChunkedArray:
    """Return a column of a file, or of one of its row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            groups = range(file.num_row_groups) if group is None else [group]
            return file.read_row_groups(groups, columns=[column], use_threads=False).column(column)
    except (pa.ArrowException, OSError) as error:
        part = "" if group is None else f"row group {group} of "
        raise DataError(f"Cannot read {part}{str(path)!r} as Parquet: {in_one_line(error)}.") from error


def _columns(path: Path, schema: pa.Schema, *, is_divided: bool) -> _Columns:
    from pyarrow import types

    def is_text(kind: pa.DataType) -> bool:
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return bool(types.is_string(kind) or types.is_large_string(kind))

    def holds_images(kind: pa.DataType) -> bool:
        is_binary = types.is_struct(kind) or types.is_binary(kind) or types.is_large_binary(kind)
        return bool(is_binary or types.is_string(kind))

    features = _features(schema)
    kinds = {field.name: field.type for field in schema}
    split = next((name for name in kinds if name.lower() == "split"), None)
    marked = {name: features.get(name, {}).get("_type") for name in kinds}
    likely = [name for name in kinds if holds_images(kinds[name]) and name.lower() not in (*LABEL_COLUMNS, "split")]
    image = _only(path, schema, "images", [
        [name for name in kinds if marked[name] == "Image"],
        [name for name in likely if name.lower() in _IMAGE_COLUMNS],
        likely,
    ])  # fmt: skip
    others = [name for name in kinds if name not in (image, split)]
    likely = [name for name in others if types.is_integer(kinds[name]) or is_text(kinds[name])]
    label = _only(path, schema, "labels", [
        [name for name in others if marked[name] == "ClassLabel"],
        [name for name in likely if name.lower() in LABEL_COLUMNS],
        likely,
    ])  # fmt: skip
    class_names = tuple(map(str, features.get(label, {}).get("names") or ())) or None
    if class_names and is_text(kinds[label]):
        raise DataError(f"{str(path)!r} has texts in {label!r}: expected the numbers of its classes.")
    return _Columns(image, label, split if is_divided else None, is_text(kinds[image]), class_names)


def _only(path: Path, schema: pa.Schema, what: str, choices: list[list[str]]) -> str:
    """Return the only column of the first choice that has any."""
    names = next(filter(None, choices), [])
    if len(names) != 1:
        which = " or ".join(map(repr, names)) or "none of them"
        columns = ", ".join(f"{field.name!r} ({field.type})" for field in schema)
        wanted = {"images": "image, of bytes, of paths, or of {bytes, path}", "labels": "label, of numbers or texts"}
        raise DataError(f"{str(path)!r} has the columns {columns}; {what} may be in {which}: call one {wanted[what]}.")
    return names[0]


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """Return what the `huggingface` metadata says about the columns; nothing if it is missing or has another form."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _codes(path: Path, columns: _Columns, code_of: dict[str, int]) -> NDArray[np.int64]:
    """Return the labels of a file, int64, (N,), as indices of the texts in `code_of`, which grows."""
    codes = []
    for row, value in enumerate(_read(path, columns.label).to_pylist()):
        text = "" if value is None else str(value).strip()
        if not text:
            raise DataError(f"{str(path)!r}, row {row}, has no label.")
        if columns.class_names and text not in code_of:
            raise DataError(
                f"{str(path)!r}, row {row}, has the label {shown(text)}: expected 0 to "
                f"{len(columns.class_names) - 1}. Images without labels can only be predicted."
            )
        codes.append(code_of.setdefault(text, len(code_of)))
    return np.array(codes, dtype=np.int64)
