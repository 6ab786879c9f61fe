"""Train Keras models, and save them as .keras, .h5 and SavedModel."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
from digits import FOLDER, save, split
from keras import layers


def body() -> tuple[keras.KerasTensor, keras.KerasTensor]:
    image = keras.Input((8, 8, 1), name="image")
    h = layers.Rescaling(1 / 16)(image)
    h = layers.Conv2D(16, 3, padding="same", activation="relu")(h)
    h = layers.Conv2D(32, 3, padding="same", use_bias=False)(h)
    h = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(h)))
    h = layers.Dense(64, activation="relu")(layers.Flatten()(h))
    return image, layers.Dropout(0.25)(h)


def trained(model: keras.Model, loss: str, y: np.ndarray) -> keras.Model:
    model.compile(keras.optimizers.Adam(2e-3), loss)
    model.fit(x, y, batch_size=64, epochs=15, verbose=0)
    return model


def record(name: str, model: keras.Model, layer: layers.Dense, y: np.ndarray) -> None:
    scores = model.predict(held_out, verbose=0)
    correct = (scores.argmax(1) if scores.shape[1] > 1 else scores[:, 0] > 0.5) == y
    print(f"keras {name} {correct.mean():.4f}")
    save(name, held_out, y, scores=scores, weight=np.asarray(layer.kernel).T, bias=np.asarray(layer.bias))


keras.utils.set_random_seed(0)
x, y, held_out, classes = split()
x, held_out = x[..., None], held_out[..., None]

image, features = body()
cnn = keras.Model(image, layers.Dense(10, activation="softmax")(features))
trained(cnn, "sparse_categorical_crossentropy", y)
cnn.save(FOLDER / "cnn.keras")
cnn.save(FOLDER / "cnn.h5")
cnn.export(FOLDER / "cnn_saved_model", verbose=False)
record("cnn", cnn, cnn.layers[-1], classes)

logits = cnn.layers[-1]
separate = keras.Model(image, layers.Softmax()(layers.Dense(10)(features)))
separate.layers[-2].set_weights(logits.get_weights())
separate.save(FOLDER / "softmax_layer.keras")

image, features = body()
binary = trained(keras.Model(image, layers.Dense(1, activation="sigmoid")(features)), "binary_crossentropy", y % 2)
binary.save(FOLDER / "binary.keras")
record("binary", binary, binary.layers[-1], classes % 2)

keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Lambda(lambda h: h[:, :10])]).save(
    FOLDER / "lambda.keras"
)
