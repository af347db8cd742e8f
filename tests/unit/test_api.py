"""The Python functions refuse in words what the command line refuses, before anything is read or written."""

import pytest

import diptych
from diptych.errors import UsageError


@pytest.mark.parametrize(
    "count", [{"threads": 0}, {"stop_after": -1}, {"image_size": (28, 0)}], ids=lambda count: next(iter(count))
)
def test_counts_below_one_are_named(count, tmp_path):
    (name,) = count
    with pytest.raises(UsageError, match=f"'{name}' wants a whole number of at least 1, got "):
        diptych.train(tmp_path, out=tmp_path / "runs", **count)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("verb", [diptych.train, diptych.resume, diptych.replay])
def test_fewer_workers_than_none_are_refused_before_anything_else(verb, tmp_path):
    with pytest.raises(UsageError, match="'workers' wants a whole number of at least 0, got -1"):
        verb(tmp_path / "absent", workers=-1)
