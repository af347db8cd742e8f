"""Looks a shipped file over, and reads its card, before any framework or runtime sees it."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from diptych.deployment.card import Card
from diptych.deployment.formats import FORMATS, Format
from diptych.deployment.kinds import Kind, kind_of
from diptych.deployment.packages import check_installed
from diptych.engines.contract import CARD, MOST_BYTES
from diptych.errors import ArtifactError, DiptychError, UsageError, in_one_line

_MOST_FILES = 100
_MOST_NUMBERS_A_BYTE = 8


@dataclass(frozen=True)
class Artifact:
    """A shipped file (or folder) that has been looked over, and what its card says."""

    path: Path
    form: Format
    card: Card
    num_bytes: int


def open_artifact(path: str | Path, *, trust: bool = True) -> Artifact:
    """Look a shipped file over and read its card.

    Args:
        path: a file or folder that `diptych export` wrote.
        trust: whether a format that can run code when it is loaded is welcome.

    Raises:
        ArtifactError: there is no such file, it is damaged or too large, or it carries no card that fits it.
        UsageError: it could run code, and is not trusted.
        MissingEngine: what reads its card is not installed.
    """
    found = Path(path).expanduser()
    kind, card = _opened(found)
    if card is None:
        raise ArtifactError(f"'{path}' carries no card ('{CARD}'): wanted a file that `diptych export` wrote.")
    form = FORMATS.get(card.form)
    if form is None or form.name not in kind.forms:
        raise ArtifactError(f"'{path}' says that it is '{card.form:.40}'; it is a {kind.title}.")
    if form.runs_code and not trust:
        raise UsageError(
            f"'{path}' is {form.name}, which can run code when it is loaded. "
            "Add --trust if it comes from someone you trust."
        )
    artifact = Artifact(found, form, card, num_bytes(found))
    _check_promises(artifact)
    return artifact


def is_artifact(path: str | Path) -> bool:
    """Whether a path is a file, or a folder that a format has, and no run."""
    found = Path(path).expanduser()
    try:
        return found.is_file() or any((found / inside).exists() for inside in ("model.xml", "1/saved_model.pb"))
    except OSError:  # a name that is too long
        return False


def find_card(path: Path) -> Card | None:
    """The card in a file or folder of any format; None where it carries none.

    Raises:
        ArtifactError: there is no such file, or it is damaged, too large, or of no format known.
        MissingEngine: what reads its card is not installed.
    """
    return _opened(path)[1]


def num_bytes(path: Path) -> int:
    """Size of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _opened(path: Path) -> tuple[Kind, Card | None]:
    title = "file"
    try:
        _check_mode(path)
        kind = kind_of(path)
        title = kind.title
        _check_inside(path)
        check_installed(title, kind.packages)
        text = kind.read(path)
    except DiptychError:
        raise
    except Exception as error:  # who parses a damaged file raises what they like
        raise ArtifactError(f"Cannot read '{path}': it is no whole {title} ({in_one_line(error)}).") from error
    return kind, None if text is None else Card.from_text(text, f"'{path}'")


def _check_mode(path: Path) -> None:
    """Refuse what one could wait for without end, such as a pipe, or read without end, such as a device."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise ArtifactError(f"There is no file or folder '{path}'.") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ArtifactError(f"'{path}' is neither a file nor a folder.")


def _check_inside(path: Path) -> None:
    for count, inside in enumerate(path.rglob("*") if path.is_dir() else (), start=1):
        if count > _MOST_FILES:
            raise ArtifactError(f"'{path}' holds more than {_MOST_FILES} files, which no format does.")
        if inside.is_symlink() or not (inside.is_file() or inside.is_dir()):
            raise ArtifactError(f"'{inside}' is a link or a device; a folder of plain files is wanted.")
    if num_bytes(path) > MOST_BYTES:
        raise ArtifactError(f"'{path}' has {num_bytes(path):,} bytes; at most {MOST_BYTES:,} are read.")


def _check_promises(artifact: Artifact) -> None:
    """Refuse a card whose model cannot be in its file, before anybody builds it."""
    if sum(array.size for array in artifact.card.spec.arrays) > _MOST_NUMBERS_A_BYTE * artifact.num_bytes:
        raise ArtifactError(
            f"The card in '{artifact.path}' tells of more weights than its {artifact.num_bytes:,} bytes can be."
        )
