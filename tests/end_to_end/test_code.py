"""`diptych code`: projects that run by themselves, and whose weights come back."""

import ast
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import answered, diptych, refused
from native_recipes import RECIPES

from diptych.data import datasets
from diptych.native import data as native_data
from diptych.native.projects import project
from diptych.spec import zoo

FILES = ["model.py", "train.py", "data.py", "README.md", "requirements.txt"]
ENGINES = ("torch", "tensorflow")
WITHOUT_DIPTYCH = (
    "import runpy, sys; sys.modules['diptych'] = None; sys.path.insert(0, '.'); del sys.argv[0]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
QUIET = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONSAFEPATH": "1"}
MODELS = [
    pytest.param(name, marks=[pytest.mark.long] * (name not in ("mlp", "cnn", "resnet20"))) for name in zoo.MODELS
]


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    """The digits as one file for each size, with their test split."""
    paths = {}
    for size in (8, 20):
        digits = datasets.load("digits", image_size=(size, size))
        arrays = {f"x_{name}": split.images[:] for name, split in digits.splits.items()}
        arrays |= {f"y_{name}": split.labels for name, split in digits.splits.items()}
        paths[size] = tmp_path_factory.mktemp("digits") / f"digits{size}.npz"
        np.savez(paths[size], **arrays)
    return paths


def trained(folder):
    """What a project prints that trains for an epoch in a process without diptych."""
    command = [sys.executable, "-c", WITHOUT_DIPTYCH, "train.py", "--epochs", "1"]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **QUIET}, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", MODELS)
def test_a_project_trains_by_itself_and_its_weights_have_its_test_accuracy(npz, model, engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = npz[20 if model in ("cifar_sequential", "fashion_cnn") else 8]
    (written,) = answered("code", model, "--data", source, "--to", engine, "--out", "code", "--precision", "float32")
    assert (engine, "code", FILES) == (written["engine"], written["folder"], written["files"])
    output = trained("code")
    accuracy = float(re.search(r"^test loss [\d.]+  accuracy ([\d.]+)$", output, re.MULTILINE)[1])
    assert {"precision", "recall", "f1-score", "support"} <= set(output.split())
    weights = f"code/{'model.pt' if engine == 'torch' else 'model.keras'}"
    described = ()
    if engine == "torch":
        shape, text = datasets.load(str(source)).image_shape, Path("code/model.py").read_text()
        mean, std = (re.search(rf"^{name} = \[(.*)\]$", text, re.MULTILINE)[1] for name in ("MEAN", "STD"))
        described = ("--model", model, "--input-shape", *shape, "--num-classes", 10, "--mean", mean, "--std", std)
    transferred = diptych("transfer", weights, "back.safetensors", *described)
    assert 0 == transferred.code, transferred.err
    assert round(answered("evaluate", "back.safetensors", source)["accuracy"], 4) == accuracy


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    """Color images of ten classes, as arrays."""
    rng = np.random.default_rng(0)
    labels = np.arange(130) % 10
    images = (rng.integers(0, 100, (130, 12, 12, 3)) + 15 * labels[:, None, None, None]).astype(np.uint8)
    path = tmp_path_factory.mktemp("colors") / "colors.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return path


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] * (name not in ("everything", "plateau"))) for name in RECIPES],
)
def test_a_project_runs_with_every_setting_of_a_recipe(colors, name, engine, tmp_path):
    from diptych.api.code import code

    out = tmp_path / "code"
    (written,) = code("mlp", data=colors, to=engine, out=out, recipe=RECIPES[name], batch_size=32, progress=False)
    assert re.search(r"^test loss \d", trained(out), re.MULTILINE)
    assert (out / written.weights).exists()
    assert any((out / "logs").rglob("events*"))


