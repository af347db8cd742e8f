"""What both kinds of archive are read as."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Member:
    """A file or a folder of an archive.

    Attributes:
        name: as the archive has it; nothing about it has been checked.
        is_folder: whether it is a folder, which has no content.
        content: the file's bytes in pieces, to be taken before the next member is asked for.
    """

    name: str
    is_folder: bool
    content: Iterator[bytes | memoryview]
