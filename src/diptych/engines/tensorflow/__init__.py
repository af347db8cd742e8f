"""The TensorFlow engine: a `keras.Model` and a `tf.function` step."""

from diptych.engines.tensorflow.runtime import configure, runtime  # isort: skip  (sets Keras's backend first)
from diptych.engines.tensorflow.export import export
from diptych.engines.tensorflow.model import build
from diptych.engines.tensorflow.optimizer import apply_gradients, load_optimizer, make_optimizer, read_optimizer
from diptych.engines.tensorflow.train import gradients, layer_alone, layer_outputs, predict, train_epoch
from diptych.engines.tensorflow.weights import load_weights, read_file, read_weights
