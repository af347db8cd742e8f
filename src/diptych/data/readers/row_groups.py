"""The images of Parquet files, read a row group at a time, from any thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych.data.paths import contained, read_file
from diptych.errors import DataError, in_one_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

KEPT_BYTES = 256 * 2**20
_FEWEST_KEPT = 2


@dataclass
class _Slot:
    """A row group that is read once, by whoever comes first; the others wait."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    column: pa.ChunkedArray | None = None


class RowGroups:
    """The image column of some Parquet files, one after the other.

    The last groups are kept, as long as they take at most KEPT_BYTES together, but never fewer than two. What is kept
    is not pickled.
    """

    def __init__(
        self, paths: Sequence[Path], metadata: Sequence[pq.FileMetaData], column: str, root: Path | None = None
    ) -> None:
        self._paths = tuple(paths)
        self._column = column
        self._root = root
        groups = [(shard, group) for shard, one in enumerate(metadata) for group in range(one.num_row_groups)]
        counts = [metadata[shard].row_group(group).num_rows for shard, group in groups]
        self._groups = groups
        self._first_rows: NDArray[np.int64] = np.cumsum([0, *counts])
        self._kept: OrderedDict[int, _Slot] = OrderedDict()
        self._lock = threading.Lock()
        self.num_read = 0
        """How many row groups were read so far, some more than once."""

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def read(self, place: int) -> bytes:
        """The bytes of the image at a place, from any thread.

        Raises:
            DataError: they cannot be read, or there are none.
        """
        number = int(np.searchsorted(self._first_rows, place, side="right")) - 1
        value = self._group(number)[place - int(self._first_rows[number])].as_py()
        path = self._paths[self._groups[number][0]]
        content, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if isinstance(content, str):
            content, name = None, content
        if content is not None:
            return bytes(content)
        if not name:
            raise DataError(f"{str(path)!r} holds neither bytes nor a path for an image.")
        return read_file(contained(self._root or path.parent, name))

    def _group(self, number: int) -> pa.ChunkedArray:
        with self._lock:
            slot = self._kept.setdefault(number, _Slot())
            self._kept.move_to_end(number)
        with slot.lock:
            if slot.column is None:
                slot.column = self._read(number)
                self._forget()
            return slot.column

    def _read(self, number: int) -> pa.ChunkedArray:
        import pyarrow as pa
        import pyarrow.parquet as pq

        shard, group = self._groups[number]
        try:
            with pq.ParquetFile(self._paths[shard]) as file:
                column = file.read_row_group(group, columns=[self._column], use_threads=False).column(self._column)
        except (pa.ArrowException, OSError) as error:
            where = f"row group {group} of {str(self._paths[shard])!r}"
            raise DataError(f"Cannot read {where}: {in_one_line(error)}.") from error
        self.num_read += 1
        return column

    def _forget(self) -> None:
        with self._lock:
            num_bytes = sum(slot.column.nbytes for slot in self._kept.values() if slot.column is not None)
            while num_bytes > KEPT_BYTES and len(self._kept) > _FEWEST_KEPT:
                _, oldest = self._kept.popitem(last=False)
                num_bytes -= oldest.column.nbytes if oldest.column is not None else 0
