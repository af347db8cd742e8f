"""One pair of workers for every climb: a framework takes seconds to start."""

import pytest

from diptych.comparison.parity import start
from diptych.engines import NAMES


@pytest.fixture(scope="session")
def pair():
    """A PyTorch and a TensorFlow worker; a missing framework fails the tests that ask for them."""
    with start() as workers:
        yield workers


def pytest_ignore_collect(collection_path, config):
    """Parity needs both frameworks, so choosing one engine deselects it."""
    chosen = config.getoption("engine")
    return True if chosen and set(chosen) != set(NAMES) else None
