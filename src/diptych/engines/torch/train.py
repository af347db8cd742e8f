"""Training for one epoch in PyTorch's native loop, and inference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.data.batches import Batch
from diptych.data.images import Images
from diptych.engines.contract import NO_STEPS, Arrays, Totals, chunk_size
from diptych.engines.torch.model import Network, set_masks
from diptych.engines.torch.optimizer import Optimizer
from diptych.engines.torch.runtime import device
from diptych.engines.torch.weights import load_weights, read_weights, to_numpy


def train_epoch(
    model: Network,
    optimizer: Optimizer,
    batches: Iterable[Batch],
    rates: Sequence[float],
    seed: int,
    so_far: Totals = NO_STEPS,
    stops: Callable[[], bool] = lambda: False,
) -> Totals:
    """Train on each batch with its learning rate; stop at the first loss that is not finite."""
    # differs: train-mode
    model.train()
    sums = torch.tensor([so_far.loss, so_far.weight, so_far.correct], dtype=torch.float64)
    count, steps = so_far.count, so_far.steps
    for rate, batch in zip(rates, batches, strict=False):
        if stops():
            break
        set_masks(model, seed, optimizer.step)
        images_nhwc, targets_nk, weights_n = _tensors(model, batch)
        optimizer.rule.zero_grad()
        logits_nk = model(images_nhwc)
        loss = loss_of(logits_nk, targets_nk, weights_n)
        optimizer.scaled(loss).backward()
        optimizer.update(rate)
        with torch.no_grad():
            # differs: epoch-loss
            weight = weights_n.sum()
            correct = (logits_nk.argmax(1) == targets_nk.argmax(1)).sum()
            sums += torch.stack([(loss * weight).double(), weight.double(), correct.double()]).cpu()
        count += len(images_nhwc)
        steps += 1
        if not sums[0].isfinite():
            break
    total, weight_sum, num_correct = sums.tolist()
    return Totals(total, weight_sum, int(num_correct), count, steps)


def gradients(model: Network, batch: Batch) -> tuple[float, Arrays]:
    """Return the loss and its gradient for every trainable array, in training mode, without changing a weight."""
    before = read_weights(model)
    model.train()
    set_masks(model, 0, 0)
    model.zero_grad()
    images_nhwc, targets_nk, weights_n = _tensors(model, batch)
    loss = loss_of(model(images_nhwc), targets_nk, weights_n)
    loss.backward()
    slopes = {array.name: to_numpy(model.get_parameter(array.name).grad) for array in model.spec.trainable}
    load_weights(model, before)
    return loss.item(), slopes


def predict(model: Network, images: Images) -> np.ndarray:
    """Return logits, (N, K), float32 (float64 for a float64 model), of uint8 images, (N, H, W, C)."""
    # differs: train-mode
    model.eval()
    with torch.inference_mode():
        size = chunk_size(model.spec)
        chunks = [model(_tensor(images[start : start + size])) for start in range(0, len(images), size)]
        return torch.cat(chunks).cpu().numpy()


def layer_outputs(model: Network, images: np.ndarray, training: bool) -> Arrays:
    """Return every layer's output; maps as (N, H, W, C), flattened maps in channel, height, width order."""
    before = read_weights(model)
    model.train(training)
    set_masks(model, 0, 0)
    with torch.no_grad():
        outputs = model.outputs(_tensor(images))
    load_weights(model, before)
    return {layer.name: _inner(outputs[layer.name]) for layer in model.spec.layers}


def layer_alone(model: Network, name: str, inputs: Arrays, slopes: np.ndarray, training: bool, step: int = 0) -> Arrays:
    """Run one layer forward and backward; layouts as in `layer_outputs`."""
    before = read_weights(model)
    layer = model.spec.layer(name)
    model.train(training)
    set_masks(model, 0, step)
    model.zero_grad()
    given = {source: _outer(_tensor(array)) for source, array in inputs.items()}
    if layer.inputs != ("input",):
        first, reduced = model.spec.layers[0].name, getattr(torch, model.precision)
        formats = {source: model.dtype if source == first else reduced for source in given}
        given = {source: tensor.to(formats[source]).requires_grad_() for source, tensor in given.items()}
    output = model.run(layer, *[given[source] for source in layer.inputs])
    if output.requires_grad:
        output.backward(_outer(_tensor(slopes)).to(output.dtype))
    found = {"output": _inner(output)}
    found |= {f"input/{source}": _inner(tensor.grad) for source, tensor in given.items() if tensor.grad is not None}
    after = read_weights(model)
    for array in model.spec.arrays:
        if model.spec.owner(array) is layer:
            slope = model.get_parameter(array.name).grad if array.trainable else None
            found[array.name] = after[array.name] if slope is None else to_numpy(slope)
    load_weights(model, before)
    return found


def loss_of(logits_nk: Tensor, targets_nk: Tensor, weights_n: Tensor) -> Tensor:
    """Return the cross-entropy with soft targets, averaged by the samples' weights."""
    # differs: loss-input, label-smoothing, class-weights
    losses_n = F.cross_entropy(logits_nk, targets_nk, reduction="none")
    return (losses_n * weights_n).sum() / weights_n.sum()


def _tensors(model: Network, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    return _tensor(batch.images), _tensor(batch.targets).to(model.dtype), _tensor(batch.weights).to(model.dtype)


def _outer(values: Tensor) -> Tensor:
    """Return maps as (N, C, H, W)."""
    return values.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values


def _inner(values: Tensor) -> np.ndarray:
    """Return maps as (N, H, W, C), in float64."""
    values = values.detach().permute(0, 2, 3, 1) if values.ndim == 4 else values.detach()
    return np.array(values.double().cpu().numpy(), order="C")


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device())
