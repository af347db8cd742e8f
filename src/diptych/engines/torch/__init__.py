"""The PyTorch engine: an `nn.Module` and a `zero_grad / backward / step` loop."""

from diptych.engines.torch.export import export
from diptych.engines.torch.model import build
from diptych.engines.torch.optimizer import apply_gradients, load_optimizer, make_optimizer, read_optimizer
from diptych.engines.torch.runtime import configure, runtime
from diptych.engines.torch.train import gradients, layer_alone, layer_outputs, predict, train_epoch
from diptych.engines.torch.weights import load_weights, read_file, read_weights
