"""Reports in a real browser: whole, quiet, legible, reachable by keyboard, in every theme, width and on paper."""

import numpy as np
import pytest
from comparisons import SHAPES
from planted import write_every_kind, write_good
from studies import STUDIES

from diptych import check_data

pytestmark = pytest.mark.browser

VIEWS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
SHAPES_AND_VIEWS = [*((shape, *view) for shape in ("two", "long", "study") for view in VIEWS)]
SHAPES_AND_VIEWS += [("three", 1280, "dark"), ("hundred", 390, "light")]
SHAPES_AND_VIEWS += [("study of failures", 390, "dark"), ("study with long names", 390, "light")]
WIDTHS = (1280, 1000, 768, 390, 320)
INTERACTIVE = "a[href], button, select, summary, [tabindex='0']"

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
OPEN_ALL = "document.querySelectorAll('details').forEach(part => { part.open = true })"
IS_SHOWN = "part.checkVisibility({ contentVisibilityAuto: true, visibilityProperty: true })"

FLAT = f"""() => [...document.querySelectorAll('.drawing')].filter(part => {IS_SHOWN}).filter(part => {{
    const box = part.getBBox(), place = part.getBoundingClientRect();
    return !(box.width > 0.5 && box.height > 0.5 && place.width > 100 && place.height > 30);
}}).map(part => part.id || part.getAttribute('aria-label'))"""

COLLISIONS = f"""() => [...document.querySelectorAll('.drawing, .strip')].filter(part => {IS_SHOWN})
    .flatMap(drawing => {{
    const texts = [...drawing.querySelectorAll('text')], frame = drawing.getBoundingClientRect();
    const boxes = texts.map(text => [text.textContent, text.getBoundingClientRect()]).filter(([, box]) => box.width);
    const out = boxes.filter(([, box]) => box.left < frame.left - 3 || box.right > frame.right + 3
        || box.top < frame.top - 3 || box.bottom > frame.bottom + 3).map(([text]) => `outside: ${{text}}`);
    const over = boxes.flatMap(([one, a], k) => boxes.slice(k + 1).filter(([, b]) =>
        Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3).map(([two]) => `${{one}} over ${{two}}`));
    return [...out, ...over];
}})"""

REACHED = """() => {
    const part = document.activeElement;
    part.dataset.reached = '';
    const style = getComputedStyle(part);
    return part === document.body ? 'nowhere' : style.outlineStyle === 'none' ? part.outerHTML.slice(0, 80) : '';
}"""

CONTRAST = """([kind, name, ground, ink]) => {
    const cell = document.createElement(kind), canvas = document.createElement('canvas').getContext('2d');
    cell.className = name;
    document.querySelector('.matrix tbody tr').append(cell);
    const light = color => {
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(part => part / 255)
            .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const style = getComputedStyle(cell), card = getComputedStyle(document.querySelector('.card')).backgroundColor;
    const [low, high] = [light(ground ? style[ground] : card), light(style[ink])].sort((a, b) => a - b);
    cell.remove();
    return (high + 0.05) / (low + 0.05);
}"""


@pytest.mark.parametrize("shape", [*SHAPES, *STUDIES])
def test_a_page_of_any_shape_loads_nothing_and_fits_every_width(visit, pages, shape):
    page = visit(shape)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(FLAT) + page.evaluate(COLLISIONS) == [], width
    assert "NaN" not in page.content()
    page.evaluate(OPEN_ALL)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(OVERFLOW) == 0, width
    page.mouse.wheel(0, 30_000)
    requests = [url for url in page.requests if not url.startswith("data:")]
    assert ([pages(shape)], []) == (requests, page.complaints)


@pytest.mark.parametrize(("shape", "width", "theme"), SHAPES_AND_VIEWS)
def test_axe_finds_no_fault(visit, axe_faults, shape, width, theme):
    page = visit(shape, width, theme, bypass_csp=True)
    page.evaluate(OPEN_ALL)
    assert axe_faults(page) == []


@pytest.mark.parametrize(("width", "whole"), [(1280, "#results, #measures"), (390, "#results")])
def test_the_first_screen_shows_parity_and_the_whole_table_and_measures_fit_a_laptop(visit, width, whole):
    page = visit("two", width)
    for box in (page.locator(part).bounding_box() for part in (".results", "#results .lead")):
        assert (True, True) == (box["x"] + box["width"] <= width, box["y"] + box["height"] <= 900)
    assert page.locator(whole).locator(".scroll.is-cut").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_cells_can_be_read_and_colors_be_seen(visit, theme):
    page = visit("two", theme=theme)
    cells = [f"heat-{level}" for level in range(1, 11)] + [f"right-{level}" for level in range(1, 6)]
    assert [name for name in cells if page.evaluate(CONTRAST, ["td", name, "backgroundColor", "color"]) < 4.5] == []
    sides = ["is-torch", "is-tensorflow", "is-green", "is-purple", "is-orange", "is-sky", "is-black"]
    assert [name for name in sides if page.evaluate(CONTRAST, ["td", name, None, "color"]) < 3] == []


