"""What is wrong with data is found, each thing as what it is, and nothing is found that is not there."""

import time
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from planted import (
    BY_READERS,
    DAMAGES,
    again,
    card,
    encoded,
    picture,
    plant,
    write_damaged,
    write_every_kind,
    write_good,
    write_pictures,
)

from diptych.data.check import checks, measure
from diptych.data.check.checks import check as check_listing
from diptych.data.readers import ListedSplit, Listing
from diptych.data.readers.folder import list_folder
from diptych.data.rules import KINDS, SEVERITIES

DOCS = Path(__file__).parents[2] / "docs" / "data.md"


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def check(root):
    return check_listing(list_folder(root))


def by_name(findings):
    """Kinds and reasons by the name of each image; those about no image under an empty name."""
    found = {}
    for finding in findings:
        for name in [sample.name for sample in finding.samples] or [""]:
            found.setdefault(name, []).append((finding.kind, finding.reason))
    return found


def write_by_turns(root, images):
    """Write numbered images into two classes."""
    for number, image in enumerate(images):
        plant(root / f"{number % 2}/{number}.png", encoded(image.astype(np.uint8), "png"))


def near(findings):
    """Kinds of near-duplicates, by the names of their images."""
    found = [finding for finding in findings if finding.kind.startswith("near")]
    return {tuple(sorted(sample.name for sample in finding.samples)): finding.kind for finding in found}


@pytest.mark.parametrize(("num_good", "num_damaged"), [(1_200, 60), pytest.param(10_000, 500, marks=pytest.mark.long)])
def test_damaged_files_among_many_good_ones_are_found_and_no_others(num_good, num_damaged, tmp_path, rng):
    write_good(tmp_path, num_good, rng)
    wanted = write_damaged(tmp_path, num_damaged, rng)
    start = time.process_time()
    found = by_name(check(tmp_path))
    seconds = time.process_time() - start
    missed = {name: kinds for name, kinds in wanted.items() if not kinds & {kind for kind, _ in found.get(name, ())}}
    false = {name: what for name, what in found.items() if name not in wanted}
    print(
        f"{num_damaged} damaged files of {len(DAMAGES)} kinds among {num_good:,} good ones: "
        f"{num_damaged - len(missed)} found, {len(false)} false alarms, {seconds:.1f} s of processor"
    )
    assert (12, {}, {}) == (len(DAMAGES), missed, false)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    root = tmp_path_factory.mktemp("everything")
    wanted = write_every_kind(root, np.random.default_rng(3))
    return wanted, check(root)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in BY_READERS])
def test_every_kind_is_found_where_it_was_planted(everything, kind):
    wanted, findings = everything
    (finding,) = [finding for finding in findings if finding.kind == kind]
    if kind in wanted:
        assert wanted[kind] in [sample.name for sample in finding.samples]
    else:
        classes = {
            "empty-class": "void: no usable images",
            "untrained-class": "untrained: 4 images, none of them for training",
            "absent-class": "absent: none for test",
            "tiny-class": "tiny: 3 for training",
            "imbalance": "owl has 41 images, 14 times as many as tiny (3)",
        }
        assert classes[kind] == finding.reason


def test_the_same_pixels_are_one_image_in_any_lossless_format(tmp_path, rng):
    image = picture(rng)
    for name, kind in (("a.png", "png"), ("b.bmp", "bmp"), ("c.tif", "tiff")):
        plant(tmp_path / "cat" / name, encoded(image, kind))
    write_pictures(tmp_path / "dog", 12, rng)
    (finding,) = [finding for finding in check(tmp_path) if finding.kind == "duplicate"]
    assert ["cat/a.png", "cat/b.bmp", "cat/c.tif"] == [sample.name for sample in finding.samples]
    assert "3 times in train" == finding.reason


def test_a_picture_is_recognized_when_encoded_again_resized_or_brightened(tmp_path, rng):
    wanted = {}
    for number in range(40):
        image = picture(rng, int(rng.integers(60, 200)), int(rng.integers(60, 200)))
        forms = list(again(image))
        suffix, content = forms[number % len(forms)]
        here, there = ("train", "test") if number % 2 else ("test", "train")
        first, second = f"train/cat/{number}.png", f"{there}/cat/again{number}{suffix}"
        plant(tmp_path / first, encoded(image, "png"))
        plant(tmp_path / second, content)
        plant(tmp_path / f"{here}/dog/{number}.png", encoded(picture(rng), "png"))
        wanted[tuple(sorted((first, second)))] = "near-duplicate" if there == "train" else "near-leakage"
    assert wanted == near(check(tmp_path))


def test_a_shape_in_other_colors_and_flat_pictures_are_not_near_duplicates_of_each_other(tmp_path, rng):
    shape = cv2.GaussianBlur(rng.integers(0, 256, (64, 64, 1)).astype(np.float32), (0, 0), 4)[..., np.newaxis]
    shape = (shape - shape.min()) / np.ptp(shape)
    write_by_turns(tmp_path / "tinted", [shape * color for color in ((255, 0, 0), (0, 68, 255), (0, 130, 0))])
    write_by_turns(tmp_path / "flat", [100 + 3 * level + rng.normal(0, 3, (48, 48, 3)) for level in range(40)])
    for folder in ("tinted", "flat"):
        assert {} == near(check(tmp_path / folder))


