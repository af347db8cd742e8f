"""Python objects as data: each form gives the images, labels and splits it says, or one line that names the fix."""

import io
from itertools import count

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from diptych.data import datasets, sources
from diptych.data.readers import objects
from diptych.errors import DiptychError

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 3), np.uint8)
LABELS = np.arange(12) % 3
WORDS = np.array(["bird", "cat", "dog"])[LABELS]


class Items:
    """A map-style dataset, as of PyTorch; further attributes by name."""

    def __init__(self, items, **attributes):
        self.items = list(items)
        self.__dict__.update(attributes)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def pillows(mode="RGB"):
    return [Image.fromarray(image).convert(mode) for image in IMAGES]


def pngs():
    return [cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in IMAGES]


def listed(data, **options):
    path, root = objects.stored(data, **options)
    return sources.find(path, root=root).listing


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ((IMAGES, LABELS), "012"),
        ((IMAGES.astype(np.int64), LABELS[:, np.newaxis]), "012"),
        ((IMAGES, np.eye(3)[LABELS]), "012"),
        ((IMAGES, LABELS.astype(np.float32)), "012"),
        ([IMAGES, list(map(int, LABELS))], "012"),
        ((IMAGES, pd.Series(WORDS)), ("bird", "cat", "dog")),
        ((IMAGES, np.char.encode(WORDS)), ("bird", "cat", "dog")),
        ((list(IMAGES), WORDS.tolist()), ("bird", "cat", "dog")),
        (list(zip(pillows(), WORDS, strict=True)), ("bird", "cat", "dog")),
        (Items(zip(pngs(), LABELS, strict=True)), "012"),
        (Items(zip(pillows(), LABELS, strict=True), classes=["b", "c", "d"]), "bcd"),
        (
            Items(zip(IMAGES, WORDS, strict=True), dataset=Items([], classes=["dog", "cat", "bird"])),
            ("dog", "cat", "bird"),
        ),
        (Items({"img": image, "label": label} for image, label in zip(pillows(), LABELS, strict=True)), "012"),
    ],
    ids=count(),
)
def test_a_form_gives_its_images_in_order(data, names):
    listing = listed(data)
    np.testing.assert_array_equal(IMAGES, listing.train.images)
    assert tuple(names) == listing.class_names
    assert WORDS.tolist() == [
        {"0": "bird", "1": "cat", "2": "dog", "b": "bird", "c": "cat", "d": "dog"}.get(name, name)
        for name in (listing.class_names[label] for label in listing.train.labels)
    ]


@pytest.mark.parametrize("keys", [("train", "test"), ("Training", "valid", "test"), None])
def test_parts_by_name_are_splits_and_a_pair_of_pairs_is_that_of_keras(keys):
    part = IMAGES, LABELS
    splits = listed(dict.fromkeys(keys, part) if keys else (part, part)).splits
    assert [{"Training": "train", "valid": "validation"}.get(key, key) for key in keys or ("train", "test")] == [
        *splits
    ]


def test_class_names_name_numbers_and_order_texts():
    assert ("x", "y", "z") == listed((IMAGES, LABELS), class_names=["x", "y", "z"]).class_names
    ordered = listed((IMAGES, WORDS), class_names=["dog", "cat", "bird"])
    assert (("dog", "cat", "bird"), [2, 1, 0]) == (ordered.class_names, ordered.train.labels[:3].tolist())


@pytest.fixture
def files(tmp_path):
    """Three image files of each class, below one folder."""
    paths = [tmp_path / "in" / f"{word}s" / f"{number}.png" for number, word in enumerate(WORDS)]
    for path, image in zip(paths, IMAGES, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)
    return paths


