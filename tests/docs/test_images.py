"""The page on images names every format and every kind of error that the code has."""

import re
import sys
from pathlib import Path

from diptych.data.decode import MAX_PIXELS, SUFFIXES
from diptych.errors import ImageError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "images.md").read_text(encoding="utf-8")


def test_every_kind_of_error_stands_in_the_table():
    assert list(ImageError.KINDS) == re.findall(r"^\| `([\w ]+)` \|", PAGE, re.MULTILINE)


def test_every_format_stands_in_the_table():
    table = PAGE.partition("## Formats")[2].partition("## Conversion to RGB")[0]
    formats = re.findall(r"^\| ([A-Z]\w+) \|", table, re.MULTILINE)
    also = {"jpg": "jpeg", "tif": "tiff"}
    assert {name.lower() for name in formats} == {also.get(suffix[1:], suffix[1:]) for suffix in SUFFIXES}


def test_the_cap_and_the_number_of_files_are_right():
    sys.path.insert(0, str(ROOT / "tests" / "unit"))
    from images_corpus import corpus

    assert f"{MAX_PIXELS:,} pixels" in PAGE
    assert f"({len(corpus())} of them)" in PAGE
