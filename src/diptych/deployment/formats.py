"""Every format that a model can be shipped in, one row each."""

from __future__ import annotations

from dataclasses import dataclass

from diptych.engines.contract import OPSET
from diptych.errors import UsageError
from diptych.spec.typed import did_you_mean


@dataclass(frozen=True)
class Format:
    """What is known of a format without looking at a file."""

    name: str
    suffix: str
    """What follows the model's name."""
    writers: tuple[str, ...]
    """Engines whose framework writes it, best first; none where it needs no framework or is made of another format."""
    runtimes: tuple[str, ...]
    """Who runs it (see `runtimes`); the first one verifies it."""
    summary: str
    made_of: str | None = None
    """The format that it is converted from."""
    packages: tuple[str, ...] = ()
    """What must be installed to write it, apart from the writer's framework."""
    tolerance: float = 1e-5
    """Largest difference of a probability from the trained model's, on the golden images; with 1, classes decide."""
    agreement: float = 0.999
    """Least share of test images that get the trained model's class."""
    is_folder: bool = False
    is_quantised: bool = False
    """Computes in 8-bit integers, whose ranges come from calibration images."""
    runs_code: bool = False
    """Whether a file from a stranger could do harm when its own tools load it."""


_FORMATS = (
    Format("safetensors", ".safetensors", (), ("torch", "torch-compiled", "tensorflow"), "weights, canonical names"),
    Format("state-dict", ".pt", ("torch",), ("torch",), "weights for `load_state_dict`"),
    Format("torchscript", ".torchscript", ("torch",), ("torchscript",), "TorchScript", runs_code=True),
    Format("torch-export", ".pt2", ("torch",), ("torch-export",), "torch.export's program", runs_code=True),
    Format(
        "onnx",
        ".onnx",
        ("torch", "tensorflow"),
        ("onnxruntime",),
        f"ONNX, opset {OPSET}",
        packages=("onnx", "onnxscript", "tf2onnx"),
    ),
    Format("keras", ".keras", ("tensorflow",), ("keras",), "Keras's own archive"),
    Format("h5", ".h5", ("tensorflow",), ("keras",), "Keras's older HDF5", runs_code=True),
    Format("weights-h5", ".weights.h5", ("tensorflow",), ("tensorflow",), "weights for `load_weights`"),
    Format(
        "saved-model",
        "",
        ("tensorflow",),
        ("saved-model",),
        "TF Serving's folder: signatures on pixels and on JPEG or PNG bytes",
        is_folder=True,
        runs_code=True,
    ),
    Format("tflite", ".tflite", ("tensorflow",), ("litert",), "LiteRT (TensorFlow Lite), float32"),
    Format(
        "tflite-fp16",
        ".fp16.tflite",
        ("tensorflow",),
        ("litert",),
        "float16 weights",
        tolerance=5e-3,
        agreement=0.995,
    ),
    Format(
        "tflite-dynamic",
        ".dynamic.tflite",
        ("tensorflow",),
        ("litert",),
        "int8 weights",
        tolerance=1.0,
        agreement=0.97,
    ),
    Format(
        "tflite-int8",
        ".int8.tflite",
        ("tensorflow",),
        ("litert",),
        "int8 throughout, uint8 images",
        tolerance=1.0,
        agreement=0.9,
        is_quantised=True,
    ),
    Format(
        "onnx-int8",
        ".int8.onnx",
        (),
        ("onnxruntime",),
        "int8, statically quantised",
        made_of="onnx",
        packages=("onnx", "onnxruntime", "sympy"),
        tolerance=1.0,
        agreement=0.9,
        is_quantised=True,
    ),
    Format(
        "openvino",
        "_openvino",
        (),
        ("openvino",),
        "OpenVINO's folder",
        made_of="onnx",
        packages=("onnx", "openvino"),
        is_folder=True,
    ),
)
FORMATS = {form.name: form for form in _FORMATS}


def chosen(names: tuple[str, ...]) -> list[Format]:
    """Formats by name, each once, in the order of the table; `all` means every one.

    Raises:
        UsageError: a name is unknown, or there is none.
    """
    for name in names:
        if name not in FORMATS and name != "all":
            raise UsageError(f"No format '{name}'{did_you_mean(name, FORMATS)}. Known are all, {', '.join(FORMATS)}.")
    if not names:
        raise UsageError(f"export wants at least one format: all, {', '.join(FORMATS)}.")
    return [form for form in _FORMATS if form.name in names or "all" in names]
