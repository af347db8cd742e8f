"""Folders and tables as people have them, each with the right answer beside it.

A case is written as text: `train/{cat,dog}/{0..11}.png` is 24 images of noise in which the name of their folder sets
the strong channel, `TABLE` a table with a row for each image.
"""

import gzip
import io
import re
import zlib
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from data_files import idx_bytes, random_bytes, write_files, write_zip
from PIL import Image

FORMATS = {"jpg": "jpeg", "jfif": "jpeg", "JPG": "png", "": "png"}
"""By suffix, where Pillow calls it otherwise, or the suffix lies."""
LINK, PETS, NUMBERS = "-> ", ("cat", "dog"), np.arange(80, dtype=np.uint8) % 10


@dataclass(frozen=True)
class Case:
    """Files, how they are read, and the right answer: classes and sizes, or what the refusal says.

    `sizes` are the images of training and validation, and of the test; None where the data bring no test. `said` is
    found in the lines before the first step, or in the refusal.
    """

    images: str = ""
    others: dict[str, str | bytes] = field(default_factory=dict)
    data: str = ""
    options: dict[str, object] = field(default_factory=dict)
    classes: str | int = "cat dog"
    sizes: tuple[int, int | None] = (24, None)
    said: str = ""
    refused: bool = False


def expand(pattern):
    """Return the texts that braces stand for: `{a,b}` and `{0..3}`."""
    parts = re.split(r"\{(.*?)\}", pattern)
    for place in range(1, len(parts), 2):
        first, dots, last = parts[place].partition("..")
        parts[place] = [str(i) for i in range(int(first), int(last) + 1)] if dots else parts[place].split(",")
    return ["".join(one) for one in product(*([part] if isinstance(part, str) else part for part in parts))]


def picture(path, size=24):
    """The bytes of an image of noise, another for each path."""
    parent, _, name = path.rpartition("/")
    pixels = np.random.default_rng(zlib.crc32(path.encode())).integers(0, 90, (size, size, 3), np.uint8)
    pixels[..., sum(parent.encode()) % 3] += 120
    file, suffix = io.BytesIO(), name.rpartition(".")[2] if "." in name else ""
    Image.fromarray(pixels).save(file, FORMATS.get(suffix, suffix))
    return file.getvalue()


