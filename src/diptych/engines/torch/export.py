"""Export to formats that PyTorch writes: weights, TorchScript, `torch.export` and ONNX."""

from __future__ import annotations

import copy
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from diptych.engines.contract import CARD, INPUT, OPSET, OUTPUTS
from diptych.engines.torch.model import Network


def export(model: Network, form: str, path: Path, card: str, calibration: np.ndarray | None) -> None:
    """Write a model to a file (or folder) of the given format."""
    # On the CPU, so that a file written on a machine with a GPU runs on one without.
    model = copy.deepcopy(model).cpu()
    served = Served(model).eval()
    # Two images, because an exporter treats a batch size of one as a constant.
    images = torch.zeros((2, *model.spec.input_shape), dtype=torch.uint8)
    match form:
        case "state-dict":
            torch.save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
            _append(path, card)
        case "torchscript":
            with torch.no_grad():
                script = torch.jit.trace(served, (images,), strict=False)
            torch.jit.save(torch.jit.freeze(script), path, _extra_files={CARD: card})
        case "torch-export":
            torch.export.save(_program(served, images), path, extra_files={CARD: card})
        case "onnx":
            names = {"input_names": [INPUT], "output_names": list(OUTPUTS)}
            settings = {"opset_version": OPSET, "dynamo": True, "verbose": False}
            program = torch.onnx.export(_program(served, images), (images,), **names, **settings)
            program.model.metadata_props[CARD] = card
            program.save(path)


class Served(nn.Module):
    """The exported model: uint8 images, (N, H, W, C), in; logits and probabilities, (N, K), out, by name."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits and probabilities."""
        logits_nk = self.model(images)
        return dict(zip(OUTPUTS, (logits_nk, logits_nk.softmax(1)), strict=True))


def _program(served: Served, images: Tensor) -> torch.export.ExportedProgram:
    batch = {0: torch.export.Dim("batch", min=1)}
    return torch.export.export(served, (images,), dynamic_shapes={INPUT: batch})


def _append(path: Path, card: str) -> None:
    """Add the card to a file that PyTorch wrote; its reader ignores unknown entries."""
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{folder}/{CARD}", card)
