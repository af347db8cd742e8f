"""Convert exported files to further formats, with the tools of the runtime that will run them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from diptych.deployment.formats import Format
from diptych.engines.contract import CARD, INPUT
from diptych.errors import EngineError, in_one_line


def convert(form: Format, source: Path, target: Path, card: str, calibration: np.ndarray | None) -> None:
    """Convert a file to the format `form`.

    Raises:
        EngineError: The conversion tool fails; the message includes its own.
    """
    try:
        if form.name == "onnx-int8" and calibration is not None:
            _onnx_int8(source, target, card, calibration)
        elif form.name == "openvino":
            _openvino(source, target, card)
    except Exception as error:  # the tools can raise anything
        raise EngineError(f"Cannot convert {source.name} to {form.name}: {in_one_line(error)}") from error


def _onnx_int8(source: Path, target: Path, card: str, calibration: np.ndarray) -> None:
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder:
        prepared = str(Path(folder) / "prepared.onnx")
        quant_pre_process(str(source), prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            str(target),
            images_reader(calibration),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    program = onnx.load(target)
    del program.metadata_props[:]
    program.metadata_props.add(key=CARD, value=card)
    onnx.save(program, target)


def images_reader(images: np.ndarray) -> Any:
    """Return ONNX Runtime's reader of calibration images, which yields one at a time."""
    from onnxruntime.quantization import CalibrationDataReader

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.remaining = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.remaining, None)
            return None if image is None else {INPUT: image[None]}

    return Images()


def _openvino(source: Path, target: Path, card: str) -> None:
    import openvino

    target.mkdir()
    # Not `convert_model`, which sends usage statistics.
    openvino.save_model(openvino.Core().read_model(source), target / "model.xml", compress_to_fp16=False)
    (target / CARD).write_text(card, encoding="utf-8")
