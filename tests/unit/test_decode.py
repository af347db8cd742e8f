"""The decoder on a corpus of generated files.

`tests/golden/images.json` holds the digest of every array and the text of every error. Arrays of lossless files are
also compared with the pixels they were written from, arrays of lossy files with another decoder.
"""

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from images_corpus import corpus, png, png_rows
from PIL import Image, ImageFile, ImageOps

from diptych.data import decode as decoder
from diptych.data.decode import OPTIONAL, decode
from diptych.data.paths import read_file
from diptych.data.signatures import sniff
from diptych.errors import ImageError, UsageError

GOLDEN = Path(__file__).parents[1] / "golden" / "images.json"
CORPUS = corpus()
SCENE = CORPUS["webp lossless"].pixels.astype(int)
DECODED = sorted(name for name, case in CORPUS.items() if case.kind is None)
# One file of every compression; `bmp 24` is not among them because losing its last padding bytes loses no pixel.
SAMPLES = [
    *("jpeg 4:2:0", "jpeg progressive", "jpeg gray", "jpeg cmyk adobe", "jpeg restarts"),
    *("png rgb 8", "png palette 8 transparent", "png gray 16", "png interlaced rgb", "gif transparent", "gif animated"),
    *("webp lossy", "webp lossy alpha", "webp lossless alpha", "webp animated", "bmp palette 4", "bmp 32 with alpha"),
    *("tiff rgb 8", "tiff rgb 16", "tiff rgb in a tile", "tiff palette 4", "tiff deflate", "tiff lzw"),
    *("tiff packbits", "tiff jpeg", "tiff group 4", "tiff ycbcr", "tiff rgb in planes"),
]


def outcome(name, encoded):
    """Return shape and digest of a decoded file, or kind and text of its error, as in the golden file."""
    try:
        image = decode(encoded, name)
    except ImageError as error:
        return {"kind": error.kind, "message": str(error)}
    return {"shape": list(image.shape), "sha256": hashlib.sha256(np.ascontiguousarray(image)).hexdigest()}


def decoded(name, channels=3):
    return decode(CORPUS[name].encoded, name, channels)


def pillow(name, mode="RGB"):
    with Image.open(io.BytesIO(CORPUS[name].encoded)) as image:
        return np.array(image.convert(mode) if mode else image)


def opencv(encoded):
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)[..., ::-1]


