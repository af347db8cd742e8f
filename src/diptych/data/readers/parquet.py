"""Parquet with an image column, in the layout of Hugging Face: `image` {bytes, path}, and `label`."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from diptych.data.paths import contained, read_file
from diptych.errors import DataError, in_one_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SUFFIX = ".parquet"
_LOCK = threading.Lock()


@dataclass(frozen=True, eq=False)
class ParquetTable:
    """A Parquet file and its schema."""

    path: Path
    metadata: pq.FileMetaData
    schema: pa.Schema
    has_pixels = False

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
            return cls(path, metadata, metadata.schema.to_arrow_schema())
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"Cannot read {str(path)!r} as Parquet: {in_one_line(error)}.") from error

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns."""
        return tuple(self.schema.names)

    @property
    def marked_images(self) -> list[str]:
        """The columns that Hugging Face's metadata calls images."""
        return [column for column in self.columns if self._features.get(column, {}).get("_type") == "Image"]

    @property
    def likely_images(self) -> list[str]:
        """The columns of bytes or structs; without any, those of text."""
        from pyarrow import types

        def holds_bytes(kind: pa.DataType) -> bool:
            return bool(types.is_struct(kind) or types.is_binary(kind) or types.is_large_binary(kind))

        return [field.name for field in self.schema if holds_bytes(field.type)] or list(
            filter(self.is_text, self.columns)
        )

    @property
    def class_names(self) -> dict[str, tuple[str, ...]]:
        """The names that Hugging Face's metadata gives the classes of each ClassLabel column."""
        return {
            column: tuple(map(str, self._features[column].get("names") or ()))
            for column in self.columns
            if self._features.get(column, {}).get("_type") == "ClassLabel"
        }

    @property
    def likely_labels(self) -> list[str]:
        """The columns of whole numbers or texts."""
        from pyarrow import types

        return [name for name in self.columns if types.is_integer(self.schema.field(name).type) or self.is_text(name)]

    def is_text(self, column: str) -> bool:
        """Return whether a column holds texts."""
        from pyarrow import types

        kind = self.schema.field(column).type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return bool(types.is_string(kind) or types.is_large_string(kind))

    def texts(self, column: str) -> list[str]:
        """Return the cells of a column as texts; null is an empty one."""
        cells = _read(self.path, column).to_pylist()
        return ["" if cell is None else str(cell).strip() for cell in cells]

    def at(self, row: int) -> str:
        """Return the file and the row, for an error."""
        return f"{str(self.path)!r}, row {row},"

    @cached_property
    def _features(self) -> dict[str, dict[str, Any]]:
        """Hugging Face's metadata of each column; nothing if it is missing or has another form."""
        try:
            features = json.loads((self.schema.metadata or {})[b"huggingface"])["info"]["features"]
            return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
        except (KeyError, TypeError, ValueError, AttributeError):
            return {}


@dataclass(frozen=True, eq=False)
class ParquetImages:
    """Some images of Parquet files; the last two row groups stay in memory.

    Attributes:
        paths: the files.
        column: of the images.
        root: the folder that paths are relative to.
        groups: int64, (G, 3), of every row group: its file's number, its number there, and its first row in all files.
        rows: intp, (N,), the row of each image in all files.
    """

    paths: tuple[Path, ...]
    column: str
    root: Path
    groups: NDArray[np.int64]
    rows: NDArray[np.intp]

    @classmethod
    def of(cls, tables: Sequence[ParquetTable], column: str, root: Path) -> Self:
        """Build all images of some files."""
        counts = [
            (number, group, table.metadata.row_group(group).num_rows)
            for number, table in enumerate(tables)
            for group in range(table.metadata.num_row_groups)
        ]
        groups = np.array(counts, dtype=np.int64).reshape(-1, 3)
        num_rows = int(groups[:, 2].sum())
        groups[:, 2] = groups[:, 2].cumsum() - groups[:, 2]
        return cls(tuple(table.path for table in tables), column, root, groups, np.arange(num_rows))

    def read(self, index: int) -> bytes:
        """Return the bytes of one image; safe to call from any thread."""
        row = int(self.rows[index])
        group = int(np.searchsorted(self.groups[:, 2], row, side="right")) - 1
        file, number, first = self.groups[group].tolist()
        with _LOCK:  # or several threads would read one group
            value = _row_group(self, self.paths[file], number)[row - first].as_py()
        content, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if content is not None:
            return bytes(content)
        if not name:
            raise DataError(f"{str(self.paths[file])!r} has neither bytes nor a path for an image.")
        return read_file(contained(self.root, name))


@lru_cache(maxsize=2)
def _row_group(images: ParquetImages, path: Path, group: int) -> pa.ChunkedArray:
    return _read(path, images.column, group)


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
