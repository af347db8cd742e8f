# %% [markdown]
# # Your own CSV file, with Keras
#
# From images to a trained, tested and saved model. Run the cells from top to bottom, here
# or in Google Colab; the first one installs what is missing. Comments that begin with a
# key, such as `dense-kernel-axes`, say how PyTorch and Keras differ there.

# %%
# %pip install --quiet ai-edge-litert keras matplotlib numpy pandas pillow scikit-learn seaborn tensorboard tensorflow

# %%
import math
from functools import partial
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import initializers, layers
from PIL import Image
from sklearn.metrics import classification_report, confusion_matrix
from sklearn.model_selection import train_test_split

# %%
EPOCHS = 10
BATCH_SIZE = 64
LEARNING_RATE = 0.002

# %% [markdown]
# ## Your own table
#
# A CSV file with a row for each image: a column for each pixel, 0 to 255, and the class.
# This cell writes such a file, of handwritten digits. For your own,
# `diptych code cnn --data FILE.csv --notebook` writes its size and its classes.

# %%
from sklearn.datasets import load_digits

digits = load_digits(as_frame=True)
table = (digits.data * 255 / 16).round().astype(int).assign(label=digits.target)
table.to_csv("digits.csv", index=False)
table.head()

# %% [markdown]
# ## The data
#
# `read_data` returns the images and labels of each split, `make_batches` the batches
# of one split.
#
# Set `DATA` to the path of your data; in Google Colab, upload them first.

# %%
DATA = Path("digits.csv")
CLASSES = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
Split = tuple[np.ndarray, np.ndarray]


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
    table = pd.read_csv(DATA, keep_default_na=False)
    labels = np.array([CLASSES.index(str(name)) for name in table["label"]])
    pixels = table.drop(columns=["label"])
    train = pixels.to_numpy(np.uint8).reshape(-1, 8, 8, 1), labels
    train, test = hold_out(*train, 0.2)
    train, validation = hold_out(*train, 0.1)
    return train, validation, test


# %%
def make_batches(
    images: np.ndarray, labels: np.ndarray, batch_size: int, *, training: bool = False
) -> tf.data.Dataset:
    """Return batches of images, (N, H, W, C), and labels, (N,), of a split."""
    # image-layout. PyTorch: Feature maps are (N, C, H, W). Keras: Feature maps are (N,
    # H, W, C).
    batches = tf.data.Dataset.from_tensor_slices((images, labels))
    if training:
        # shuffle. PyTorch: A permutation from a stateful generator. Keras: Draws from a
        # sliding buffer.
        # A buffer of all images, because a smaller one would only mix neighbors.
        batches = batches.shuffle(len(labels))
    # norm-one-value. PyTorch: Normalizing a single value raises an error. Keras:
    # Returns zeros.
    drops = training and len(labels) % batch_size == 1
    batches = batches.batch(batch_size, drop_remainder=drops)
    return batches.prefetch(tf.data.AUTOTUNE)


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


def first_images(batches: tf.data.Dataset) -> np.ndarray:
    """Return the images of the first batch: uint8, (N, H, W)."""
    images, _ = next(iter(batches))
    return images.numpy().clip(0, 255).astype(np.uint8)[..., 0]


chosen = np.random.default_rng(0).permutation(len(train[1]))[:12]
samples = make_batches(train[0][chosen], train[1][chosen], 12)
show(first_images(samples), [CLASSES[label] for label in train[1][chosen]])

# %% [markdown]
# ## The model

# %%
MEAN = np.array([0.306])
STD = np.array([0.376])
SEEDS = keras.random.SeedGenerator(0)
# initial-weights. PyTorch: U(±1/√fan_in), also for biases; He normal is not truncated.
# Keras: Glorot uniform, zero biases; He normal is truncated at two standard deviations.
HE_NORMAL = initializers.VarianceScaling(
    2.0,
    "fan_in",
    "untruncated_normal",
    seed=SEEDS,
)
Conv2D = partial(layers.Conv2D, use_bias=False, kernel_initializer=HE_NORMAL)
Dense = partial(layers.Dense, kernel_initializer=HE_NORMAL)