@pytest.mark.parametrize("width", [1280, 390])
def test_everything_is_reached_by_tab_and_shows_it_and_the_first_link_leads_to_the_report(visit, width):
    page = visit("two", width)
    parts = f"[...document.querySelectorAll(`{INTERACTIVE}`)].filter(part => {IS_SHOWN})"
    wanted = page.evaluate(f"{parts}.length")
    assert wanted > 40
    for _ in range(wanted):
        page.keyboard.press("Tab")
        assert page.evaluate(REACHED) == ""
    missed = f"{parts}.filter(part => !('reached' in part.dataset)).map(part => part.outerHTML.slice(0, 80))"
    assert page.evaluate(missed) == []
    page.locator("a").first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_class_is_highlighted_everywhere_and_let_go_again(visit):
    page = visit()
    page.locator(".class-table tbody tr").nth(2).hover()
    assert page.locator(".matrix tr.is-lit").count() == 2
    page.mouse.move(5, 5)
    assert page.locator(".matrix tr.is-lit").count() == 0
    button = page.locator(".class-button").nth(3)
    number = button.get_attribute("data-class")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert page.locator(".picked").is_visible()
    assert page.locator(".matrix tr.is-lit").count() == 2
    assert page.locator(".matrix td.lit-cell").count() == 20
    classes_of = "shots => shots.map(s => [s.dataset.true, ...s.dataset.predicted.split(' ')])"
    lit = page.locator(".shot.is-lit").evaluate_all(classes_of)
    assert lit
    assert all(number in classes for classes in lit)
    page.keyboard.press("Escape")
    assert page.locator(".is-lit").count() == 0
    assert button.get_attribute("aria-pressed") == "false"


def test_a_class_is_highlighted_by_keyboard_and_in_maps(visit):
    page = visit("hundred")
    button = page.locator(".class-button").first
    button.focus()
    page.keyboard.press("Enter")
    assert page.locator(".lit-row.is-lit").first.get_attribute("y") == button.get_attribute("data-class")
    page.locator(".picked-clear").click()
    page.mouse.move(5, 5)
    assert page.locator(".lit-row.is-lit").count() == 0


def test_the_gallery_is_narrowed_to_a_class_and_the_command_is_copied(visit):
    page = visit()
    button = page.locator("[data-copy=command]")
    button.click()
    page.wait_for_function("document.querySelector('[data-copy=command]').textContent !== 'Copy'")
    assert button.inner_text() in {"Copied", "Selected"}
    total = page.locator(".shot").count()
    page.select_option("#gallery-class", "8")
    shown = page.locator(".shot:not([hidden])")
    assert 0 < shown.count() < total
    assert page.locator(".filter-count").inner_text() == f"{shown.count()} of {total} images"
    page.select_option("#gallery-class", "")
    assert page.locator(".shot:not([hidden])").count() == total


def test_values_are_told_on_hover_and_by_arrow_keys(visit):
    page = visit()
    tip = page.locator(".tip")
    plot = page.locator("#curves .plot").first
    plot.focus()
    page.keyboard.press("ArrowRight")
    first = tip.inner_text()
    page.keyboard.press("ArrowRight")
    assert first.startswith("Epoch ")
    assert tip.inner_text() != first
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.locator("#costs .mark").first.hover()
    assert "images/s" in tip.inner_text()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(
    ("section", "first"), [("history", "Trial 0 (default recipe), finished: "), ("front", "Trial ")]
)
def test_the_trials_of_a_study_are_reached_by_arrow_keys_in_the_chart_of_this_width(visit, section, first, width):
    page = visit("study", width)
    plots = page.locator(f"#{section} .plot").filter(visible=True)
    assert plots.count() == 1
    plots.focus()  # shows the first trial, unless the page then scrolls
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    assert page.locator(".tip").inner_text().startswith(first)


def test_the_theme_is_switched_and_nothing_moves_for_those_who_want_no_motion(visit):
    page = visit()
    moving = "[...document.querySelectorAll('*')].filter(p => parseFloat(getComputedStyle(p).transitionDuration) > 0)"
    assert page.evaluate(f"{moving}.length") == 0
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    color = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(color)
    page.locator(".theme").click()
    dark = page.evaluate(color)
    assert light != dark
    page.locator(".theme").click()
    assert page.evaluate(color) == light
    assert visit("two", theme="dark").evaluate(color) == dark


def test_the_contents_unfold_on_a_phone_and_fold_after_a_choice(visit):
    page = visit("two", 390)
    page.locator(".menu > summary").click()
    page.locator(".menu a", has_text="Costs").click()
    assert page.locator(".menu").get_attribute("open") is None
    assert page.evaluate("Math.abs(document.querySelector('#costs').getBoundingClientRect().top) < 200")


def test_a_page_reads_without_scripts(visit):
    page = visit("two", java_script_enabled=False)
    text = page.locator("main").inner_text()
    assert "Equivalent: the two differ by less than 0.5 points." in text
    assert page.locator("#curves .drawing").first.is_visible()
    assert page.locator(".shot").first.is_visible()
    assert not any(page.locator(part).first.is_visible() for part in (".theme", ".copy", ".filter", ".needs-script"))
    page.locator("#settings summary").first.click()
    assert page.locator("#settings details table").first.is_visible()


@pytest.mark.parametrize("shape", [*SHAPES, *STUDIES])
def test_paper_is_light_and_holds_everything(visit, shape):
    page = visit(shape, 700, "dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not any(page.locator(part).first.is_visible() for part in (".top", ".contents", ".copy", ".filter"))
    closed = f"[...document.querySelectorAll('main details > :not(summary)')].filter(part => !({IS_SHOWN}))"
    clipped = "[...document.querySelectorAll('.scroll')].filter(p => getComputedStyle(p).overflowX !== 'visible')"
    assert [page.evaluate(f"{parts}.length") for parts in (closed, clipped)] == [0, 0]
    assert page.evaluate(OVERFLOW) <= 0


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


def test_a_check_loads_nothing_shows_its_images_and_never_scrolls_sideways(visit, address):
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
def test_axe_finds_no_fault_in_a_check(visit, axe_faults, address, width, theme):
    page = visit(None, width, theme, address, bypass_csp=True)
    page.evaluate(OPEN_ALL)
    assert [] == axe_faults(page)