@pytest.mark.parametrize(
    "form",
    {
        "pairs": lambda paths: list(zip(paths, WORDS, strict=True)),
        "columns": lambda paths: (list(map(str, paths)), WORDS),
        "numbers and names": lambda paths: Items(zip(paths, LABELS, strict=True), classes=["bird", "cat", "dog"]),
        "by split": lambda paths: {"train": (paths, WORDS)},
        "frame": lambda paths: pd.DataFrame({"path": paths, "label": WORDS}),
        "frame with an index": lambda paths: pd.DataFrame({"label": WORDS}, pd.Index(map(str, paths), name="file")),
    }.items(),
    ids=lambda form: form[0],
)
def test_paths_are_read_like_files(form, files):
    found = datasets.load(objects.stored(form[1](files))[0], root=objects.stored(form[1](files))[1])
    expected = datasets.load(objects.stored(list(zip(files, WORDS, strict=True)))[0], root=files[0].parents[1])
    assert (expected.fingerprint, ("bird", "cat", "dog")) == (found.fingerprint, found.class_names)
    assert "birds/0.png" in {*found.train.ids, *found.test.ids, *found.validation.ids}


def test_levels_that_were_lost_before_are_remarked():
    assert ("images whose highest level is 1 of 255",) == listed(((IMAGES / 255).astype(np.uint8), LABELS)).inferred


def test_a_frame_of_pixels_is_read_like_a_csv_of_pixels():
    frame = pd.DataFrame(IMAGES[..., 0].reshape(12, 36))
    frame.insert(0, "label", WORDS)
    np.testing.assert_array_equal(IMAGES[..., :1], listed(frame).train.images)


