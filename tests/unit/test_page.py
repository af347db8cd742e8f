"""The report holds every number of a comparison, nothing that a name could smuggle in, and nothing from elsewhere."""

import base64
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import cv2
import numpy as np
import pytest
from comparisons import make_comparison, make_pictures

from diptych.comparison import wording
from diptych.reports import svg
from diptych.reports.gallery import picture
from diptych.reports.highlight import highlighted
from diptych.reports.page import render
from diptych.reports.sides import sides_of
from diptych.reports.tables import markdown

HOSTILE = "<script>alert(1)</script> & \"quotes\" 'more' | {{ 7 * 7 }}"
SHAPES = {
    "two": {},
    "one pair": {"num_seeds": 1},
    "one epoch": {"num_epochs": 1, "num_seeds": 2},
    "three sides": {"num_sides": 3},
    "six sides": {"num_sides": 6, "num_seeds": 2},
    "two classes": {"num_classes": 2, "num_images": 300},
    "a hundred classes": {"num_classes": 100},
}
VOID = {"meta", "link", "img", "br", "input", "hr"}


class Reader(HTMLParser):
    """Collects text, elements and ids, and insists that every element is closed where it was opened."""

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
def test_a_page_of_any_shape_is_whole(shape):
    comparison = make_comparison(**shape)
    page = render(comparison, make_pictures(comparison))
    reader = read(page)
    assert len(set(reader.ids)) == len(reader.ids)
    assert not re.search(r"\b(nan|inf|None|undefined)\b", reader.text)
    attributes = [value for tag, found in reader.found for key, value in found.items() if key != "content"]
    assert not [value for value in attributes if value and re.search(r"\b(nan|inf|None)\b", value)]
    assert len(page) < 2_000_000


def test_every_measure_is_told(comparison, page):
    contrast = comparison["contrasts"][0]
    for measure in contrast["measures"]:
        shown = percent if measure["unit"] == "share" else "{:.4f}".format
        assert all(shown(mean) in page.text for mean in measure["means"])
        digits = 2 if measure["unit"] == "share" else 4
        scale = 100 if measure["unit"] == "share" else 1
        ends = [measure["difference"][end] * scale for end in ("mean", "low", "high")]
        assert all(f"{abs(end):.{digits}f}" in page.text for end in ends)
        assert all(f"± {scale * deviation:.{digits}f}" in page.text for deviation in measure["deviations"])
    accuracy = contrast["measures"][0]
    assert f"{accuracy['equivalence_p']:.3f}" in page.text
    assert f"{100 * accuracy['detectable']:.2f}" in page.text
    assert wording.interval(accuracy["image_interval"]) in page.text
    assert percent(contrast["agreement"]) in page.text


def test_every_pair_is_told(comparison, page):
    for pair in comparison["pairs"]["1"]:
        wanted = [percent(value) for key in ("accuracy", "macro_f1", "calibration_error") for value in pair[key]]
        wanted += [f"{value:.4f}" for value in pair["loss"]]
        wanted += [f"seed {pair['seed']}", percent(pair["agreement"]), f"{pair['mcnemar_p']:.3f}"]
        row = " ".join(wanted[:2])
        assert row in page.text
        assert all(text in page.text for text in wanted)


def test_classes_confusions_and_reliability_are_told(comparison, page):
    for entry in comparison["per_class"]:
        row = " ".join([*map(percent, entry["f1"]), wording.points(entry["f1"][1] - entry["f1"][0])])
        assert f"{row} {entry['support']}" in page.text
    for matrix in comparison["confusion"]:
        assert " ".join(str(count) for count in matrix[0] if count) in page.text
        right, total = np.trace(matrix), np.sum(matrix)
        assert f"{right:,} of {total:,} right" in page.text
    for side in comparison["reliability"]:
        assert f"expected calibration error {percent(side['expected_calibration_error'])}" in page.text


def test_costs_settings_and_the_rest_are_told(comparison, page):
    wanted = ["images/s", "MiB", "not measured"]
    wanted += [cost["note"] for cost in comparison["costs"]]
    wanted += [comparison["command"], comparison["subject"]["fingerprint"], "34,826", "1,234,567", "±0.50 points"]
    wanted += [*comparison["remarks"], *comparison["verdict"]["details"], comparison["verdict"]["headline"]]
    wanted += [f"{package} {version}" for package, version in comparison["conditions"]["versions"].items()]
    wanted += [row["rule"] for row in comparison["differences"]]
    wanted += [comparison["parity"]["verdict"], comparison["parity"]["spec_digest"], "8.1e-15"]
    wanted += ["Running averages of batch norm", "−2.42", "impossible", "agreement 97.1%", "137 KiB"]
    wanted += ["21 lines of model, 38 lines of training", *comparison["code"]["left_out"]]
    assert [text for text in wanted if text not in page.text] == []


