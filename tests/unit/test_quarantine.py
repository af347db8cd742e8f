"""What cannot be decoded goes out of the data when it is asked for, never over anything, and comes back by the list."""

import errno
import json
import os
import re
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from planted import encoded, picture, plant, write_pictures

from diptych import check_data
from diptych.errors import DataError

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(1)
    write_pictures(tmp_path / "data/cat", 12, rng)
    write_pictures(tmp_path / "data/dog", 12, rng)
    planted = {"cat/deep/empty": b"", "dog/page": b"<html>", "dog/link": "link", "dog/folder": "folder"}
    for name, content in {**planted, "dog/named": encoded(picture(rng), "png")}.items():
        plant(tmp_path / f"data/{name}.jpg", content)
    return tmp_path / "data"


def tree(root):
    """Every path below a folder, with what is there."""
    return {
        path.relative_to(root).as_posix(): path.readlink()
        if path.is_symlink()
        else path.is_file() and path.read_bytes()
        for path in root.rglob("*")
    }


def check(data, **settings):
    return check_data(data, out=data.parent / "report", **settings)


@pytest.mark.parametrize("is_same_file_system", [True, False])
def test_undecodable_files_are_moved_and_the_list_restores_them(data, tmp_path, monkeypatch, is_same_file_system):
    if not is_same_file_system:
        monkeypatch.setattr(os, "rename", Mock(side_effect=OSError(errno.EXDEV, "Invalid cross-device link")))
    before = tree(data)
    moved = check(data, quarantine=tmp_path / "out").moved
    names = {"cat/deep/empty.jpg", "dog/page.jpg", "dog/link.jpg"}
    assert names == {Path(move["to"]).relative_to(tmp_path / "out").as_posix() for move in moved}
    assert before.keys() - names == tree(data).keys()
    assert {name: before[name] for name in names} == {name: tree(tmp_path / "out")[name] for name in names}
    listed = json.loads((tmp_path / "out/quarantine.json").read_text())["files"]
    assert [*moved] == listed
    assert ["unreadable"] == [finding.kind for finding in check(data).findings if finding.severity == "error"]
    page = DOCS.read_text(encoding="utf-8").partition("## Checking data")[2]
    (script,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(script.replace("bad/", f"{tmp_path}/out/"), {})  # what the page tells to do
    assert before == tree(data)


def test_a_second_quarantine_adds_to_the_list(data, tmp_path):
    check(data, quarantine=tmp_path / "out")
    plant(data / "cat/more.png", b"\x89PNG\r\n\x1a\n")
    (move,) = check(data, quarantine=tmp_path / "out").moved
    listed = json.loads((tmp_path / "out/quarantine.json").read_text())["files"]
    assert (4, move) == (len(listed), listed[-1])
    assert [] == list(check(data, quarantine=tmp_path / "out").moved)


def test_files_in_the_quarantine_are_not_overwritten(data, tmp_path):
    plant(tmp_path / "out/dog/page.jpg", b"mine")
    before = tree(data)
    with pytest.raises(DataError, match=r"page\.jpg' already exists"):
        check(data, quarantine=tmp_path / "out")
    assert (before, b"mine") == (tree(data), (tmp_path / "out/dog/page.jpg").read_bytes())


def test_files_named_by_a_table_are_moved(data, tmp_path):
    names = [*sorted(path.relative_to(data).as_posix() for path in data.rglob("*.png")), "dog/page.jpg"]
    rows = [f"{name},{name[:3]}" for name in names]
    (data / "labels.csv").write_text("\n".join(["path,label", *rows]))
    (move,) = check_data(data / "labels.csv", quarantine=tmp_path / "out", out=tmp_path / "report").moved
    assert [str(data / "dog/page.jpg"), str(tmp_path / "out/dog/page.jpg")] == [move["from"], move["to"]]
    assert not (data / "dog/page.jpg").exists()
