"""The page of a check in a real browser: it asks for nothing, fits every width, and axe finds nothing."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from planted import write_every_kind, write_good

from diptych import check_data

VIEWS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
OPEN_ALL = "document.querySelectorAll('details').forEach(part => { part.open = true })"


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


@pytest.fixture
def visit(browser, address):
    contexts = []

    def opened(width=1280, theme="light", **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, **options)
        contexts.append(context)
        page = context.new_page()
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(address)
        page.evaluate(OPEN_ALL)
        return page

    yield opened
    for context in contexts:
        context.close()


def test_a_page_asks_for_nothing_but_itself_and_does_not_complain(visit, address):
    page = visit()
    page.mouse.wheel(0, 30_000)
    assert ([address], []) == ([url for url in page.asked if not url.startswith("data:")], page.complaints)


def test_pictures_are_seen_and_a_page_never_scrolls_sideways(visit):
    page = visit()
    broken = "[...document.images].filter(image => image.complete && !image.naturalWidth).length"
    beyond = {}
    for width in (1280, 1000, 768, 390, 320):
        page.set_viewport_size({"width": width, "height": 900})
        beyond[width] = page.evaluate(OVERFLOW), page.evaluate(broken)
    assert set(beyond.values()) == {(0, 0)}, beyond


@pytest.mark.parametrize(("width", "theme"), VIEWS)
def test_axe_finds_no_fault(visit, axe, width, theme):
    page = visit(width, theme, bypass_csp=True)
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert [] == [
        f"{rule['impact']}: {rule['id']} at {node['target']} {node['failureSummary'][:200]}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
