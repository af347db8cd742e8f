"""What a user writes to run each shipped file with its own tools: `path` and `images` in, two arrays out."""

_TORCH = "import torch\n{load}\nwith torch.no_grad(): answer = model(torch.from_numpy(images))\n"
_TORCH += "logits, probabilities = answer['logits'].numpy(), answer['probabilities'].numpy()"
_KERAS = """import keras
answer = keras.models.load_model(path, safe_mode=True)(images)
logits, probabilities = answer["logits"].numpy(), answer["probabilities"].numpy()"""
_TFLITE = """from ai_edge_litert.interpreter import Interpreter
answer = Interpreter(model_path=path).get_signature_runner()(images=images)
logits, probabilities = answer["logits"], answer["probabilities"]"""

LOADERS = {
    "torchscript": _TORCH.format(load="model = torch.jit.load(path)"),
    "torch-export": _TORCH.format(load="model = torch.export.load(path).module()"),
    "onnx": """import onnxruntime
session = onnxruntime.InferenceSession(path)
logits, probabilities = session.run(["logits", "probabilities"], {"images": images})""",
    "keras": _KERAS,
    "h5": _KERAS,
    "saved-model": """import tensorflow as tf
answer = tf.saved_model.load(path + "/1").signatures["serving_default"](images=tf.constant(images))
logits, probabilities = answer["logits"].numpy(), answer["probabilities"].numpy()""",
    **dict.fromkeys(("tflite", "tflite-fp16", "tflite-dynamic", "tflite-int8"), _TFLITE),
}
SUFFIXES = {"torchscript": ".pt", "torch-export": ".pt2", "onnx": ".onnx", "keras": ".keras", "h5": ".h5"}
SUFFIXES |= {"weights-h5": ".weights.h5", "state-dict": ".pt"}
SUFFIXES |= dict.fromkeys(("tflite", "tflite-fp16", "tflite-dynamic", "tflite-int8"), ".tflite")
