"""What the recipes from noise learn: a classifier trained on the real digits looks at their samples.

    python benchmarks/gan_digits.py --kind gan wgan wgan-gp --network small --steps 1000 3000 --output_dir gan_digits

For each kind and number of steps: the share of 1,000 samples that the classifier recognises with 90 % confidence or
more, how many digits make up at least 2 % of these, the distance and the diversity of the samples. Beside them stands
what real digits that it has not seen, an untrained generator, and one that always makes the same good picture score.
"""

import argparse
import time
from pathlib import Path

import keras
import numpy as np

from deblurgan.data.arrays import open_set
from deblurgan.devices import start_quietly
from deblurgan.pictures.pixels import to_model
from deblurgan.scoring import samples
from deblurgan.training.from_noise import KINDS, SIZES, fields
from deblurgan.training.recipe import make
from deblurgan.training.samples import generated
from deblurgan.training.trainer import train
from deblurgan.weights.any_file import load

CONFIDENT = 0.9
COVERED = 0.02


def classifier(images, labels, epochs=20):
    """A small convolutional network that tells the digits apart, trained on these."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(images, labels, batch_size=50, epochs=epochs, verbose=0)
    return model


def recognised(model, pictures):
    """The share that is recognised with confidence, and how many digits make up at least 2 % of these."""
    answers = model.predict(pictures, verbose=0)
    sure = answers.max(axis=1) >= CONFIDENT
    shares = np.bincount(answers[sure].argmax(axis=1), minlength=10) / max(sure.sum(), 1)
    return float(sure.mean()), int((shares >= COVERED).sum())


def report(name, model, pictures, real):
    share, digits = recognised(model, pictures)
    apart, spread = samples.distance(pictures[:500], real), samples.diversity(pictures[:500], real)
    print(
        f"{name:24} recognised {share:6.1%}, digits {digits:2}, distance {apart:.3f}, diversity {spread:.2f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--network", choices=SIZES, default="small")
    parser.add_argument("--steps", type=int, nargs="+", default=[1000, 3000])
    parser.add_argument("--output_dir", type=Path, default=Path("gan_digits"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start_quietly()

    digits = open_set("digits")
    order = np.random.default_rng(0).permutation(len(digits.images))
    images, labels = to_model(digits.images[order]), digits.labels[order]
    model = classifier(images[:4000], labels[:4000])
    accuracy = model.evaluate(images[4000:], labels[4000:], verbose=0)[1]
    print(f"classifier: {accuracy:.1%} of 1,000 real digits that it has not seen", flush=True)
    real = images[4000:4500]
    noise = np.random.default_rng(1).standard_normal((1000, 100), np.float32)
    report("real digits", model, images[4000:], real)
    for kind in options.kind:
        run = options.output_dir / f"{kind}-{options.network}-{options.seed}"
        plan = fields(kind, "digits", size=options.network)
        for number, steps in enumerate(options.steps):
            begin = time.perf_counter()
            changes = [("steps", steps), ("seed", options.seed), ("precision", "float32")]
            result = train(make(plan, changes), run, resume=number > 0)
            minutes = (time.perf_counter() - begin) / 60
            generator = load(run / "generator_last.weights.h5")
            if not number:
                untrained = keras.models.clone_model(generator)
                report(f"{kind}, untrained", model, generated(untrained, noise), real)
            report(f"{kind}, {steps} steps", model, generated(generator, noise), real)
            print(f"  {minutes:.1f} minutes, {len(result.history) - 1} epochs", flush=True)
    same = np.repeat(images[4000:4001], 1000, axis=0)
    report("the same digit always", model, same, real)


if __name__ == "__main__":
    main()
