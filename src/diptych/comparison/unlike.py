"""What makes runs harder to compare than they look, as remarks: other machines, other versions, a busy machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from diptych.comparison.sides import Answered, Side

# Epochs of one run that differ by more were disturbed.
MOST_SPREAD = 2.0


def unlike(sides: Sequence[Side]) -> list[str]:
    """One sentence for each thing that a reader of the numbers should know."""
    answers = [answer for side in sides for answer in side.answers]
    return [*_conditions(answers), *_versions(answers), *disturbed(sides)]


def _conditions(answers: Sequence[Answered]) -> Iterator[str]:
    for what, values in (
        ("processors", [answer.record.machine.processor for answer in answers]),
        ("numbers of threads", [str(answer.record.engines[-1].threads) for answer in answers]),
        ("precisions", [str(answer.record.recipe.precision) for answer in answers]),
    ):
        if len(set(values)) > 1:
            listed = ", ".join(dict.fromkeys(values))
            yield f"The runs were made with other {what} ({listed}), so their costs do not compare."


def _versions(answers: Sequence[Answered]) -> Iterator[str]:
    packages: dict[str, set[Any]] = {}
    for answer in answers:
        for package, version in answer.record.versions.items():
            packages.setdefault(package, set()).add(str(version))
    several = {package: versions for package, versions in packages.items() if len(versions) > 1}
    if several:
        listed = ", ".join(f"{package} {' and '.join(sorted(versions))}" for package, versions in several.items())
        yield f"The runs were made with several versions of a package: {listed}."


def disturbed(sides: Sequence[Side]) -> list[str]:
    """Say which times and speeds another load on the machine distorted; empty if none."""
    answers = [answer for side in sides for answer in side.answers]
    spreads = [spread for answer in answers if (spread := epoch_spread(answer)) > MOST_SPREAD]
    if not spreads:
        return []
    return [
        f"The epochs of {len(spreads)} of {len(answers)} runs took up to {max(spreads):.1f} times as long as other "
        "epochs of the same run: the machine was busy, and the training times mean little."
    ]


def epoch_spread(answer: Answered) -> float:
    """Return the longest epoch as a multiple of the shortest, without the first."""
    seconds = [epoch["seconds"] for epoch in answer.epochs[1:]]
    return max(seconds) / max(min(seconds), 1e-9) if seconds else 1.0
