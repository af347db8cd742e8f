"""What two engines have in common: parity is proven here, in NumPy, from arrays that two workers send."""

from diptych.comparison.certificate import Certificate, Rung, write
from diptych.comparison.parity import verify

__all__ = ["Certificate", "Rung", "verify", "write"]
