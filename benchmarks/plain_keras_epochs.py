"""What a Keras user writes for a small dataset: Sequential, compile, fit. Prints the test accuracy after each epoch.

python benchmarks/plain_keras_epochs.py DATA.npz NETWORK EPOCHS BATCH_SIZE SEED
"""

import json
import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

path, network, (epochs, batch_size, seed) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:6])
keras.utils.set_random_seed(seed)
with np.load(path) as data:
    x_train, x_test = (data[name].astype("float32") / 255.0 for name in ("x_train", "x_test"))
    y_train, y_test = data["y_train"], data["y_test"]
num_classes = int(y_train.max()) + 1

padding = "same" if network == "padded_cnn" else "valid"
model = keras.Sequential(
    [
        keras.Input(x_train.shape[1:]),
        layers.Conv2D(32, 3, padding=padding, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, padding=padding, activation="relu"),
        layers.MaxPooling2D(),
    ]
)
if network == "cifar_sequential":
    model.add(layers.Conv2D(64, 3, activation="relu"))
    model.add(layers.Flatten())
    model.add(layers.Dense(64, activation="relu"))
else:
    model.add(layers.Flatten())
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dropout(0.5))
model.add(layers.Dense(num_classes, activation="softmax"))
model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])


class Report(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        print(json.dumps({"accuracy": logs["val_accuracy"]}), flush=True)


test = (x_test, y_test)
model.fit(x_train, y_train, batch_size=batch_size, epochs=epochs, validation_data=test, verbose=0, callbacks=[Report()])
