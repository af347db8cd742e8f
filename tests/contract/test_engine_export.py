"""Every file that an engine writes loads with its own framework's or runtime's tools, where diptych is not."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tiny
from formats import LOADERS, SUFFIXES

from diptych.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore")  # exporters warn of what they themselves call
TOLERANCES = {"tflite-fp16": 5e-3, "tflite-dynamic": 5e-2, "tflite-int8": 0.1}
WHOLE = {
    "torch": ("torchscript", "torch-export", "onnx"),
    "tensorflow": ("keras", "h5", "saved-model", "onnx", "tflite", "tflite-fp16", "tflite-dynamic", "tflite-int8"),
}
SPECS = {"chain": tiny.conv_net, "graph": tiny.branching}
# Keras cannot yet: its ONNX exporter leaves grouped convolutions as calls, its HDF5 reader knows no `keras.ops`.
NOT_YET = {("tensorflow", "onnx", "graph"), ("tensorflow", "h5", "graph")}
CASES = [(name, form, spec) for name, forms in WHOLE.items() for form in forms for spec in SPECS]


def softmax(logits_nk):
    shares_nk = np.exp(logits_nk - logits_nk.max(axis=1, keepdims=True))
    return shares_nk / shares_nk.sum(axis=1, keepdims=True)


def loaded_elsewhere(form, path, images_nhwc, tmp_path):
    """Logits and probabilities from a process that cannot import diptych, by five plain lines."""
    np.save(tmp_path / "images.npy", images_nhwc)
    hidden = "import sys; sys.modules['diptych'] = None\nimport numpy as np\n"
    script = f"{hidden}images = np.load({str(tmp_path / 'images.npy')!r})\npath = {str(path)!r}\n{LOADERS[form]}\n"
    script += f"np.savez({str(tmp_path / 'answer.npz')!r}, logits=logits, probabilities=probabilities)\n"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-c", script]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return np.load(tmp_path / "answer.npz")


@pytest.mark.parametrize(("name", "form", "spec"), [case for case in CASES if case not in NOT_YET])
def test_a_shipped_file_answers_as_the_model_does_without_diptych(configured, name, form, spec, tmp_path):
    engine = configured[name]
    model = tiny.loaded(engine, SPECS[spec](), "float32")
    images_nhwc = tiny.images(model.spec, 7)
    calibration_nhwc = np.concatenate([tiny.images(model.spec, 30, seed=1), np.zeros_like(images_nhwc[:1])])
    path = tmp_path / f"model{SUFFIXES.get(form, '')}"
    engine.export(model, form, path, json.dumps({"classes": ["a", "b", "c"]}), calibration_nhwc)

    found = loaded_elsewhere(form, path, images_nhwc, tmp_path)
    wanted_nk = softmax(engine.predict(model, images_nhwc))
    assert np.abs(found["probabilities"] - wanted_nk).max() < TOLERANCES.get(form, 1e-5)
    np.testing.assert_allclose(softmax(found["logits"]), found["probabilities"], atol=1e-2 if "int8" in form else 1e-5)


def test_integer_formats_want_calibration_images(configured, tmp_path):
    engine = configured["tensorflow"]
    model = tiny.loaded(engine, tiny.linear(), "float32")
    with pytest.raises(UsageError, match="calibration images"):
        engine.export(model, "tflite-int8", tmp_path / "model.tflite", "{}", None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", WHOLE)
def test_a_format_of_the_other_engine_is_refused(configured, name, tmp_path):
    model = tiny.loaded(configured[name], tiny.linear(), "float32")
    with pytest.raises(UsageError, match="writes no 'abacus'"):
        configured[name].export(model, "abacus", tmp_path / "model", "{}", None)
    assert not list(tmp_path.iterdir())
