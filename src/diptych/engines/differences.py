"""The ledger: where PyTorch and TensorFlow/Keras differ, what both engines do, and the test that proves it."""

import tomllib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Difference:
    """A row of the ledger, `differences.toml`; code refers to its key with `# differs: <key>`."""

    key: str
    torch: str
    """What PyTorch does."""
    tensorflow: str
    """What TensorFlow or Keras does."""
    rule: str
    """What both engines do."""
    proof: str
    """The pytest node that measures the frameworks and checks both engines."""


_ROWS = tomllib.loads(resources.files("diptych.engines").joinpath("differences.toml").read_text(encoding="utf-8"))
LEDGER = tuple(Difference(key, **row) for key, row in _ROWS.items())
