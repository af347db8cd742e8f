"""Every error that diptych raises on purpose.

    DiptychError
    ├── SpecError         a model spec or a recipe that cannot be built; names the layer or field
    ├── DataError         a dataset or image file that cannot be read; names file and, where known, offset
    │   ├── ImageError    an image file that cannot be decoded; `kind` says why in a word or two
    │   └── DownloadError a file that could not be fetched, or is not the file it should be
    ├── ArtifactError     a run directory, checkpoint or weights file that does not fit
    ├── EngineError       a framework that failed at something it was asked to do
    │   └── MissingEngine a framework that is not installed; says what to install
    └── UsageError        an argument that makes no sense

Each message is one line that says what came, what was wanted and what to do. The command line
prints it and exits 2; a traceback is a bug.
"""

import re

_MOST_WORDS = 200


class DiptychError(Exception):
    """Base of all errors raised on purpose."""


class SpecError(DiptychError):
    """A model spec or a recipe is wrong."""


class DataError(DiptychError):
    """A dataset or an image file cannot be read."""


class ImageError(DataError):
    """An image file cannot be decoded.

    `kind` is one of KINDS: the file cannot be read at all, has no bytes, is of no known format, ends too early,
    is wrong inside, has more pixels than the cap, or is of a layout that is not read.
    """

    KINDS = ("unreadable", "empty", "unknown", "truncated", "damaged", "too large", "unsupported")

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str], dict[str, object]]:
        """Pickle the kind, too."""
        return type(self), (str(self), self.kind), self.__dict__


class DownloadError(DataError):
    """A file could not be fetched or is not what it should be."""


class ArtifactError(DiptychError):
    """A run directory, checkpoint or weights file does not fit."""


class EngineError(DiptychError):
    """A framework failed at something it was asked to do."""


class MissingEngine(EngineError):  # noqa: N818  (the state of the machine, not a fault in the program)
    """A framework is not installed."""


class UsageError(DiptychError):
    """An argument makes no sense."""


def in_one_line(error: Exception) -> str:
    """Class and message of what others raised, on one line that a terminal only prints, cut where it is long."""
    words = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)[: 10 * _MOST_WORDS]).split())
    plain = "".join(letter if letter.isprintable() else "?" for letter in words)
    return f"{type(error).__name__}: {plain[:_MOST_WORDS]}"