def test_the_gallery_says_what_each_side_says(comparison, page):
    gallery = comparison["gallery"]
    assert f"{gallery['num_disagreements']} of {gallery['num_images']} test images" in page.text
    images = [found for tag, found in page.found if tag == "img"]
    assert len(images) == len(gallery["disagreements"]) + len(gallery["shared_mistakes"])
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in images)
    first = gallery["disagreements"][0]
    assert f"{100 * first['probabilities'][0]:.0f}%" in page.text


def test_names_cannot_smuggle_anything_in():
    comparison = make_comparison(num_classes=2, num_images=200)
    comparison["title"] = comparison["command"] = comparison["verdict"]["headline"] = HOSTILE
    comparison["verdict"]["details"] = comparison["remarks"] = [HOSTILE]
    comparison["subject"]["class_names"][0] = comparison["per_class"][0]["name"] = HOSTILE
    comparison["sides"][1]["name"] = HOSTILE
    comparison["settings"]["recipe"]["note"] = HOSTILE
    comparison["code"]["scripts"][0]["source"] = comparison["code"]["scripts"][0]["file"] = HOSTILE
    comparison["costs"][0]["note"] = comparison["conditions"]["processor"] = HOSTILE
    reader = read(render(comparison, {}))
    assert [tag for tag, _ in reader.found].count("script") == 1
    assert HOSTILE in reader.text
    assert "49" not in reader.text.split("Do it again")[1].split("Sides")[0]


def test_nothing_is_loaded_from_elsewhere(comparison):
    page = render(comparison, make_pictures(comparison))
    addresses = re.findall(r"https?://[^\s\"'<)]+", page)
    assert {"http://www.w3.org/2000/svg"} == set(addresses)
    sources = [found for _, found in read(page).found if "src" in found or "href" in found]
    assert all(found.get("src", found.get("href"))[:5] in {"data:"} or found["href"][0] == "#" for found in sources)
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_sections_without_data_are_left_out():
    comparison = make_comparison()
    comparison |= {"explained": None, "parity": None, "code": None, "deployment": None, "differences": [], "costs": []}
    reader = read(render(comparison, {}))
    gone = {"explained", "parity", "code", "deployment", "differences", "costs"}
    assert not gone & set(reader.ids)
    links = {found["href"][1:] for tag, found in reader.found if tag == "a"}
    assert links <= set(reader.ids)
    assert "Training speed" not in reader.text


def test_links_lead_somewhere(page):
    assert {found["href"][1:] for tag, found in page.found if tag == "a"} <= set(page.ids)


