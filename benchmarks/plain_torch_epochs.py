"""What a PyTorch user writes for a small dataset: a module, a DataLoader, a loop. Prints the test accuracy per epoch.

python benchmarks/plain_torch_epochs.py DATA.npz NETWORK EPOCHS BATCH_SIZE SEED
"""

import json
import sys

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

path, network, (epochs, batch_size, seed) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:6])
torch.manual_seed(seed)


def dataset(data, part):
    images = torch.tensor(data[f"x_{part}"]).permute(0, 3, 1, 2).float() / 255.0
    return TensorDataset((images - 0.5) / 0.5, torch.tensor(data[f"y_{part}"]))


with np.load(path) as data:
    train, test = dataset(data, "train"), dataset(data, "test")
train_loader = DataLoader(train, batch_size=batch_size, shuffle=True)
test_loader = DataLoader(test, batch_size=1000)
channels, num_classes = train.tensors[0].shape[1], int(train.tensors[1].max()) + 1

padding = 1 if network == "padded_cnn" else 0
model = nn.Sequential(
    nn.Conv2d(channels, 32, 3, padding=padding),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 3, padding=padding),
    nn.ReLU(),
    nn.MaxPool2d(2),
)
if network == "cifar_sequential":
    model.extend([nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten()])
    model.extend([nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, num_classes)])
else:
    model.append(nn.Flatten())
    size = model(train.tensors[0][:1]).shape[1]
    model.extend([nn.Linear(size, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, num_classes)])
optimizer = torch.optim.Adam(model.parameters())
criterion = nn.CrossEntropyLoss()

for _ in range(epochs):
    model.train()
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        correct = sum((model(images).argmax(1) == labels).sum().item() for images, labels in test_loader)
    print(json.dumps({"accuracy": correct / len(test)}), flush=True)
