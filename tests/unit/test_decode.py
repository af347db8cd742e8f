"""The decoder on real files that the tests encode themselves."""

import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest

from diptych.data.decode import decode, decode_file
from diptych.errors import DataError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def smooth_image(height=40, width=60):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (9, 9), 3)


def encode(image_rgb, suffix):
    is_done, encoded = cv2.imencode(suffix, np.ascontiguousarray(image_rgb[..., ::-1]))
    assert is_done
    return encoded.tobytes()


def with_orientation(jpeg, orientation):
    """Insert an EXIF segment with nothing but an orientation behind the JPEG's first marker."""
    tag = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0" + b"MM\0*" + struct.pack(">IH", 8, 1) + tag + struct.pack(">I", 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def png_header_claiming(width, height):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_a_lossless_file_decodes_to_the_rgb_pixels_it_was_made_of(suffix, tmp_path):
    image_rgb = smooth_image()
    (tmp_path / f"image{suffix}").write_bytes(encode(image_rgb, suffix))
    decoded = decode_file(tmp_path / f"image{suffix}")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, image_rgb)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_a_lossy_file_decodes_to_about_its_rgb_pixels(suffix, tmp_path):
    image_rgb = smooth_image()
    (tmp_path / f"image{suffix}").write_bytes(encode(image_rgb, suffix))
    difference = decode_file(tmp_path / f"image{suffix}").astype(int) - image_rgb
    assert np.abs(difference).mean() < 3


def test_grey_is_the_luma_of_bt_601_with_one_channel():
    image_rgb = np.array([[RED, GREEN, BLUE]], dtype=np.uint8)
    decoded = decode(encode(image_rgb, ".png"), "image", channels=1)
    assert decoded.shape == (1, 3, 1)
    np.testing.assert_allclose([[76.2], [149.7], [29.1]], decoded[0], atol=0.5)


def test_a_grey_file_decodes_to_three_equal_channels():
    grey = smooth_image()[..., 0]
    decoded = decode(cv2.imencode(".png", grey)[1].tobytes(), "image")
    np.testing.assert_array_equal(np.stack([grey] * 3, axis=-1), decoded)


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_exif_orientation_is_applied(orientation, turns, channels):
    jpeg = encode(smooth_image(40, 60), ".jpg")
    upright = decode(jpeg, "upright", channels)
    np.testing.assert_array_equal(
        np.rot90(upright, turns), decode(with_orientation(jpeg, orientation), "turned", channels)
    )


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_a_file_cut_short_anywhere_is_an_error_that_names_it(suffix, tmp_path):
    encoded = encode(smooth_image(), suffix)
    path = tmp_path / f"cut{suffix}"
    for length in [*range(0, len(encoded), max(1, len(encoded) // 40)), len(encoded) - 1]:
        path.write_bytes(encoded[:length])
        with pytest.raises(DataError, match=path.name):
            decode_file(path)


def test_a_file_of_no_supported_format_says_what_it_starts_with(tmp_path):
    (tmp_path / "notes.jpg").write_text("dear diary")
    with pytest.raises(DataError, match=r"notes\.jpg.*wanted a JPEG, PNG, BMP or WebP.*dear dia"):
        decode_file(tmp_path / "notes.jpg")


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"absent\.png.*No such file"):
        decode_file(tmp_path / "absent.png")


def test_a_name_beyond_ascii_is_read(tmp_path):
    (tmp_path / "größe-猫.png").write_bytes(encode(smooth_image(), ".png"))
    assert decode_file(tmp_path / "größe-猫.png").shape == (40, 60, 3)


@pytest.mark.parametrize("module", ["decode", "preprocess", "datasets"])
def test_more_pixels_than_the_cap_are_refused_whatever_is_imported_first(module, tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_header_claiming(10_000, 9_000))
    program = (
        f"import sys, diptych.data.{module}\n"
        "from pathlib import Path\n"
        "from diptych.data.decode import decode_file\n"
        "from diptych.errors import DataError\n"
        "try:\n    decode_file(Path(sys.argv[1]))\nexcept DataError as error:\n    print(error)\n"
    )
    run = [sys.executable, "-c", program, str(tmp_path / "bomb.png")]
    finished = subprocess.run(run, capture_output=True, text=True, check=True)
    assert "images of up to 89,478,485 pixels are read" in finished.stdout
    assert finished.stderr == ""
