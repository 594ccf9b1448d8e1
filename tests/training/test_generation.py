"""Generators from noise: one step against one written out, and whole runs."""

import csv
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from deblurgan.data.arrays import open_set
from deblurgan.errors import InputError
from deblurgan.pictures.pixels import to_model
from deblurgan.pictures.reading import read_rgb
from deblurgan.training.adversarial import ADVERSARIAL
from deblurgan.training.from_noise import fields
from deblurgan.training.generation import Generation
from deblurgan.training.pictures import training_stream
from deblurgan.training.recipe import make, read_fields
from deblurgan.training.samples import SampleValidation, generated
from deblurgan.training.steps import build_step
from deblurgan.training.trainer import train
from deblurgan.weights.any_file import load
from tests.photographs import names
from tests.training.runs import CROPS, from_noise


def networks():
    """A generator and a critic whose answers can be written out: noise @ w and pictures @ v."""
    noise, picture = keras.Input((3,)), keras.Input((2, 2, 1))
    flat = keras.layers.Dense(4, use_bias=False)(noise)
    generator = keras.Model(noise, keras.layers.Reshape((2, 2, 1))(flat))
    critic = keras.Model(picture, keras.layers.Dense(1, use_bias=False)(keras.layers.Flatten()(picture)))
    return generator, critic


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_a_step_is_the_one_written_out():
    generator, critic = networks()
    step = Generation(generator, critic, ADVERSARIAL["gan"], critic_updates=2, seed=3)
    step.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.2), jit_compile=False)
    (w,), (v,) = ([x.astype(float) for x in network.get_weights()] for network in (generator, critic))
    noises = keras.random.SeedGenerator(3)
    noises = [keras.ops.convert_to_numpy(keras.random.normal((5, 3), seed=noises)) for _ in range(3)]
    images = np.random.default_rng(0).uniform(-1, 1, (10, 2, 2, 1)).astype(np.float32)

    for real, noise in zip((images[:5], images[5:]), noises[:2], strict=True):
        real, fake = real.reshape(5, 4), noise @ w
        d_loss = np.log1p(np.exp(-real @ v)).mean() + np.log1p(np.exp(fake @ v)).mean()
        accuracies = (real @ v > 0).mean(), (fake @ v <= 0).mean()
        v = v - 0.2 * (fake.T @ sigmoid(fake @ v) - real.T @ sigmoid(-real @ v)) / 5
    fake = noises[2] @ w
    g_loss = np.log1p(np.exp(-fake @ v)).mean()
    w = w + 0.1 * noises[2].T @ (sigmoid(-fake @ v) @ v.T) / 5

    values = step.step(tf.constant(images))
    np.testing.assert_allclose(critic.get_weights()[0], v, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(generator.get_weights()[0], w, rtol=1e-5, atol=1e-6)
    assert values["d_loss"] == pytest.approx(d_loss, rel=1e-5)
    assert values["g_loss"] == pytest.approx(g_loss, rel=1e-5)
    assert (values["d_acc_real"], values["d_acc_fake"]) == pytest.approx(accuracies)


def batch(plan, seed=0):
    shape = (plan.batch_size * plan.critic_updates, 8, 8, 1)
    return tf.constant(np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32))


def test_clipping_cuts_the_critics_trainable_weights_and_no_others():
    plan = from_noise("wgan", clip_weights=0.003, **{"critic_options.batch_norm_momentum": 0.9})
    step = build_step(plan, 6, "float32")
    before = step.generator.get_weights()
    values = step.step(batch(plan))
    trainable = np.concatenate([np.ravel(variable.numpy()) for variable in step.critic.trainable_variables])
    assert np.abs(trainable).max() == pytest.approx(0.003)
    moving = [v.numpy() for v in step.critic.non_trainable_variables if v.path.endswith("moving_variance")]
    assert all((variance > 0.1).all() for variance in moving)
    assert moving
    assert any((abs(new - old) > 1e-6).any() for new, old in zip(step.generator.get_weights(), before, strict=True))
    assert max(np.abs(weight).max() for weight in step.generator.get_weights()) > 0.01
    assert set(values) == {"d_loss", "g_loss", "gradient_norm"}  # a Wasserstein critic draws no line


