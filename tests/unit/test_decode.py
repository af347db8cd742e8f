"""The decoder on a corpus of generated files.

`tests/golden/images.json` holds the digest of every array and the text of every error. Arrays of lossless files are
also compared with the pixels they were written from, arrays of lossy files with another decoder.
"""

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from images_corpus import HUGE, TURNS, Case, corpus, embedded, scene
from PIL import Image, ImageFile

from diptych.data.decode import SUFFIXES, VERSION, _over_white, decode, decode_file, sniff
from diptych.errors import DataError, ImageError, UsageError

GOLDEN = Path(__file__).parents[1] / "golden" / "images.json"
CORPUS = corpus()
WHOLE = sorted(name for name, case in CORPUS.items() if case.kind is None)
REFUSED = sorted(CORPUS.keys() - set(WHOLE))
LOSSLESS = [name for name in WHOLE if CORPUS[name].pixels is not None]
# One file of every compression; `bmp 24` is not among them because losing its last padding bytes loses no pixel.
SAMPLES = [
    *("jpeg 4:2:0", "jpeg progressive", "jpeg grey", "jpeg cmyk adobe", "jpeg restarts"),
    *("png rgb 8", "png palette 8 transparent", "png grey 16", "png interlaced rgb", "gif transparent", "gif animated"),
    *("webp lossy", "webp lossy alpha", "webp lossless alpha", "webp animated", "bmp palette 4", "bmp 32 with alpha"),
    *("tiff rgb 8", "tiff rgb 16", "tiff rgb in a tile", "tiff palette 4", "tiff deflate", "tiff lzw"),
    *("tiff packbits", "tiff jpeg", "tiff group 4", "tiff ycbcr", "tiff rgb in planes"),
]


def outcome(name, encoded):
    """Shape and digest of a decoded file, or kind and text of its error, as in the golden file."""
    try:
        image = decode(encoded, name)
    except ImageError as error:
        return {"kind": error.kind, "message": str(error)}
    return {"shape": list(image.shape), "sha256": hashlib.sha256(np.ascontiguousarray(image)).hexdigest()}


def pillow(name):
    """Pillow's pixels of a file of the corpus, as RGB."""
    with Image.open(io.BytesIO(CORPUS[name].encoded)) as image:
        return np.array(image.convert("RGB"))


def opencv(name):
    """OpenCV's pixels of a file of the corpus, as RGB, not turned."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(CORPUS[name].encoded, np.uint8), flags)[..., ::-1]


def run(program, **environment):
    """Run a Python program that can import the corpus; return its standard output."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)]), **environment}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


# Results


def test_the_corpus_gives_the_golden_digests_and_errors():
    now = {name: outcome(name, case.encoded) for name, case in sorted(CORPUS.items())}
    if os.environ.get("DIPTYCH_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert json.loads(GOLDEN.read_text(encoding="utf-8")) == now
    kinds = [case.kind or "decoded" for case in CORPUS.values()]
    print(f"{len(CORPUS)} files:", ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds))))
    assert len(CORPUS) >= 60


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_file_decodes_to_the_pixels_it_was_written_from(name):
    decoded = decode(CORPUS[name].encoded, name)
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous and decoded.flags.writeable
    np.testing.assert_array_equal(CORPUS[name].pixels, decoded)


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_decoded_raises_with_its_kind_and_name(name):
    with pytest.raises(ImageError) as caught:
        decode(CORPUS[name].encoded, name)
    assert CORPUS[name].kind == caught.value.kind in ImageError.KINDS
    assert name in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_every_kind_but_unreadable_is_in_the_corpus():
    assert {*ImageError.KINDS} - {"unreadable"} == {case.kind for case in CORPUS.values()} - {None}


YCC = [
    f"jpeg {kind}" for kind in ("4:4:4", "4:2:2", "4:2:0", "4:1:1", "4:4:0", "grey", "progressive", "restarts", "rgb")
]


