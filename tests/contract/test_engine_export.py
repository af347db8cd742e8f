"""Every exported file loads with its own framework or runtime, without diptych."""

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

pytestmark = pytest.mark.filterwarnings("ignore")  # exporters warn about their own calls
TOLERANCES = {"tflite-fp16": 5e-3, "tflite-dynamic": 5e-2, "tflite-int8": 0.1}
WHOLE = {
    "torch": ("torchscript", "torch-export", "onnx"),
    "tensorflow": ("keras", "h5", "saved-model", "onnx", "tflite", "tflite-fp16", "tflite-dynamic", "tflite-int8"),
}
SPECS = {"chain": tiny.conv_net, "graph": tiny.branching}
# Keras cannot yet: its ONNX exporter leaves grouped convolutions as calls, its HDF5 reader does not know `keras.ops`.
NOT_YET = {("tensorflow", "onnx", "graph"), ("tensorflow", "h5", "graph")}
CASES = [(name, form, spec) for name, forms in WHOLE.items() for form in forms for spec in SPECS]
CASES = [case for case in CASES if case not in NOT_YET]
CASES += [("torch", "state-dict", "chain"), ("tensorflow", "weights-h5", "chain")]


def softmax(logits_nk):
    shares_nk = np.exp(logits_nk - logits_nk.max(axis=1, keepdims=True))
    return shares_nk / shares_nk.sum(axis=1, keepdims=True)


# Runs the documented lines of each format, in a process that cannot import diptych.
SCRIPT = """
import json, os, sys, traceback
import numpy as np
sys.modules["diptych"] = None
for folder, lines, names in json.loads(sys.argv[1]):
    os.chdir(folder)
    scope = {"np": np, "images": np.load("images.npy")}
    try:
        exec(lines, scope)
        arrays = {name: scope[name] for name in names} if names else scope["weights"]
        np.savez("answer.npz", **arrays)
    except Exception:
        open("error.txt", "w").write(traceback.format_exc())
"""


def exported(engine, model, form, folder):
    """Write a model in a format, under the name in the documentation."""
    generator = np.random.default_rng(1)
    calibration_nhwc = generator.integers(0, 256, (30, *model.spec.input_shape), dtype=np.uint8)
    path = folder / file_name(form)
    engine.export(model, form, path, json.dumps({"classes": ["a", "b", "c"]}), calibration_nhwc)
    return path


@pytest.fixture(scope="module")
def answers(configured, tmp_path_factory):
    """Every exported file run by the documented lines: a function from engine, format and spec to what they return."""
    root, models, jobs = tmp_path_factory.mktemp("exported"), {}, {name: [] for name in configured}
    for name, form, spec in CASES:
        if name not in configured:
            continue
        folder = root / f"{name}-{form}-{spec}"
        folder.mkdir()
        model = models.setdefault((name, spec), tiny.loaded(configured[name], SPECS[spec](), "float32"))
        exported(configured[name], model, form, folder)
        if form == "weights-h5":  # they load into a model of another file
            exported(configured[name], configured[name].build(model.spec), "keras", folder)
        np.save(folder / "images.npy", tiny.images(model.spec, 7))
        names = [] if form == "state-dict" else ["logits", "probabilities"]
        jobs[name].append((str(folder), lines_for(form), names))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"}
    for job in jobs.values():
        command = [sys.executable, "-c", SCRIPT, json.dumps(job)]
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr[-2000:]

    def answer(name, form, spec):
        folder = root / f"{name}-{form}-{spec}"
        error = folder / "error.txt"
        assert not error.exists(), error.read_text()
        return models[name, spec], dict(np.load(folder / "answer.npz"))

    return answer


@pytest.mark.parametrize(("name", "form", "spec"), [case for case in CASES if case[1] != "state-dict"])
def test_an_exported_file_predicts_as_the_model_without_diptych(configured, answers, name, form, spec):
    if name not in configured:
        pytest.skip(f"{name} was deselected")
    model, found = answers(name, form, spec)
    expected_nk = softmax(configured[name].predict(model, tiny.images(model.spec, 7)))
    assert np.abs(found["probabilities"] - expected_nk).max() < TOLERANCES.get(form, 1e-5)
    np.testing.assert_allclose(softmax(found["logits"]), found["probabilities"], atol=1e-2 if "int8" in form else 1e-5)


def test_a_state_dict_loads_without_diptych(configured, answers):
    model, found = answers("torch", "state-dict", "chain")
    expected = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    tiny.assert_same_arrays(expected, found)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(28, 28), (40, 50), (20, 33), (100, 17), (12, 12)])
def test_a_saved_model_decodes_files_as_diptych_does(size, channels, suffix):
    from diptych.engines.tensorflow.export import pixels_of

    rough = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    encoded = cv2.imencode(suffix, cv2.resize(rough, size[::-1], interpolation=cv2.INTER_CUBIC))[1].tobytes()
    wanted_hwc = resize(decode(encoded, "picture", channels), (28, 28))
    found_hwc = pixels_of(encoded, (28, 28, channels)).numpy()
    assert np.abs(wanted_hwc.astype(int) - found_hwc.astype(int)).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_a_saved_model_decodes_transparency_over_white(channels):
    from diptych.engines.tensorflow.export import pixels_of

    rough_bgra = np.random.default_rng(0).integers(0, 256, (28, 28, 4), dtype=np.uint8)
    encoded = cv2.imencode(".png", rough_bgra)[1].tobytes()
    wanted_hwc = decode(encoded, "picture", channels).astype(int)
    assert np.abs(wanted_hwc - pixels_of(encoded, (28, 28, channels)).numpy()).max() <= (channels == 1)


def test_a_saved_model_accepts_encoded_files(configured, tmp_path):
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


def test_integer_formats_need_calibration_images(configured, tmp_path):
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
