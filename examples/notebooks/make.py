"""Write the example notebooks, and execute them.

The pairs are written by `diptych.native`, with a few cells of ours; `compare.py` and `tune.py` are written by hand.
With $DIPTYCH_DATA, Fashion-MNIST and CIFAR-10 (as JPEG files) are read from there; otherwise they are downloaded.

    python examples/notebooks/make.py [NAME ...] [--scripts-only]
"""

import argparse
import gzip
import io
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import jupytext
import nbformat
import numpy as np
from nbclient import NotebookClient

from diptych.data.readers.remote import class_names
from diptych.native import projects
from diptych.native.data import Reading
from diptych.native.notebooks import files, notebook
from diptych.spec import Recipe, zoo

HERE = Path(__file__).parent
ENGINES = {"torch": "torch", "keras": "tensorflow"}
PAIRS = ("fashion_mnist", "cifar10", "csv")
BY_HAND = ("compare", "tune")
NAMES = (*(f"{pair}_{engine}" for pair in PAIRS for engine in ENGINES), *BY_HAND)
SPLITS = {"train": "", "test": ""}
OWN_TABLE = """## Your own table

A CSV file with a row for each image: a column for each pixel, 0 to 255, and the class.
This cell writes such a file, of handwritten digits. For your own,
`diptych code cnn --data FILE.csv --notebook` writes its size and its classes.
"""
WRITE_TABLE = """from sklearn.datasets import load_digits

digits = load_digits(as_frame=True)
table = (digits.data * 255 / 16).round().astype(int).assign(label=digits.target)
table.to_csv("digits.csv", index=False)
table.head()"""
JPEG_COPY = """The outputs in this file were computed from a copy of CIFAR-10 whose images had been compressed
as JPEG, which costs a little accuracy."""
SGD = """## SGD instead of Adam

The same model from the same initial weights, trained with SGD and Nesterov momentum."""
BOTH_CURVES = """_, axis = plt.subplots(figsize=(6, 3.2))
for name, found in {"Adam": history, "SGD": history_sgd}.items():
    epochs = range(1, len(found["loss"]) + 1)
    axis.plot(epochs, found["val_accuracy"], marker="o", label=name)
axis.set(xlabel="epoch", ylabel="validation accuracy")
axis.legend()
plt.tight_layout()
plt.show()
for name, trained in {"Adam": model, "SGD": model_sgd}.items():
    _, accuracy = measure(*predict(trained, test_data))
    print(f"{name}: test accuracy {accuracy:.4f}")"""

SETUP = "setup.py"
"""Code that runs before the first cell, and is not part of the notebook."""
KERAS_CIFAR10 = """import keras
import numpy as np

arrays = np.load("cifar10.npz")
keras.datasets.cifar10.load_data = lambda: tuple(
    (arrays[f"x_{split}"], arrays[f"y_{split}"][:, None]) for split in ("train", "test")
)
"""