@pytest.mark.parametrize(
    ("kind", "losses"),
    [
        ("gan", ["d_loss", "d_acc_real", "d_acc_fake", "g_loss", "gradient_norm"]),
        ("wgan", ["d_loss", "g_loss", "gradient_norm"]),
        ("wgan-gp", ["d_loss", "gradient_penalty", "g_loss", "gradient_norm"]),
    ],
)
def test_a_run_of_each_recipe(kind, losses, tmp_path):
    plan = from_noise(kind, ema=0.9 if kind == "wgan" else 0, accumulate=2 if kind == "gan" else 1)
    result = train(plan, tmp_path)
    others = ["val_distance", "val_diversity", "learning_rate"]
    assert sorted(result.history[1]) == sorted(["epoch", "step", "seconds", "images_per_second", *losses, *others])
    weights = ["generator_best.weights.h5", "generator_last.weights.h5"]
    files = ["checkpoints", "curves.png", "log.csv", "logs", "recipe.json", "run.json", "samples"]
    assert names(tmp_path) == sorted([*files, *weights])
    about = json.loads((tmp_path / "run.json").read_text())
    assert (about["data"][0]["kind"], about["data"][0]["pictures"]) == ("dataset", 18)
    best = min(result.history[1:], key=lambda row: row["val_distance"])
    assert (
        float(list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))[-1]["val_distance"])
        >= best["val_distance"]
    )
    validation = SampleValidation(load(result.weights), open_set(CROPS, (8, 8, 1)).images, 0)
    assert validation.score() == pytest.approx({name: best[name] for name in others[:2]}, rel=1e-4)
    np.testing.assert_array_equal(read_rgb(tmp_path / "samples" / f"epoch_00{best['epoch']}.png"), validation.grid)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision(precision, tmp_path):
    result = train(from_noise("wgan-gp", precision=precision, steps=3), tmp_path)
    assert np.isfinite([result.history[-1][name] for name in ("d_loss", "g_loss", "val_distance")]).all()
    assert keras.backend.standardize_dtype(load(result.weights).weights[0].dtype) == "float32"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 16}, "image_size: expected what network_options make, 8x8 pixels, received 16"),
        ({"losses": {"l1": 1}}, "losses: expected {}, which the step generation has, received {'l1': 1.0}"),
        ({"val_dir": str(CROPS / "test")}, "val_dir: expected None, which the step generation has, received "),
        ({"dataset": "digit"}, "dataset: expected digits, mnist"),
        ({"network": "unet"}, "network: expected a sampler, one of dcgan, received 'unet'"),
        ({"adversarial": None, "critic": None, "critic_options": {}}, "step: generation expects a critic"),
        ({"step": "restoration"}, "dataset: expected one with the step generation, and with no other"),
        ({"dataset": None}, "dataset: expected one with the step generation, and with no other, received none"),
        ({"weight_decay": 0.1}, r"weight_decay: expected 0 with rmsprop \(adamw has it\), received 0.1"),
    ],
)
def test_what_makes_no_training_is_told(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(from_noise(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pictures_that_are_all_the_same_are_refused(tmp_path):
    np.savez(tmp_path / "same.npz", x=np.full((5, 8, 8), 7, np.uint8))
    with pytest.raises(InputError, match="expected pictures that differ from each other, found 5 that do not"):
        train(from_noise(dataset=str(tmp_path / "same.npz")), tmp_path / "run")


# That it learns


def recognised(classifier, pictures):
    """The share that a classifier is sure of, to 90 %, and how many digits make up at least 2 % of these."""
    answers = classifier.predict(pictures, verbose=0)
    sure = answers.max(axis=1) >= 0.9
    shares = np.bincount(answers[sure].argmax(axis=1), minlength=10) / max(sure.sum(), 1)
    return sure.mean(), (shares >= 0.02).sum()


def passes(classifier, pictures):
    """The bound that a generator of digits has to hold, and a broken one does not."""
    share, digits = recognised(classifier, pictures)
    return bool(share >= 0.2 and digits >= 6)


@pytest.fixture(scope="module")
def classifier():
    digits = open_set("digits")
    classifier = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    classifier.compile("adam", "sparse_categorical_crossentropy")
    classifier.fit(to_model(digits.images), digits.labels, batch_size=50, epochs=8, verbose=0)
    return classifier


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gan", {"steps": 1000}),
        ("wgan", {"steps": 500, "batch_size": 32, "learning_rate": 2e-4}),
        ("wgan-gp", {"steps": 250, "batch_size": 32}),
    ],
)
def test_a_generator_learns_digits_that_a_classifier_of_real_ones_recognises(kind, changes, classifier, tmp_path):
    noise = np.random.default_rng(0).standard_normal((300, 100), np.float32)
    plan = make(fields(kind, "digits", size="small"), [*changes.items(), ("precision", "float32")])
    train(plan, tmp_path)
    samples = generated(load(tmp_path / "generator_last.weights.h5"), noise)
    untrained = generated(build_step(plan, 1, "float32").generator, noise)
    assert passes(classifier, to_model(open_set("digits").images[::20]))
    assert passes(classifier, samples)
    assert not passes(classifier, untrained)
    assert not passes(classifier, np.repeat(samples[:1], 300, axis=0))
    assert not passes(classifier, np.random.default_rng(0).uniform(-1, 1, samples.shape).astype(np.float32))


def test_the_stream_of_a_dataset_is_as_large_as_the_networks_pictures():
    stream = training_stream(from_noise("wgan", n_images=7))
    assert stream.of_step(0).shape == (20, 8, 8, 1)
    assert stream.pictures == 7
    assert read_fields("wgan")["critic_updates"] == 5
