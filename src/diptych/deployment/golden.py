"""An image and its expected answer beside the shipped files, with which an application checks itself."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from diptych.artifacts.store import atomic_write, write_json
from diptych.deployment.card import Card
from diptych.deployment.formats import FORMATS
from diptych.deployment.verify import Reference
from diptych.engines.contract import INPUT, OUTPUTS

IMAGE = "golden.png"
ANSWER = "golden.json"


def write_golden(folder: Path, card: Card, reference: Reference) -> None:
    """Write `golden.png`, an image of the model's own size, and `golden.json`, what the trained model says of it."""
    place = _most_certain(reference)
    image_hwc, probabilities_k = reference.images[place], reference.probabilities_nk[place]
    colours = image_hwc[..., ::-1] if image_hwc.shape[-1] == 3 else image_hwc  # OpenCV writes BGR
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(colours))
    with atomic_write(folder / IMAGE) as file:
        file.write(encoded.tobytes())
    answer = {
        "image": IMAGE,
        "input": {"name": INPUT, "dtype": "uint8", "shape": [1, *image_hwc.shape]},
        "parity": card.parity,
        "class": card.class_names[int(probabilities_k.argmax())],
        OUTPUTS[0]: reference.logits_nk[place],
        OUTPUTS[1]: probabilities_k,
        "class_names": card.class_names,
        "tolerance_of_probabilities": {form.name: form.tolerance for form in FORMATS.values()},
    }
    write_json(folder / ANSWER, answer)


def _most_certain(reference: Reference) -> int:
    """The golden image of which the trained model is surest, and right."""
    golden_g = reference.golden_g
    right_g = reference.logits_nk[golden_g].argmax(1) == reference.labels_n[golden_g]
    return int(golden_g[np.argmax(reference.probabilities_nk[golden_g].max(1) * (0.5 + right_g))])