def test_code_is_not_overwritten_without_force(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = diptych("code", "mlp")
    assert (0, "") == (first.code, first.err)
    assert "code/torch/\n  model.py" in first.out
    assert "(cd code/tensorflow && pip install -r requirements.txt && python train.py)" in first.out
    Path("code/torch/model.py").write_text("mine")
    line = refused("code", "mlp", "--to", "torch", "--out", "code/torch")
    assert "diptych: 'code/torch/model.py' already exists; use --force to replace it" in line
    assert "mine" == Path("code/torch/model.py").read_text()
    assert 0 == diptych("code", "mlp", "--force").code
    assert "class Net" in Path("code/torch/model.py").read_text()
    assert sorted(FILES) == sorted(path.name for path in Path("code/torch").iterdir())


@pytest.mark.parametrize(
    ("arguments", "size"),
    [((), 64), (("digits",), 16), (("digits", "--epochs", 100), 32), (("digits", "--epochs", 200), 64)],
    ids=str,
)
def test_code_has_the_batch_size_of_the_training(arguments, size, tmp_path):
    answered("code", "mlp", *(("--data", *arguments) if arguments else ()), "--to", "torch", "--out", tmp_path)
    assert f"BATCH_SIZE = {size}\n" in (tmp_path / "train.py").read_text()


def test_notebooks_are_written_in_place_of_projects_and_need_jupytext(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = answered("code", "mlp", "--notebook", "--out", "notebooks")
    assert [["notebook.ipynb", "notebook.py", "requirements.txt"]] * 2 == [one["files"] for one in written]
    assert (
        "(cd notebooks/torch && pip install jupyterlab -r requirements.txt && jupyter lab notebook.ipynb)"
        in diptych("code", "mlp", "--notebook", "--out", "notebooks", "--force").out
    )
    monkeypatch.delitem(sys.modules, "diptych.native.notebooks")
    monkeypatch.setitem(sys.modules, "jupytext", None)
    line = refused("code", "mlp", "--notebook", "--out", "others")
    assert "Notebooks need jupytext, which is not installed. Install it with: pip install 'diptych[notebooks]'" in line
    assert not Path("others").exists()


def test_the_code_of_a_run_has_its_recipe_and_data(made_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = answered("code", made_run.directory, "--epochs", 7, "--label-smoothing", 0.1)
    assert ["torch", "tensorflow"] == [one["engine"] for one in written]
    train, reader = (Path("code/torch", name).read_text() for name in ("train.py", "data.py"))
    assert "EPOCHS = 7\n" in train
    assert "label_smoothing=0.1" in train
    assert "load_digits()" in reader


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "code requires MODEL or RUN"),
        (("mlp", "--data", "digits", "--num-classes", 3), "--num-classes cannot be combined with --data"),
        (("mpl",), "Unknown model 'mpl'"),
        (("mlp", "--data", "nothing"), "No dataset, file or folder 'nothing'"),
        (("mlp", "--to", "jax"), "--to must be one of torch, tensorflow, both"),
    ],
)
def test_bad_arguments_get_one_line(arguments, said):
    assert said in refused("code", *arguments)


def pictures(folder):
    """Two classes in folders of splits; the pixels of each are one color."""
    for split, count in (("train", 20), ("test", 4)):
        for label, name in enumerate(("cat", "dog's")):
            for number in range(count):
                path = folder / split / name / "some" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), np.full((9, 11, 3), 100 * label + number, np.uint8))
    return folder


def table_of_paths(folder):
    """A table of paths with names of classes."""
    pictures(folder)
    rows = [path.relative_to(folder) for path in sorted(folder.rglob("*.png"))]
    lines = [f"{row},{'yes' if 'cat' in row.parts else 'NULL x'}" for row in rows]
    (folder / "list.csv").write_text("\n".join(["image,label", *lines]))
    return folder / "list.csv"


def table_of_pixels(folder):
    """A table with a column for each pixel."""
    levels, labels = np.random.default_rng(0).integers(0, 256, (60, 16)), np.arange(60) % 3
    names = ";".join(["label", *(f"pixel{number}" for number in range(16))])
    rows = (";".join(map(str, (label, *row))) for label, row in zip(labels.tolist(), levels.tolist(), strict=True))
    (folder / "pixels.csv").write_text("\n".join([names, *rows]))
    return folder / "pixels.csv"


def gray_arrays(folder):
    """Arrays without channels, with names as labels."""
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    names = np.array(["ant", "bee", "cow"])[np.arange(60) % 3]
    np.savez(
        folder / "gray.npz", train_images=images, train_labels=names, test_images=images[:9], test_labels=names[:9]
    )
    return folder / "gray.npz"


SOURCES = {"digits": lambda _: "digits"} | {
    make.__name__: make for make in (pictures, table_of_paths, table_of_pixels, gray_arrays)
}


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # more than this machine's cores
@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_native_code_reads_the_images_and_labels_that_we_read(make, tmp_path):
    """As one set, as the held-out samples differ."""
    from diptych.api.code import code

    source = str(make(tmp_path))
    projects = code("mlp", data=source, out=tmp_path / "code", progress=False, image_size=(9, 11), channels=3)
    ours = datasets.load(source, image_size=(9, 11), channels=3)
    for written in projects:
        assert not any("no reader" in line for line in written.left_out)
        names = executed(written.files["data.py"])
        splits = names["read_data"]()
        assert list(ours.class_names) == names["CLASSES"]
        counts = [len(labels) for _, labels in splits]
        assert abs(np.array(counts) - [len(split) for split in ours.splits.values()]).max() <= 2
        whole = [np.concatenate(parts) for parts in zip(*splits, strict=True)]
        images, labels = (np.asarray(part, np.float32) for part in next(iter(names["make_batches"](*whole, 2000))))
        images = images.transpose(0, 2, 3, 1) if written.engine == "torch" else images
        assert (len(whole[1]), 9, 11, 3) == images.shape
        expected = _means(*(np.concatenate([part(split) for split in ours.splits.values()]) for part in PARTS))
        found = _means(images, labels)
        assert [label for label, _ in expected] == [label for label, _ in found]
        np.testing.assert_allclose([mean for _, mean in found], [mean for _, mean in expected], atol=3.0)


