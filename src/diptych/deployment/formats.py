"""Every format that a model can be exported to, one row each; what other files are; required packages; and the
conversion of exported files to other formats, with each runtime's own tools.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from diptych.data.signatures import describe, sniff
from diptych.engines.contract import CARD, INPUT, OPSET
from diptych.errors import EngineError, MissingEngine, UsageError, in_one_line
from diptych.vocabulary import did_you_mean


@dataclass(frozen=True)
class Format:
    """Properties of a format."""

    name: str
    suffix: str
    """File name after the model's name."""
    writers: tuple[str, ...]
    """Engines that can write it, preferred first; empty if NumPy writes it or it is converted from another format."""
    runtimes: tuple[str, ...]
    """Names of the runtimes that run it; the first installed one verifies it."""
    summary: str
    made_of: str | None = None
    """The format it is converted from."""
    packages: tuple[str, ...] = ()
    """Packages needed to write it, besides the engine's framework."""
    tolerance: float = 1e-5
    """Largest allowed difference of a probability on the golden images; 1 leaves the decision to `agreement`."""
    agreement: float = 0.999
    """Smallest allowed share of test images with the trained model's class."""
    is_quantized: bool = False
    """Whether it computes in 8-bit integers, with ranges from calibration images."""
    runs_code: bool = False
    """Whether loading an untrusted file can execute code."""


_TFLITE = (("tensorflow",), ("litert",))
_ONNX = ("onnx", "onnxscript", "tf2onnx")
_QUANTIZER = ("onnx", "onnxruntime", "sympy")
_INT8: dict[str, Any] = {"tolerance": 1.0, "agreement": 0.9, "is_quantized": True}
_SIGNATURES = "signatures on pixels and on JPEG or PNG bytes"
_FORMATS = (
    Format("safetensors", ".safetensors", (), ("torch", "torch-compiled", "tensorflow"), "weights, canonical names"),
    Format("state-dict", ".pt", ("torch",), ("torch",), "weights for `load_state_dict`"),
    Format("torchscript", ".torchscript", ("torch",), ("torchscript",), "TorchScript", runs_code=True),
    Format("torch-export", ".pt2", ("torch",), ("torch-export",), "torch.export's program", runs_code=True),
    Format("onnx", ".onnx", ("torch", "tensorflow"), ("onnxruntime",), f"ONNX, opset {OPSET}", packages=_ONNX),
    Format("keras", ".keras", ("tensorflow",), ("keras",), "Keras's own archive"),
    Format("h5", ".h5", ("tensorflow",), ("keras",), "Keras's older HDF5", runs_code=True),
    Format("weights-h5", ".weights.h5", ("tensorflow",), ("tensorflow",), "weights for `load_weights`"),
    Format("saved-model", "", ("tensorflow",), ("saved-model",), f"TF Serving's folder: {_SIGNATURES}", runs_code=True),
    Format("tflite", ".tflite", *_TFLITE, "LiteRT (TensorFlow Lite), float32"),
    Format("tflite-fp16", ".fp16.tflite", *_TFLITE, "float16 weights", tolerance=5e-3, agreement=0.995),
    Format("tflite-dynamic", ".dynamic.tflite", *_TFLITE, "int8 weights", tolerance=1.0, agreement=0.97),
    Format("tflite-int8", ".int8.tflite", *_TFLITE, "int8 throughout, uint8 images", **_INT8),
    Format("onnx-int8", ".int8.onnx", (), ("onnxruntime",), "int8, statically quantized", "onnx", _QUANTIZER, **_INT8),
    Format("openvino", "_openvino", (), ("openvino",), "OpenVINO's folder", "onnx", ("onnx", "openvino")),
)
FORMATS = {form.name: form for form in _FORMATS}
# What to do about files that people download or save by mistake, by what `signatures.describe` calls them.
_ADVICE = {
    "an HTML page": "; download the file again with its direct address",
    "an XML file": "; download the file again with its direct address",
    "an archive": "; unpack it first",
    "a JSON file": ", which contains no weights; name the file that it describes",
    "a NumPy array": "; expected named arrays, such as a safetensors file",
    "a zero-filled file": "; it was not completely written or downloaded",
}
_NAMES = ", ".join(FORMATS)
_EXTRAS = {"torch": "torch", "tensorflow": "tensorflow", "h5py": "tensorflow", "openvino": "openvino"}


def parse_formats(names: str | Iterable[str]) -> list[Format]:
    """Return the named formats, each once, in the order of the table; `all` selects every format."""
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in FORMATS and name != "all":
            raise UsageError(f"Unknown format '{name}'{did_you_mean(name, FORMATS)}. Choose from all, {_NAMES}.")
    if not names:
        raise UsageError(f"Expected at least one format: all, {_NAMES}.")
    return [form for form in _FORMATS if form.name in names or "all" in names]


def what_is(head: bytes, tail: bytes) -> str:
    """Return what a file that is not a model is, by its first bytes and its last eight."""
    if head.startswith(b"model_checkpoint_path") or tail == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb":
        load = "load that in TensorFlow and call model.save_weights('NAME.weights.h5')"
        return f"it is part of a TensorFlow checkpoint; {load}"
    noun = "an image" if sniff(head) else describe(head)
    return f"it is {noun}{_ADVICE.get(noun, '')}"


def missing(packages: tuple[str, ...]) -> list[str]:
    """Return the packages that are not installed."""
    return [package for package in packages if find_spec(package) is None]


def check_installed(what: str, packages: tuple[str, ...]) -> None:
    """Raise MissingEngine with the command to install the first missing package."""
    for package in missing(packages):
        command = f"pip install 'diptych[{_EXTRAS.get(package, 'export')}]'"
        raise MissingEngine(f"{what} needs the package '{package}', which is not installed: {command}.")


def convert(form: Format, source: Path, target: Path, card: str, calibration: np.ndarray | None) -> None:
    """Convert a file to the format `form`; raises EngineError, with its message, if the conversion tool fails."""
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
            ImagesReader(calibration),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    program = onnx.load(target)
    del program.metadata_props[:]
    program.metadata_props.add(key=CARD, value=card)
    onnx.save(program, target)


class ImagesReader:
    """ONNX Runtime's reader of calibration images, which yields one at a time."""

    def __init__(self, images_nhwc: np.ndarray) -> None:
        self._inputs = ({INPUT: image[None]} for image in images_nhwc)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self._inputs

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next input, or None after the last."""
        return next(self._inputs, None)


def _openvino(source: Path, target: Path, card: str) -> None:
    import openvino

    target.mkdir()
    # Not `convert_model`, which sends usage statistics.
    openvino.save_model(openvino.Core().read_model(source), target / "model.xml", compress_to_fp16=False)
    (target / CARD).write_text(card, encoding="utf-8")
