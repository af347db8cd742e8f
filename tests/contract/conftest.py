"""The engines under contract, each configured once."""

from functools import cache

import pytest

from diptych import engines

THREADS = 2


@cache
def configured(name):
    engine = engines.get(name)
    engine.configure(THREADS)
    return engine


@pytest.fixture(scope="session")
def engine(engine_name):
    """Each engine in turn; one that is not installed fails here, unless `--engine` chose the other."""
    return configured(engine_name)


@pytest.fixture(scope="session")
def both():
    """The PyTorch and the TensorFlow engine, in one process."""
    return tuple(configured(name) for name in engines.NAMES)


def pytest_ignore_collect(collection_path, config):
    """What compares the frameworks needs them both, so choosing one engine deselects it."""
    chosen = config.getoption("engine")
    if chosen and set(chosen) != set(engines.NAMES) and collection_path.name.startswith("test_differences"):
        return True
    return None
