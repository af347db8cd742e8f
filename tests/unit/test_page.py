"""The reports hold every number and finding they are given, and no name can inject HTML."""

import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from comparisons import SHAPES, make_comparison, make_pictures

from diptych.api.comparison import command_line
from diptych.api.data_check import Report
from diptych.comparison import wording
from diptych.data.rules import Finding, Sample
from diptych.reports import page as pages
from diptych.reports.page import markdown, picture, render, render_check

HOSTILE = "<script>alert(1)</script> & \"quotes\" 'more' | {{ 7 * 7 }}"
OUTCOMES = {"equivalent": "Equivalent", "different": "Different", "undecided": "Undecided", "too-few": "Too few runs"}
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

    def handle_endtag(self, tag):
        assert tag in VOID or tag == self.open.pop()

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
    comparison = shape()
    comparison["sides"][0]["name"] = "a | b"
    page = render(comparison, make_pictures(comparison))
    reader = read(page)
    assert len(set(reader.ids)) == len(reader.ids)
    assert {found["href"][1:] for tag, found in reader.found if tag == "a"} <= set(reader.ids)
    assert "default-src 'none'" in page
    text = read(render(comparison | {"code": None}, {})).text  # a script may contain None
    assert not re.search(r"\b(nan|inf|None|undefined)\b", text)
    attributes = [value for _, found in reader.found for key, value in found.items() if key != "content"]
    assert not [value for value in attributes if value and re.search(r"\b(nan|inf|None)\b", value)]
    assert len(page) < 2_000_000
    tables = [block.splitlines() for block in markdown(comparison).split("\n\n") if block.startswith("|")]
    assert len(tables) == 2 * (len(comparison["sides"]) - 1) + 3
    for lines in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_the_first_screen_has_parity_then_results_then_drift_and_no_p_value(comparison, page):
    text = page.text.split("Equivalent: the two")[0]
    medians = {cost["key"]: cost["medians"] for cost in comparison["costs"]}
    accuracy, _, loss, _ = comparison["contrasts"][0]["measures"]
    wanted = [
        f" {comparison['title']} ",
        "✓ Proven equal: given the same weights, images and settings, both frameworks",
    ]
    wanted.append(comparison["parity"]["summary"].replace("e-", "e‑"))
    for place in (0, 1):
        wanted += [percent(accuracy["means"][place]), f"{loss['means'][place]:.4f}"]
        wanted += [f"{medians['train_throughput'][place]:,.0f}", f"{medians['train_seconds'][place]:.1f}"]
    for pair in comparison["drift"]["pairs"]:
        same = f"{percent(pair['num_same'] / pair['num_images'])} {pair['num_same']} of {pair['num_images']}"
        wanted.append(f"{pair['title']} {same} {wording.change(pair['accuracy'])} points")
    wanted.append(comparison["drift"]["sentence"])
    places = [text.rindex(part) for part in wanted]
    assert places == sorted(places)
    assert not re.search(r"\bp\b|95%", text)


def test_a_busy_machine_leaves_speed_and_time_out_of_the_first_screen_which_shows_failed_parity():
    comparison = make_comparison()
    comparison["disturbed"] = ["The machine was busy."]
    comparison["parity"] |= {"passed": False, "verdict": "NOT the same model: 1 of 4 comparisons failed."}
    shown = read(render(comparison, {})).text.split("Equivalent: the two")[0]
    assert (
        "✗ Not equal: given the same weights, images and settings, the frameworks compute different numbers." in shown
    )
    assert comparison["parity"]["verdict"] in shown
    for text in (shown, markdown(comparison).split("**Equivalent")[0]):
        assert "Speeds and times are omitted. The machine was busy." in text
        for key in ("train_throughput", "train_seconds"):
            medians = next(cost["medians"] for cost in comparison["costs"] if cost["key"] == key)
            assert not any(f"{median:,.1f}" in text or f"{median:,.0f} " in text for median in medians)


@pytest.mark.parametrize(
    ("names", "first"),
    [([], ""), (["GPUs"], "GPUs"), (["SGD", "mixup", "cutout", "GPUs"], "SGD, mixup, cutout, and 1 more")],
)
def test_what_a_certificate_does_not_show_is_beside_what_it_proves(names, first):
    comparison = make_comparison()
    comparison["parity"] |= {"not_tested": names, "not_used": names}
    page, text = read(render(comparison, {})).text, markdown(comparison)
    assert bool(names) == (f"Not tested: {first}." in page.split("Results on the test set")[0])
    for label in ("Not tested", "Not used by the recipe or the model"):
        listed = f"{label}: {', '.join(names)}."
        assert [bool(names)] * 3 == [listed in page, listed in text, label in page]