def write(case, root):
    """Write the files of a case; return the path of its data."""
    write_files(root, {path: picture(path) for pattern in case.images.split() for path in expand(pattern)})
    for path, content in case.others.items():
        if str(content).startswith(LINK):
            (root / path).symlink_to(root / content.removeprefix(LINK))
        else:
            write_files(root, {path: content.encode() if isinstance(content, str) else content})
    if case.data.endswith(".zip"):
        write_zip(root / case.data, {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.*")})
    return root / case.data


def table(header, row, num=24, **columns):
    """A CSV whose rows are `row` with `{i}` a number, `{pet}` cat or dog, and columns that follow from `i`."""
    values = [{"i": i, "pet": PETS[i % 2], **{key: made(i) for key, made in columns.items()}} for i in range(num)]
    return "\n".join([*([header] if header else []), *(row.format(**one) for one in values)]) + "\n"


def listed(header, row, num=24, options=None, others=None, **right):
    """A case of a table `labels.csv` beside a folder of images."""
    columns = {key: right.pop(key) for key in [*right] if callable(right[key])}
    files = {"labels.csv": table(header, row, num, **columns), **(others or {})}
    return Case(f"images/img_{{0..{num - 1}}}.png", files, "labels.csv", options or {}, **right)


def refused(said, *args, **settings):
    return Case(*args, said=said, refused=True, **settings)


def pixels_table(header, last=False):
    """A CSV of 4 by 4 pixels and a label."""
    lines = [header] if header else []
    for i in range(24):
        levels = [str(level) for level in random_bytes(24, 16)[i] // 2 + 120]
        lines.append(",".join([*levels, str(i % 2)] if last else [str(i % 2), *levels]))
    return "\n".join(lines) + "\n"


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


DIGITS = {"x_train": random_bytes(60, 8, 8), "y_train": NUMBERS[:60], "x_test": random_bytes(80, 8, 8)[60:]}
IDX = {
    f"{name}-{kind}{{}}idx{dimensions}-ubyte": idx_bytes(values)
    for name, chosen in (("train", slice(60)), ("t10k", slice(60, 80)))
    for kind, dimensions, values in (("images", 3, random_bytes(80, 28, 28)[chosen]), ("labels", 1, NUMBERS[chosen]))
}
TWO, MANY, FEW = "{cat,dog}/{0..11}.png", "train/{cat,dog}/{0..11}.png", "test/{cat,dog}/{0..5}.png"
PIXELS = ",".join(["label", *(f"pixel{i}" for i in range(16))])
ROW = "images/img_{i}.png"

CASES = {
    # Splits, whatever they are called
    "class folders": Case(TWO, said="no test split: 4 of 24"),
    "train and test": Case(f"{MANY} {FEW}", sizes=(24, 12)),
    "Training and Testing": Case("Training/{cat,dog}/{0..11}.png Testing/{cat,dog}/{0..5}.png", sizes=(24, 12)),
    "training_set, doubled": Case(
        "training_set/training_set/{cat,dog}/{0..11}.png test_set/test_set/{cat,dog}/{0..5}.png", sizes=(24, 12)
    ),
    "Train, Valid, Test": Case(
        "Train/{cat,dog}/{0..11}.png Valid/{cat,dog}/{0..3}.png Test/{cat,dog}/{0..5}.png", sizes=(32, 12)
    ),
    "splits below one folder": Case(f"xray/{MANY} xray/{FEW}", sizes=(24, 12)),
    "splits beside rubbish": Case(f"{MANY} {FEW} __MACOSX/{MANY}", {"readme.txt": "about"}, sizes=(24, 12)),
    "train and val": Case(f"{MANY} val/{{cat,dog}}/{{0..3}}.png", sizes=(32, None), said="no test split: 4 of 24"),
    "names of files carry the labels": refused("cat\\.0|file name", "train/{cat,dog}.{0..11}.jpg test1/{1..6}.jpg"),
    "names of files, without a folder": refused("cat\\.0|file name", "{cat,dog}.{0..11}.jpg"),
    "names of files, beside a form": refused(
        "cat\\.0", "train/{cat,dog}.{0..11}.jpg", {"sampleSubmission.csv": "id,label\n1,0"}
    ),
    "names of files, beside a folder": refused(
        "boxer_", "images/{cat,boxer}_{0..11}.jpg", {"annotations/list.txt": "hm"}
    ),
    "classes beside a flat test": refused("rename flowers to train", "flowers/{cat,dog}/{0..11}.png test/{0..5}.png"),
    "splits without classes, doubled": refused(
        "class folders.*got none", "cars_{train,test}/cars_{train,test}/{0..5}.jpg"
    ),
    "a flat validation split": Case(
        "train/{cat,dog}/images/{0..11}.png val/images/{0..5}.png", said="val: images without class folders"
    ),
    "the same classes in several folders": refused("use one of color, gray", "{color,gray}/{cat,dog}/{0..5}.png"),
    "classes of patients": refused("use one of", "p{1..4}/0/{0..3}.png p{1..3}/1/{0..3}.png"),
    "a folder again in itself": refused("cells' is beside folders that", "{A,B}/{0..5}.png cells/{A,B}/{0..5}.png"),
    "a split again in itself": refused("train/train' is beside folders", f"{MANY} train/{MANY}"),
    "images and masks": refused("images names no class", "{images,masks}/{0..5}.png"),
    "the same parts of several classes": Case("{cat,dog}/session{1,2}/{0..5}.png"),
    "test without a class": Case(f"{MANY} test/cat/{{0..5}}.png", sizes=(24, 6), said="dog: none for test"),
    "test with another class": refused("owl", f"{MANY} test/{{cat,dog,owl}}/{{0..5}}.png"),
    "validation without a class": Case(f"{MANY} val/cat/{{0..5}}.png {FEW}", sizes=(30, 12), said="dog: none for val"),
    # Classes
    "a class of one image": Case(f"{TWO} rare/0.png", classes="cat dog rare", sizes=(25, None), said="rare: none for"),
    "classes of one image": refused("Too few images", "{cat,dog,owl}/0.png"),
    "an empty class": refused("owl", TWO, {"owl/notes.txt": "none yet"}),
    "one class": refused("1|at least 2|one class", "cat/{0..11}.png"),
    "no images": refused("0 images", "", {"cat/notes.txt": "a", "dog/notes.txt": "b"}),
    "nested classes": Case("cat/{black,white}/{0..5}.png dog/{0..11}.png"),
    "names that differ in case": Case("{Cat,cat,dog}/{0..7}.png", classes="Cat cat dog", said="may be one"),
    "names with spaces": Case("{big cat,dog}/{0..11}.png".replace(" ", "~"), classes="big~cat dog"),
    "many of one class": Case("cat/{0..59}.png dog/{0..4}.png", sizes=(65, None), said="12 times as many as dog"),
    "hidden files": Case(TWO, {"cat/.DS_Store": "x", "dog/._1.png": "x", ".git/cat/1.png": "x"}),
    "a folder of runs": Case(TWO, {"runs/a/run.json": "{}"}),
    "one image in two classes": Case(TWO, {f"{pet}/same.png": picture("same.png") for pet in PETS}, sizes=(26, None)),
    "one image in two splits": Case(
        f"{MANY} {FEW}", {f"{split}/cat/same.png": picture("same.png") for split in ("train", "test")}, sizes=(25, 13)
    ),
    # Files
    "suffixes that say little": Case(
        "{cat,dog}/{0..7}.png {cat,dog}/a.jfif {cat,dog}/b.ppm {cat,dog}/c {cat,dog}/d.JPG", sizes=(24, None)
    ),
    "avif": Case("{cat,dog}/{0..7}.png {cat,dog}/{0..3}.avif"),
    "a web page called jpg": refused(
        "page\\.jpg.*(web page|HTML|DOCTYPE)", TWO, {"cat/page.jpg": "<!DOCTYPE html>404"}
    ),
    "an empty file": refused("9.png.*empty", "{cat,dog}/{0..7}.png", {"cat/9.png": b""}),
    "a cut file": refused("9.png.*truncated", "{cat,dog}/{0..7}.png", {"cat/9.png": picture("9.png")[:-90]}),
    "a cut file, skipped": Case(
        TWO, {"cat/99.png": picture("9.png")[:-90]}, options={"bad_images": "skip"}, said="Skipped 1 of 25 .*99.png"
    ),
    "texts among the images": Case(TWO, {"cat/notes.txt": "hm", "dog/list.xml": "<a/>"}),
    "a zip of class folders": Case(TWO, data="pets.zip"),
    "a zip of one folder of splits": Case(f"pets/{MANY} pets/{FEW}", data="pets.zip", sizes=(24, 12)),
    "a link to nothing": refused("gone\\.png", TWO, {"cat/gone.png": LINK + "nowhere"}),
    "a link to an image": Case(f"{TWO} more.png", {"cat/more.png": LINK + "more.png"}, sizes=(25, None)),
    "a link to a folder": Case(
        f"data/{TWO} elsewhere/{{0..3}}.png", {"data/cat/more": LINK + "elsewhere"}, "data", sizes=(28, None)
    ),
    # Tables
    "paths and labels": listed("path,label", f"{ROW},{{pet}}"),
    "semicolons": listed("path;label", f"{ROW};{{pet}}"),
    "a byte order mark": listed("\ufeffpath,label", f"{ROW},{{pet}}"),
    "one-hot columns": listed("image_id,cat,dog", "img_{i},{cat},{dog}", cat=lambda i: i % 2, dog=lambda i: 1 - i % 2),
    "ids without a suffix": listed("id,label", "img_{i},{pet}"),
    "float labels": listed(
        "path,label", f"{ROW},{{y}}.0", 72, y=lambda i: i // 6, classes=" ".join(map(str, range(12))), sizes=(72, None)
    ),
    "float labels with names": listed(
        "path,label", f"{ROW},{{y}}.0", y=lambda i: i % 2, others={"classes.txt": "cat\ndog\n"}
    ),
    "labels are missing": listed(
        "path,label",
        f"{ROW},{{y}}",
        y=lambda i: ("", "nan", "NaN")[i % 3] if i in (5, 6, 7) else PETS[i % 2],
        refused=True,
        said="3.*--bad-images skip|--bad-images skip.*3",
    ),
    "labels are missing, skipped": listed(
        "path,label",
        f"{ROW},{{y}}",
        y=lambda i: ("", "nan", "NaN")[i % 3] if i in (5, 6, 7) else PETS[i % 2],
        options={"bad_images": "skip"},
        sizes=(21, None),
        said="3 of 24 rows have no label .* Left out",
    ),
    "labels differ in case": listed(
        "path,label", f"{ROW},{{y}}", y=lambda i: ("cat", "dog", "Cat")[i % 3], classes="Cat cat dog", said="may be one"
    ),
    "a column subset": listed(
        "path,label,subset", f"{ROW},{{pet}},{{s}}", s=lambda i: "train" if i < 18 else "test", sizes=(18, 6)
    ),
    "a column usage": listed(
        "path,label,Usage", f"{ROW},{{pet}},{{s}}", s=lambda i: "Training" if i < 18 else "PrivateTest", sizes=(18, 6)
    ),
    "a column is_valid": listed("path,label,is_valid", f"{ROW},{{pet}},{{s}}", s=lambda i: i >= 18),
    "a column is_test": listed("path,label,is_test", f"{ROW},{{pet}},{{s}}", s=lambda i: int(i >= 18), sizes=(18, 6)),
    "a column fold": listed("path,label,fold", f"{ROW},{{pet}},{{s}}", s=lambda i: i % 5, said="fold"),
    "two label columns": listed(
        "path,fine_label,coarse_label", f"{ROW},{{pet}},pet", refused=True, said="fine_label.*coarse_label.*--label-col"
    ),
    "the label column is named": listed(
        "path,fine_label,coarse_label", f"{ROW},{{pet}},pet", options={"label_column": "fine_label"}
    ),
    "several labels in a cell": listed(
        "path,labels",
        f"{ROW},{{y}}",
        y=lambda i: ("rust", "scab", "rust|scab", "scab|rot")[i % 4],
        refused=True,
        said="rust\\|scab|several|more than one",
    ),
    "rows without files": listed(
        "path,label",
        "images/img_{n}.png,{pet}",
        n=lambda i: 90 + i if i < 2 else i,
        refused=True,
        said="img_90.*img_91.*--bad-images skip",
    ),
    "rows without files, skipped": listed(
        "path,label",
        "images/img_{n}.png,{pet}",
        n=lambda i: 90 + i if i < 2 else i,
        options={"bad_images": "skip"},
        sizes=(22, None),
        said="img_90",
    ),
    "an image twice": listed(
        "path,label", "images/img_0.png,{pet}", refused=True, said="img_0.*again with another label"
    ),
    "training lacks a class": listed(
        "path,label,split",
        f"{ROW},{{y}},{{s}}",
        y=lambda i: "owl" if i > 20 else PETS[i % 2],
        s=lambda i: "train" if i < 18 else "test",
        refused=True,
        said="owl",
    ),
    "no training rows": listed("path,label,split", f"{ROW},{{pet}},test", refused=True, said="train"),
    "one label": listed("path,label", f"{ROW},cat", refused=True, said="cat|class|2"),
    "a path out of the folder": listed("path,label", "../img_{i}.png,{pet}", refused=True, said="\\.\\."),
    "no rows": refused("row|empty|image|no ", "", {"labels.csv": "path,label\n"}, "labels.csv"),
    "no text": refused("empty|row|header|no ", "", {"labels.csv": ""}, "labels.csv"),
    "tables of two splits": Case(
        "images/img_{0..23}.png",
        {
            "train.csv": table("path,label", f"{ROW},{{pet}}", 18),
            "test.csv": table("path,label", "images/img_{n}.png,{pet}", 6, n=lambda i: 18 + i),
            "sample_submission.csv": "id,label\n1,0\n",
        },
        sizes=(18, 6),
    ),
    "a table and a form": Case(
        "train/{0..23}.png",
        {"labels.csv": table("id,breed", "{i},{pet}"), "sample_submission.csv": "id,cat,dog\n1,0,0\n"},
    ),
    "tables in splits": Case(
        "train/{0..17}.png valid/{0..5}.png",
        {
            f"{split}/_classes.csv": table(
                "filename, cat, dog", "{i}.png, {y}, {n}", num, y=lambda i: 1 - i % 2, n=lambda i: i % 2
            )
            for split, num in (("train", 18), ("valid", 6))
        },
        said="label column 'cat', 'dog'",
    ),
    "tables of pixels in splits": Case(
        "",
        {f"p_{split}/p_{split}.csv": pixels_table(PIXELS) for split in ("train", "test")},
        classes="0 1",
        sizes=(24, 24),
    ),
    "pixels without labels for the test": Case(
        "",
        {"train.csv": pixels_table(PIXELS), "test.csv": PIXELS[6:] + "\n" + "7," * 15 + "7\n"},
        classes="0 1",
        said="test.csv, which has no column 'label'",
    ),
    "tables of splits beside class folders of one": Case(
        "Train/{0,1}/{0..11}.png Test/{0..5}.png Meta/{0,1}.png",
        {
            "Train.csv": table("Width,ClassId,Path", "9,{y},Train/{y}/{n}.png", y=lambda i: i % 2, n=lambda i: i // 2),
            "Test.csv": table("Width,ClassId,Path", "9,{y},Test/{i}.png", 6, y=lambda i: i % 2),
            "Meta.csv": "Path,ClassId\nMeta/0.png,0\nMeta/1.png,1\n",
        },
        classes="0 1",
        sizes=(24, 6),
        said="Meta.csv",
    ),
    "a table beside splits of class folders": Case(
        f"cars/{MANY} cars/{FEW}", {"anno_train.csv": "0.png,39,116\n1.png,36,116\n"}, sizes=(24, 12), said="anno_train"
    ),
    "lists beside class folders": Case(
        f"images/{TWO}", {"train_test_split.txt": "1 0\n2 1\n"}, said="Not used: train_test_split.txt"
    ),
    "a workbook": refused(
        "Office.*save its table as CSV", "", {"labels.xlsx": b"PK\3\4" + b"\0" * 26 + b"xl/"}, "labels.xlsx"
    ),
    "a workbook called csv": refused("got an Office", "", {"l.csv": b"PK\3\4" + b"\0" * 26 + b"xl/"}, "l.csv"),
    "numbers that are no pixels": refused(
        "'height', 'Target'; .*--image-column",
        "",
        {"t.csv": table("who,x,y,width,height,Target", "{i},1,2,3,4,1")},
        "t.csv",
    ),
    "one of the splits is decomposed": Case(
        f"train/dog/{{0..11}}.png train/K\xe4fer/{{0..11}}.png {FEW[:5]}Ka\u0308fer/{{0..5}}.png test/dog/{{0..5}}.png",
        classes="Ka\u0308fer dog",
        sizes=(24, 12),
    ),
    "a column of splits under another name": listed(
        "path,label,Dataset_type", f"{ROW},{{pet}},{{s}}", s=lambda i: "TRAIN" if i < 18 else "TEST", sizes=(18, 6)
    ),
    "class names beside labels": listed("Filename,Label,ClassName", f"{ROW},{{y}},{{pet}}", y=lambda i: i % 2),
    "rows without any cell": listed("path,label", f"{ROW},{{pet}}\n,"),
    "labels in lists": Case(
        "{0..23}.png", {"a.jsonl": table("", '{{"file_name": "{i}.png", "label": ["{pet}"]}}')}, "a.jsonl"
    ),
    "labels in objects": refused(
        "24 of 24 rows have no label",
        "{0..23}.png",
        {"a.jsonl": table("", '{{"image": "{i}.png", "objects": {{"a": 1}}}}')},
        "a.jsonl",
    ),
    "pixels in lists": Case(
        "", {"a.csv": table("label,pixels", '{pet},"[{i}, 2, 3, 4]"')}, "a.csv", said="image column 'pixels'"
    ),
    "thousands": listed("path,label", f'{ROW},"{{y}},000"', y=lambda i: 1 + i % 2, classes="1,000 2,000"),
    "float ids": Case("images/{0..23}.png", {"labels.csv": table("id,label", "{i}.0,{pet}")}, "labels.csv"),
    "suffixes in another case": listed("path,label", "images/img_{i}.PNG,{pet}"),
    "files two folders below": Case(
        "images_{1..2}/images/{0..11}_{a,b}.png",
        {"labels.csv": table("Image Index,Finding", "{n}.png,{pet}", 12, n=lambda i: f"{i}_a")},
        "labels.csv",
        refused=True,
        said="may be 'images_1/images/0_a.png' or",
    ),
    "decomposed names": Case(
        "K\xe4fer_{0..23}.png", {"labels.csv": table("path,label", "Ka\u0308fer_{i}.png,{pet}")}, "labels.csv"
    ),
    "decomposed labels": listed(
        "path,label", f"{ROW},{{y}}", y=lambda i: ("K\xe4fer", "Ka\u0308fer")[i % 2], classes=2, said="may be one"
    ),
    "metadata.csv": Case("train/{0..23}.png", {"train/metadata.csv": table("file_name,label", "{i}.png,{pet}")}),
    "metadata.jsonl": Case(
        "train/{0..23}.png",
        {"train/metadata.jsonl": table("", '{{"file_name": "{i}.png", "label": "{pet}"}}')},
    ),
    # Pixels and known files
    "pixels": Case("", {"p.csv": pixels_table(PIXELS)}, "p.csv", classes="0 1"),
    "pixels without a header": Case("", {"p.csv": pixels_table("")}, "p.csv", classes="0 1"),
    "pixels without a header, label last": Case("", {"p.csv": pixels_table("", last=True)}, "p.csv", classes="0 1"),
    "idx": Case("", {name.format("-"): one for name, one in IDX.items()}, classes=10, sizes=(60, 20)),
    "idx with dots": Case("", {name.format("."): one for name, one in IDX.items()}, classes=10, sizes=(60, 20)),
    "idx, packed": Case(
        "", {name.format("-"): gzip.compress(one) for name, one in IDX.items()}, classes=10, sizes=(60, 20)
    ),
    "npz of Keras": Case(
        "", {"mnist.npz": npz(**DIGITS, y_test=NUMBERS[60:])}, "mnist.npz", classes=10, sizes=(60, 20)
    ),
    "npz without labels": refused("label", "", {"a.npz": npz(images=random_bytes(20, 8, 8))}, "a.npz"),
    "a text": refused("notes", "", {"notes.txt": "hm"}, "notes.txt"),
    "a web page called csv": refused(
        "html|web page|column", "", {"a.csv": "<!DOCTYPE html>\n<html></html>\n"}, "a.csv"
    ),
    "a missing place": refused("missing", "", {"a.txt": "a"}, "missing"),
}
