"""A folder is one process's at a time; trainings that are killed and resumed show that it is nobody's afterwards."""

import os
import re

import pytest

from diptych.artifacts.locks import locked
from diptych.errors import ArtifactError


def test_the_second_is_refused_and_told_who_holds_the_lock_until_the_first_has_ended(tmp_path):
    (tmp_path / ".lock").write_text("a process that was killed " * 9)
    with locked(tmp_path, "training"), pytest.raises(ArtifactError) as raised, locked(tmp_path, "training"):
        pass
    who = rf"process {os.getpid()} on \S+, training since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
    wanted = rf"'{re.escape(str(tmp_path))}' is in use: {who}\. Wait until it and its child processes end\."
    assert re.fullmatch(wanted, str(raised.value))
    with locked(tmp_path, "training"):
        assert f"process {os.getpid()} on" in (tmp_path / ".lock").read_text()


def test_a_folder_that_is_not_there_cannot_be_locked(tmp_path):
    with pytest.raises(ArtifactError, match=r"Cannot write '.*absent/\.lock': No such file"):
        locked(tmp_path / "absent", "training").__enter__()
