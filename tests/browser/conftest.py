"""One headless Chromium for all pages, and pages of several shapes."""

import shutil
import sys
from pathlib import Path

import pytest
from shapes import report

AXE = Path(sys.prefix) / "node_modules" / "axe-core" / "axe.min.js"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


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
def axe():
    if not AXE.exists():
        command = "npm install --prefix .venv axe-core"
        pytest.fail(f"axe-core is missing: '{command}', or '-m \"not browser\"'.", pytrace=False)
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """Addresses of written reports, by shape; each is written when it is first asked for."""
    folder, written = tmp_path_factory.mktemp("reports"), {}

    def address(shape):
        if shape not in written:
            path = folder / f"{shape}.html"
            path.write_text(report(shape), encoding="utf-8")
            written[shape] = path.as_uri()
        return written[shape]

    return address


@pytest.fixture
def visit(browser, pages):
    """Opens a report; the page notes what it asked for and what it complained of."""
    contexts = []

    def opened(shape="two", width=1280, theme="light", **options):
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, color_scheme=theme, reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(pages(shape))
        if options.get("java_script_enabled", True):  # what watches sizes speaks after a frame
            page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return page

    yield opened
    for context in contexts:
        context.close()
