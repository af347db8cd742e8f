"""Images a second out of a folder of JPEGs (decode, resize to 224, flip, crop): the frameworks' loaders and ours.

The files are crops of scikit-learn's two photographs at 500 × 375, some 70 KB each. Each contender is a process of its
own; each round runs every contender once. An epoch counts from the second on. Prints median ratios over rounds (1.3
wanted while streaming, 10 from the cache) and how far from the floor, decoding alone on every core, streaming is;
writes `benchmarks/loading.json`.

    python benchmarks/loading.py [--files 1500] [--rounds 5] [--epochs 3]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from sklearn.datasets import load_sample_images

from diptych.data.batches import epoch_batches
from diptych.data.datasets import ingest
from diptych.data.decode import decode
from diptych.data.preprocess import each
from diptych.data.readers.folder import list_folder
from diptych.processes import engine_environment, num_threads
from diptych.spec import Recipe
from diptych.training.machine import machine

HERE = Path(__file__).parent
BATCH_SIZE = 64
RECIPE = Recipe(batch_size=BATCH_SIZE, flip="horizontal", crop_padding=4)
PLAIN = ("keras", "torch", "torch uint8")
OURS = {"streamed": "never", "cached": "always"}
WANTED = {"streamed": 1.3, "cached": 10.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--contender", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.contender:
        for speed in speeds(asked.contender[0], Path(asked.contender[1]), asked.epochs):
            print(json.dumps(speed), flush=True)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder) / "photos", asked.files)
        rounds = []
        for number in range(asked.rounds):
            contenders = [*PLAIN, *OURS, "floor"]
            order = contenders[::-1] if number % 2 else contenders
            found = {name: one(name, Path(folder), asked.epochs) for name in order}
            rounds.append(found)
            print(f"round {number + 1}: " + "  ".join(f"{name} {found[name]:,.0f}" for name in contenders), flush=True)
    result = summary(rounds, asked.files)
    (HERE / "loading.json").write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))
    return 0


def photographs(root: Path, count: int) -> None:
    """Crops of two photographs, no two alike."""
    generator = np.random.default_rng(0)
    pictures = load_sample_images().images
    for number in range(count):
        picture = pictures[number % 2]
        height, width = (int(length * generator.uniform(0.6, 1.0)) for length in picture.shape[:2])
        top, left = (generator.integers(0, a - b + 1) for a, b in zip(picture.shape, (height, width), strict=False))
        crop = cv2.resize(picture[top : top + height, left : left + width], (500, 375), interpolation=cv2.INTER_CUBIC)
        folder = root / f"class{number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number:05}.jpg"), crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


def one(name: str, folder: Path, epochs: int) -> float:
    """A contender's median images a second, in a process of its own."""
    rest = [str(folder / "photos"), str(epochs), str(BATCH_SIZE)]
    command = [sys.executable, __file__, "--epochs", str(epochs), "--contender", name, str(folder)]
    if name in PLAIN:
        script = "plain_keras_folder.py" if name == "keras" else "plain_torch_folder.py"
        command = [sys.executable, str(HERE / script), *rest, *name.split()[1:]]
    lines = subprocess.run(
        command, env=engine_environment(), check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return median(json.loads(line) for line in lines[1:])


def speeds(name: str, folder: Path, epochs: int) -> list[float]:
    """Images a second of each epoch, ours or of decoding alone."""
    if name == "floor":
        return [decoding(sorted((folder / "photos").rglob("*.jpg"))) for _ in range(epochs)]
    parts = ingest(list_folder(folder / "photos"), (224, 224, 3), caching=OURS[name], folder=folder / "kept")
    found = []
    for epoch in range(1, epochs + 1):
        start, count = time.perf_counter(), 0
        for batch in epoch_batches(parts.train, RECIPE, num_classes=10, seed=0, epoch=epoch, workers=num_threads()):
            count += len(batch.images)
        found.append(count / (time.perf_counter() - start))
    return found


def decoding(files: list[Path]) -> float:
    start = time.perf_counter()
    each(lambda place: decode(files[place].read_bytes(), ""), len(files))
    return len(files) / (time.perf_counter() - start)


def summary(rounds: list[dict[str, float]], num_files: int) -> dict:
    ratios = {ours: {plain: median(one[ours] / one[plain] for one in rounds) for plain in PLAIN} for ours in OURS}
    return {
        "images_per_second": {name: median(one[name] for one in rounds) for name in rounds[0]},
        "ratio_to_plain": ratios,
        "of_the_floor": median(one["streamed"] / one["floor"] for one in rounds),
        "num_files": num_files,
        "processor": machine()["processor"],
        "threads": num_threads(),
        "rounds": rounds,
    }


def table(result: dict) -> str:
    lines = ["", f"{'images/s':10}" + "".join(f"{name:>14}" for name in result["images_per_second"])]
    lines.append(f"{'':10}" + "".join(f"{speed:14,.0f}" for speed in result["images_per_second"].values()))
    for ours, ratios in result["ratio_to_plain"].items():
        told = "   ".join(f"{ratio:.2f} × {plain}" for plain, ratio in ratios.items())
        lines.append(f"{ours:10}{told}   ({WANTED[ours]} wanted)")
    lines.append(f"streaming reaches {result['of_the_floor']:.0%} of the floor (decoding alone, on every core)")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
