"""How much an archive may unpack to, counted while it does; and the one error of the readers."""

from dataclasses import dataclass

_SMALL_ARCHIVE_BYTES = 2**20
_MOST_LETTERS = 80


@dataclass(frozen=True)
class Limits:
    """How much an archive may unpack to.

    The defaults hold ImageNet's training archive (148 GB, not compressed) and Places365 (8 million images in tars of
    fewer), and end a bomb within what a disk holds.

    Attributes:
        max_bytes: bytes of all files; of a tar, of its headers and padding too.
        max_ratio: those bytes by the archive's own size, which counts as 1 MiB where it is less. Images hardly
            shrink, text shrinks to a tenth; deflate can reach 1,032 and bzip2 a million.
        max_members: files, folders and extended headers.
        max_name_bytes: UTF-8 bytes of a member's whole name; a part of it has 255 at most, as in every file system.
        max_depth: parts of a name, the file's own among them.
    """

    max_bytes: int = 2**39
    max_ratio: float = 200.0
    max_members: int = 5_000_000
    max_name_bytes: int = 1024
    max_depth: int = 32


LIMITS = Limits()


class Fault(Exception):  # noqa: N818  (becomes a DataError, with the archive's name, before it leaves the package)
    """Why an archive is not unpacked, and what to do, in words that follow the archive's name."""


def damaged(what: str) -> Fault:
    """An archive that is not as its writer left it."""
    return Fault(f"{what}; fetch it again, or pack it again")


def unsafe(name: str, what: str) -> Fault:
    """A member that is not let in."""
    shown = name if len(name) <= _MOST_LETTERS else f"{name[:_MOST_LETTERS]}…"
    return Fault(f"its member {shown!r} {what}; pack it again without that")


def too_much(what: str) -> Fault:
    """An archive that goes over a limit."""
    return Fault(f"{what}; if you trust it, unpack it by hand and give the folder")


class Meter:
    """Counts what an archive unpacks to, whatever its headers say."""

    def __init__(self, limits: Limits, packed_bytes: int) -> None:
        self.limits = limits
        self.num_bytes = 0
        self._num_members = 0
        self._most_bytes = int(min(limits.max_bytes, limits.max_ratio * max(packed_bytes, _SMALL_ARCHIVE_BYTES)))
        self._packed_bytes = packed_bytes

    def add_member(self) -> None:
        """Count one member.

        Raises:
            Fault: there are too many.
        """
        self._num_members += 1
        if self._num_members > self.limits.max_members:
            raise too_much(f"it has more than {self.limits.max_members:,} members")

    def add_bytes(self, number: int) -> None:
        """Count unpacked bytes, before they are written.

        Raises:
            Fault: there are too many.
        """
        self.num_bytes += number
        self.check(self.num_bytes)

    def check(self, number: int) -> None:
        """Raise Fault where so many bytes in all are too many."""
        if number > self._most_bytes:
            raise too_much(
                f"its {self._packed_bytes:,} bytes unpack to more than {self._most_bytes:,} "
                f"(at most {self.limits.max_bytes:,} and {self.limits.max_ratio:g} times)"
            )
