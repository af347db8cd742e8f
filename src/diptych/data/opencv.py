"""OpenCV with this project's limits, which it reads from the environment once, while it is loaded.

Import `cv2` from here. A program that has loaded OpenCV before keeps its own limit (2**30 pixels by default).
"""

import os

# Where Pillow begins to warn of a decompression bomb: a quarter of a GiB of RGB.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "89478485")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # a damaged file is told once, as a DataError

import cv2

__all__ = ["MAX_PIXELS", "cv2"]

MAX_PIXELS = int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])
