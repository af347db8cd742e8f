"""Which names members may have: those that mean one and the same file on every system."""

import re
import unicodedata

from diptych.data.archives.limits import Limits, unsafe
from diptych.data.paths import escape

_MOST_PART_BYTES = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE)


def parts(name: str, limits: Limits) -> list[str]:
    """Divide a member's name into folders and the last part; none for the archive's own root (`./`).

    Raises:
        Fault: the name leads out, or means another file on another system, or is too long.
    """
    if len(name) > limits.max_name_bytes or len(name.encode()) > limits.max_name_bytes:
        raise unsafe(name, f"has a name of more than {limits.max_name_bytes:,} bytes")
    found = [part for part in name.split("/") if part not in ("", ".")]
    if name and not found and not name.startswith("/"):
        return found
    fault = escape(name) or ("has a control character in its name" if _CONTROL.search(name) else None)
    if not fault and len(found) > limits.max_depth:
        fault = f"lies more than {limits.max_depth} folders deep"
    fault = fault or next(filter(None, map(_fault, found)), None)
    if fault:
        raise unsafe(name, fault)
    return found


def _fault(part: str) -> str | None:
    if len(part) * 4 > _MOST_PART_BYTES and len(part.encode()) > _MOST_PART_BYTES:
        return f"has more than {_MOST_PART_BYTES} bytes between two slashes"
    if part[-1] in ". ":
        return "has a name that ends with a dot or a space, which Windows drops"
    return "has a name that Windows keeps for a device" if _RESERVED.match(part) else None


def folded(name: str) -> str:
    """What two names have in common that some file system takes for one: case and composition of accents."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def is_leftover(found: list[str]) -> bool:
    """Whether macOS put a member there for itself."""
    return found[0] == "__MACOSX" or found[-1] == ".DS_Store" or found[-1].startswith("._")
