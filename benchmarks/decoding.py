"""Compare the speed of the decoder with OpenCV's, which neither checks an image nor applies its orientation.

Prints images/s and their ratio for a photograph of 500 × 375 and a thumbnail of 32 × 32, with one thread and two, then
the speed of libjpeg's shortcuts for a photograph that is resized to 224 × 224.

    python benchmarks/decoding.py [--rounds 9]
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import cv2
import numpy as np
import simplejpeg

from diptych.data.decode import decode
from diptych.data.preprocess import resize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    for height, width, num_images in ((375, 500, 60), (32, 32, 2_000)):
        encoded = photograph(height, width)
        ways = {
            "diptych": lambda encoded=encoded: decode(encoded, "photo.jpg"),
            "OpenCV": lambda encoded=encoded: cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR),
        }
        for num_threads in (1, 2):
            rates = measured(ways, num_images, num_threads, rounds)
            print(
                f"{width} × {height}, {num_threads} threads: diptych {rates['diptych']:,.0f} images/s, "
                f"OpenCV {rates['OpenCV']:,.0f}, ratio {rates['diptych'] / rates['OpenCV']:.2f}"
            )
    encoded = photograph(375, 500)
    asked = {
        "as it is": {},
        "fastdct": {"fastdct": True},
        "fastupsample": {"fastupsample": True},
        "both": {"fastdct": True, "fastupsample": True},
        "scaled": {"min_height": 224, "min_width": 224},
        "scaled and both": {"min_height": 224, "min_width": 224, "fastdct": True, "fastupsample": True},
    }
    ways = {
        name: lambda how=how: resize(simplejpeg.decode_jpeg(encoded, **how), (224, 224)) for name, how in asked.items()
    }
    rates = measured(ways, 60, 1, rounds)
    plain = ways["as it is"]().astype(int)
    for name, way in ways.items():
        apart = np.abs(way() - plain)
        gain = rates[name] / rates["as it is"]
        off = f"pixels {apart.mean():.2f} apart, {apart.max()} at most"
        print(f"500 × 375 to 224 × 224, {name}: {gain:.2f} times as fast, {off}")


def photograph(height: int, width: int) -> bytes:
    """A JPEG of quality 90 with the edges and grain of a photograph."""
    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    smooth = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    grainy = np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", grainy, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def measured(ways, num_images: int, num_threads: int, rounds: int) -> dict[str, float]:
    """Each way's images per second in its best round; the ways take turns."""
    best = dict.fromkeys(ways, 0.0)
    with ThreadPoolExecutor(num_threads) as pool:
        for _ in range(rounds):
            for name, way in ways.items():
                start = perf_counter()
                list(pool.map(lambda _, way=way: [way() for _ in range(num_images // num_threads)], range(num_threads)))
                best[name] = max(best[name], num_images / (perf_counter() - start))
    return best


if __name__ == "__main__":
    main()
