"""Inference: logits for any number of images, and what every layer gives, for parity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from diptych.data.images import Images
from diptych.engines.contract import Arrays
from diptych.engines.torch.model import Network
from diptych.engines.torch.runtime import device
from diptych.engines.torch.weights import load_weights, read_weights

CHUNK = 256


def predict(model: Network, images: Images) -> np.ndarray:
    """Logits, (N, K), float32 (float64 for a float64 model), of uint8 images, (N, H, W, C)."""
    # differs: train-mode
    model.eval()
    with torch.inference_mode():
        chunks = [model(_tensor(images[start : start + CHUNK])) for start in range(0, len(images), CHUNK)]
        return torch.cat(chunks).cpu().numpy()


def layer_outputs(model: Network, images: np.ndarray, training: bool) -> Arrays:
    """Output of every layer by name; maps as (N, H, W, C), flattened maps in channel, height, width order."""
    before = read_weights(model)
    outputs: Arrays = {}
    hooks = [module.register_forward_hook(_keeping(outputs, name)) for name, _, module in model.steps]
    model.train(training)
    with torch.no_grad():
        model(_tensor(images))
    for hook in hooks:
        hook.remove()
    load_weights(model, before)
    return outputs


def _keeping(outputs: Arrays, name: str) -> Callable[..., None]:
    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values = output.permute(0, 2, 3, 1) if output.ndim == 4 else output
        outputs[name] = np.array(values.double().cpu().numpy(), order="C")

    return keep


def _tensor(images_nhwc: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(images_nhwc, requirements=["C", "W"])).to(device())