def test_headings_do_not_skip_a_level(page):
    levels = [int(tag[1]) for tag, _ in page.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_drawing_is_named_and_described(page):
    drawings = [found for tag, found in page.found if tag == "svg" and found.get("role") == "img"]
    assert len(drawings) >= 16
    for found in drawings:
        assert set(found["aria-labelledby"].split()) <= set(page.ids)
    others = [found for tag, found in page.found if tag == "svg" and found.get("role") != "img"]
    assert all(found.get("aria-hidden") == "true" or "x" in found for found in others)


def test_one_pair_has_no_interval_over_seeds():
    text = read(render(make_comparison(num_seeds=1), {})).text
    assert "one pair: no interval over seeds" in text
    assert "over 1 seeds" not in text


def test_runs_without_seeds_are_numbered():
    comparison = make_comparison()
    comparison["subject"]["seeds"] = None
    for pair in comparison["pairs"]["1"]:
        pair["seed"] = None
    assert "run 3" in read(render(comparison, {})).text


def test_runs_that_are_not_paired_have_no_pairs():
    comparison = make_comparison()
    comparison |= {"kind": "runs", "pairs": {}}
    comparison["subject"]["seeds"] = None
    for measure in comparison["contrasts"][0]["measures"]:
        measure |= {"difference": None, "equivalence_p": None, "detectable": None}
    text = read(render(comparison, {})).text
    assert "not paired: no interval over runs" in text
    assert "Pair by pair" not in text
    assert "## Pairs" not in markdown(comparison)


def test_a_certificate_without_notes_is_shown():
    comparison = make_comparison(num_seeds=1)
    for rung in comparison["parity"]["rungs"]:
        del rung["note"], rung["departs_at"]
    assert "forward pass in evaluation" in read(render(comparison, {})).text


def test_missing_validation_leaves_its_panels_out():
    comparison = make_comparison()
    for side in comparison["curves"]:
        for key in ("validation_loss", "validation_accuracy"):
            side[key] = [[None] * len(run) for run in side[key]]
    reader = read(render(comparison, {}))
    assert "curve-train-loss-title" in reader.ids
    assert "curve-validation-loss-title" not in reader.ids
    assert "No validation split was measured." in reader.text


def test_a_gap_in_a_curve_is_left_open():
    comparison = make_comparison(num_seeds=1)
    comparison["curves"][0]["train_loss"][0][4] = None
    read(render(comparison, {}))


def test_perfect_agreement_is_told():
    comparison = make_comparison()
    comparison["gallery"] |= {"num_disagreements": 0, "disagreements": [], "num_shared": 0, "shared_mistakes": []}
    comparison["confusion"] = [np.diag([90] * 10).tolist()] * 2
    text = read(render(comparison, {})).text
    assert "say the same for all 900 test images" in text
    assert "No side makes a mistake." in text


def test_captions_stand_alone_without_pictures(comparison):
    reader = read(render(comparison, {}))
    assert [tag for tag, _ in reader.found].count("img") == 0
    assert "The pictures were not at hand" in reader.text


@pytest.mark.parametrize("outcome", ["equivalent", "different", "undecided", "too-few"])
def test_each_outcome_has_words_and_a_shape_of_its_own(outcome):
    comparison = make_comparison(num_seeds=2)
    comparison["verdict"] |= {"outcome": outcome, "headline": "So it is."}
    page = render(comparison, {})
    shape = re.search(r'class="outcome-mark".*?</svg>', page, re.DOTALL).group()
    words = {"equivalent": "Equivalent", "different": "Different", "undecided": "Undecided", "too-few": "Too few runs"}
    assert words[outcome] in read(page).text
    assert {"equivalent": "circle", "different": "M28 2", "undecided": "rect", "too-few": "M28 4"}[outcome] in shape


def test_sides_differ_in_colour_shape_and_dash():
    sides = sides_of(make_comparison(num_sides=6, num_seeds=1))
    assert [side.colour for side in sides[:2]] == ["is-torch", "is-tensorflow"]
    for part in ("colour", "shape", "dash"):
        assert len({getattr(side, part) for side in sides}) == 6


def test_a_picture_comes_back_as_it_was():
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    found = picture(image)
    assert (found.width, found.height, found.is_small) == (9, 8, True)
    assert np.array_equal(decoded(found)[..., ::-1], image)


def test_a_large_picture_is_made_smaller():
    image = np.full((500, 250, 1), 80, np.uint8)
    found = picture(image)
    assert (found.width, found.height, found.is_small) == (48, 96, False)
    assert found.uri.startswith("data:image/jpeg")
    assert abs(decoded(found).mean() - 80) < 2


def decoded(found):
    data = base64.b64decode(found.uri.partition(",")[2])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    "source", ["x = 'a' # b\n", "def f(:\n  '", 'f"{{x}} {y!r}"\n', "\x0c'ä' # ü", "", "'''a\nb'''"]
)
def test_marked_source_reads_as_before(source):
    reader = Reader()
    reader.feed(f"<pre>{highlighted(source)}</pre>")
    assert "".join(reader.texts) == source


def test_comments_strings_and_keywords_are_marked():
    assert 'class="code-keyword">def' in highlighted("def f(): # why\n    return 'x'\n")
    assert 'class="code-comment"># why' in highlighted("def f(): # why\n    return 'x'\n")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.003, 0.0041), (0.93, 0.9301), (0, 12345), (-2e-9, 5e-9)])
def test_ticks_are_round_and_few(low, high):
    ticks = svg.round_values(low, high, 7)
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)


@pytest.mark.parametrize(
    ("said", "wanted"),
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
        (wording.shortened("abcdefghij", 5), "ab…ij"),
    ],
)
def test_numbers_read_well(said, wanted):
    assert said == wanted


def test_markdown_tells_the_same_numbers(comparison, page):
    text = markdown(comparison)
    numbers = re.findall(r"[+−]?\d[\d,]*\.?\d*%?", re.sub(r"^.*\| detectable \|$", "", text, flags=re.MULTILINE))
    assert [number for number in numbers if number not in page.text] == []
    assert comparison["verdict"]["headline"] in text


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_markdown_tables_are_even(shape):
    comparison = make_comparison(**shape)
    comparison["sides"][0]["name"] = "a | b"
    text = markdown(comparison)
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2 * (len(comparison["sides"]) - 1) + 1
    for lines in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_the_page_changes_nothing_in_the_comparison(comparison):
    before = json.dumps(comparison)
    render(comparison, make_pictures(comparison))
    markdown(comparison)
    assert json.dumps(comparison) == before
