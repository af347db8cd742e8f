"""A model's name becomes the name of files, so it can be nothing that leads elsewhere."""

from dataclasses import replace

import pytest

from diptych.errors import SpecError
from diptych.spec import zoo

SPEC = zoo.model("mlp", (4, 4, 1), 3)


@pytest.mark.parametrize("name", ["cnn", "resnet20_b", "my-net.v2", "0"])
def test_a_plain_name_is_welcome(name):
    assert name == replace(SPEC, name=name).name


@pytest.mark.parametrize("name", ["", "..", ".hidden", "my net", "a/b", "a\\b", "net\n", "-v", "né"])
def test_another_name_is_refused(name):
    with pytest.raises(SpecError, match="a name of letters, digits"):
        replace(SPEC, name=name)