def main() -> None:
    """Write and execute the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--scripts-only", action="store_true", help="execute nothing")
    given = parser.parse_args()
    for name in given.names or NAMES:
        made = script(name)
        (HERE / f"{name}.py").write_text(made, encoding="utf-8")
        if not given.scripts_only:
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder, local_data(Path(folder), name):
                executed = execute(made, Path(folder))
            nbformat.write(executed, HERE / f"{name}.ipynb")
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


def script(name: str) -> str:
    """Return the cells of a notebook as a script."""
    if name in BY_HAND:
        return (HERE / f"{name}.py").read_text(encoding="utf-8")
    pair, _, framework = name.rpartition("_")
    return {"fashion_mnist": fashion_mnist, "cifar10": cifar10, "csv": table}[pair](ENGINES[framework])


def fashion_mnist(engine: str) -> str:
    """Two convolutions, with flips."""
    spec = zoo.model("fashion_cnn", (28, 28, 1), 10, (0.286,), (0.353,))
    recipe = Recipe(epochs=8, learning_rate=0.002, precision="float32", flip="horizontal")
    recipe = recipe.for_data(spec.input_shape, mirror=True)
    reading = Reading("keras", "fashion-mnist", class_names("fashion-mnist"), (28, 28, 1), SPLITS)
    return files(cells(notebook(spec, recipe, engine, reading, "Fashion-MNIST")))["notebook.py"]


def cifar10(engine: str) -> str:
    """The CNN of TensorFlow's tutorial, with Adam and with SGD."""
    spec = zoo.model("cifar_sequential", (32, 32, 3), 10, (0.491, 0.482, 0.447), (0.247, 0.243, 0.262))
    adam, sgd = (
        Recipe(epochs=8, learning_rate=rate, precision="float32", optimizer=name, decoupled_decay=0.0).for_data(
            spec.input_shape, mirror=True
        )
        for name, rate in (("adam", 0.002), ("sgd", 0.05))
    )
    reading = Reading("keras", "cifar10", class_names("cifar10"), (32, 32, 3), SPLITS)
    made = cells(notebook(spec, adam, engine, reading, "CIFAR-10"))
    made[0] = ("markdown", f"{made[0][1]}\n\n{JPEG_COPY}")
    other = projects.project(spec, sgd, engine, reading).files["train.py"]
    optimizer = f"def make_sgd{other.partition('def make_optimizer')[2]}".partition("\n\n\n")[0]
    build, fit = (next(text for _, text in made if name in text) for name in ("\nmodel = ", "history = fit("))
    build = re.match(r"(.*\n)*?model = .*", build)[0].replace("model =", "model_sgd =")
    fit = fit[fit.index("history") :].replace("history =", "history_sgd =").replace("fit(model,", "fit(model_sgd,")
    rate = f"LEARNING_RATE = {sgd.rate}"
    place = next(place for place, (_, text) in enumerate(made) if text.startswith("## Saving"))
    made[place:place] = [
        ("markdown", SGD),
        ("code", optimizer),
        ("code", f"make_optimizer = make_sgd  # noqa: F811  (`fit` calls it)\n{rate}\n{build}\n{fit}"),
        ("code", BOTH_CURVES),
    ]
    return files(made)["notebook.py"]


def table(engine: str) -> str:
    """A CSV file of pixels, divided by `train_test_split`."""
    spec = zoo.model("cnn", (8, 8, 1), 10, (0.306,), (0.376,))
    recipe = Recipe(epochs=10, learning_rate=0.002, precision="float32").for_data(spec.input_shape, mirror=False)
    names = tuple(map(str, range(10)))
    columns = {"label": ("label",), "others": ()}
    reading = Reading("csv", "digits.csv", names, (8, 8, 1), columns=columns, encodes=True, suffixes=(",",))
    made = cells(notebook(spec, recipe, engine, reading, "Your own CSV file"))
    place = next(place for place, (_, text) in enumerate(made) if text.startswith("## The data"))
    made[place:place] = [("markdown", OWN_TABLE.strip()), ("code", WRITE_TABLE)]
    return files(made)["notebook.py"]


def cells(written: projects.Project) -> list[tuple[str, str]]:
    """Return the kind and the text of each cell."""
    return [(cell.cell_type, cell.source) for cell in jupytext.reads(written.files["notebook.py"], "py:percent").cells]


def execute(text: str, folder: Path) -> nbformat.NotebookNode:
    """Return the notebook, executed in a process of its own; what it writes stays in the folder."""
    made = jupytext.reads(text, "py:percent")
    made.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for place, cell in enumerate(made.cells):
        cell.id = f"cell-{place}"
    setup = folder / SETUP
    if setup.exists():
        made.cells.insert(0, nbformat.v4.new_code_cell(setup.read_text(encoding="utf-8")))
    client = NotebookClient(made, timeout=3600, coalesce_streams=True, resources={"metadata": {"path": str(folder)}})
    client.execute()
    del made.cells[: setup.exists()]
    for cell in made.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count -= setup.exists()
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]  # the frameworks' logs
    return made


