"""Faults in one engine each, written without a look at the ladder: fault → engine, and the function that plants it."""

import blind_tensorflow
import blind_torch

BLIND = {
    fault.__name__: (engine, fault)
    for engine, faults in (("torch", blind_torch.FAULTS), ("tensorflow", blind_tensorflow.FAULTS))
    for fault in faults
}