def test_images_of_several_sizes_are_resized_and_it_is_said():
    data = [(Image.new("L", (5 + number, 9), 7), number % 2) for number in range(4)]
    listing = listed(data)
    assert ((4, 64, 64, 1), ("images of several sizes resized to 64 × 64",)) == (
        listing.train.images.shape,
        listing.inferred,
    )
    assert (4, 8, 9, 1) == listed(data, image_size=(8, 9)).train.images.shape


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK", "YCbCr", "RGBA", "I;16", "F"])
def test_an_image_of_pillow_is_what_its_file_is(mode, tmp_path):
    image = Image.fromarray(IMAGES[0]).convert("L" if mode == "I;16" else mode).convert(mode)
    if mode == "F":
        with pytest.raises(DiptychError, match="mode 'F' is not supported"):
            objects.pixels(image, "it")
        return
    image.save(path := tmp_path / ("image.tif" if mode in ("CMYK", "YCbCr") else "image.png"))
    found = objects.pixels(image, "it")
    np.testing.assert_array_equal(objects.pixels(path, "it"), found.repeat(3 // found.shape[-1], axis=-1))


def test_the_orientation_in_a_photos_exif_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(IMAGES[0][:4]).save(file := io.BytesIO(), "PNG", exif=exif)
    assert (6, 4, 3) == objects.pixels(Image.open(file), "it").shape == objects.pixels(file.getvalue(), "it").shape


FIXED = (IMAGES / 255, LABELS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((IMAGES / 255, LABELS), r"float64 in 0 to 1: expected uint8 .*\(images \* 255\).round\(\).astype\('uint8'\)"),
        ((IMAGES / 127.5 - 1, LABELS), r"in -1 to 1: .*\(\(images \+ 1\) \* 127.5\)"),
        ((IMAGES.astype(np.float32), LABELS), r"float32 in 0 to 255: .*images.round\(\).astype\('uint8'\)"),
        ((IMAGES.astype(np.uint16) * 257, LABELS), r"uint16 in 0 to 65535: .*255 / 65535"),
        ((IMAGES > 9, LABELS), r"bool in 0 to 1: .*images.astype\('uint8'\) \* 255"),
        ((IMAGES * np.nan, LABELS), r"float64 in nan to nan: expected uint8"),
        ((IMAGES.transpose(0, 3, 1, 2), LABELS), r"shape \(12, 3, 6, 6\): .*images.transpose\(0, 2, 3, 1\)"),
        ((np.concatenate([IMAGES, IMAGES[..., :1]], -1), LABELS), r"shape \(12, 6, 6, 4\): .*alpha channel"),
        ([(IMAGES[0] / 255, 0)], r"Image 0 is float64 in 0"),
        ((IMAGES, LABELS[:5]), "There are 12 images, but labels of the shape"),
        ((list(IMAGES), LABELS[:5]), "There are 12 images, but 5 labels"),
        ((IMAGES, np.ones((12, 3))), "must be one-hot"),
        ((IMAGES, [None, *WORDS[1:]]), "Label 0 is None: expected a whole number or a name"),
        ((IMAGES, [np.nan, *LABELS[1:]]), "Label 0 is nan"),
        ((IMAGES, [0.5, *LABELS[1:]]), "Label 0 is 0.5"),
        (IMAGES, r"Item 0 is of type ndarray, expected \(image, label\)"),
        (list(IMAGES), "Item 0 is of type ndarray"),
        ([("a.png", "cat", 1)], "Item 0 is of type tuple"),
        ((pair for pair in zip(IMAGES, LABELS, strict=True)), r"Unsupported data, generator: .*pass list\(…\)"),
        (type("Loader", (), {"dataset": 0, "__len__": lambda self: 3})(), "pass its .dataset"),
        (7, "Unsupported data, int"),
        ([], "There are no images in list"),
        ({"left": FIXED}, "Unknown split 'left'"),
        ({}, "Unknown split None"),
        ((), "There are no images in tuple"),
        ((7, 8), "Item 0 is of type int"),
        ((IMAGES, [{}] * 12), "Label 0 is {}: expected a whole number or a name"),
        ({"train": Items([], classes=["a", "b"]), "test": Items([], classes=["b", "a"])}, "different class names"),
        (Items([{"img": IMAGES[0], "fine_label": 0}]), "Item 0 has 'img', 'fine_label': expected one 'image' and one"),
        (pd.Series(["a.png"]), "Item 0 is of type str"),
        (pd.DataFrame({"image": [*IMAGES], "label": LABELS}), "Column 'image' of the DataFrame contains no texts"),
        ([(IMAGES[0], 0), ("a.png", 1)], "Some images are paths, others are pixels"),
        (Items([(IMAGES[0], 0), 1 / 1]), "Item 1 is of type float"),
        (
            type("Broken", (Items,), {"__getitem__": lambda self, index: {}[index]})([1]),
            "Item 0 of the dataset cannot be read: KeyError: 0",
        ),
        ((["nothing.png", "no.png"], [0, 1]), "names the image 'nothing.png', which is not a file"),
        ({"train": (IMAGES, LABELS), "test": (IMAGES[:, 1:], LABELS)}, "expected images of one shape"),
        ({"train": (IMAGES, LABELS), "test": (["a.png"], [0])}, "Some images are paths"),
    ],
    ids=count(),
)
def test_what_could_be_misread_is_refused_with_its_fix(data, message):
    with pytest.raises(DiptychError, match=message) as caught:
        listed(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "found"), [([0, 1, 3], "'3': expected one of 0 to 2 or a, b, c"), (["a", "b", "q"], "'q'")]
)
def test_a_label_without_a_name_is_refused(labels, found):
    with pytest.raises(DiptychError, match=f"Label 2 is {found}"):
        objects.stored((IMAGES[:3], labels), class_names="abc")


@pytest.mark.parametrize(
    "names", ["x_train y_train x_test y_test", "train_images train_labels test_images test_labels"]
)
def test_an_npz_as_keras_or_medmnist_writes_it_is_data(names, tmp_path):
    arrays = dict(zip(names.split(), (IMAGES, LABELS, IMAGES[:3], LABELS[:3]), strict=True))
    np.savez(tmp_path / "pets.npz", **arrays)
    found = sources.find(str(tmp_path / "pets.npz"))
    assert ("pets", [12, 3]) == (found.name, [len(split) for split in found.listing.splits.values()])
    np.savez(tmp_path / "odd.npz", x_train=IMAGES)
    with pytest.raises(DiptychError, match=r"has x_train \(12, 6, 6, 3\): expected images of one shape, and labels"):
        sources.find(str(tmp_path / "odd.npz"))


def test_an_object_that_was_removed_from_the_cache_is_asked_for_again():
    path, _ = objects.stored((IMAGES, LABELS[::-1]))
    datasets.Path(path).unlink()
    with pytest.raises(DiptychError, match="removed from the cache: pass it again as `data`"):
        datasets.load(path)
