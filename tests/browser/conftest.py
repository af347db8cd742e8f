"""One headless Chromium for all pages, and reports of comparisons and studies of several shapes."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from comparisons import SHAPES, make_pictures
from studies import STUDIES

from diptych.reports import study
from diptych.reports.page import render

AXE = Path(sys.prefix) / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    installed = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    with sync_playwright() as playwright:
        found = next(installed, playwright.chromium.executable_path)
        if not Path(found).exists():
            wanted = "'apt-get install -y chromium' or 'playwright install chromium'"
            pytest.fail(f"Chromium is missing: {wanted}, or '-m \"not browser\"'.", pytrace=False)
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def axe_faults():
    """A function that returns the faults axe finds on a page."""
    if not AXE.exists():
        command = "npm install --prefix .venv axe-core"
        pytest.fail(f"axe-core is missing: '{command}', or '-m \"not browser\"'.", pytrace=False)
    source = AXE.read_text(encoding="utf-8")

    def faults(page):
        page.evaluate(source)
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        return [
            f"{rule['impact']}: {rule['id']} at {node['target']} {node['failureSummary'][:200]}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]

    return faults


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """Addresses of reports by shape; each is written when it is first asked for."""
    folder, written = tmp_path_factory.mktemp("reports"), {}

    def address(shape):
        if shape not in written:
            path = folder / f"{shape}.html"
            if shape in STUDIES:
                text = study.render(STUDIES[shape]())
            else:
                comparison = SHAPES[shape]()
                text = render(comparison, make_pictures(comparison))
            path.write_text(text, encoding="utf-8")
            written[shape] = path.as_uri()
        return written[shape]

    return address


@pytest.fixture
def visit(browser, pages):
    """Opens a report, or an address; the page records its requests and its complaints."""
    contexts = []

    def opened(shape="two", width=1280, theme="light", address=None, **options):
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, color_scheme=theme, reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.requests, page.complaints = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(address or pages(shape))
        if options.get("java_script_enabled", True):  # what watches sizes reports after a frame
            page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return page

    yield opened
    for context in contexts:
        context.close()
