"""Test images are written to one file; errors name the image or the file."""

from pathlib import Path

import numpy as np
import pytest
from data_files import write_image

from diptych.data.datasets import ingest
from diptych.data.readers.folder import list_folder
from diptych.deployment.predictor import save_images
from diptych.errors import ArtifactError, DataError


def streamed(root, kept):
    for number in range(300):
        write_image(root / "ab"[number % 2] / f"{number:03}.png", number % 256)
    return ingest(list_folder(root), (6, 8, 3), caching="never", folder=kept).train.images


def test_streamed_images_are_written_as_a_numpy_file(tmp_path):
    images = streamed(tmp_path / "photos", tmp_path / "kept")
    found = np.load(save_images(tmp_path / "images.npy", images), mmap_mode="r")
    np.testing.assert_array_equal(np.asarray(images), found, strict=True)


def test_an_image_that_has_changed_is_named(tmp_path):
    images = streamed(tmp_path / "photos", tmp_path / "kept")
    (tmp_path / "photos" / "b" / "299.png").write_bytes(b"other")
    with pytest.raises(DataError, match=r"'b/299\.png' changed while it was in use: restore it"):
        save_images(tmp_path / "images.npy", images)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_with_path_and_bytes():
    with pytest.raises(ArtifactError, match=r"'/dev/full': No space left on device after 0 of 57,600,000 bytes"):
        save_images(Path("/dev/full"), np.zeros((1000, 120, 160, 3), np.uint8))
