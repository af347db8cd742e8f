# %% [markdown]
# # Fashion-MNIST, with PyTorch
#
# From images to a trained, tested and saved model. Run the cells from top to bottom, here
# or in Google Colab; the first one installs what is missing. Comments that begin with a
# key, such as `dense-kernel-axes`, say how PyTorch and Keras differ there.

# %%
# %pip install --quiet matplotlib numpy pillow scikit-learn seaborn tensorboard torch

# %%
import gzip
import math
from pathlib import Path
from urllib.request import urlretrieve

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from PIL import Image
from sklearn.metrics import classification_report, confusion_matrix
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, default_collate
from torch.utils.tensorboard import SummaryWriter

# %%
EPOCHS = 8
BATCH_SIZE = 64
LEARNING_RATE = 0.002
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

# %% [markdown]
# ## The data
#
# `read_data` returns the images and labels of each split, `make_batches` the batches
# of one split.

# %%
FOLDER = Path("datasets")
URL = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion"
CLASSES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
Split = tuple[np.ndarray, np.ndarray]


def download(name: str) -> Path:
    """Return the path of a file, and download it first if it is missing."""
    path = FOLDER / name
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        urlretrieve(f"{URL}/{name}", path)
    return path


def read_idx(name: str) -> np.ndarray:
    """Return the array in a gzipped IDX file."""
    content = gzip.decompress(download(name).read_bytes())
    # The fourth byte is the number of axes; their lengths follow.
    lengths = np.frombuffer(content, ">i4", content[3], offset=4)
    start = 4 + 4 * content[3]
    return np.frombuffer(content, np.uint8, offset=start).reshape(lengths)


def hold_out(
    images: np.ndarray, labels: np.ndarray, share: float
) -> tuple[Split, Split]:
    """Divide a split in two, with the same share of each class."""
    kept, held, kept_labels, held_labels = train_test_split(
        images, labels, test_size=share, stratify=labels, random_state=0
    )
    return (kept, kept_labels), (held, held_labels)


def read_data() -> tuple[Split, Split, Split]:
    """Return three splits: images, uint8, (N, H, W, C), and labels."""
    train, test = (
        (
            read_idx(f"{name}-images-idx3-ubyte.gz")[..., np.newaxis],
            read_idx(f"{name}-labels-idx1-ubyte.gz").astype(np.int64),
        )
        for name in ("train", "t10k")
    )
    train, validation = hold_out(*train, 0.1)
    return train, validation, test


