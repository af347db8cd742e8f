"""Rows about what a model sees: decoding, resizing, order, augmentation."""

from diptych.engines.differences.row import Difference

_PROOFS = "tests/contract/test_differences_"

DATA: tuple[Difference, ...] = (
    Difference(
        "decode",
        torch="Pillow, by way of torchvision: accurate; EXIF and alpha ignored, damage in a JPEG painted over.",
        tensorflow="A fast, less accurate transform; EXIF and alpha ignored, damage in a JPEG painted over.",
        rule="Decoded once, in `data/decode`: accurate, turned upright, alpha over white; damage is an error.",
        proof=_PROOFS + "data.py::test_images_are_decoded_once_upright_over_white_and_whole",
    ),
    Difference(
        "resize",
        torch="Pillow antialiases; `interpolate` does not, and has its own bicubic.",
        tensorflow="No antialiasing.",
        rule="Resized once, in `data/preprocess`: means of whole blocks, then linear.",
        proof=_PROOFS + "data.py::test_images_are_resized_once_by_means_of_blocks",
    ),
    Difference(
        "shuffle",
        torch="A permutation from a generator that moves on.",
        tensorflow="A draw from a window that slides over the data.",
        rule="A permutation that follows from seed and epoch alone.",
        proof=_PROOFS + "data.py::test_the_order_of_samples_follows_from_seed_and_epoch_alone",
    ),
    Difference(
        "augmentation",
        torch="torchvision's transforms, a sample at a time, from the loading worker's generator.",
        tensorflow="Layers, from Keras's counter; RandomCrop cuts a whole batch alike.",
        rule="NumPy, a whole batch at once; a sample's change follows from seed, epoch and index alone.",
        proof=_PROOFS + "data.py::test_each_sample_is_augmented_on_its_own_whatever_its_batch",
    ),
)
