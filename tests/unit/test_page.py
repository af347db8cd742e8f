"""The reports hold every number they are given, no name can inject HTML, and nothing is loaded from elsewhere."""

import base64
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import cv2
import numpy as np
import pytest
from comparisons import make_comparison, make_pictures

from diptych.api.data_check import Report
from diptych.comparison import wording
from diptych.data.check.findings import Finding, Sample
from diptych.reports import page as pages
from diptych.reports import svg
from diptych.reports.figures_panels import curve_panels
from diptych.reports.page import highlighted, picture, render, render_check
from diptych.reports.tables import markdown

HOSTILE = "<script>alert(1)</script> & \"quotes\" 'more' | {{ 7 * 7 }}"
SHAPES = {
    "two": {},
    "one pair": {"num_seeds": 1},
    "one epoch": {"num_epochs": 1, "num_seeds": 2},
    "six sides": {"num_sides": 6, "num_seeds": 2},
    "two classes": {"num_classes": 2, "num_images": 300},
    "a hundred classes": {"num_classes": 100},
}
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Reader(HTMLParser):
    """Collects text, elements and ids, and asserts that every element is closed where it was opened."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.found, self.texts, self.ids = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert tag == self.open.pop()

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def percent(share):
    return f"{100 * share:.2f}%"


@pytest.fixture(scope="module")
def comparison():
    return make_comparison()


@pytest.fixture(scope="module")
def page(comparison):
    return read(render(comparison, make_pictures(comparison)))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_report_of_any_shape_is_valid_and_its_tables_are_even(shape):
    comparison = make_comparison(**shape)
    comparison["sides"][0]["name"] = "a | b"
    page = render(comparison, make_pictures(comparison))
    reader = read(page)
    assert len(set(reader.ids)) == len(reader.ids)
    text = read(render(comparison | {"code": None}, {})).text  # a script may contain None
    assert not re.search(r"\b(nan|inf|None|undefined)\b", text)
    attributes = [value for _, found in reader.found for key, value in found.items() if key != "content"]
    assert not [value for value in attributes if value and re.search(r"\b(nan|inf|None)\b", value)]
    assert len(page) < 2_000_000
    tables = [block.splitlines() for block in markdown(comparison).split("\n\n") if block.startswith("|")]
    assert len(tables) == 2 * (len(comparison["sides"]) - 1) + 2
    for lines in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def first_screen(page):
    return page.text.split("Equivalent: the two")[0]


def test_the_first_screen_has_results_then_parity_then_drift_and_no_p_value(comparison, page):
    text = first_screen(page)
    medians = {cost["key"]: cost["medians"] for cost in comparison["costs"]}
    accuracy, _, loss, _ = comparison["contrasts"][0]["measures"]
    wanted = [f" {comparison['title']} "]
    for place in (0, 1):
        wanted += [percent(accuracy["means"][place]), f"{loss['means'][place]:.4f}"]
        wanted += [f"{medians['train_throughput'][place]:,.0f}", f"{medians['train_seconds'][place]:.1f}"]
    wanted += [comparison["parity"]["summary"], *comparison["drift"]]
    places = [text.rindex(part) for part in wanted]
    assert places == sorted(places)
    assert not re.search(r"\bp\b|95%", text)


def test_a_busy_machine_leaves_speed_and_time_out_of_the_first_screen():
    comparison = make_comparison()
    comparison["disturbed"] = ["The machine was busy."]
    for text in (first_screen(read(render(comparison, {}))), markdown(comparison).split("**Equivalent")[0]):
        assert "Speed and time are left out. The machine was busy." in text
        for key in ("train_throughput", "train_seconds"):
            medians = next(cost["medians"] for cost in comparison["costs"] if cost["key"] == key)
            assert not any(f"{median:,.1f}" in text or f"{median:,.0f} " in text for median in medians)


def test_a_failed_parity_check_is_seen_on_the_first_screen():
    comparison = make_comparison()
    comparison["parity"] |= {"passed": False, "summary": "NOT the same model: see the rungs."}
    assert "✗ NOT the same model: see the rungs." in first_screen(read(render(comparison, {})))


def test_every_measure_is_shown(comparison, page):
    contrast = comparison["contrasts"][0]
    for measure in contrast["measures"]:
        scale, digits = (100, 2) if measure["unit"] == "share" else (1, 4)
        assert all(wording.size(mean, measure["unit"]) in page.text for mean in measure["means"])
        ends = [measure["difference"][end] * scale for end in ("mean", "low", "high")]
        assert all(f"{abs(end):.{digits}f}" in page.text for end in ends)
        assert all(f"± {scale * deviation:.{digits}f}" in page.text for deviation in measure["deviations"])
    accuracy = contrast["measures"][0]
    wanted = [f"{accuracy['equivalence_p']:.3f}", f"{100 * accuracy['detectable']:.2f}"]
    wanted += [wording.interval(accuracy["image_interval"]), percent(contrast["agreement"])]
    assert [text for text in wanted if text not in page.text] == []


def test_pairs_classes_confusions_and_reliability_are_shown(comparison, page):
    for pair in comparison["pairs"]["1"]:
        wanted = [percent(value) for key in ("accuracy", "macro_f1", "calibration_error") for value in pair[key]]
        wanted += [f"{value:.4f}" for value in pair["loss"]]
        wanted += [f"seed {pair['seed']}", percent(pair["agreement"]), f"{pair['mcnemar_p']:.3f}", " ".join(wanted[:2])]
        assert all(text in page.text for text in wanted)
    for entry in comparison["per_class"]:
        row = " ".join([*map(percent, entry["f1"]), wording.points(entry["f1"][1] - entry["f1"][0])])
        assert f"{row} {entry['support']}" in page.text
    for matrix in comparison["confusion"]:
        assert " ".join(str(count) for count in matrix[0] if count) in page.text
        assert f"{np.trace(matrix):,} of {np.sum(matrix):,} correct" in page.text
    for side in comparison["reliability"]:
        assert f"expected calibration error {percent(side['expected_calibration_error'])}" in page.text


def test_costs_settings_and_the_rest_are_shown(comparison, page):
    wanted = ["images/s", "MiB", "not measured"]
    wanted += [cost["note"] for cost in comparison["costs"]]
    wanted += [comparison["command"], comparison["subject"]["fingerprint"], "±0.50 points"]
    wanted += [f"{comparison['sides'][0][key]:,}" for key in ("num_parameters", "flops")]
    wanted += [*comparison["remarks"], *comparison["verdict"]["details"], comparison["verdict"]["headline"]]
    wanted += [f"{package} {version}" for package, version in comparison["conditions"]["versions"].items()]
    wanted += [row["rule"] for row in comparison["differences"]]
    wanted += [comparison["parity"]["verdict"], comparison["parity"]["spec_digest"], "8.1e-15"]
    explained, script = comparison["explained"], comparison["code"]["scripts"][0]
    wanted += [wording.headed(row["title"]) for row in explained["defaults"]]
    wanted += [wording.points(explained["native"]["mean"]), "impossible", "agreement 97.1%", "137 KiB"]
    wanted += [f"{script['model_lines']} lines of model, {script['training_lines']} lines of training"]
    wanted += comparison["code"]["left_out"]
    assert [text for text in wanted if text not in page.text] == []


def test_the_gallery_shows_images_with_both_predictions(comparison, page):
    gallery = comparison["gallery"]
    assert f"{gallery['num_disagreements']} of {gallery['num_images']} test images" in page.text
    images = [found for tag, found in page.found if tag == "img"]
    assert len(images) == len(gallery["disagreements"]) + len(gallery["shared_mistakes"])
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in images)
    assert f"{100 * gallery['disagreements'][0]['probabilities'][0]:.0f}%" in page.text
    bare = read(render(comparison, {}))
    assert "img" not in [tag for tag, _ in bare.found]
    assert "The images are not available" in bare.text


def test_names_cannot_inject_html():
    comparison = make_comparison(num_classes=2, num_images=200)
    comparison["title"] = comparison["command"] = comparison["verdict"]["headline"] = HOSTILE
    comparison["verdict"]["details"] = comparison["remarks"] = comparison["drift"] = comparison["disturbed"] = [HOSTILE]
    comparison["subject"]["class_names"][0] = comparison["per_class"][0]["name"] = HOSTILE
    comparison["sides"][1]["name"] = comparison["parity"]["summary"] = HOSTILE
    comparison["settings"]["recipe"]["note"] = HOSTILE
    comparison["code"]["scripts"][0]["source"] = comparison["code"]["scripts"][0]["file"] = HOSTILE
    comparison["costs"][0]["note"] = comparison["conditions"]["processor"] = HOSTILE
    reader = read(render(comparison, {}))
    assert [tag for tag, _ in reader.found].count("script") == 1
    assert HOSTILE in reader.text
    assert "49" not in reader.text.split("Command")[1].split("Sides")[0]


def test_nothing_is_loaded_from_elsewhere(comparison):
    page = render(comparison, make_pictures(comparison))
    assert {"http://www.w3.org/2000/svg"} == set(re.findall(r"https?://[^\s\"'<)]+", page))
    sources = [found for _, found in read(page).found if "src" in found or "href" in found]
    assert all(found.get("src", found.get("href"))[:5] in {"data:"} or found["href"][0] == "#" for found in sources)
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_sections_without_data_are_left_out():
    comparison = make_comparison()
    comparison |= {"explained": None, "parity": None, "code": None, "deployment": None, "differences": [], "costs": []}
    comparison["drift"] = []
    reader = read(render(comparison, {}))
    gone = {"explained", "parity", "code", "deployment", "differences", "costs"}
    assert not gone & set(reader.ids)
    assert {found["href"][1:] for tag, found in reader.found if tag == "a"} <= set(reader.ids)


def test_links_headings_and_drawings_are_accessible(page):
    assert {found["href"][1:] for tag, found in page.found if tag == "a"} <= set(page.ids)
    levels = [int(tag[1]) for tag, _ in page.found if re.fullmatch("h[1-6]", tag)]
    assert (1, 1) == (levels[0], levels.count(1))
    assert all(after <= before + 1 for before, after in pairwise(levels))
    drawings = [found for tag, found in page.found if tag == "svg" and found.get("role") == "img"]
    assert len(drawings) >= 16
    assert all(set(found["aria-labelledby"].split()) <= set(page.ids) for found in drawings)
    others = [found for tag, found in page.found if tag == "svg" and found.get("role") != "img"]
    assert all(found.get("aria-hidden") == "true" or "x" in found for found in others)


def test_one_pair_has_no_interval_over_seeds():
    text = read(render(make_comparison(num_seeds=1), {})).text
    assert "one pair: no interval over seeds" in text
    assert "over 1 seeds" not in text


def test_runs_without_seeds_are_numbered_and_those_not_paired_have_no_pairs():
    comparison = make_comparison()
    comparison["subject"]["seeds"] = None
    for pair in comparison["pairs"]["1"]:
        pair["seed"] = None
    assert "run 3" in read(render(comparison, {})).text
    comparison |= {"kind": "runs", "pairs": {}}
    for measure in comparison["contrasts"][0]["measures"]:
        measure |= {"difference": None, "equivalence_p": None, "detectable": None}
    text = read(render(comparison, {})).text
    assert "not paired: no interval over runs" in text
    assert "Pair by pair" not in text
    assert "## Pairs" not in markdown(comparison)


def test_without_a_validation_split_its_curves_are_left_out():
    comparison = make_comparison()
    for side in comparison["curves"]:
        for key in ("validation_loss", "validation_accuracy"):
            side[key] = [[None] * len(run) for run in side[key]]
    reader = read(render(comparison, {}))
    assert "curve-train-loss-title" in reader.ids
    assert "curve-validation-loss-title" not in reader.ids
    assert "There is no validation split." in reader.text


def test_a_missing_epoch_leaves_a_gap_in_a_curve():
    comparison = make_comparison(num_seeds=1)
    whole = curve_panels(comparison, svg.sides_of(comparison))[0]
    comparison["curves"][0]["train_loss"][0][4] = None
    gapped = curve_panels(comparison, svg.sides_of(comparison))[0]
    lines = [re.findall(r'd="M([^"]+)" class="line"', panel) for panel in (whole, gapped)]
    assert [2, 3] == [len(found) for found in lines]
    whole_points, *parts = (line.split("L") for line in (lines[0][0], *lines[1][:2]))
    assert ([4, 5], [10]) == ([len(part) for part in parts], [len(whole_points)])
    assert [point.split()[0] for part in parts for point in part] == [
        point.split()[0] for place, point in enumerate(whole_points) if place != 4
    ]


def test_perfect_agreement_is_stated():
    comparison = make_comparison()
    comparison["gallery"] |= {"num_disagreements": 0, "disagreements": [], "num_shared": 0, "shared_mistakes": []}
    comparison["confusion"] = [np.diag([90] * 10).tolist()] * 2
    text = read(render(comparison, {})).text
    assert "predict the same class for all 900 test images" in text
    assert "Neither side makes a mistake." in text


@pytest.mark.parametrize(
    ("outcome", "words", "shape"),
    [
        ("equivalent", "Equivalent", "circle"),
        ("different", "Different", "M28 2"),
        ("undecided", "Undecided", "rect"),
        ("too-few", "Too few runs", "M28 4"),
    ],
)
def test_each_outcome_has_its_own_words_and_shape(outcome, words, shape):
    comparison = make_comparison(num_seeds=2)
    comparison["verdict"] |= {"outcome": outcome, "headline": "So it is."}
    page = render(comparison, {})
    assert words in read(page).text
    assert shape in re.search(r'class="outcome-mark".*?</svg>', page, re.DOTALL).group()


def test_sides_differ_in_colour_shape_and_dash():
    sides = svg.sides_of(make_comparison(num_sides=6, num_seeds=1))
    assert [side.colour for side in sides[:2]] == ["is-torch", "is-tensorflow"]
    for part in ("colour", "shape", "dash"):
        assert len({getattr(side, part) for side in sides}) == 6


def decoded(picture):
    data = base64.b64decode(picture.uri.partition(",")[2])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def test_small_images_are_kept_exactly_and_large_ones_shrunk():
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    small, large = picture(image), picture(np.full((500, 250, 1), 80, np.uint8))
    assert (9, 8, True) == (small.width, small.height, small.is_small)
    assert np.array_equal(decoded(small)[..., ::-1], image)
    assert (48, 96, False) == (large.width, large.height, large.is_small)
    assert large.uri.startswith("data:image/jpeg")
    assert abs(decoded(large).mean() - 80) < 2


@pytest.mark.parametrize("source", ["x = 'a' # b\n", "def f(:\n  '\n", 'f"{{x}} {y!r}"\n', "'ä' # ü\n", "'''a\nb'''\n"])
def test_highlighted_source_reads_the_same(source):
    reader = Reader()
    reader.feed(f"<div>{highlighted(source)}</div>")
    assert "".join(reader.texts) == source


def test_comments_strings_and_keywords_are_highlighted():
    marked = highlighted("def f(): # why\n    return 'x'\n")
    classes = {text.strip("'"): kind for kind, text in re.findall(r'<span class="(\w+)">([^<]*)</span>', marked)}
    assert {"def": "k", "# why": "c1", "return": "k"}.items() <= classes.items()
    assert 'class="s1"' in marked


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.003, 0.0041), (0.93, 0.9301), (0, 12345), (-2e-9, 5e-9)])
def test_ticks_are_round_and_few(low, high):
    ticks = svg.round_values(low, high, 7)
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)


def test_long_names_are_shortened_in_the_middle():
    assert ("abcdefghij", "ab…ij") == (svg.fitted("abcdefghij", 80), svg.fitted("abcdefghij", 40))


def test_markdown_has_the_numbers_of_the_page(comparison, page):
    before = json.dumps(comparison)
    text = markdown(comparison)
    numbers = re.findall(r"[+−]?\d[\d,]*\.?\d*%?", re.sub(r"^.*\| detectable \|$", "", text, flags=re.MULTILINE))
    assert [number for number in numbers if number not in page.text] == []
    assert comparison["verdict"]["headline"] in text
    assert json.dumps(comparison) == before


def check(tmp_path, *findings):
    return Report("photos", {"train": 1_000, "test": 200}, 3, findings, (), tmp_path).to_json()


def samples(*places, name="cat/{}.png"):
    return tuple(Sample(place, "train", name.format(place), "cat") for place in places)


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return {place: picture(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)) for place in range(100)}


def test_a_finding_is_shown_with_names_reason_and_images(tmp_path, pictures):
    page = render_check(check(tmp_path, Finding("leakage", "in train and test", samples(3, 8))), pictures)
    assert '<h1 id="verdict-title">1 error in 1,200 images</h1>' in page
    assert "in train and test" in page
    for place in (3, 8):
        assert pictures[place].uri in page
        assert f'alt="cat/{place}.png, cat, train"' in page


def test_names_of_a_check_cannot_inject_html(tmp_path, pictures):
    findings = [
        Finding("duplicate", HOSTILE, samples(1, 2, name=HOSTILE)),
        Finding("empty", HOSTILE, samples(999, name=HOSTILE)),
        Finding("empty-class", HOSTILE),
    ]
    page = render_check(check(tmp_path, *findings), pictures)
    assert "<script" not in page
    assert "script-src" not in page
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;quotes&#34; &#39;more&#39; | {{ 7 * 7 }}" in page


def test_many_findings_are_shown_up_to_a_limit_and_counted(tmp_path, pictures):
    findings = [Finding("blank", "black all over", samples(place)) for place in range(700)]
    page = render_check(check(tmp_path, *findings), pictures)
    assert pages.MAX_SHOWN == page.count("<img ") == len(list(pages.shown_places(findings)))
    assert "652 more, by name" in page
    assert "All 700 are in <code>findings.json</code>" in page
    group = render_check(check(tmp_path, Finding("duplicate", "20 times", samples(*range(20)))), pictures)
    assert pages.MAX_GROUP == group.count("<img ")
    assert "and 14 more" in group


def test_files_without_images_are_listed_and_no_findings_are_stated(tmp_path, pictures):
    findings = [Finding("damaged", "broken", samples(place)) for place in range(900, 960)]
    page = render_check(check(tmp_path, *findings), pictures)
    assert 60 == len(re.findall(r"<li><code class=\"breaks\">cat/9\d\d\.png</code>", page))
    assert "<img " not in page
    assert "No problems in 1,200 images" in render_check(check(tmp_path), {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (wording.points(0.00123), "+0.12"),
        (wording.points(-0.00001), "0.00"),
        (wording.change(-0.0123, "nats"), "−0.0123 nats"),
        (wording.p_value(0.0001), "<0.001"),
        (wording.quantity(1536, "bytes"), "1.5 KiB"),
        (wording.quantity(12345.6, "images/s"), "12,346 images/s"),
        (wording.quantities(4.8, 5.4, "ms"), "4.80 to 5.40 ms"),
        (wording.quantities(512, 2048, "bytes"), "512 bytes to 2.0 KiB"),
        (wording.ratio(2.0, 3.0), "1.50×"),
        (wording.plural(1, "class"), "1 class"),
        (wording.plural(2, "class"), "2 classes"),
    ],
)
def test_numbers_are_formatted_for_people(text, expected):
    assert text == expected