@contextmanager
def local_data(folder: Path, name: str, images: int | None = None) -> Iterator[None]:
    """Let the code in a folder find published data at hand, or `images` images of each split, instead of a download."""
    before = dict(os.environ)
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_HOME": str(folder), "IPYTHONDIR": str(folder / "ipython")}
    os.environ |= {"PYTHONWARNINGS": "ignore", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    source = Path(os.environ.get("DIPTYCH_DATA") or "/nowhere")
    try:
        if name.startswith("fashion"):
            _fashion_files(source / "fashion-mnist", folder / "datasets", images)
        elif name.startswith("cifar"):
            _cifar_files(source / "cifar10-jpeg.tar.gz", folder, images, for_keras=name.endswith("keras"))
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _fashion_files(source: Path, target: Path, images: int | None) -> None:
    for folder in (target, target / "fashion-mnist"):  # PyTorch's code, Keras
        folder.mkdir(parents=True, exist_ok=True)
        for split in ("train", "t10k"):
            for kind, shape in {"images-idx3": (28, 28), "labels-idx1": ()}.items():
                path = folder / f"{split}-{kind}-ubyte.gz"
                if images is None and source.is_dir():
                    shutil.copy(source / path.name, path)
                elif images is not None:
                    lengths = np.array([images, *shape], ">i4").tobytes()
                    pixels = _drawn(images, shape)
                    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1 + len(shape)]) + lengths + pixels.tobytes()))


def _drawn(images: int, shape: tuple[int, ...]) -> np.ndarray:
    """Classes 0, 1, ..., 9, 0, ... or images with a level of their class."""
    labels = np.arange(images) % 10
    noise = np.random.default_rng(0).integers(0, 40, (images, *shape))
    return (labels if not shape else noise + 20 * labels.reshape(-1, *(1 for _ in shape))).astype(np.uint8)


def _cifar_files(source: Path, folder: Path, images: int | None, *, for_keras: bool) -> None:
    """Write the archive that PyTorch's code reads, and let Keras, which verifies its own archive, read these images."""
    if images is not None:
        splits = {split: (_drawn(images, (32, 32, 3)), np.arange(images) % 10) for split in ("train", "test")}
    elif source.is_file():
        splits = _jpeg_copy(source)
    else:
        return
    if for_keras:
        (pixels, labels), test = splits["train"], splits["test"]
        np.savez(folder / "cifar10.npz", x_train=pixels, y_train=labels, x_test=test[0], y_test=test[1])
        (folder / SETUP).write_text(KERAS_CIFAR10)
        return
    (folder / "datasets").mkdir()
    batches = [*zip(*(np.array_split(one, 5) for one in splits["train"]), strict=True), splits["test"]]
    with tarfile.open(folder / "datasets" / "cifar-10-binary.tar.gz", "w:gz", compresslevel=1) as archive:
        for number, (pixels, labels) in enumerate(batches, start=1):
            planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
            content = np.concatenate([labels[:, None].astype(np.uint8), planes], 1).tobytes()
            name = f"data_batch_{number}" if number < len(batches) else "test_batch"
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def _jpeg_copy(source: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the images and labels of each split."""
    names, found = class_names("cifar10"), {"train": ([], []), "test": ([], [])}
    with tarfile.open(source) as archive:
        for entry in archive:
            if entry.isfile() and entry.name.endswith(".jpg"):
                _, split, label, _ = entry.name.split("/")
                content = np.frombuffer(archive.extractfile(entry).read(), np.uint8)
                found[split][0].append(cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))
                found[split][1].append(names.index(label))
    return {split: (np.stack(pixels), np.array(labels)) for split, (pixels, labels) in found.items()}


if __name__ == "__main__":
    sys.exit(main())