def test_like_hashes_are_all_found_without_comparing_every_pair(rng):
    centers = rng.integers(0, 2**63, 300, dtype=np.uint64)
    bits = [rng.choice(63, rng.integers(1, 10), replace=False) for _ in range(3 * len(centers))]
    flips = np.array([sum(1 << int(bit) for bit in flipped) for flipped in bits], dtype=np.uint64)
    hashes = np.unique(np.concatenate([centers, np.repeat(centers, 3) ^ flips]))
    pairs = combinations(range(len(hashes)), 2)
    wanted = [(one, other) for one, other in pairs if (int(hashes[one]) ^ int(hashes[other])).bit_count() <= 6]
    assert len(wanted) > 300
    assert wanted == sorted(map(tuple, checks._candidates(hashes).tolist()))


@pytest.mark.parametrize("num_bits", [0, 16, 30])
def test_many_similar_hashes_are_not_compared_in_pairs(rng, num_bits):
    num_images = 20_000
    hashes = np.uint64(2**60) + rng.integers(0, 2**num_bits, num_images, dtype=np.uint64)
    pairs = checks._candidates(hashes)
    assert 0 < len(pairs) <= (checks.MOST_PAIRS + 2 * 32) * num_images
    assert num_bits or [list(range(num_images))] == checks._groups(pairs)


def test_arrays_are_checked_too_and_named_by_split_and_number(rng):
    images = np.stack([picture(rng, 28, 28, is_gray=True)[..., :1] for _ in range(60)])
    labels = np.arange(60) % 2
    images[7], images[50] = images[3], 0
    odd, even = ListedSplit.of_pixels(images[:48], labels[:48]), ListedSplit.of_pixels(images[48:], labels[48:])
    images[55] = images[4]
    found = by_name(check_listing(Listing(("odd", "even"), odd, test=even)))
    assert {
        "train 3": [("duplicate", "2 times in train")],
        "train 7": [("duplicate", "2 times in train")],
        "train 4": [("conflict", "labeled odd and even"), ("leakage", "in train and test")],
        "test 7": [("conflict", "labeled odd and even"), ("leakage", "in train and test")],
        "test 2": [("blank", "one color all over")],
    } == found


def test_a_property_of_most_images_is_reported_once(tmp_path, rng):
    write_by_turns(tmp_path, [picture(rng) // (12 if number % 3 else 1) for number in range(60)])
    assert [("dark", "67% of all images: common in this dataset")] == by_name(check(tmp_path))[""]


def test_cards_in_place_of_pictures_are_found_and_no_plain_or_gray_picture(tmp_path, rng):
    write_by_turns(tmp_path, [picture(rng, 120, 120) for _ in range(200)])
    cards = {"0/a.gif": "gif", "1/b.png": "png", "0/c.jpg": "jpeg", "1/d.webp": "webp"}
    for number, (name, kind) in enumerate(cards.items()):
        plant(tmp_path / name, encoded(card(240 + 40 * number, 200), kind))
    product = np.full((120, 120, 3), 255, np.uint8)  # a picture cut out, on white
    product[40:90, 40:90] = picture(rng, 50, 50)
    for number, image in enumerate([product, picture(rng, 120, 120, is_gray=True), picture(rng, 120, 120) // 16]):
        plant(tmp_path / f"0/good{number}.png", encoded(image, "png"))
    for label in "012":
        plant(tmp_path / label / "again.png", encoded(product[::-1], "png"))
    found = {finding.samples[0].name: finding.reason for finding in check(tmp_path) if finding.kind == "placeholder"}
    assert {*cards, "0/again.png"} == found.keys()
    assert "the same image 3 times, in 3 classes" == found["0/again.png"]


def test_the_one_image_of_another_size_is_odd(tmp_path, rng):
    write_by_turns(tmp_path, [picture(rng, 32, 33 if number == 77 else 32) for number in range(120)])
    assert {"1/77.png": [("odd-size", "33 × 32 pixels")]} == by_name(check(tmp_path))


def test_a_class_of_damaged_files_is_empty(tmp_path, rng):
    write_pictures(tmp_path / "good", 12, rng)
    for number in range(12):
        plant(tmp_path / f"bad/{number}.png", b"")
    (finding,) = [finding for finding in check(tmp_path) if finding.kind == "empty-class"]
    assert "bad: no usable images" == finding.reason


def test_the_measures_of_an_image_take_less_than_400_bytes(tmp_path, rng):
    write_good(tmp_path, 100, rng)
    measures, _ = measure(list_folder(tmp_path), lambda doing, done, total: None)
    num_bytes = measures.nbytes / 100
    print(f"{num_bytes:.0f} bytes are kept of an image")
    assert num_bytes < 400


def test_every_kind_is_documented_with_its_severity():
    section = DOCS.read_text(encoding="utf-8").partition("## Checking data")[2].partition("\n## ")[0]
    rows = [row.split(" | ") for row in section.splitlines() if row.startswith("| `")]
    documented = {key.strip("`"): row[1] for row in rows for key in row[0].removeprefix("| ").split(", ")}
    assert {key: kind.severity for key, kind in KINDS.items()} == documented
    assert {kind.severity for kind in KINDS.values()} == set(SEVERITIES)
