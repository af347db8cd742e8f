"""What DATA can be, and what is behind it: a name, or a path to files of some kind."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from diptych.data.listing import Listing
from diptych.data.named import DIGITS, NAMED, NamedDataset, read_named
from diptych.data.readers.folder import list_folder
from diptych.data.splits import Parts
from diptych.errors import UsageError

FILE_IMAGE_SIZE = (64, 64)


@dataclass(frozen=True, eq=False)
class Found:
    """What DATA means.

    Attributes:
        name: what to call it.
        content: its image files, or its images where it brings pixels.
        mirror: whether a mirrored image keeps its class.
        image_size: the (height, width) that image files are brought to unless another is asked for.
    """

    name: str
    content: Listing | Parts
    mirror: bool = False
    image_size: tuple[int, int] = FILE_IMAGE_SIZE


def names() -> list[NamedDataset]:
    """Return the datasets that have a name, smallest first."""
    return list(NAMED.values())


def find(
    data: str,
    *,
    data_dir: Path | None = None,
    root: Path | None = None,
    pixel_shape: tuple[int, int, int] | None = None,
    list_classes: Callable[[Path], Listing] = list_folder,
) -> Found:
    """Find what DATA names; image files are listed, and decoded later. See `datasets.read` for the arguments.

    Args:
        data: see there.
        data_dir: see there.
        root: see there.
        pixel_shape: see there.
        list_classes: what lists a folder of class folders.

    Raises:
        UsageError: no such dataset or path.
        DataError: files that are missing, damaged or contradictory; see the readers.
    """
    if data in NAMED:
        named = NAMED[data]
        return Found(data, read_named(named, data_dir or _default_data_dir()), named.mirror)
    path = Path(data).expanduser()
    if path.is_dir():
        return Found(path.resolve().name, list_classes(path))
    raise UsageError(_unknown(data))


def at_hand(data: str, data_dir: Path | None = None) -> bool:
    """Whether a dataset can be read without fetching anything."""
    if data not in NAMED:
        return Path(data).expanduser().exists()
    folder = (data_dir or _default_data_dir()) / data
    return NAMED[data] is DIGITS or (folder.is_dir() and any(folder.iterdir()))


def absolute(data: str | Path) -> str:
    """A path made absolute, so that it is found from anywhere; a dataset's name as it is."""
    path = Path(data).expanduser()
    return str(path.resolve()) if str(data) not in NAMED and path.exists() else str(data)


def _default_data_dir() -> Path:
    return Path(os.environ.get("DIPTYCH_DATA") or "~/.cache/diptych").expanduser()


def _unknown(data: str) -> str:
    if Path(data).expanduser().exists():
        return f"{data!r} is no folder; wanted a folder of class folders or one of {', '.join(NAMED)}."
    close = difflib.get_close_matches(data.lower(), NAMED, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"No dataset or folder {data!r}: {hint}Known are {', '.join(NAMED)}, and any folder of class folders."
