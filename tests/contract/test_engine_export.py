"""Every file that an engine writes loads with its own framework's or runtime's tools, where diptych is not."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tiny
from formats import file_name, lines_for

from diptych.data.decode import decode
from diptych.data.preprocess import resize
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


def told_elsewhere(form, names, images_nhwc, folder):
    """What the docs' lines for a format give, in a process that cannot import diptych."""
    np.save(folder / "images.npy", images_nhwc)
    script = "import sys; sys.modules['diptych'] = None\nimport numpy as np\nimages = np.load('images.npy')\n"
    kept = ", ".join(name if "*" in name else f"{name}={name}" for name in names)
    script += f"{lines_for(form)}\nnp.savez('answer.npz', {kept})\n"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-c", script]
    finished = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return np.load(folder / "answer.npz")


def exported(engine, model, form, folder):
    """A model's file of a format, under the name that the docs give it."""
    generator = np.random.default_rng(1)
    calibration_nhwc = generator.integers(0, 256, (30, *model.spec.input_shape), dtype=np.uint8)
    path = folder / file_name(form)
    engine.export(model, form, path, json.dumps({"classes": ["a", "b", "c"]}), calibration_nhwc)
    return path


@pytest.mark.parametrize(("name", "form", "spec"), [case for case in CASES if case not in NOT_YET])
def test_a_shipped_file_answers_as_the_model_does_without_diptych(configured, name, form, spec, tmp_path):
    engine = configured[name]
    model = tiny.loaded(engine, SPECS[spec](), "float32")
    images_nhwc = tiny.images(model.spec, 7)
    exported(engine, model, form, tmp_path)

    found = told_elsewhere(form, ("logits", "probabilities"), images_nhwc, tmp_path)
    wanted_nk = softmax(engine.predict(model, images_nhwc))
    assert np.abs(found["probabilities"] - wanted_nk).max() < TOLERANCES.get(form, 1e-5)
    np.testing.assert_allclose(softmax(found["logits"]), found["probabilities"], atol=1e-2 if "int8" in form else 1e-5)


def test_a_state_dict_loads_without_diptych(configured, tmp_path):
    model = tiny.loaded(configured["torch"], tiny.conv_net(), "float32")
    exported(configured["torch"], model, "state-dict", tmp_path)
    found = told_elsewhere("state-dict", ("**weights",), tiny.images(model.spec, 1), tmp_path)
    wanted = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    tiny.assert_same_arrays(wanted, dict(found))


def test_weights_load_into_a_stock_keras_model_without_diptych(configured, tmp_path):
    engine = configured["tensorflow"]
    model, other = tiny.loaded(engine, tiny.conv_net(), "float32"), engine.build(tiny.conv_net())
    exported(engine, model, "weights-h5", tmp_path)
    exported(engine, other, "keras", tmp_path)
    images_nhwc = tiny.images(model.spec, 7)
    found = told_elsewhere("weights-h5", ("logits", "probabilities"), images_nhwc, tmp_path)
    np.testing.assert_allclose(found["logits"], engine.predict(model, images_nhwc), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(28, 28), (40, 50), (20, 33), (100, 17), (12, 12)])
def test_the_saved_model_reads_files_as_diptych_does(size, channels, suffix):
    from diptych.engines.tensorflow.export import pixels_of

    rough = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    encoded = cv2.imencode(suffix, cv2.resize(rough, size[::-1], interpolation=cv2.INTER_CUBIC))[1].tobytes()
    wanted_hwc = resize(decode(encoded, "picture", channels), (28, 28))
    found_hwc = pixels_of(encoded, (28, 28, channels)).numpy()
    assert np.abs(wanted_hwc.astype(int) - found_hwc.astype(int)).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_the_saved_model_lays_transparency_over_white(channels):
    from diptych.engines.tensorflow.export import pixels_of

    rough_bgra = np.random.default_rng(0).integers(0, 256, (28, 28, 4), dtype=np.uint8)
    encoded = cv2.imencode(".png", rough_bgra)[1].tobytes()
    wanted_hwc = decode(encoded, "picture", channels).astype(int)
    assert np.abs(wanted_hwc - pixels_of(encoded, (28, 28, channels)).numpy()).max() <= (channels == 1)


def test_the_saved_model_answers_encoded_files(configured, tmp_path):
    import tensorflow as tf

    engine = configured["tensorflow"]
    model = tiny.loaded(engine, tiny.conv_net(), "float32")
    images_nhwc = tiny.images(model.spec, 3)
    path = exported(engine, model, "saved-model", tmp_path)
    encoded = [cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1].tobytes() for image in images_nhwc]
    loaded = tf.saved_model.load(str(path / "1"))
    answer = loaded.signatures["serving_bytes"](bytes=tf.constant(encoded))
    wanted_nk = softmax(engine.predict(model, images_nhwc))
    np.testing.assert_allclose(answer["probabilities"].numpy(), wanted_nk, atol=1e-5)


def test_integer_formats_want_calibration_images(configured, tmp_path):
    engine = configured["tensorflow"]
    model = tiny.loaded(engine, tiny.linear(), "float32")
    with pytest.raises(UsageError, match="calibration images"):
        engine.export(model, "tflite-int8", tmp_path / "model.tflite", "{}", None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", WHOLE)
def test_a_format_of_the_other_engine_is_refused(configured, name, tmp_path):
    model = tiny.loaded(configured[name], tiny.linear(), "float32")
    with pytest.raises(UsageError, match="cannot write the format 'abacus'"):
        configured[name].export(model, "abacus", tmp_path / "model", "{}", None)
    assert not list(tmp_path.iterdir())