def build_model() -> keras.Model:
    """Images, (N, 8, 8, 1), to logits, (N, 10)."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            # image-layout. PyTorch: Feature maps are (N, C, H, W). Keras: Feature maps
            # are (N, H, W, C).
            layers.Rescaling(1 / 255 / STD, -MEAN / STD),
            # conv-kernel-axes. PyTorch: (out, in / groups, height, width). Keras:
            # (height, width, in / groups, out); depthwise (height, width, in,
            # multiplier).
            # same-padding. PyTorch: Rejects 'same' with a stride; explicit padding is
            # equal on opposite sides. Keras: 'same' with a stride puts the odd pixel at
            # the bottom and on the right.
            Conv2D(32, 3, padding="same"),
            # norm-epsilon. PyTorch: 1e-5. Keras: 1e-3.
            # norm-momentum. PyTorch: Weight of the new statistics: 0.1. Keras: Weight
            # of the old statistics: 0.99.
            # norm-running-variance. PyTorch: Unbiased, n / (n - 1). Keras: Biased in
            # the Keras layer; unbiased in the fused kernel, which is 3 times as fast on
            # a CPU.
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.ReLU(),
            Conv2D(32, 3, padding="same"),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.MaxPooling2D(2),
            layers.ReLU(),
            Conv2D(64, 3, padding="same"),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.ReLU(),
            Conv2D(64, 3, padding="same"),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.MaxPooling2D(2),
            layers.ReLU(),
            Conv2D(128, 3, padding="same"),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.ReLU(),
            Conv2D(128, 3, padding="same"),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.ReLU(),
            # flatten-order. PyTorch: Channel, height, width. Keras: Height, width,
            # channel.
            layers.Flatten(),
            # dropout-stream. PyTorch: Masks from PyTorch's global generator; every
            # random call changes its state. Keras: Masks from Keras's seed counter.
            layers.Dropout(0.3),
            # dense-kernel-axes. PyTorch: (out, in). Keras: (in, out).
            Dense(128),
            layers.ReLU(),
            layers.Dropout(0.3),
            Dense(10),
        ],
        name="cnn",
    )


# %%
SEEDS.state.assign([0, 0])  # the same initial weights each time this cell runs
keras.utils.set_random_seed(0)
model = build_model()
model.summary()


# %% [markdown]
# ## Training
#
# `compile` and `fit`. The curves are also
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


class Schedule(keras.callbacks.Callback):
    """Sets the learning rate before every step."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Count the epochs."""
        self.first_step = epoch * self.params["steps"]

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Set the rate of the step that begins."""
        # lr-clock. PyTorch: A scheduler advances when it is called. Keras: A schedule
        # advances every step, a callback every epoch.
        step, steps = self.first_step + batch, self.params["steps"]
        rate = learning_rate(step, steps, self.params["epochs"])
        self.model.optimizer.learning_rate = rate


def make_optimizer() -> keras.optimizers.Optimizer:
    """Return the optimizer."""
    # weight-decay. PyTorch: Added to the gradient, except in AdamW. Keras: Decoupled
    # from the gradient in every optimizer.
    # adam-epsilon. PyTorch: 1e-8, added after bias correction. Keras: 1e-7, added
    # before bias correction.
    optimizer = keras.optimizers.AdamW(
        LEARNING_RATE,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        weight_decay=0.05,
    )
    # Variables whose names contain one of these.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def fit(
    model: keras.Model,
    train_data: tf.data.Dataset,
    validation_data: tf.data.Dataset,
    epochs: int,
) -> dict[str, list[float]]:
    """Train the model; return the loss and the accuracy of each epoch."""
    # loss-input. PyTorch: Logits. Keras: Probabilities by default.
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # compile. PyTorch: Eager. Keras: Keras sets jit_compile to 'auto', which may use
    # XLA.
    model.compile(optimizer=make_optimizer(), loss=loss, metrics=["accuracy"])
    callbacks = [
        Schedule(),
        keras.callbacks.TensorBoard("logs"),
    ]
    # train-mode. PyTorch: A state of the module; training by default. Keras: An
    # argument of the call; inference by default.
    # epoch-loss. PyTorch: Left to the user, often a mean of batch means. Keras: fit
    # weights each batch by its size.
    history = model.fit(
        train_data,
        validation_data=validation_data,
        epochs=epochs,
        callbacks=callbacks,
        shuffle=False,
        verbose=2,
    )
    return history.history


def predict(
    model: keras.Model, batches: tf.data.Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits and the labels of all batches."""
    labels = np.concatenate([labels for _, labels in batches.as_numpy_iterator()])
    return model.predict(batches, verbose=0), labels


def measure(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return the loss, without smoothing or penalties, and the accuracy."""
    losses = keras.losses.sparse_categorical_crossentropy(
        labels, logits, from_logits=True
    )
    return float(np.mean(losses)), float(np.mean(logits.argmax(1) == labels))


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
# `.keras` is Keras's own format and `.h5` its older one. TensorFlow Serving loads a
# SavedModel.

# %%
models = Path("models")
models.mkdir(exist_ok=True)
model.save(models / "model.keras")
model.save(models / "model.h5")
model.export(models / "saved_model", verbose=False)


# %% [markdown]
# TFLite runs on phones and small devices. The converted models are tested again, because
# int8 weights are rounded.


# %%
def predict_with_tflite(path: Path, batches: tf.data.Dataset) -> np.ndarray:
    """Return the logits of all batches, computed by TFLite."""
    interpreter = Interpreter(str(path))
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    found = []
    for images, _ in batches:
        interpreter.resize_tensor_input(source, images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(source, tf.cast(images, tf.float32).numpy())
        interpreter.invoke()
        found.append(interpreter.get_tensor(target))
    return np.concatenate(found)


print(f"Keras: accuracy {np.mean(predictions == labels):.4f}")
for name, optimizations in {"float32": [], "int8": [tf.lite.Optimize.DEFAULT]}.items():
    converter = tf.lite.TFLiteConverter.from_saved_model(str(models / "saved_model"))
    converter.optimizations = optimizations
    path = models / f"model_{name}.tflite"
    path.write_bytes(converter.convert())
    found = predict_with_tflite(path, test_data).argmax(1)
    size, accuracy = path.stat().st_size / 1024, np.mean(found == labels)
    print(f"TFLite with {name} weights: accuracy {accuracy:.4f}, {size:,.0f} KiB")


# %% [markdown]
# ## A new image
#
# The saved model classifies an image file. Replace `new_image` with the path of your own.


# %%
def classify(path: str) -> dict[str, float]:
    """Return the probability of each class for the image in a file."""
    with Image.open(path) as file:
        image = file.convert("L")
        image = image.resize((8, 8), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.float32).reshape(1, 8, 8, 1)
    loaded = keras.models.load_model(models / "model.keras")
    probabilities = tf.nn.softmax(loaded.predict(pixels, verbose=0)[0]).numpy()
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
# - PyTorch's form of adamw: Keras adds epsilon before the bias correction
# - PyTorch's unbiased running variance: batch norm keeps the biased one
# - the same random numbers in both frameworks (initial weights, held-out splits, order,
#   dropout)
#
# Written by diptych.