# %%
def augment(
    images: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Change each image of a batch, (N, C, H, W), at random."""
    # augmentation. PyTorch: torchvision transforms, per sample, from the loader
    # worker's generator. Keras: Layers, from Keras's seed counter; RandomCrop crops all
    # images of a batch alike.
    count, *_ = images.shape
    flipped = torch.rand(count) < 0.5
    images[flipped] = images[flipped].flip(3)
    return images, labels


def collate(
    samples: list[tuple[torch.Tensor, int]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return samples as a batch."""
    images, labels = default_collate(samples)
    return images, labels


def collate_augmented(
    samples: list[tuple[torch.Tensor, int]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return samples as a batch of augmented images."""
    return augment(*collate(samples))


def make_batches(
    images: np.ndarray, labels: np.ndarray, batch_size: int, *, training: bool = False
) -> DataLoader:
    """Return batches of images, (N, C, H, W), and labels, (N,), of a split."""
    # image-layout. PyTorch: Feature maps are (N, C, H, W). Keras: Feature maps are (N,
    # H, W, C).
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    dataset = TensorDataset(pixels, torch.from_numpy(labels))
    # shuffle. PyTorch: A permutation from a stateful generator. Keras: Draws from a
    # sliding buffer.
    return DataLoader(
        dataset,
        batch_size,
        shuffle=training,
        collate_fn=collate_augmented if training else collate,
    )


# %%
train, validation, test = read_data()
for name, split in {"training": train, "validation": validation, "test": test}.items():
    print(f"{len(split[1]):6,} {name} images")

# %%
plt.rcParams["text.parse_math"] = False


def show(images: np.ndarray, titles: list[str]) -> None:
    """Plot up to 12 images, (N, H, W), with their titles."""
    _, axes = plt.subplots(2, 6, figsize=(9, 4))
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=9)
    plt.tight_layout()
    plt.show()


def first_images(batches: DataLoader) -> np.ndarray:
    """Return the images of the first batch: uint8, (N, H, W)."""
    images, _ = next(iter(batches))
    return images.numpy().clip(0, 255).astype(np.uint8)[:, 0]


chosen = np.random.default_rng(0).permutation(len(train[1]))[:12]
samples = make_batches(train[0][chosen], train[1][chosen], 12)
show(first_images(samples), [CLASSES[label] for label in train[1][chosen]])

# %% [markdown]
# In every epoch, each training image is changed at random. Twelve versions of one image:

# %%
repeated = np.repeat(chosen[:1], 12)
samples = make_batches(train[0][repeated], train[1][repeated], 12, training=True)
show(first_images(samples), [CLASSES[train[1][chosen[0]]]] * 12)

# %% [markdown]
# ## The model

# %%
MEAN = [0.286]
STD = [0.353]


class Normalize(nn.Module):
    """Scale pixels, 0 to 255, to mean 0 and standard deviation 1 in each channel."""

    def __init__(self) -> None:
        super().__init__()
        # Buffers move to the device with the model; these are not saved as weights.
        mean, std = torch.tensor(MEAN), torch.tensor(STD)
        self.register_buffer("mean", mean.view(-1, 1, 1), persistent=False)
        self.register_buffer("std", std.view(-1, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scaled images, float32."""
        return (images / 255 - self.mean) / self.std


class Net(nn.Module):
    """Images, (N, 1, 28, 28), to logits, (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            # image-layout. PyTorch: Feature maps are (N, C, H, W). Keras: Feature maps
            # are (N, H, W, C).
            Normalize(),
            # conv-kernel-axes. PyTorch: (out, in / groups, height, width). Keras:
            # (height, width, in / groups, out); depthwise (height, width, in,
            # multiplier).
            nn.Conv2d(1, 32, 3),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3),
            nn.MaxPool2d(2),
            nn.ReLU(),
            # flatten-order. PyTorch: Channel, height, width. Keras: Height, width,
            # channel.
            nn.Flatten(),
            # dense-kernel-axes. PyTorch: (out, in). Keras: (in, out).
            nn.Linear(1600, 128),
            nn.ReLU(),
            # dropout-stream. PyTorch: Masks from PyTorch's global generator; every
            # random call changes its state. Keras: Masks from Keras's seed counter.
            nn.Dropout(0.5),
            nn.Linear(128, 10),
        )
        # initial-weights. PyTorch: U(±1/√fan_in), also for biases; He normal is not
        # truncated. Keras: Glorot uniform, zero biases; He normal is truncated at two
        # standard deviations.
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.layers(images)


# %%
torch.manual_seed(0)
model = Net().to(DEVICE)
print(model)
count = sum(parameter.numel() for parameter in model.parameters())
print(f"{count:,} parameters on {DEVICE}")


# %% [markdown]
# ## Training
#
# A loop over epochs and batches. The curves are also
# written for TensorBoard; to see them here, run `%load_ext tensorboard`, then
# `%tensorboard --logdir logs`.


# %%
def learning_rate(step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the rate of a step: one cycle."""
    total = epochs * steps_per_epoch
    top = 0.25 * total
    if step < top:
        first, last, progress = LEARNING_RATE / 25, LEARNING_RATE, step / top
    else:
        first, last = LEARNING_RATE, 0.01 * LEARNING_RATE
        progress = (step - top) / (total - top)
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of the model's parameters."""
    # weight-decay. PyTorch: Added to the gradient, except in AdamW. Keras: Decoupled
    # from the gradient in every optimizer.
    decayed, others = [], []
    # Biases, scales and shifts are vectors.
    for parameter in model.parameters():
        (others if parameter.ndim == 1 else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": 0.05},
        {"params": others, "weight_decay": 0.0},
    ]
    # adam-epsilon. PyTorch: 1e-8, added after bias correction. Keras: 1e-7, added
    # before bias correction.
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.999), eps=1e-8)


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: DataLoader,
    epoch: int,
    epochs: int,
) -> tuple[float, float]:
    """Train on every batch once; return the loss and the accuracy."""
    # train-mode. PyTorch: A state of the module; training by default. Keras: An
    # argument of the call; inference by default.
    model.train()
    loss_sum = correct = count = 0
    for step, batch in enumerate(batches, (epoch - 1) * len(batches)):
        # lr-clock. PyTorch: A scheduler advances when it is called. Keras: A schedule
        # advances every step, a callback every epoch.
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, len(batches), epochs)
        images, labels = (tensor.to(DEVICE) for tensor in batch)
        optimizer.zero_grad()
        logits = model(images)
        # loss-input. PyTorch: Logits. Keras: Probabilities by default.
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        # epoch-loss. PyTorch: Left to the user, often a mean of batch means. Keras: fit
        # weights each batch by its size.
        loss_sum += loss.item() * len(images)
        correct += (logits.argmax(1) == labels).sum().item()
        count += len(images)
    return loss_sum / count, correct / count


@torch.inference_mode()
def predict(model: nn.Module, batches: DataLoader) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits and the labels of all batches."""
    model.eval()
    outputs = [(model(images.to(DEVICE)).cpu(), labels) for images, labels in batches]
    logits, labels = zip(*outputs, strict=True)
    return torch.cat(logits), torch.cat(labels)


def measure(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Return the loss and the accuracy."""
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    return F.cross_entropy(logits, labels).item(), accuracy


