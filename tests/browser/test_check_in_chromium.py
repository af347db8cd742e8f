"""The report of a data check in a browser: it loads nothing, fits every width, and axe finds no fault."""

import numpy as np
import pytest
from planted import write_every_kind, write_good
from test_report_page import OPEN_ALL, OVERFLOW, VIEWS, WIDTHS

from diptych import check_data

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", params=["everything", "clean"])
def address(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    rng = np.random.default_rng(3)
    if request.param == "everything":
        write_every_kind(root / "data", rng)
        name = "a-class-with-a-name-that-is-longer-than-anybody-would-like-it-to-be"
        for number in range(60):  # more than are shown
            (root / f"data/train/owl/{name}{number}.jpg").write_bytes(b"")
    else:
        write_good(root / "data", 150, rng, num_classes=2)
    return check_data(root / "data", out=root / "out").report_path.as_uri()


def test_a_page_loads_nothing_shows_its_images_and_never_scrolls_sideways(visit, address):
    page = visit(address=address)
    page.evaluate(OPEN_ALL)
    page.mouse.wheel(0, 30_000)
    assert ([address], []) == ([url for url in page.requests if not url.startswith("data:")], page.complaints)
    broken = "[...document.images].filter(image => image.complete && !image.naturalWidth).length"
    beyond = {}
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        beyond[width] = page.evaluate(OVERFLOW), page.evaluate(broken)
    assert set(beyond.values()) == {(0, 0)}, beyond


@pytest.mark.parametrize(("width", "theme"), VIEWS)
def test_axe_finds_no_fault(visit, axe_faults, address, width, theme):
    page = visit(None, width, theme, address, bypass_csp=True)
    page.evaluate(OPEN_ALL)
    assert [] == axe_faults(page)
