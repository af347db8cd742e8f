"""The table of formats in the docs says what the table in the code does."""

import re
from pathlib import Path

from diptych.deployment.formats import FORMATS

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w-]+)` \| `cnn(\S*)` \| (.+?) \| (\S*) ?\| ([\d.]+) % \|$", re.MULTILINE)


def test_every_format_stands_in_the_table_with_its_file_and_its_limits():
    shown = {name: (suffix, float(least or 1), float(share)) for name, suffix, _, least, share in ROW.findall(PAGE)}
    suffixes = {"saved-model": "/1/", "openvino": "_openvino/"}
    wanted = {
        form.name: (suffixes.get(form.name, form.suffix), form.tolerance, 100 * form.agreement)
        for form in FORMATS.values()
    }
    assert wanted == shown


def test_every_format_has_lines_that_load_it_or_is_used_like_one_that_has():
    shown = set(re.findall(r"^### (\S+)$", PAGE, re.MULTILINE))
    assert {"tflite-fp16", "tflite-dynamic", "tflite-int8", "onnx-int8"} == FORMATS.keys() - shown
