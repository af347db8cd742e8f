"""How large an image may be: DIPTYCH_MAX_PIXELS in the environment, 89,478,485 without it."""

import os

from diptych.errors import UsageError

_SETTING = "DIPTYCH_MAX_PIXELS"
_DEFAULT = 89_478_485  # where Pillow begins to warn of a decompression bomb: a quarter of a GiB of RGB


def _max_pixels() -> int:
    given = os.environ.get(_SETTING, str(_DEFAULT))
    if not (given.isascii() and given.isdigit() and int(given)):
        raise UsageError(f"{_SETTING} wants a whole number of at least 1, got {given!r}.")
    return int(given)


MAX_PIXELS = _max_pixels()
