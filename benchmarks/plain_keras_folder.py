"""A plain Keras input pipeline over a folder of class folders: decode, resize to 224, flip, crop; prefetched.

python benchmarks/plain_keras_folder.py FOLDER EPOCHS BATCH_SIZE
"""

import json
import sys
import time

import tensorflow as tf

SIDE, PADDING = 224, 4


def augment(images, labels):
    padded = tf.pad(images, [[0, 0], [PADDING, PADDING], [PADDING, PADDING], [0, 0]])
    cropped = tf.image.random_crop(padded, [tf.shape(images)[0], SIDE, SIDE, 3])
    return tf.image.random_flip_left_right(cropped), labels


folder, epochs, batch_size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
dataset = tf.keras.utils.image_dataset_from_directory(
    folder, image_size=(SIDE, SIDE), batch_size=batch_size, shuffle=True, verbose=False
)
dataset = dataset.map(augment, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
for _ in range(epochs):
    start, count = time.perf_counter(), 0
    for images, _labels in dataset:
        count += int(images.shape[0])
    print(json.dumps(count / (time.perf_counter() - start)), flush=True)
