"""Sessions with a fault: one engine is broken until the next session of the process."""

from importlib import import_module

import pytest

from diptych.engines.session import Session

patch = pytest.MonkeyPatch()


def faulty_session(fault, engine):
    """A session of an engine with this fault and no other, for the process that it runs in."""
    patch.undo()
    names = (f"faults_{engine}_layers", f"faults_{engine}_training", f"blind_{engine}")
    next(getattr(module, fault) for module in map(import_module, names) if hasattr(module, fault))()
    return Session(engine, 1)
