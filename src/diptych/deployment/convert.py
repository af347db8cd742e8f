"""Formats made of another one, by the tools of the runtime that will run them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from diptych.deployment.formats import Format
from diptych.engines.contract import CARD, INPUT
from diptych.errors import EngineError


def convert(form: Format, source: Path, target: Path, card: str, calibration: np.ndarray | None) -> None:
    """Make a file of format `form` out of one of the format that it is made of.

    Raises:
        EngineError: the tool fails; its own words are added.
    """
    try:
        if form.name == "onnx-int8" and calibration is not None:
            _onnx_int8(source, target, card, calibration)
        elif form.name == "openvino":
            _openvino(source, target, card)
    except Exception as error:  # the tools raise what they like
        words = " ".join(str(error).split())[:200]
        raise EngineError(f"Cannot make {form.name} of {source.name}: {type(error).__name__}: {words}") from error


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
    """What ONNX Runtime's tools take images from, one at a time."""
    from onnxruntime.quantization import CalibrationDataReader

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.rest, None)
            return None if image is None else {INPUT: image[None]}

    return Images()


def _openvino(source: Path, target: Path, card: str) -> None:
    import openvino

    target.mkdir()
    # Not `convert_model`, which reports to its makers.
    openvino.save_model(openvino.Core().read_model(source), target / "model.xml", compress_to_fp16=False)
    (target / CARD).write_text(card, encoding="utf-8")