def fit(
    model: nn.Module,
    train_data: DataLoader,
    validation_data: DataLoader,
    epochs: int,
) -> dict[str, list[float]]:
    """Train the model; return the loss and the accuracy of each epoch."""
    optimizer = make_optimizer(model)
    history = {}
    with SummaryWriter("logs") as writer:
        for epoch in range(1, epochs + 1):
            loss, accuracy = train_epoch(model, optimizer, train_data, epoch, epochs)
            measures = {"loss": loss, "accuracy": accuracy}
            outputs = predict(model, validation_data)
            val_loss, val_accuracy = measure(*outputs)
            measures |= {"val_loss": val_loss, "val_accuracy": val_accuracy}
            for name, value in measures.items():
                writer.add_scalar(name, value, epoch)
                history.setdefault(name, []).append(value)
            shown = "  ".join(f"{name} {value:.4f}" for name, value in measures.items())
            print(f"epoch {epoch}/{epochs}  {shown}", flush=True)
    return history


# %%
train_data = make_batches(*train, BATCH_SIZE, training=True)
validation_data = make_batches(*validation, BATCH_SIZE)
test_data = make_batches(*test, BATCH_SIZE)
history = fit(model, train_data, validation_data, EPOCHS)

# %%
_, axes = plt.subplots(1, 2, figsize=(9, 3.2))
for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
    epochs = range(1, len(history[name]) + 1)
    axis.plot(epochs, history[name], marker="o", label="training")
    axis.plot(epochs, history[f"val_{name}"], marker="o", label="validation")
    axis.set(xlabel="epoch", ylabel=name)
    axis.legend()
plt.tight_layout()
plt.show()

# %% [markdown]
# ## The test
#
# Precision, recall and F1 of each class, then the confusion matrix.

# %%
logits, labels = predict(model, test_data)
logits, labels = logits.numpy(), labels.numpy()
predictions, classes = logits.argmax(1), list(range(len(CLASSES)))
print(
    classification_report(
        labels,
        predictions,
        labels=classes,
        target_names=CLASSES,
        digits=4,
        zero_division=0,
    )
)

# %%
_, axis = plt.subplots(figsize=(7, 6))
sns.heatmap(
    confusion_matrix(labels, predictions, labels=classes),
    annot=True,
    fmt="d",
    cmap="Blues",
    cbar=False,
    xticklabels=CLASSES,
    yticklabels=CLASSES,
    ax=axis,
)
axis.set(xlabel="predicted class", ylabel="true class")
plt.tight_layout()
plt.show()

# %% [markdown]
# Misclassified images, each with its true class and the predicted one.

# %%
wrong = np.flatnonzero(predictions != labels)[:12]
if len(wrong):
    samples = make_batches(test[0][wrong], test[1][wrong], 12)
    pairs = zip(labels[wrong], predictions[wrong], strict=True)
    titles = [f"{CLASSES[label]}\n→ {CLASSES[found]}" for label, found in pairs]
    show(first_images(samples), titles)

# %% [markdown]
# ## Saving the model
#
# A `.pth` file contains the weights, and needs the code of the model. A TorchScript file
# contains both, and C++ can load it. It is tested again.

# %%
models = Path("models")
models.mkdir(exist_ok=True)
model.cpu().eval()
torch.save(model.state_dict(), models / "model.pth")
example = next(iter(test_data))[0].float()
torch.jit.trace(model, example).save(models / "model_torchscript.pt")
model = model.to(DEVICE)

# %%
script = torch.jit.load(models / "model_torchscript.pt")
with torch.inference_mode():
    outputs = [script(images.float()).argmax(1) for images, _ in test_data]
found = torch.cat(outputs).numpy()
print(f"PyTorch: accuracy {np.mean(predictions == labels):.4f}")
print(f"TorchScript: accuracy {np.mean(found == labels):.4f}")


# %% [markdown]
# ## A new image
#
# The saved model classifies an image file. Replace `new_image` with the path of your own.


# %%
def classify(path: str) -> dict[str, float]:
    """Return the probability of each class for the image in a file."""
    with Image.open(path) as file:
        image = file.convert("L")
        image = image.resize((28, 28), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.float32).reshape(1, 28, 28, 1)
    loaded = torch.jit.load(models / "model_torchscript.pt")
    with torch.inference_mode():
        logits = loaded(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
    probabilities = F.softmax(logits[0], 0).numpy()
    return dict(zip(CLASSES, map(float, probabilities), strict=True))


new_image = "new_image.png"
Image.fromarray(test[0][0][..., 0]).save(new_image)
probabilities = classify(new_image)
for name in sorted(probabilities, key=probabilities.get, reverse=True)[:3]:
    print(f"{name:12} {probabilities[name]:7.2%}")

# %% [markdown]
# ## What this code leaves out
#
# Ignored, or implemented differently:
#
# - the same random numbers in both frameworks (initial weights, held-out splits, order,
#   augmentation, dropout)
#
# Written by diptych.
