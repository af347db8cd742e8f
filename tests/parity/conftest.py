import pytest

from diptych.comparison.parity import start


@pytest.fixture(scope="session")
def pair():
    """A PyTorch and a TensorFlow worker for all parity checks; if a framework is missing, the tests fail."""
    with start() as workers:
        yield workers
