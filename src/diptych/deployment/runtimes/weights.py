"""Files that hold weights alone; the spec on their card says of what."""

from __future__ import annotations

from diptych.artifacts.store import read_arrays
from diptych.deployment.containers import Artifact
from diptych.engines.contract import Arrays, check_arrays


def arrays(artifact: Artifact) -> Arrays:
    """The weights in a file, by canonical name: those of the spec on its card.

    Raises:
        ArtifactError: the file is damaged, or holds other arrays.
    """
    if artifact.form.name != "safetensors":
        from diptych.deployment.transfer import read_weights

        return read_weights(artifact.path, artifact.card.spec)
    held, _ = read_arrays(artifact.path)
    check_arrays(held, artifact.card.spec.arrays, f"'{artifact.path}'")
    return held
