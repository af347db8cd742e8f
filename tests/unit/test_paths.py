"""Paths found in data stay inside their folder."""

import pytest

from diptych.data.paths import contained
from diptych.errors import DataError


def test_a_plain_relative_path_is_joined(tmp_path):
    assert tmp_path / "cats" / "1.jpg" == contained(tmp_path, "cats/1.jpg")
    assert tmp_path / "dogs.and..cats" / "...jpg" == contained(tmp_path, "./dogs.and..cats/...jpg")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("../secret", "contains '..'"),
        ("cats/..", "contains '..'"),
        ("/etc/passwd", "absolute"),
        ("//server/share", "absolute"),
        ("..\\secret", "backslash"),
        ("C:secret", "drive letter"),
        ("cats/D:secret", "drive letter"),
        ("cats/1.jpg\0.png", "NUL"),
        ("", "is empty"),
        (".//", "is empty"),
    ],
)
def test_a_path_that_could_lead_outside_raises(tmp_path, name, word):
    with pytest.raises(DataError, match=word) as raised:
        contained(tmp_path, name)
    assert str(raised.value).isprintable()


def test_a_link_that_leads_outside_raises_and_one_that_stays_inside_is_followed(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "cats").mkdir(parents=True)
    outside.mkdir()
    (root / "out").symlink_to(outside)
    (root / "cats" / "up").symlink_to("../../outside")
    (root / "near").symlink_to("cats")
    (root / "loop").symlink_to("loop")
    (tmp_path / "root-of-others").mkdir()
    (root / "beside").symlink_to(tmp_path / "root-of-others")
    for name in ("out", "out/1.jpg", "cats/up/1.jpg", "near/up/1.jpg", "beside/1.jpg"):
        with pytest.raises(DataError, match="link that leads outside"):
            contained(root, name)
    assert root / "near" / "1.jpg" == contained(root, "near/1.jpg")
    assert root / "loop" / "1.jpg" == contained(root, "loop/1.jpg")
    (tmp_path / "link").symlink_to(root)
    assert tmp_path / "link" / "1.jpg" == contained(tmp_path / "link", "1.jpg")
