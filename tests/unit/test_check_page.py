"""The report of a data check shows every finding, up to a limit, and no name can inject HTML."""

import re

import numpy as np
import pytest

from diptych.api.data_check import Report
from diptych.data.check import Finding, Sample
from diptych.reports import page as pages
from diptych.reports.page import picture, render_check

HOSTILE = "<script>alert(1)</script> & \"quotes\" 'more' | {{ 7 * 7 }}"


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
