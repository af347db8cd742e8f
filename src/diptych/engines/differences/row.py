"""A row of the ledger."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """A row; code refers to its key with `# differs: <key>`.

    Attributes:
        torch: what PyTorch does.
        tensorflow: what TensorFlow or Keras does.
        rule: what both engines do.
        proof: the pytest node that measures the frameworks and holds the engines to the rule.
    """

    key: str
    torch: str
    tensorflow: str
    rule: str
    proof: str
