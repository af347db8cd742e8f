"""The engines, configured before a test uses a framework, which fixes its threads."""

import pytest

from diptych import engines
from diptych.processes import num_threads


@pytest.fixture(scope="session", autouse=True)
def configured(request):
    """The chosen engines by name; one that is not installed fails here."""
    found = {name: engines.get(name) for name in request.config.getoption("engine") or engines.NAMES}
    for engine in found.values():
        engine.configure(num_threads())
    return found


@pytest.fixture(scope="session")
def engine(configured, engine_name):
    """Each engine in turn."""
    return configured[engine_name]


@pytest.fixture(scope="session")
def both(configured):
    """The PyTorch and the TensorFlow engine, in one process."""
    return tuple(configured[name] for name in engines.NAMES)


def pytest_ignore_collect(collection_path, config):
    """Deselect files that need an engine that was not chosen; comparisons need both."""
    stem = collection_path.stem
    needed = engines.NAMES if "differences" in stem else [name for name in engines.NAMES if name in stem]
    chosen = config.getoption("engine") or engines.NAMES
    return True if set(needed) - set(chosen) else None
