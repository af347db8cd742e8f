"""What the docs tell users to write to run each shipped file, taken from the page itself."""

import re
from pathlib import Path

from diptych.deployment.formats import FORMATS

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
BLOCK = re.compile(r"^### (\S+)\n(?:[^#`]|`[^`]+`)*?```python\n(.*?)```", re.MULTILINE | re.DOTALL)
ALIKE = {"tflite-fp16": "tflite", "tflite-dynamic": "tflite", "tflite-int8": "tflite", "onnx-int8": "onnx"}
MODEL = "cnn"

_SHOWN = dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))


def file_name(form):
    """What the page calls the file of a format."""
    return MODEL + FORMATS[form].suffix


def lines_for(form):
    """The page's lines for a format, with its own file's name."""
    shown = ALIKE.get(form, form)
    return _SHOWN[shown].replace(f'"{file_name(shown)}', f'"{file_name(form)}')