def test_the_corpus_gives_the_golden_digests_and_errors():
    now = {name: outcome(name, case.encoded) for name, case in sorted(CORPUS.items())}
    if os.environ.get("DIPTYCH_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert json.loads(GOLDEN.read_text(encoding="utf-8")) == now


def test_a_file_decodes_to_the_pixels_it_was_written_from_or_raises_its_kind_of_error():
    for name, case in CORPUS.items():
        if case.kind:
            with pytest.raises(ImageError) as caught:
                decoded(name)
            assert (case.kind, 1) == (caught.value.kind, len(str(caught.value).splitlines())), name
            assert name in str(caught.value)
        elif case.pixels is not None:
            image = decoded(name)
            assert image.dtype == np.uint8 and image.flags.c_contiguous and image.flags.writeable, name
            np.testing.assert_array_equal(case.pixels, image, name)
    assert {*ImageError.KINDS, None} - {"unreadable"} == {case.kind for case in CORPUS.values()}


def test_a_jpeg_has_the_pixels_of_opencv_and_of_pillow():
    for kind in ("4:4:4", "4:2:2", "4:2:0", "4:1:1", "4:4:0", "gray", "progressive", "restarts", "rgb"):
        image = decoded(f"jpeg {kind}")
        np.testing.assert_array_equal(opencv(CORPUS[f"jpeg {kind}"].encoded), image)
        np.testing.assert_array_equal(pillow(f"jpeg {kind}"), image)
        assert kind == "gray" or np.abs(image.astype(int) - SCENE).mean() < 14


@pytest.mark.parametrize("name", ["webp lossy", "webp lossy alpha", "tiff jpeg", "tiff group 4"])
def test_another_lossy_file_has_the_pixels_of_another_decoder(name):
    expected = opencv(CORPUS[name].encoded)
    if name.startswith("webp"):
        rgba = pillow(name, "RGBA")
        expected = np.rint(255 + rgba[..., 3:] / 255 * (rgba[..., :3] - 255.0))  # blended with white
    assert np.abs(decoded(name) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_applied_and_invalid_values_are_ignored(orientation):
    with Image.open(io.BytesIO(CORPUS[f"jpeg orientation {orientation}"].encoded)) as image:
        turned = np.array(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(turned, decoded(f"jpeg orientation {orientation}"))
    gray = cv2.cvtColor(turned, cv2.COLOR_RGB2GRAY)[..., np.newaxis]
    np.testing.assert_array_equal(gray, decoded(f"jpeg orientation {orientation}", channels=1))


def test_harmless_oddities_of_real_jpegs_change_no_pixel():
    for name in (
        *("junk before its end", "exif damaged", "exif of zeros", "comment", "without jfif", "jfif 2"),
        *("trailing bytes", "second picture behind", "filled"),
    ):
        np.testing.assert_array_equal(decoded("jpeg 4:2:0"), decoded(f"jpeg {name}"), name)


@pytest.mark.parametrize(("num_stray", "damaged"), [(32, False), (64, True)])
def test_only_a_few_stray_bytes_before_a_jpegs_end_are_harmless(num_stray, damaged):
    whole = CORPUS["jpeg 4:2:0"].encoded
    found = outcome("stray", whole[:-2] + b"\x01" * num_stray + whole[-2:])
    assert b"\xff\xd9" == whole[-2:]
    assert ("damaged" if damaged else None) == found.get("kind")


@pytest.mark.parametrize("name", ["jpeg cmyk", "jpeg cmyk adobe", "jpeg ycck adobe"])
def test_cmyk_becomes_rgb_and_adobes_values_are_inverted(name):
    light = 255 - pillow(name, None).astype(int)  # Pillow inverts every JPEG
    ink = light if name == "jpeg cmyk" else 255 - light
    expected = np.rint((255 - ink[..., :3]) * (255.0 - ink[..., 3:]) / 255)
    np.testing.assert_array_equal(expected, decoded(name))
    if name == "jpeg cmyk adobe":
        assert np.abs(expected - SCENE).mean() < 14


def test_one_channel_is_the_luma_of_bt_601():
    primaries = np.array([[(255, 0, 0), (0, 255, 0), (0, 0, 255)]], dtype=np.uint8)
    image = decode(png(8, 2, png_rows(primaries), size=(3, 1)), "image", channels=1)
    assert image.shape == (1, 3, 1)
    np.testing.assert_allclose([[76.2], [149.7], [29.1]], image[0], atol=0.5)


def test_alpha_is_blended_exactly_for_every_pair_of_values():
    pairs = np.stack(np.mgrid[0:256, 0:256], axis=-1)
    exact = np.rint((pairs[..., 0] * pairs[..., 1] + 255 * (255 - pairs[..., 1])) / 255)
    image = decode(png(8, 4, png_rows(pairs), size=(256, 256)), "image")
    np.testing.assert_array_equal(np.stack([exact] * 3, axis=-1), image)


def test_the_first_bytes_determine_the_format():
    for name in DECODED:
        assert name.split()[0] == sniff(CORPUS[name].encoded) == sniff(CORPUS[name].encoded[:16])
    assert [None] * 3 == [sniff(CORPUS[name].encoded) for name in ("nothing", "text", "html")]


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "RGBA"])
@pytest.mark.parametrize("form", ["ppm", "avif"])
def test_ppm_and_avif_have_the_pixels_of_pillow_and_cut_ones_raise(form, mode):
    stream = io.BytesIO()
    image = Image.fromarray(SCENE.astype(np.uint8)).convert("RGB" if form == "ppm" and mode == "RGBA" else mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(stream, form, exif=exif)
    encoded = stream.getvalue()
    with Image.open(stream) as again:
        expected = np.array(ImageOps.exif_transpose(again).convert("RGB"))
    np.testing.assert_array_equal(expected, decode(encoded, "image"))
    assert form == sniff(encoded[:64])
    for length in (len(encoded) // 2, len(encoded) - 1):
        with pytest.raises(ImageError) as caught:
            decode(encoded[:length], "image")
        assert caught.value.kind in {"truncated", "damaged"}


HEIC = """
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAcdtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9jAAAA
AERAAAIAAQAAAAAB6wABAAAAAAAAAEEAAgAAAAACLAABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZl
AgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABBmlwcnAAAADlaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH/
/wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xy
bmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAGAAAAAEAAAAQAAAAAf///9gAAAAC////0AAAAAIAAAAQcGl4aQAAAAAD
CAgIAAAACWlyb3QDAAAAGWlwbWEAAAAAAAAAAQABBoECAwWEhgAAABppcmVmAAAAAAAAAA5jZHNjAAIAAQABAAAAbW1kYXQAAAA9KAGvCchdrNAj
mJb/r//8+chUj91IP7KqdhJ/8vLoMEwXZDvo9boyAm9LL97Rn1qy6wkpOQV+oMNLUkZPDgAAAAZFeGlmAABNTQAqAAAACAABARIAAwAAAAEABgAA
AAAAAA==
"""
"""24 by 16, the upper half (200, 0, 0), the lower (0, 0, 90), to be turned to the right."""


def test_heic_is_read_or_its_error_says_what_to_install(monkeypatch):
    image = decode(base64.b64decode(HEIC), "photo").astype(int)
    assert image.shape == (24, 16, 3)
    assert np.abs(image[:, [2, 13]] - [(0, 0, 90), (200, 0, 0)]).max() < 16
    monkeypatch.setitem(OPTIONAL, "heic", False)
    with pytest.raises(ImageError, match=r"HEIC requires pillow-heif: `pip install 'diptych\[heic\]'`") as caught:
        decode(base64.b64decode(HEIC), "photo")
    assert "unsupported" == caught.value.kind


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"\n<!DOCTYPE html><html>", "an HTML page"),
        (b"<?xml version='1.0'?>\n<!-- x -->\n<svg>", "an SVG drawing"),
        (b"<?xml version='1.0'?><annotation>", "an XML file"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer (run `git lfs pull`)"),
        (b"\0\0\0\x18ftypmp42", "a video"),
        (b"%PDF-1.7", "a PDF"),
        (b"PK\3\4", "an archive"),
        (b"\x1f\x8b\x08", "an archive"),
        (b'{"error": 404}', "a JSON file"),
        (bytes(512), "a zero-filled file"),
        ("Größe".encode(), "a text file"),
        ("Größe".encode("utf-16"), "a text file"),
        (b"BMW, a maker of cars", "a text file"),
        (b"\1\2\3\xff", r"a file that starts with b'\x01\x02\x03\xff'"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(start, what):
    with pytest.raises(ImageError, match=re.escape(f", AVIF or HEIC, got {what}.")):
        decode(start, "5.jpg")


@pytest.mark.parametrize("name", SAMPLES)
def test_a_truncated_file_raises_wherever_it_is_cut(name):
    encoded = CORPUS[name].encoded
    for length in sorted({*range(0, len(encoded), max(1, len(encoded) // 60)), *range(len(encoded) - 9, len(encoded))}):
        with pytest.raises(ImageError, match=name) as caught:
            decode(encoded[:length], name)
        assert caught.value.kind in {"empty", "not-an-image", "truncated", "damaged"}


def damaged(encoded, seed):
    """Flip a bit or change up to eight bytes, more often near the start, where the headers are."""
    rng = np.random.default_rng(seed)
    at = rng.integers(len(encoded) if rng.random() < 0.5 else min(len(encoded), 120))
    others = encoded[at] ^ 1 << rng.integers(8), rng.choice([0, 1, 127, 128, 255])
    new = rng.bytes(rng.integers(1, 9)) if rng.integers(3) == 2 else bytes([others[rng.integers(2)]])
    return (encoded[:at] + new + encoded[at + len(new) :])[: len(encoded)]


@pytest.mark.parametrize("num_seeds", [150, pytest.param(5_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_damaged_file_decodes_or_raises_an_image_error_and_prints_nothing(name, num_seeds, capfd):
    for seed in range(num_seeds):
        result = outcome(name, damaged(CORPUS[name].encoded, seed))
        assert result.get("kind", "damaged") in ImageError.KINDS
    assert ("", "") == capfd.readouterr() or name.startswith("tiff")  # libtiff prints its own errors


@pytest.mark.parametrize("name", ["png rgb 8", "png palette 8 transparent", "png interlaced rgb"])
def test_every_flipped_bit_of_a_png_raises(name):
    encoded = CORPUS[name].encoded
    for place in range(8 * len(encoded)):
        flipped = encoded[: place // 8] + bytes([encoded[place // 8] ^ 1 << place % 8]) + encoded[place // 8 + 1 :]
        with pytest.raises(ImageError):
            decode(flipped, name)


def test_a_png_with_valid_checksums_but_too_few_rows_raises():
    rows = png_rows(np.full((6, 7, 4), 90))
    for num_rows in range(len(rows)):
        with pytest.raises(ImageError, match="few"):
            decode(png(8, 6, rows[:num_rows]), "few")
    assert (6, 7, 3) == decode(png(8, 6, rows), "all").shape


def test_pillow_must_not_load_truncated_images(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(UsageError, match="LOAD_TRUNCATED_IMAGES"):
        decoded("bmp 24")


def test_many_threads_decode_the_same_pixels_as_one():
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))
    names = sorted(CORPUS) * 6
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda name: outcome(name, CORPUS[name].encoded), names))
    assert [expected[name] for name in names] == results


@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.long)])
def test_every_jpeg_of_cifar_10_has_the_pixels_of_opencv(step):
    archive = Path(os.environ.get("DIPTYCH_DATA") or "/nowhere") / "cifar10-jpeg.tar.gz"
    if not archive.is_file():
        pytest.skip("LEFT OUT: the JPEGs of CIFAR-10, because cifar10-jpeg.tar.gz is not in the folder DIPTYCH_DATA")
    num_files = 0
    with tarfile.open(archive) as tar:
        for number, member in enumerate(tar):
            if number % step == 0 and member.name.endswith((".jpg", ".jpeg")):
                encoded = tar.extractfile(member).read()
                np.testing.assert_array_equal(opencv(encoded), decode(encoded, member.name))
                num_files += 1
    assert num_files >= 2_000


def test_an_image_above_the_limit_raises_before_memory_is_allocated():
    program = (
        "import resource\nfrom images_corpus import corpus\nfrom test_decode import outcome\n"
        "files = {name: case.encoded for name, case in corpus().items() if case.kind == 'too-large'}\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "kinds = {outcome(name, encoded).get('kind') for name, encoded in files.items()}\n"
        "print(len(files), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, *kinds)"
    )
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True)
    num_files, kib, *kinds = done.stdout.split()
    assert int(num_files) >= 6 and int(kib) < 4096 and kinds == ["too-large"]


def test_the_limit_can_be_set_and_must_be_an_integer(monkeypatch):
    for limit in (19 * 27, 19 * 27 - 1):
        monkeypatch.setenv("DIPTYCH_MAX_PIXELS", str(limit))
        monkeypatch.setattr(decoder, "MAX_PIXELS", decoder._max_pixels())
        assert (limit == 19 * 27) == ("shape" in outcome("gray", CORPUS["jpeg gray"].encoded))
    for value in ("0", "1e6", ""):
        monkeypatch.setenv("DIPTYCH_MAX_PIXELS", value)
        with pytest.raises(
            UsageError, match=f"DIPTYCH_MAX_PIXELS must be an integer from 1 to 9,999,999,999, got {value!r}"
        ):
            decoder._max_pixels()


def test_a_file_is_decoded_under_any_name(tmp_path):
    (tmp_path / "größe-猫.png").write_bytes(CORPUS["png rgb 8"].encoded)
    np.testing.assert_array_equal(CORPUS["png rgb 8"].pixels, decode(read_file(tmp_path / "größe-猫.png"), ""))


@pytest.mark.parametrize(
    ("kind", "make", "why"),
    [
        ("unreadable", lambda path: None, "No such file"),
        ("unreadable", lambda path: path.mkdir(), "Is a directory"),
        ("unreadable", lambda path: path.symlink_to("nowhere"), "No such file"),
        ("unreadable", lambda path: path.symlink_to(path.name), "symbolic links"),
        ("unreadable", os.mkfifo, "not a regular file"),
        ("unreadable", lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        ("empty", lambda path: path.touch(), "is empty"),
        ("not-an-image", lambda path: path.write_text("dear diary"), "expected JPEG, PNG.* got a text file"),
        ("too-large", lambda path: path.touch() or os.truncate(path, 2**30 + 1), "the limit is 1,073,741,824"),
    ],
    ids=["absent", "folder", "dangling link", "link to itself", "pipe", "device", "empty", "text", "over 1 GiB"],
)
def test_anything_but_an_image_raises_at_once(kind, make, why, tmp_path):
    make(tmp_path / "image.png")
    with pytest.raises(ImageError, match=rf"image\.png.*{why}") as caught:
        decode(read_file(tmp_path / "image.png"), "image.png")
    assert kind == caught.value.kind
