"""OpenCV with this project's limits, which it reads from the environment once, while it is loaded.

Import `cv2` from here. A program that has loaded OpenCV before keeps its own limit (2**30 pixels by default).
"""

import os

from diptych.data.limits import MAX_PIXELS

os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)

import cv2

__all__ = ["cv2"]

if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a damaged file is told once, as an ImageError
