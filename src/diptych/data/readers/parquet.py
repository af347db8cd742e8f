"""Parquet with an image column, in the layout of Hugging Face: `image` {bytes, path}, and `label`."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from diptych.data.paths import contained, read_file
from diptych.errors import DataError, in_one_line

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".parquet"
_LOCK = threading.Lock()


@dataclass(frozen=True, eq=False)
class ParquetTable:
    """A Parquet file and what its schema says, and in it Hugging Face's metadata.

    `image_columns` are those that the metadata calls images, or else those of bytes or structs; `text_columns` may be
    paths; `label_columns` are those that the metadata calls class labels, with `class_names`, or else those of numbers
    or texts; `group_sizes` are the rows of each row group.
    """

    path: Path
    columns: tuple[str, ...]
    image_columns: list[str]
    text_columns: list[str]
    label_columns: list[str]
    class_names: dict[str, tuple[str, ...]]
    group_sizes: list[int]
    levels: ClassVar[None] = None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a file's metadata."""
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ModuleNotFoundError as error:
            raise DataError(f"Reading {str(path)!r} needs pyarrow: pip install 'diptych[parquet]'.") from error
        try:
            metadata = pq.read_metadata(path)
            schema = metadata.schema.to_arrow_schema()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"Cannot read {str(path)!r} as Parquet: {in_one_line(error)}.") from error
        features = _features(schema)
        marked, classes = (
            [name for name in schema.names if features.get(name, {}).get("_type") == kind]
            for kind in ("Image", "ClassLabel")
        )
        holders = [field.name for field in schema if _is_any(field.type, "struct", "binary", "large_binary")]
        texts = [field.name for field in schema if _is_any(field.type, "string", "large_string")]
        kinds = ("integer", "floating", "boolean", "string", "large_string")
        labels = [field.name for field in schema if _is_any(field.type, *kinds)]
        return cls(
            path=path,
            columns=tuple(schema.names),
            image_columns=marked or holders,
            text_columns=texts,
            label_columns=classes or labels,
            class_names={name: tuple(map(str, features[name].get("names") or ())) for name in classes},
            group_sizes=[metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)],
        )

    def texts(self, column: str) -> list[str]:
        """Return the cells of a column as texts; null is an empty one."""
        cells = _read(self.path, column).to_pylist()
        return ["" if cell is None else str(cell).strip() for cell in cells]

    def is_text(self, column: str) -> bool:
        """Return whether a column holds paths."""
        return column in self.text_columns

    def line(self, row: int) -> str:
        """Return the name and number of a row."""
        return f"row {row}"

    def __str__(self) -> str:
        return repr(str(self.path))


def _is_any(kind: pa.DataType, *names: str) -> bool:
    """Return whether a type, or that of a dictionary's values, is one of those that `pyarrow.types` names."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return any(getattr(types, f"is_{name}")(kind) for name in names)


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """Return Hugging Face's metadata of each column; nothing if it is missing or has another form."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


@dataclass(frozen=True, eq=False)
class ParquetImages:
    """Some images of Parquet files; the last two row groups stay in memory.

    `groups` are the file and the number there of every row group; `starts`, int64, (G,), the first row of each, and
    `rows`, intp, (N,), the row of each image, counted through all files; `root` is the folder of paths.
    """

    groups: tuple[tuple[Path, int], ...]
    starts: NDArray[np.int64]
    column: str
    root: Path
    rows: NDArray[np.intp]

    @classmethod
    def of(cls, tables: Sequence[ParquetTable], column: str, root: Path) -> Self:
        """Build all images of some files."""
        groups = tuple((table.path, number) for table in tables for number in range(len(table.group_sizes)))
        *starts, num_rows = accumulate((size for table in tables for size in table.group_sizes), initial=0)
        return cls(groups, np.array(starts, dtype=np.int64), column, root, np.arange(num_rows))

    def read(self, index: int) -> bytes:
        """Return the bytes of one image; safe to call from any thread."""
        row = self.rows[index]
        group = int(np.searchsorted(self.starts, row, side="right")) - 1
        with _LOCK:  # or several threads would read one group
            value = _row_group(self, group)[int(row - self.starts[group])].as_py()
        content, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if content is not None:
            return bytes(content)
        if not name:
            raise DataError(f"{str(self.groups[group][0])!r} has neither bytes nor a path for an image.")
        return read_file(contained(self.root, name))


@lru_cache(maxsize=2)
def _row_group(images: ParquetImages, group: int) -> pa.ChunkedArray:
    path, number = images.groups[group]
    return _read(path, images.column, number)


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
