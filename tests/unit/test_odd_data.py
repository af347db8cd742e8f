"""Odd folders and tables are taken or refused as they should be, and training and `data check` agree about each."""

import re

import numpy as np
import pytest
from odd_data import CASES, write

from diptych.api.data_check import check_data
from diptych.data import datasets
from diptych.data.rules import KINDS
from diptych.errors import DiptychError


def answer(call):
    """Return the result of a call, and the line of its refusal."""
    try:
        return call(), ""
    except DiptychError as error:
        return None, str(error)


@pytest.mark.parametrize("name", CASES)
def test_training_takes_what_it_should_and_the_check_agrees(name, tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
    case = CASES[name]
    data = str(write(case, tmp_path / "case"))
    reading = {key: value for key, value in case.options.items() if key != "bad_images"}
    dataset, line = answer(lambda: datasets.load(data, image_size=(8, 8), **case.options))
    report, unlisted = answer(lambda: check_data(data, out=tmp_path / "report", **reading))
    assert case.refused == (dataset is None), line or dataset.lines
    assert "\n" not in line
    if dataset:
        classes = dataset.num_classes if isinstance(case.classes, int) else " ".join(dataset.class_names)
        learned, tested = len(dataset.train) + len(dataset.validation), len(dataset.test)
        wanted = (case.classes, case.sizes) if case.sizes[1] else (case.classes, (case.sizes[0] - tested, tested))
        assert wanted == (classes, (learned, tested)), dataset.lines
        assert all(np.unique(split.ids).size == len(split) for split in (dataset.train, dataset.test))
        held = {one.kind: one.reason for one in report.findings if one.kind in ("imbalance", "alike-classes")}
        assert all(any(reason in remark for remark in dataset.remarks) for reason in held.values()), dataset.remarks
        assert report.inferred == dataset.inferred[: len(report.inferred)]
    said = line or " ".join(dataset.lines)
    assert re.search(case.said, said, re.IGNORECASE | re.DOTALL), said
    skips = case.options.get("bad_images") == "skip"
    refuses = {finding.kind for finding in report.findings} if report else set()
    refuses = {
        kind for kind in refuses if KINDS[kind].training == "refuses" or (KINDS[kind].training == "bad" and not skips)
    }
    assert (dataset is None) == bool(unlisted or refuses), (line, unlisted, refuses)