def test_every_number_is_shown(comparison, page):
    contrast = comparison["contrasts"][0]
    wanted = [percent(contrast["agreement"]), "images/s", "MiB", "not measured", "±0.50 points"]
    for measure in contrast["measures"]:
        unit = measure["unit"]
        wanted += [wording.size(mean, unit) for mean in measure["means"]]
        wanted += [wording.change(measure["difference"][end], unit) for end in ("mean", "low", "high")]
        wanted += [f"± {wording.spread(deviation, unit)}" for deviation in measure["deviations"]]
        wanted += [wording.interval(measure["image_interval"], unit)]
    accuracy = contrast["measures"][0]
    wanted += [f"{accuracy['equivalence_p']:.3f}", f"{100 * accuracy['detectable']:.2f}"]
    for pair in comparison["pairs"]["1"]:
        shares = [percent(value) for key in ("accuracy", "macro_f1", "calibration_error") for value in pair[key]]
        wanted += [*shares, *(f"{value:.4f}" for value in pair["loss"]), " ".join(shares[:2])]
        wanted += [f"seed {pair['seed']}", percent(pair["agreement"]), f"{pair['mcnemar_p']:.3f}"]
    for entry in comparison["per_class"]:
        difference = wording.change(entry["f1"][1] - entry["f1"][0])
        wanted.append(" ".join([*map(percent, entry["f1"]), difference, str(entry["support"])]))
    for matrix in comparison["confusion"]:
        wanted.append(" ".join(str(count) for count in matrix[0] if count))
        wanted.append(f"{np.trace(matrix):,} of {np.sum(matrix):,} correct")
    errors = [percent(side["expected_calibration_error"]) for side in comparison["reliability"]]
    wanted += [f"expected calibration error {error}" for error in errors]
    wanted += [cost["note"] for cost in comparison["costs"]]
    wanted += [comparison["command"], comparison["subject"]["fingerprint"]]
    wanted += [f"{comparison['sides'][0][key]:,}" for key in ("num_parameters", "flops")]
    wanted += [*comparison["remarks"], *comparison["verdict"]["details"], comparison["verdict"]["headline"]]
    wanted += [f"{package} {version}" for package, version in comparison["conditions"]["versions"].items()]
    wanted += [row["rule"] for row in comparison["differences"]]
    wanted += [comparison["parity"]["verdict"], comparison["parity"]["spec_digest"], "8.1e-15"]
    explained, script = comparison["explained"], comparison["code"]["scripts"][0]
    wanted += [wording.headed(row["title"]) for row in explained["defaults"]]
    wanted += [wording.change(explained["native"]["mean"]), "impossible", "agreement 97.1%", "137 KiB"]
    wanted += [f"{script['lines']} lines of code"]
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
    comparison["verdict"]["details"] = comparison["remarks"] = comparison["disturbed"] = [HOSTILE]
    comparison["drift"]["sentence"] = comparison["drift"]["pairs"][0]["title"] = HOSTILE
    comparison["parity"] |= {"not_tested": [HOSTILE], "not_used": [HOSTILE]}
    comparison["subject"]["class_names"][0] = comparison["per_class"][0]["name"] = HOSTILE
    comparison["sides"][1]["name"] = comparison["parity"]["summary"] = HOSTILE
    comparison["settings"]["recipe"]["note"] = HOSTILE
    comparison["code"]["scripts"][0]["source"] = comparison["code"]["scripts"][0]["file"] = HOSTILE
    comparison["costs"][0]["note"] = comparison["conditions"]["processor"] = HOSTILE
    reader = read(render(comparison, {}))
    assert [tag for tag, _ in reader.found].count("script") == 1
    assert HOSTILE in reader.text
    assert "49" not in reader.text.split("Command")[1].split("Sides")[0]


def test_what_was_not_measured_is_left_out():
    gone = {"explained": None, "parity": None, "code": None, "deployment": None, "differences": [], "costs": []}
    comparison = make_comparison() | gone | {"drift": None}
    comparison["gallery"] |= {"num_disagreements": 0, "disagreements": [], "num_shared": 0, "shared_mistakes": []}
    comparison["confusion"] = [np.diag([90] * 10).tolist()] * 2
    for side in comparison["curves"]:
        for key in ("validation_loss", "validation_accuracy"):
            side[key] = [[None] * len(run) for run in side[key]]
    reader = read(render(comparison, {}))
    assert not gone.keys() & set(reader.ids)
    assert "Validation loss" not in reader.text
    said = ["Training loss", "There is no validation split.", "predict the same class for all 900 test images"]
    assert [] == [words for words in (*said, "There are no mistakes.") if words not in reader.text]


def test_every_drawing_has_a_description_or_is_hidden(page):
    drawings = [found for tag, found in page.found if tag == "svg"]
    described = [found for found in drawings if found.get("role") == "img" and found["aria-label"]]
    assert 6 == len(described)
    assert all(found.get("aria-hidden") == "true" or "x" in found for found in drawings if found not in described)


def test_pairs_runs_and_intervals_are_named_after_what_there_is():
    text = read(render(make_comparison(num_seeds=1), {})).text
    assert "one pair: no interval over seeds" in text
    assert "over 1 seeds" not in text
    comparison = make_comparison()
    for part in (comparison["subject"], *comparison["pairs"]["1"]):
        part |= {"seed": None, "seeds": None}
    assert "run 3" in read(render(comparison, {})).text


def test_each_outcome_has_its_own_words_and_shape():
    comparison, shapes = make_comparison(num_seeds=2), set()
    for outcome, words in OUTCOMES.items():
        comparison["verdict"] |= {"outcome": outcome, "headline": "So it is."}
        page = render(comparison, {})
        assert words in read(page).text
        shapes |= {re.search(r'class="outcome-mark".*?</svg>', page, re.DOTALL).group()}
    assert 4 == len(shapes)


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
    findings = [Finding("blank", "one color all over", samples(place)) for place in range(700)]
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
    ("arguments", "shown"),
    [
        (["/venv/bin/diptych", "compare", "my data"], "diptych compare 'my data'"),
        (["/src/diptych/__main__.py", "compare", "digits"], "diptych compare digits"),
        (["/venv/ipykernel_launcher.py", "-f", "kernel.json"], "# run in a notebook"),
    ],
)
def test_the_command_of_a_report_is_that_of_its_user(arguments, shown, monkeypatch):
    monkeypatch.setattr(sys, "argv", arguments)
    assert shown == command_line()
