import pytest

from diptych.comparison.parity import start


@pytest.fixture(scope="session")
def pair():
    """A PyTorch and a TensorFlow worker for every climb; a missing framework fails the tests that ask for them."""
    with start() as workers:
        yield workers
