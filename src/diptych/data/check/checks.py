"""All checks, one after the other."""

from __future__ import annotations

from diptych.data.check.classes import unfit
from diptych.data.check.duplicates import exact, near
from diptych.data.check.files import unusable
from diptych.data.check.findings import KINDS, Finding
from diptych.data.check.images import unlike
from diptych.data.check.measure import measured
from diptych.data.check.subject import Subject
from diptych.data.images import Progress as Tell


def checked(subject: Subject, tell: Tell = lambda doing, done, total: None) -> tuple[Finding, ...]:
    """Find what is wrong with data.

    Args:
        subject: its images.
        tell: told of what is being done, of how many images are done, and of how many there are.

    Returns:
        What was found, in the order of KINDS.
    """
    found = measured(subject, tell)
    order = {key: place for place, key in enumerate(KINDS)}
    findings = [finding for check in (unusable, exact, near, unfit, unlike) for finding in check(subject, found)]
    return tuple(sorted(findings, key=lambda finding: order[finding.kind]))
