"""Every error that diptych raises on purpose.

    DiptychError
    ├── SpecError         invalid model spec or recipe; names the layer or field
    ├── DataError         dataset or image file that cannot be read; names the file and, if known, the offset
    │   ├── ImageError    image file that cannot be decoded; `kind` says why
    │   └── DownloadError file that cannot be downloaded, or has the wrong content
    ├── ArtifactError     run folder, checkpoint or weights file that is damaged or does not fit
    ├── EngineError       failure inside a framework
    │   └── MissingEngine framework that is not installed; says what to install
    └── UsageError        invalid argument

Each message is one line: what happened, the offending value, what is accepted, what to do. The command line prints it
and exits with 2; a traceback is a bug.
"""

import errno
import re
import warnings
from collections.abc import Sequence
from importlib import util

_MAX_LENGTH = 200


class DiptychError(Exception):
    """Base of all errors raised on purpose."""


class SpecError(DiptychError):
    """A model spec or a recipe is invalid."""


class DataError(DiptychError):
    """A dataset or an image file cannot be read."""


class ImageError(DataError):
    """An image file cannot be decoded.

    `kind` is one of KINDS: the file cannot be opened, is empty, has an unknown format, ends early, has corrupt content,
    exceeds the limit on pixels, or has a layout that is not supported.
    """

    KINDS = ("unreadable", "empty", "not-an-image", "truncated", "damaged", "too-large", "unsupported")

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str], dict[str, object]]:
        """Pickle the kind, too."""
        return type(self), (str(self), self.kind), self.__dict__


class DownloadError(DataError):
    """A file cannot be downloaded, or has the wrong content."""


class ArtifactError(DiptychError):
    """A run folder, checkpoint or weights file is damaged or does not fit."""


class EngineError(DiptychError):
    """A framework failed."""


class MissingEngine(EngineError):  # noqa: N818  (a state of the machine, not an error in the program)
    """A framework is not installed."""


class UsageError(DiptychError):
    """An argument is invalid."""


class Remark(UserWarning):
    """What a result does not show, such as a check that was left out; the command line prints it in one line."""


class UrgentRemark(Remark):
    """A remark that the command line prints at once."""


def remark(text: str, kind: type[Remark] = Remark) -> None:
    """Warn with a `Remark`."""
    warnings.warn(text, kind, stacklevel=3)


def why_not_installed(tracker: str) -> str:
    """Return why a tracker cannot be used; empty if it can."""
    found = util.find_spec({"tensorboard": "tensorboardX"}.get(tracker, tracker))
    if found and found.origin:  # the folder `wandb` of W&B's files looks like a package without one
        return ""
    needs = f"Logging to {tracker} needs the package {tracker}, which is not installed."
    return f"{needs} Install it with: pip install 'diptych[{tracker}]'"


def cannot_read(path: object, kind: str, error: Exception) -> ArtifactError:
    """Return the error for a file that the system refuses to read, or that is damaged; `kind` names its format."""
    fault = f"the {kind} is corrupt or truncated ({in_one_line(error)})"
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: an offset out of range
        fault = error.strerror or fault
    return ArtifactError(f"Cannot read '{path}': {fault}.")


def first_of(names: Sequence[str], most: int = 3, joint: str = ", ") -> str:
    """Return the first names, and how many more there are."""
    return joint.join(names[:most]) + f"{joint}and {len(names) - most:,} more" * (len(names) > most)


def in_one_line(error: Exception) -> str:
    """Class and message of a foreign exception on one printable line, at most 200 characters of the message."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)[: 10 * _MAX_LENGTH]).split())
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return f"{type(error).__name__}: {plain[:_MAX_LENGTH]}"
