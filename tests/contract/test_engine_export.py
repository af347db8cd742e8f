"""Every exported file loads with its own framework or runtime, without diptych."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

from diptych.deployment.formats import FORMATS
from diptych.evaluation import softmax

pytestmark = pytest.mark.filterwarnings("ignore")  # exporters warn about their own calls
# The documentation's lines for each format.
PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
LINES = dict(re.findall(r"^### (\S+)\n(?:[^#`]|`[^`]+`)*?```python\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL))
LINES |= {
    name: LINES["tflite"].replace("cnn.tflite", f"cnn{FORMATS[name].suffix}") for name in FORMATS if "tflite-" in name
}
TOLERANCES = {"tflite-fp16": 5e-3, "tflite-dynamic": 5e-2, "tflite-int8": 0.1}
SPECS = {"chain": tiny.conv_net, "graph": tiny.branching}
# Keras's ONNX exporter leaves grouped convolutions as calls, and its HDF5 reader does not know `keras.ops`.
NOT_YET = {("tensorflow", "onnx", "graph"), ("tensorflow", "h5", "graph"), ("tensorflow", "weights-h5", "graph")}
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
        np.savez("answer.npz", **({name: scope[name] for name in names} if names else scope["weights"]))
    except Exception:  # whatever it is, the test shows it: no error.txt may be there
        open("error.txt", "w").write(traceback.format_exc())
"""


def exported(engine, model, form, folder):
    """Write a model in a format, under the name in the documentation."""
    calibration_nhwc = np.random.default_rng(1).integers(0, 256, (30, *model.spec.input_shape), dtype=np.uint8)
    path = folder / f"cnn{FORMATS[form].suffix}"
    engine.export(model, form, path, json.dumps({"classes": ["a", "b", "c"]}), calibration_nhwc)
    return path


def test_exported_files_predict_as_the_model_without_diptych(engine_name, engine, tmp_path):
    models = {name: tiny.loaded(engine, make(), "float32") for name, make in SPECS.items()}
    cases = [(name, spec) for name, form in FORMATS.items() if engine_name in form.writers for spec in SPECS]
    folders = {case: tmp_path / "-".join(case) for case in cases if (engine_name, *case) not in NOT_YET}
    jobs = []
    for (form, name), folder in folders.items():
        folder.mkdir()
        exported(engine, models[name], form, folder)
        if form == "weights-h5":  # they load into a model of another file
            exported(engine, engine.build(models[name].spec), "keras", folder)
        np.save(folder / "images.npy", tiny.images(models[name].spec, 7))
        outputs = [] if form == "state-dict" else ["logits", "probabilities"]
        jobs.append((str(folder), LINES[form], outputs))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"}
    subprocess.run([sys.executable, "-c", SCRIPT, json.dumps(jobs)], env=environment, check=True)

    assert [] == [path.read_text() for path in tmp_path.glob("*/error.txt")]
    for (form, name), folder in folders.items():
        found, model = dict(np.load(folder / "answer.npz")), models[name]
        if form == "state-dict":
            tiny.assert_same_arrays({key: tensor.numpy() for key, tensor in model.state_dict().items()}, found)
        else:
            expected_nk = softmax(engine.predict(model, tiny.images(model.spec, 7)))
            assert np.abs(found["probabilities"] - expected_nk).max() < TOLERANCES.get(form, 1e-5), (form, name)
            consistent = 1e-2 if "int8" in form else 1e-5
            np.testing.assert_allclose(softmax(found["logits"]), found["probabilities"], atol=consistent)
