"""A plain PyTorch input pipeline over a folder of class folders: a Dataset that decodes with OpenCV, two workers.

    python benchmarks/plain_torch_folder.py FOLDER EPOCHS BATCH_SIZE [uint8]

Images are float32 in 0–1, channels first, as `ToTensor` gives them; with `uint8` they stay bytes, a quarter to pass on.
"""

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

SIDE, PADDING = 224, 4
cv2.setNumThreads(0)  # the workers are the threads


class Folder(Dataset):
    def __init__(self, root, as_bytes):
        classes = sorted(path for path in Path(root).iterdir() if path.is_dir())
        self.samples = [(path, label) for label, folder in enumerate(classes) for path in sorted(folder.iterdir())]
        self.as_bytes = as_bytes

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, label = self.samples[index]
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        image = cv2.resize(image, (SIDE, SIDE))
        image = cv2.copyMakeBorder(image, PADDING, PADDING, PADDING, PADDING, cv2.BORDER_CONSTANT)
        top, left = torch.randint(0, 2 * PADDING + 1, (2,)).tolist()
        image = image[top : top + SIDE, left : left + SIDE]
        if torch.rand(()) < 0.5:
            image = image[:, ::-1]
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        return pixels if self.as_bytes else pixels.float() / 255, label


folder, epochs, batch_size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
loader = DataLoader(
    Folder(folder, "uint8" in sys.argv), batch_size=batch_size, shuffle=True, num_workers=2, persistent_workers=True
)
for _ in range(epochs):
    start, count = time.perf_counter(), 0
    for images, _labels in loader:
        count += len(images)
    print(json.dumps(count / (time.perf_counter() - start)), flush=True)
