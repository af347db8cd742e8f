"""What a PyTorch user writes for Fashion-MNIST: a module, a DataLoader, a loop. Prints images/s of each epoch."""

import gzip
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

folder, epochs, batch_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


def read(name, offset):
    return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=offset)


images = torch.tensor(read("train-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)).float() / 255.0
labels = torch.tensor(read("train-labels-idx1-ubyte.gz", 8)).long()
loader = DataLoader(TensorDataset(images, labels), batch_size=batch_size, shuffle=True)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.fc1 = nn.Linear(1600, 128)
        self.fc2 = nn.Linear(128, 10)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        x = torch.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc2(self.dropout(x))


model = Net()
optimizer = torch.optim.Adam(model.parameters())
criterion = nn.CrossEntropyLoss()
for _ in range(epochs):
    start = time.perf_counter()
    model.train()
    for batch_images, batch_labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(batch_images), batch_labels)
        loss.backward()
        optimizer.step()
    print(json.dumps(len(images) / (time.perf_counter() - start)), flush=True)
