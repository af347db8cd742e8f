"""The page of a check holds what was found, as text and as pictures, and nothing that a name could smuggle in."""

import re

import numpy as np
import pytest

from diptych.api.data_check import Report
from diptych.data.check.findings import Finding, Sample
from diptych.reports import check_page
from diptych.reports.gallery import picture

HOSTILE = "<script>alert(1)</script> & \"quotes\" 'more' {{ 7 * 7 }}"


def report(tmp_path, *findings):
    return Report("photos", {"train": 1_000, "test": 200}, 3, findings, (), tmp_path).to_json()


def samples(*places, name="cat/{}.png"):
    return tuple(Sample(place, "train", name.format(place), "cat") for place in places)


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return {place: picture(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)) for place in range(200)}


def test_a_finding_is_shown_with_names_reason_and_pictures(tmp_path, pictures):
    page = check_page.render(report(tmp_path, Finding("leakage", "in train and test", samples(3, 8))), pictures)
    assert '<h1 id="verdict-title">1 error in 1,200 images</h1>' in page
    assert "in train and test" in page
    for place in (3, 8):
        assert pictures[place].uri in page
        assert f'alt="cat/{place}.png, cat, train"' in page


def test_hostile_names_are_only_text(tmp_path, pictures):
    findings = [
        Finding("duplicate", HOSTILE, samples(1, 2, name=HOSTILE)),
        Finding("empty", HOSTILE, samples(999, name=HOSTILE)),
        Finding("empty-class", HOSTILE),
    ]
    page = check_page.render(report(tmp_path, *findings), pictures)
    assert "<script" not in page
    assert "script-src" not in page
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;quotes&#34; &#39;more&#39; {{ 7 * 7 }}" in page


def test_many_findings_are_shown_up_to_a_limit_and_counted(tmp_path, pictures):
    findings = [Finding("blank", "black all over", samples(place)) for place in range(700)]
    page = check_page.render(report(tmp_path, *findings), pictures)
    assert check_page.MOST_SHOWN == page.count("<img ") == len(list(check_page.shown(findings)))
    assert "652 more, by name" in page
    assert "All 700 are in <code>findings.json</code>" in page


def test_a_large_group_shows_its_first_and_counts_the_others(tmp_path, pictures):
    page = check_page.render(report(tmp_path, Finding("duplicate", "20 times", samples(*range(20)))), pictures)
    assert check_page.MOST_OF_A_GROUP == page.count("<img ")
    assert "and 14 more" in page


def test_files_without_pictures_are_a_list(tmp_path, pictures):
    findings = [Finding("damaged", "broken", samples(place)) for place in range(900, 960)]
    page = check_page.render(report(tmp_path, *findings), pictures)
    assert 60 == len(re.findall(r"<li><code class=\"breaks\">cat/9\d\d\.png</code>", page))
    assert "<img " not in page


def test_nothing_found_is_said(tmp_path):
    page = check_page.render(report(tmp_path), {})
    assert "Nothing to complain of in 1,200 images" in page