PARTS = (lambda split: split.images[:], lambda split: split.labels)


def _means(images, labels):
    """Label and mean of each image, sorted."""
    return sorted(zip(labels.tolist(), images.mean((1, 2, 3)).tolist(), strict=True))


def executed(source):
    names = {"__name__": "data"}
    exec(compile(source, "data.py", "exec"), names)
    return names


def reading_of(name):
    shape = {"cifar10": (32, 32, 3), "cifar100": (32, 32, 3)}.get(name, (28, 28, 1))
    kind = "idx" if name == "kmnist" else "keras"
    return native_data.Reading(kind, name, tuple(map(str, range(10))), shape, {"train": "", "test": ""})


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_pytorch_code_reads_the_published_archives_of_cifar(name, tmp_path, monkeypatch):
    """An archive with a few records."""
    monkeypatch.chdir(tmp_path)
    Path("datasets").mkdir()
    head, folder = (2, "cifar-100-binary") if name == "cifar100" else (1, "cifar-10-batches-bin")
    members = ["train", "test"] if head == 2 else [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    records = np.random.default_rng(0).integers(0, 10, (10, head + 3072), dtype=np.uint8)
    Path(folder).mkdir()
    archive = f"cifar-{name.removeprefix('cifar')}-binary.tar.gz"
    with tarfile.open(f"datasets/{archive}", "w:gz") as packed:
        for member in members:
            Path(folder, f"{member}.bin").write_bytes(records.tobytes())
            packed.add(f"{folder}/{member}.bin")
    recipe = RECIPES["bare"]
    files = project(zoo.model("mlp"), recipe, "torch", reading_of(name)).files
    (images, labels), test = executed(files["data.py"])["read_data"]()
    assert ((len(members) - 1) * 10, 10) == (len(images), len(test[0]))
    np.testing.assert_array_equal(records[:, head - 1], labels[:10])
    np.testing.assert_array_equal(records[0, head : head + 32], images[0, 0, :, 0])


@pytest.mark.parametrize("engine", ENGINES)
def test_native_code_reads_fashion_mnist_from_the_published_files(engine, tmp_path, monkeypatch):
    published = Path(os.environ.get("DIPTYCH_DATA") or "/nowhere") / "fashion-mnist"
    if not published.is_dir():
        pytest.skip("LEFT OUT: Fashion-MNIST, because fashion-mnist/ is not in the folder DIPTYCH_DATA")
    monkeypatch.chdir(tmp_path)
    ours = datasets.load("fashion-mnist", validation_fraction=0.0)
    reading = reading_of("fashion-mnist")
    source = project(zoo.model("mlp", (28, 28, 1)), RECIPES["bare"], engine, reading).files["data.py"]
    names = executed(source)
    folder = Path("datasets")
    if engine == "tensorflow":
        monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
        folder = tmp_path / "datasets" / "fashion-mnist"
        assert "keras.datasets.fashion_mnist.load_data()" in source
    folder.mkdir(parents=True)
    for path in published.glob("*.gz"):
        (folder / path.name).symlink_to(path)
    (images, labels), test = names["read_data"]()
    np.testing.assert_array_equal(ours.train.images[:], images)
    np.testing.assert_array_equal(ours.train.labels, labels)
    np.testing.assert_array_equal(ours.test.images[:], test[0])


def test_the_code_of_data_without_a_reader_says_so(tmp_path):
    from diptych.api.code import code

    (tmp_path / "list.jsonl").write_text("")
    pictures(tmp_path / "photos")
    lines = [
        f'{{"image": "{path}", "label": "{path.parts[-3]}"}}' for path in sorted((tmp_path / "photos").rglob("*.png"))
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    (written,) = code("mlp", data=tmp_path / "list.jsonl", to="torch", out=tmp_path / "code", progress=False)
    (line,) = [line for line in written.left_out if "no reader" in line]
    assert line in written.files["README.md"]
    assert 'DATA = Path("data.npz")' in written.files["data.py"]
    assert ast.parse(written.files["data.py"])