@pytest.mark.parametrize("name", YCC)
def test_a_jpeg_has_the_pixels_of_opencv_and_of_pillow(name):
    decoded = decode(CORPUS[name].encoded, name)
    np.testing.assert_array_equal(opencv(name), decoded)
    np.testing.assert_array_equal(pillow(name), decoded)
    wanted = scene()[..., :3]
    if name == "jpeg grey":
        wanted = cv2.cvtColor(wanted, cv2.COLOR_RGB2GRAY)[..., np.newaxis]
    assert np.abs(decoded.astype(int) - wanted).mean() < 14


@pytest.mark.parametrize("name", ["webp lossy", "webp lossy alpha", "tiff jpeg", "tiff group 4"])
def test_another_lossy_file_has_the_pixels_of_another_decoder(name):
    with Image.open(io.BytesIO(CORPUS[name].encoded)) as image:
        over = Image.new("RGBA", image.size, "white")
        over.alpha_composite(image.convert("RGBA"))
    wanted = opencv(name) if name.startswith("tiff") else np.array(over)[..., :3]
    assert np.abs(decode(CORPUS[name].encoded, name).astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_applied_and_nonsense_ignored(orientation):
    upright = decode(embedded("jpeg 4:2:0"), "upright")
    turned = TURNS.get(orientation, TURNS[1])(upright)
    np.testing.assert_array_equal(turned, decode(CORPUS[f"jpeg orientation {orientation}"].encoded, "turned"))
    grey = cv2.cvtColor(np.ascontiguousarray(turned), cv2.COLOR_RGB2GRAY)[..., np.newaxis]
    np.testing.assert_array_equal(grey, decode(CORPUS[f"jpeg orientation {orientation}"].encoded, "grey", channels=1))


HARMLESS = [
    "junk before its end",
    "exif damaged",
    "exif of zeros",
    "comment",
    "without jfif",
    "jfif 2",
    "trailing bytes",
]


@pytest.mark.parametrize("name", [*HARMLESS, "second picture behind", "filled"])
def test_what_real_jpegs_carry_changes_no_pixel(name):
    plain = decode(embedded("jpeg 4:2:0"), "plain")
    np.testing.assert_array_equal(plain, decode(CORPUS[f"jpeg {name}"].encoded, name))


@pytest.mark.parametrize("name", ["jpeg cmyk", "jpeg cmyk adobe", "jpeg ycck adobe"])
def test_cmyk_is_light_through_ink_and_adobe_stores_light(name):
    with Image.open(io.BytesIO(CORPUS[name].encoded)) as image:
        light = 255 - np.array(image).astype(int)  # Pillow takes every JPEG for one of Adobe's, and inverts it
    ink = light if name == "jpeg cmyk" else 255 - light
    wanted = np.rint((255 - ink[..., :3]) * (255.0 - ink[..., 3:]) / 255)
    np.testing.assert_array_equal(wanted, decode(CORPUS[name].encoded, name))
    if name == "jpeg cmyk adobe":
        assert np.abs(wanted - scene()[..., :3]).mean() < 14


def test_grey_is_the_luma_of_bt_601_with_one_channel():
    primaries = np.array([[(255, 0, 0), (0, 255, 0), (0, 0, 255)]], dtype=np.uint8)
    encoded = cv2.imencode(".png", primaries[..., ::-1])[1].tobytes()
    decoded = decode(encoded, "image", channels=1)
    assert decoded.shape == (1, 3, 1)
    np.testing.assert_allclose([[76.2], [149.7], [29.1]], decoded[0], atol=0.5)


def test_alpha_is_blended_exactly_for_every_pair_of_values():
    colour, alpha = np.mgrid[0:256, 0:256]
    exact = np.rint((colour * alpha + 255 * (255 - alpha)) / 255)
    np.testing.assert_array_equal(exact, _over_white(colour.astype(np.uint8), alpha.astype(np.uint8)))


def test_the_first_bytes_determine_the_format():
    for name in WHOLE:
        assert name.split()[0] == sniff(CORPUS[name].encoded) == sniff(CORPUS[name].encoded[:16])
    assert [None] * 3 == [sniff(CORPUS[name].encoded) for name in ("nothing", "text", "html")]
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"} == SUFFIXES
    assert isinstance(VERSION, int)


# Damage


@pytest.mark.parametrize("name", SAMPLES)
def test_a_truncated_file_raises_wherever_it_is_cut(name):
    encoded = CORPUS[name].encoded
    for length in sorted({*range(0, len(encoded), max(1, len(encoded) // 60)), *range(len(encoded) - 9, len(encoded))}):
        with pytest.raises(ImageError, match=name) as caught:
            decode(encoded[:length], name)
        assert caught.value.kind in {"empty", "unknown", "truncated", "damaged"}


def damaged(encoded, seed):
    """Change one to eight bytes, more often near the start, where the headers are."""
    rng = np.random.default_rng(seed)
    changed = bytearray(encoded)
    reach = len(changed) if rng.random() < 0.5 else min(len(changed), 120)
    match rng.integers(3):
        case 0:
            changed[rng.integers(reach)] ^= 1 << rng.integers(8)
        case 1:
            changed[rng.integers(reach)] = rng.choice([0, 1, 127, 128, 255])
        case _:
            at, length = rng.integers(reach), rng.integers(1, 9)
            changed[at : at + length] = rng.bytes(len(changed[at : at + length]))
    return bytes(changed)


def survey(name, num_seeds):
    """Count damaged files that decode and that raise ImageError; any other exception fails the test."""
    counts = {"decoded": 0, "raised": 0}
    for seed in range(num_seeds):
        encoded = damaged(CORPUS[name].encoded, seed)
        try:
            image = decode(encoded, name)
        except ImageError as error:
            assert error.kind in ImageError.KINDS
            counts["raised"] += 1
        else:
            assert image.dtype == np.uint8 and image.ndim == 3
            counts["decoded"] += 1
    return counts


@pytest.mark.parametrize("num_seeds", [150, pytest.param(5_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_damaged_file_decodes_or_raises_an_image_error_and_prints_nothing(name, num_seeds, capfd):
    counts = survey(name, num_seeds)
    printed = capfd.readouterr()
    assert ("", "") == printed or name.startswith("tiff")  # libtiff prints its own errors
    print(name, counts)


@pytest.mark.parametrize("name", ["png rgb 8", "png palette 8 transparent", "png interlaced rgb"])
def test_no_single_bit_of_a_png_flips_unnoticed(name):
    encoded = CORPUS[name].encoded
    for place in range(8 * len(encoded)):
        flipped = bytearray(encoded)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(ImageError):
            decode(bytes(flipped), name)


def test_pillow_must_not_be_told_to_load_truncated_images(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UsageError, match="LOAD_TRUNCATED_IMAGES"):
        decode(CORPUS["bmp 24"].encoded, "bmp 24")


def test_many_threads_get_what_one_gets():
    wanted = json.loads(GOLDEN.read_text(encoding="utf-8"))
    names = sorted(CORPUS) * 6
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: outcome(name, CORPUS[name].encoded), names))
    assert [wanted[name] for name in names] == found


@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.long)])
def test_no_jpeg_of_cifar_10_is_refused_and_all_are_opencvs(step):
    archive = Path(os.environ.get("DIPTYCH_DATA") or "/nowhere") / "cifar10-jpeg.tar.gz"
    if not archive.is_file():
        pytest.skip("CIFAR-10 as JPEGs is not there: set DIPTYCH_DATA to a directory with cifar10-jpeg.tar.gz in it")
    num_files = num_unlike = 0
    with tarfile.open(archive) as tar:
        for number, member in enumerate(tar):
            if number % step == 0 and member.name.endswith((".jpg", ".jpeg")):
                encoded = tar.extractfile(member).read()
                image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
                num_unlike += not np.array_equal(image, decode(encoded, member.name))
                num_files += 1
    print(f"{num_files:,} files: 0 false alarms, {num_unlike} unlike OpenCV's")
    assert num_files >= 2_000 and num_unlike == 0


# The limit


def test_an_image_above_the_limit_raises_before_memory_is_allocated():
    program = (
        "import resource\nfrom images_corpus import corpus\nfrom diptych.data.decode import decode\n"
        "from diptych.errors import ImageError\n"
        "files = {name: case.encoded for name, case in corpus().items() if case.kind == 'too large'}\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for name, encoded in files.items():\n"
        "    try: decode(encoded, name)\n"
        "    except ImageError as error: assert error.kind == 'too large'\n"
        "    else: raise AssertionError(name)\n"
        "print(len(files), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    num_files, kib = map(int, run(program).split())
    print(f"{num_files} files that ask for at least {HUGE[0] * HUGE[1]:,} pixels took {kib} KiB")
    assert num_files >= 6
    assert kib < 4096


def test_the_limit_can_be_set_and_must_be_a_whole_number():
    program = (
        "from images_corpus import embedded\nfrom diptych.errors import DiptychError\n"
        "try:\n    from diptych.data.decode import decode\n    print(decode(embedded('jpeg grey'), 'grey.jpg').shape)\n"
        "except DiptychError as error:\n    print(type(error).__name__, error)"
    )
    assert "(19, 27, 3)\n" == run(program, DIPTYCH_MAX_PIXELS=str(19 * 27))
    assert "the limit is 512" in run(program, DIPTYCH_MAX_PIXELS=str(19 * 27 - 1))
    for given in ("0", "many", "-5", "1e6", ""):
        assert f"UsageError DIPTYCH_MAX_PIXELS must be a whole number of at least 1, got {given!r}" in run(
            program, DIPTYCH_MAX_PIXELS=given
        )


# Files


def test_a_file_is_decoded_under_any_name(tmp_path):
    path = tmp_path / "größe-猫.png"
    path.write_bytes(CORPUS["png rgb 8"].encoded)
    np.testing.assert_array_equal(CORPUS["png rgb 8"].pixels, decode_file(path))
    assert decode_file(path, channels=1).shape == (6, 7, 1)


def test_a_file_of_no_supported_format_says_what_it_starts_with(tmp_path):
    (tmp_path / "notes.jpg").write_text("dear diary")
    with pytest.raises(DataError, match=r"notes\.jpg.*expected JPEG, PNG, WebP, BMP, GIF or TIFF.*dear dia"):
        decode_file(tmp_path / "notes.jpg")


@pytest.mark.parametrize(
    ("kind", "make", "why"),
    [
        ("unreadable", lambda path: None, "No such file"),
        ("unreadable", lambda path: path.mkdir(), "not a regular file"),
        ("unreadable", lambda path: path.symlink_to("nowhere"), "No such file"),
        ("unreadable", lambda path: path.symlink_to(path.name), "symbolic links"),
        ("unreadable", os.mkfifo, "not a regular file"),
        ("unreadable", lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        ("empty", lambda path: path.touch(), "is empty"),
        ("too large", lambda path: path.touch() or os.truncate(path, 2**30 + 1), "the limit is 1,073,741,824"),
    ],
    ids=["absent", "folder", "dangling link", "link to itself", "pipe", "device", "empty", "larger than a GiB"],
)
def test_anything_but_a_regular_file_raises_at_once(kind, make, why, tmp_path):
    make(tmp_path / "image.png")
    with pytest.raises(ImageError, match=rf"image\.png.*{why}") as caught:
        decode_file(tmp_path / "image.png")
    assert kind == caught.value.kind


def test_an_image_error_keeps_its_kind_between_processes():
    error = pickle.loads(pickle.dumps(ImageError("Cannot decode 'a.jpg'.", "damaged")))
    assert ("damaged", "Cannot decode 'a.jpg'.") == (error.kind, str(error))


def test_a_case_says_pixels_or_a_kind_not_both():
    assert [] == [name for name, case in CORPUS.items() if case.kind and case.pixels is not None]
    assert isinstance(CORPUS["nothing"], Case)
