"""Export to formats that Keras and TensorFlow write: weights, models, SavedModel, TFLite and ONNX."""

from __future__ import annotations

import functools
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import h5py
import keras
import numpy as np
import tensorflow as tf

from diptych.engines.contract import CARD, INPUT, OPSET, OUTPUTS
from diptych.engines.tensorflow.model import build

Tensor: TypeAlias = Any


def export(model: keras.Model, form: str, path: Path, card: str, calibration: np.ndarray | None) -> None:
    """Write a model to a file (or folder) of the given format."""
    served = _served(model)
    match form:
        case "keras":
            served.save(path)
            _append(path, card)
        case "h5":
            served.save(path)
            _attribute(path, card)
        case "weights-h5":
            served.save_weights(path)
            _attribute(path, card)
        case "saved-model":
            _saved_model(served, model.spec.input_shape, path, card)
        case "onnx":
            _onnx(served, path, card)
        case "tflite" | "tflite-fp16" | "tflite-dynamic" | "tflite-int8":
            path.write_bytes(_tflite(served, form, calibration))
            _append(path, card)


def _served(model: keras.Model) -> keras.Model:
    """Return the exported model: uint8 images, (N, H, W, C), in; logits and probabilities, (N, K), out, by name.

    It consists of Keras's own layers, so that it loads without diptych.
    """
    stock = build(model.spec, plain="uint8")
    stock.set_weights(model.get_weights())
    logits_nk = stock.outputs[0]
    outputs = (keras.layers.Identity(name=OUTPUTS[0])(logits_nk), keras.layers.Softmax(name=OUTPUTS[1])(logits_nk))
    return keras.Model(stock.inputs[0], dict(zip(OUTPUTS, outputs, strict=True)), name=model.spec.name)


def _saved_model(served: keras.Model, shape: tuple[int, int, int], path: Path, card: str) -> None:
    """Write TF Serving's layout, `path/1/`, with one signature for pixels and one for encoded files."""

    @tf.function(input_signature=[tf.TensorSpec((None, *shape), tf.uint8, name=INPUT)], autograph=False)
    def on_images(images: Tensor) -> dict[str, Tensor]:
        return dict(served(images, training=False))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="bytes")], autograph=False)
    def on_bytes(encoded: Tensor) -> dict[str, Tensor]:
        read = functools.partial(pixels_of, shape=shape)
        images = tf.map_fn(read, encoded, fn_output_signature=tf.TensorSpec(shape, tf.uint8))
        return dict(served(images, training=False))

    module = tf.Module()
    module.model = served
    with TemporaryDirectory() as folder:
        (Path(folder) / CARD).write_text(card, encoding="utf-8")
        module.card = tf.saved_model.Asset(str(Path(folder) / CARD))
        signatures = {"serving_default": on_images, "serving_bytes": on_bytes}
        tf.saved_model.save(module, str(path / "1"), signatures)


def pixels_of(encoded: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Decode and resize a JPEG or PNG to `shape` (height, width, channels), as `data/decode` and `data/preprocess` do.

    Values differ by up to two levels, because OpenCV interpolates in fixed point. EXIF orientation is ignored.
    """
    height, width, channels = shape
    # differs: decode
    jpeg = functools.partial(tf.io.decode_jpeg, encoded, channels=3, dct_method="INTEGER_ACCURATE")
    pixels = tf.cond(tf.io.is_jpeg(encoded), jpeg, functools.partial(_png_over_white, encoded))
    if channels == 1:
        luma = tf.reduce_sum(tf.cast(pixels, tf.int32) * tf.constant((4899, 9617, 1868)), axis=-1, keepdims=True)
        pixels = (luma + 8192) // 16384
    # differs: resize
    blocks = tf.maximum(tf.shape(pixels)[:2] // (height, width), 1)
    means = tf.shape(pixels)[:2] // blocks
    edges = tf.shape(pixels)[:2] % blocks // 2
    pixels = tf.slice(pixels, (*tf.unstack(edges), 0), (*tf.unstack(means * blocks), -1))
    pixels = tf.round(tf.image.resize(pixels, means, method="area"))
    pixels = tf.round(tf.image.resize(pixels, (height, width), method="bilinear"))
    return tf.cast(tf.ensure_shape(pixels, shape), tf.uint8)


def _png_over_white(encoded: Tensor) -> Tensor:
    rgba = tf.cast(tf.io.decode_png(encoded, channels=4), tf.int32)
    return tf.cast(255 - ((255 - rgba[..., :3]) * rgba[..., 3:] + 127) // 255, tf.uint8)


def _onnx(served: keras.Model, path: Path, card: str) -> None:
    import onnx

    served(tf.zeros((1, *served.inputs[0].shape[1:]), tf.uint8))  # Keras exports only a model that has been called
    served.export(path, format="onnx", opset_version=OPSET, verbose=False)
    program = onnx.load(path)
    program.metadata_props.add(key=CARD, value=card)
    onnx.save(program, path)


def _tflite(served: keras.Model, form: str, calibration: np.ndarray | None) -> bytes:
    if form == "tflite-int8":
        # The converter quantizes a float input, so that uint8 becomes the input's number format.
        floats = keras.Input(served.inputs[0].shape[1:], dtype="float32", name=INPUT)
        weights = served.get_weights()
        served = keras.models.clone_model(served, floats)
        served.set_weights(weights)
    # As constants, because the converter neither folds nor quantizes variables.
    groups = (served.trainable_variables, served.non_trainable_variables)
    frozen = [[tf.constant(weight.numpy()) for weight in group] for group in groups]

    images = tf.TensorSpec(served.inputs[0].shape, served.inputs[0].dtype, name=INPUT)

    @tf.function(input_signature=[images], autograph=False)
    def infer(images: Tensor) -> dict[str, Tensor]:
        return served.stateless_call(*frozen, images, training=False)[0]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([infer.get_concrete_function()], tf.Module())
    if form != "tflite":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if form == "tflite-fp16":
        converter.target_spec.supported_types = [tf.float16]
    if form == "tflite-int8" and calibration is not None:
        converter.representative_dataset = lambda: ([image[None].astype(np.float32)] for image in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
    return converter.convert()


def _append(path: Path, card: str) -> None:
    """Append the card as a zip entry; readers of flatbuffers ignore trailing bytes."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(CARD, card)


def _attribute(path: Path, card: str) -> None:
    with h5py.File(path, "a") as file:
        file.attrs[CARD] = card
