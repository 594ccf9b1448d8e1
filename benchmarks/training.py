"""One training iteration of the tutorial: a plain Keras 3 transcription in float32 against this package's step.

Both do the same mathematics at 256x256: one generated batch, critic updates on real and generated images, one
combined step. Also measures the share of an epoch that is spent inside the steps, data from disk included.

    python benchmarks/training.py
    python benchmarks/training.py --pairs images/train
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers
from side_by_side import report, time_in_turn

from deblurgan.data.crops import CropStream
from deblurgan.data.opening import open_source
from deblurgan.devices import describe, policy, resolve_precision, start_quietly
from deblurgan.networks.layers import ReflectionPadding2D
from deblurgan.networks.tutorial import discriminator_model, generator_model
from deblurgan.networks.vgg import VGG16_LAYERS, vgg16_weights
from deblurgan.training.losses import wasserstein_loss
from deblurgan.training.tutorial import TutorialGAN

SHAPE = (256, 256, 3)


class Transcription:
    """What somebody gets who carries the tutorial's code over to Keras 3 line by line, with every default."""

    def __init__(self, critic_updates: int) -> None:
        self.critic_updates = critic_updates
        self.g, self.d = self.generator(), self.discriminator()
        inputs = layers.Input(shape=SHAPE)
        generated = self.g(inputs)
        self.d_on_g = keras.Model(inputs, [generated, self.d(generated)])
        self.vgg = self.vgg16()
        self.d.compile(optimizer=keras.optimizers.Adam(1e-4, epsilon=1e-8), loss=wasserstein_loss)
        self.d_on_g.compile(
            optimizer=keras.optimizers.Adam(1e-4, epsilon=1e-8),
            loss=[self.perceptual_loss, wasserstein_loss],
            loss_weights=[100, 1],
        )

    def perceptual_loss(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.square(self.vgg(y_true) - self.vgg(y_pred)))

    def step(self, batch):
        blurred, sharp = batch
        real, fake = np.ones((len(blurred), 1)), -np.ones((len(blurred), 1))
        generated = self.g.predict(blurred, batch_size=len(blurred), verbose=0)
        for _ in range(self.critic_updates):
            self.d.train_on_batch(sharp, real)
            self.d.train_on_batch(generated, fake)
        self.d.trainable = False
        self.d_on_g.train_on_batch(blurred, [sharp, real])
        self.d.trainable = True

    @staticmethod
    def generator():
        def normalised(x):
            return layers.Activation("relu")(layers.BatchNormalization()(x))

        inputs = layers.Input(shape=SHAPE)
        x = normalised(layers.Conv2D(64, 7)(ReflectionPadding2D(3)(inputs)))
        for filters in (128, 256):
            x = normalised(layers.Conv2D(filters, 3, strides=2, padding="same")(x))
        for _ in range(9):
            y = normalised(layers.Conv2D(256, 3)(ReflectionPadding2D(1)(x)))
            y = layers.Conv2D(256, 3)(ReflectionPadding2D(1)(layers.Dropout(0.5)(y)))
            x = layers.Add()([x, layers.BatchNormalization()(y)])
        for filters in (128, 64):
            x = normalised(layers.Conv2DTranspose(filters, 3, strides=2, padding="same")(x))
        x = layers.Activation("tanh")(layers.Conv2D(3, 7)(ReflectionPadding2D(3)(x)))
        return keras.Model(inputs, layers.Rescaling(0.5)(layers.Add()([x, inputs])))

    @staticmethod
    def discriminator():
        inputs = layers.Input(shape=SHAPE)
        x = layers.LeakyReLU(0.2)(layers.Conv2D(64, 4, strides=2, padding="same")(inputs))
        for filters, strides in ((64, 2), (128, 2), (256, 2), (512, 1)):
            x = layers.Conv2D(filters, 4, strides=strides, padding="same")(x)
            x = layers.LeakyReLU(0.2)(layers.BatchNormalization()(x))
        x = layers.Flatten()(layers.Conv2D(1, 4, padding="same")(x))
        x = layers.Dense(1024, activation="tanh")(x)
        return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))

    @staticmethod
    def vgg16():
        model = keras.Sequential([layers.Input(shape=(None, None, 3))])
        weights = vgg16_weights()
        for name in VGG16_LAYERS:
            if name in ("block2_conv1", "block3_conv1"):
                model.add(layers.MaxPooling2D())
            filters = len(weights[f"{name}/bias"])
            model.add(layers.Conv2D(filters, 3, padding="same", activation="relu", name=name))
            model.layers[-1].set_weights([weights[f"{name}/kernel"], weights[f"{name}/bias"]])
        model.trainable = False
        return model


def ours(precision: str, critic_updates: int) -> TutorialGAN:
    generator = generator_model(SHAPE, dtype=policy(precision))
    discriminator = discriminator_model(SHAPE, dtype=policy(precision))
    dtype = resolve_precision(precision)
    return TutorialGAN(generator, discriminator, critic_updates=critic_updates, compute_dtype=dtype)


def share_of_steps(gan: TutorialGAN, folder: str, batch_size: int) -> float:
    """Train one epoch from disk and return the part of its time that passes inside the steps."""
    source = open_source({"folder": folder})
    stream = CropStream([source], crop_size=256, batch_size=batch_size, augment="mirror", crops_per_picture=1)
    inside, begin = 0.0, time.perf_counter()
    for batch in stream.batches(0, len(source) // batch_size):
        before = time.perf_counter()
        gan.step(batch)
        inside += time.perf_counter() - before
    return inside / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--critic_updates", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", metavar="FOLDER", help="A and B to measure an epoch on")
    arguments = parser.parse_args()
    start_quietly()
    print(f"{describe('auto')}; {arguments.batch_size} images of 256x256 a batch")

    random = np.random.default_rng(0)
    blurred, sharp = random.uniform(-1, 1, (2, arguments.batch_size, *SHAPE)).astype("float32")
    gans = {
        "plain float32 transcription": Transcription(arguments.critic_updates),
        "deblurgan float32": ours("float32", arguments.critic_updates),
        "deblurgan auto": ours("auto", arguments.critic_updates),
    }
    steps = {name: lambda gan=gan: gan.step((blurred, sharp)) for name, gan in gans.items()}
    report(time_in_turn(steps, arguments.rounds), baseline="plain float32 transcription")
    if arguments.pairs:
        share = share_of_steps(gans["deblurgan auto"], arguments.pairs, arguments.batch_size)
        print(f"share of an epoch's time inside the train steps: {share:.1%}")


if __name__ == "__main__":
    main()
