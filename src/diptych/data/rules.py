"""What can be wrong with data: one table, by which `data check` reports and training refuses or warns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from diptych.errors import DataError, first_of

Severity: TypeAlias = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Kind:
    """A kind of finding, and what training does about it.

    An error makes training fail or its measurement wrong, a warning is a likely mistake. Training refuses or takes the
    data; of `bad` kinds, it refuses the samples or, with `--bad-images skip`, leaves them out.
    """

    severity: Severity
    title: str
    meaning: str
    training: Literal["takes", "refuses", "bad"] = "takes"


KINDS = {
    "unreadable": Kind("error", "Unreadable", "It cannot be opened: missing, a broken link, no permission.", "bad"),
    "empty": Kind("error", "Empty files", "The file has no content: copy or download it again.", "bad"),
    "not-an-image": Kind("error", "Not an image", "The content is not an image, despite the file name.", "bad"),
    "truncated": Kind("error", "Truncated", "The file is incomplete: copy or download it again.", "bad"),
    "damaged": Kind("error", "Damaged", "The content violates the format or its checksums.", "bad"),
    "too-large": Kind("error", "Over the pixel limit", "More pixels than DIPTYCH_MAX_PIXELS allows.", "bad"),
    "unsupported": Kind("error", "Unsupported", "An unsupported variant of the format: convert the image.", "bad"),
    "no-label": Kind("error", "Without a label", "Label these samples, or skip them with --bad-images skip.", "bad"),
    "several-labels": Kind(
        "error", "Several labels", "Give each one label, or skip them with --bad-images skip.", "bad"
    ),
    "left-out": Kind("warning", "Files left out", "Files or links that are not used; training counts them, too."),
    "mislabeled": Kind("warning", "Wrong extension", "The content can be decoded but has another format."),
    "conflict": Kind("error", "One image, several labels", "Identical pixels, different labels: at most one is right."),
    "leakage": Kind("error", "Same image in several splits", "The splits share images, so results are too optimistic."),
    "duplicate": Kind("warning", "Duplicates", "Repeated images count more, and may end up in a held-out split."),
    "near-leakage": Kind("warning", "Near-duplicates across splits", "Re-encoded, resized or brightened copies."),
    "near-duplicate": Kind("warning", "Near-duplicates", "Re-encoded, resized or brightened copies in one split."),
    "empty-class": Kind("error", "Empty classes", "Remove the class, or add images that can be decoded.", "refuses"),
    "too-few": Kind("error", "Too few images", "Add images, or a test split.", "refuses"),
    "untrained-class": Kind(
        "error",
        "Classes missing from training",
        "Add images to a folder or table named train, or rows with train as their split.",
        "refuses",
    ),
    "absent-class": Kind("warning", "Classes missing from a split", "A class without images in some split."),
    "tiny-class": Kind("warning", "Tiny classes", "A class with very few training images."),
    "imbalance": Kind("note", "Imbalanced classes", "Accuracy hides rare classes: use macro F1, or class weights."),
    "alike-classes": Kind(
        "warning", "Classes that may be one", "Their names differ only in case, spaces or Unicode form."
    ),
    "not-used": Kind("note", "Not used", "Columns, tables or folders that might have been meant to be used."),
    "placeholder": Kind("warning", "Placeholders", "A card such as 'no image available' in place of the picture."),
    "blank": Kind("warning", "Blank images", "One flat color."),
    "dark": Kind("note", "Dark images", "Nearly every pixel is close to black."),
    "blurry": Kind("note", "Blurry images", "Far less sharp than most."),
    "odd-size": Kind("note", "Odd sizes", "Far smaller or larger than most, or of another size than nearly all."),
    "odd-shape": Kind("note", "Odd shapes", "Far wider or taller than most; resizing distorts them."),
}
"""Every kind, in the order of a report."""


@dataclass(frozen=True)
class Sample:
    """An image: its index among all, its split, its id (a number comes with its split), and its class."""

    place: int
    split: str
    name: str
    label: str


@dataclass(frozen=True)
class Finding:
    """A finding: one of KINDS, the details, and the images concerned, unless it is about a class or everything.

    Readers report what they see in the listing; the details are then a clause that training prints as it is.
    """

    kind: str
    reason: str
    samples: tuple[Sample, ...] = ()

    @property
    def severity(self) -> Severity:
        """error, warning or note."""
        return KINDS[self.kind].severity

    def to_json(self) -> dict[str, Any]:
        """Return the entry of `findings.json`."""
        images = [asdict(sample) for sample in self.samples]
        return {"kind": self.kind, "severity": self.severity, "reason": self.reason, "images": images}


TINY = 10  # training images below which a class is tiny
IMBALANCE = 10  # times more training images than the smallest class, above which the largest is too large


def class_findings(class_names: Sequence[str], labels: Mapping[str, NDArray[np.int64]]) -> Iterator[Finding]:
    """Yield the classes with too few images to train on or to measure; `labels` are those of each split."""
    counts = {split: np.bincount(labels_n, minlength=len(class_names)).tolist() for split, labels_n in labels.items()}
    trained = {name: count for name, count in zip(class_names, counts["train"], strict=True) if count}
    largest, smallest = (choose(trained, key=trained.__getitem__, default="") for choose in (max, min))
    if trained and trained[largest] > IMBALANCE * trained[smallest]:
        most, fewest = trained[largest], trained[smallest]
        ratio = f"{most / fewest:,.0f} times as many"
        yield Finding("imbalance", f"{largest} has {most:,} images, {ratio} as {smallest} ({fewest:,})")
    for name, *row in zip(class_names, *counts.values(), strict=True):
        of_class = dict(zip(counts, row, strict=True))
        missing = [split for split, count in of_class.items() if not count]
        if not any(row):
            yield Finding("empty-class", f"{name}: no usable images")
        elif "train" in missing:
            yield Finding("untrained-class", f"{name}: {sum(row):,} images, none of them for training")
        elif missing:
            yield Finding("absent-class", f"{name}: none for {' and '.join(missing)}")
        if 0 < of_class["train"] < TINY:
            yield Finding("tiny-class", f"{name}: {of_class['train']} for training")
    if "test" not in counts and max(counts["train"]) < 2:
        yield Finding("too-few", "no class has two, of which one could be held out for the test")
    alike: dict[str, list[str]] = {}
    for name in class_names:
        alike.setdefault("".join(normalize("NFKC", name).split()).casefold(), []).append(repr(name))
    for names in alike.values():
        if len(names) > 1:
            yield Finding("alike-classes", f"{' and '.join(names)} differ only in case, spaces or form")


def judge(findings: Iterable[Finding], name: str, *, skip: bool = False) -> tuple[str, ...]:
    """Return a line for each kind of finding, or raise DataError if training refuses it; `skip` bad samples."""
    reasons = dict[str, list[str]]()
    for finding in findings:
        reasons.setdefault(finding.kind, []).append(finding.reason)
    lines = []
    for key, found in reasons.items():
        kind = KINDS[key]
        lines.append(f"{kind.title}{f' ({len(found):,})' if len(found) > 1 else ''}: {first_of(found, joint='; ')}.")
        if kind.training == "refuses" or (kind.training == "bad" and not skip):
            raise DataError(f"{name!r}: {lines[-1]} {kind.meaning}")
        lines[-1] += " Left out." * (kind.training == "bad")
    return tuple(lines)
