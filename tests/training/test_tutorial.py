"""The training step, against the same mathematics written out in float64 with plain Keras layers and TensorFlow."""

from importlib import resources

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from deblurgan.networks.tutorial import discriminator_model, generator_model
from deblurgan.training.tutorial import LOSSES, TutorialGAN
from tests import reference

SIDE = 32
LEARNING_RATE = 1e-4
# How far float32 may lead from float64, of the way. Where the input of a ReLU is nearer to 0 than rounding leaves it
# exact, which of some 50,000 inputs happens now and then, float32 takes the other slope: one pixel of 2,048 drops out
# of a gradient, a sum of terms of either sign. That changes by about 1 / sqrt(2048) = 2.2 %, and so does the way, as
# Adam's steps do not depend on a gradient's size. Two such pixels are allowed; apart from them it is 0.5 %.
LIMIT = 0.005 + 2 / 2048**0.5


def batches(count, seed=0):
    """Batches (blurred, sharp) of two images of noise in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, 2, 2, SIDE, SIDE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def build(randomised):
    """A function that builds tiny networks with random weights, always the same, and the step that trains them."""

    def build(policy="float32", **options):
        generator = generator_model((SIDE, SIDE, 3), ngf=4, n_blocks=1, dropout=0, dtype=policy)
        discriminator = discriminator_model((SIDE, SIDE, 3), ndf=4, dtype=policy)
        randomised(generator, seed=1)
        randomised(discriminator, seed=2)
        return TutorialGAN(generator, discriminator, **options)

    return build


@pytest.fixture(scope="module")
def trained(build):
    """Networks that a step has been traced for; a test finds them in any state and may train them on."""
    gan = build()
    gan.step(batches(1)[0])
    return gan


def around_combined(monkeypatch, gan, before=lambda: None, after=lambda: None):
    """Call `before` and `after` around the combined model's training."""
    train = gan.d_on_g.train_on_batch

    def watched(*args, **kwargs):
        before()
        result = train(*args, **kwargs)
        after()
        return result

    monkeypatch.setattr(gan.d_on_g, "train_on_batch", watched)


def feeds_a_normalisation(variable, model):
    """Whether it is the bias of a convolution with a normalisation behind it.

    The normalisation takes the bias out again, so its gradient is 0, and what is left of that in float32 is noise,
    which Adam scales up.
    """
    *_, layer, part = variable.path.split("/")
    norm = layer.replace("conv", "bn")
    return part == "bias" and norm != layer and any(other.name == norm for other in model.layers)


# The same mathematics again, in float64


def float64_generator():
    def conv(x, filters, side, strides=1, padding="valid"):
        return layers.Conv2D(filters, side, strides, padding, dtype="float64")(x)

    def norm(x):
        return layers.BatchNormalization(dtype="float64")(x)

    def reflect(x, width):
        return ops.pad(x, [(0, 0), (width, width), (width, width), (0, 0)], mode="reflect")

    inputs = keras.Input((SIDE, SIDE, 3), dtype="float64")
    x = ops.relu(norm(conv(reflect(inputs, 3), 4, 7)))
    x = ops.relu(norm(conv(x, 8, 3, 2, "same")))
    x = ops.relu(norm(conv(x, 16, 3, 2, "same")))
    y = ops.relu(norm(conv(reflect(x, 1), 16, 3)))
    x = x + norm(conv(reflect(y, 1), 16, 3))
    for filters in (8, 4):
        x = ops.relu(norm(layers.Conv2DTranspose(filters, 3, 2, "same", dtype="float64")(x)))
    x = ops.tanh(conv(reflect(x, 3), 3, 7))
    return keras.Model(inputs, (x + inputs) * 0.5)


def float64_discriminator():
    def conv(x, filters, strides):
        return layers.Conv2D(filters, 4, strides, "same", dtype="float64")(x)

    def leaky(x):
        return ops.leaky_relu(x, 0.2)

    inputs = keras.Input((SIDE, SIDE, 3), dtype="float64")
    x = leaky(conv(inputs, 4, 2))
    for filters, strides in ((4, 2), (8, 2), (16, 2), (32, 1)):
        x = leaky(layers.BatchNormalization(dtype="float64")(conv(x, filters, strides)))
    x = ops.reshape(conv(x, 1, 1), (-1, (SIDE // 16) ** 2))
    x = layers.Dense(1024, "tanh", dtype="float64")(x)
    return keras.Model(inputs, layers.Dense(1, "sigmoid", dtype="float64")(x))


def float64_copies(gan):
    """The generator and the critic with the weights that `gan` has now."""
    copies = float64_generator(), float64_discriminator()
    for copy, original in zip(copies, (gan.generator, gan.discriminator), strict=True):
        copy.set_weights(original.get_weights())
    return copies


def vgg_weights():
    with np.load(resources.files("deblurgan") / "assets" / "vgg16_block1_to_block3.npz") as file:
        return {name: file[name].astype(np.float64) for name in file.files}


def vgg_features(images, weights):
    for block, depth in ((1, 2), (2, 2), (3, 3)):
        for name in (f"block{block}_conv{i + 1}" for i in range(depth)):
            images = tf.nn.relu(tf.nn.conv2d(images, weights[f"{name}/kernel"], 1, "SAME") + weights[f"{name}/bias"])
        if block < 3:
            images = tf.nn.max_pool2d(images, 2, 2, "VALID")
    return images


class Adam:
    """Kingma and Ba, arXiv 1412.6980: algorithm 1 in the order of operations that ends section 2."""

    def __init__(self, variables):
        self.variables = variables
        self.t = 0
        self.m = [np.zeros(variable.shape) for variable in variables]
        self.v = [np.zeros(variable.shape) for variable in variables]

    def step(self, gradients):
        self.t += 1
        alpha = LEARNING_RATE * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        for i, gradient in enumerate(gradients):
            self.m[i] = 0.9 * self.m[i] + 0.1 * gradient.numpy()
            self.v[i] = 0.999 * self.v[i] + 0.001 * gradient.numpy() ** 2
            self.variables[i].assign_sub(alpha * self.m[i] / (np.sqrt(self.v[i]) + 1e-8))


def restated_epoch(generator, discriminator, epoch, critic_updates=5, loss_weights=(100, 1)):
    """Train both networks on the batches of `epoch`; return the losses of each."""
    vgg = vgg_weights()
    critic_variables, generator_variables = discriminator.trainable_weights, generator.trainable_weights
    critic_adam, generator_adam = Adam(critic_variables), Adam(generator_variables)
    rows = []
    for blurred, sharp in epoch.astype(np.float64):
        row = {}
        generated = generator(blurred, training=False)
        for _ in range(critic_updates):
            for name, images, label in (("d_loss_real", sharp, 1.0), ("d_loss_fake", generated, -1.0)):
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean(label * discriminator(images, training=True))
                critic_adam.step(tape.gradient(loss, critic_variables))
                row[name] = float(loss)
        row["d_loss"] = (row["d_loss_real"] + row["d_loss_fake"]) / 2
        with tf.GradientTape() as tape:
            restored = generator(blurred, training=True)
            perceptual = tf.reduce_mean((vgg_features(sharp, vgg) - vgg_features(restored, vgg)) ** 2)
            wasserstein = tf.reduce_mean(discriminator(restored, training=False))
            loss = loss_weights[0] * perceptual + loss_weights[1] * wasserstein
        generator_adam.step(tape.gradient(loss, generator_variables))
        row |= {"g_loss": float(loss), "perceptual_loss": float(perceptual), "wasserstein_loss": float(wasserstein)}
        rows.append(row)
    return rows


def assert_went_the_same_way(model, restated, start, steps):
    """The mean distance of each variable from the restated one is below `LIMIT` of the way it went.

    Biases without a gradient are held to what Adam can move at most.
    """
    for variable, end, expected, before in zip(
        model.weights, model.get_weights(), restated.get_weights(), start, strict=True
    ):
        if feeds_a_normalisation(variable, model):
            assert np.abs(end - before).max() <= 3.2 * LEARNING_RATE * steps, variable.path
        else:
            way = np.abs(expected - before).mean()
            assert way > 0, variable.path
            assert np.abs(end - expected).mean() < LIMIT * way, variable.path


@pytest.mark.parametrize("loss_weights", [None, (1e-4, 1)], ids=["the tutorial's weights", "weights 1e-4 and 1"])
def test_epoch_equals_its_restatement(loss_weights, build):
    """With the tutorial's weights the critic hardly bends the generator's way; with the others it does."""
    options = {"loss_weights": loss_weights} if loss_weights else {}
    gan = build(critic_updates=5, learning_rate=LEARNING_RATE, **options)
    start = [model.get_weights() for model in (gan.generator, gan.discriminator)]
    generator, discriminator = float64_copies(gan)
    epoch = batches(2)

    rows = [gan.step(batch) for batch in epoch]
    expected = restated_epoch(generator, discriminator, epoch, 5, loss_weights or (100, 1))

    for row, expected_row in zip(rows, expected, strict=True):
        assert tuple(row) == LOSSES
        assert row == pytest.approx(expected_row, rel=1e-5, abs=3e-5)
    assert_went_the_same_way(gan.generator, generator, start[0], steps=2)
    assert_went_the_same_way(gan.discriminator, discriminator, start[1], steps=2 * 5 * 2)


# Who moves when


def test_critic_updates_leave_the_generator_and_the_combined_step_the_critic(trained, monkeypatch):
    def snapshot():
        states.append([model.get_weights() for model in (trained.generator, trained.discriminator)])

    def moved(model, before, after):
        return {
            variable.path: not np.array_equal(old, new)
            for variable, old, new in zip(model.weights, before, after, strict=True)
            if not feeds_a_normalisation(variable, model)
        }

    states: list = []
    around_combined(monkeypatch, trained, snapshot, snapshot)
    for blurred, sharp in batches(2, seed=1):
        states.clear()
        snapshot()
        trained.step((blurred, sharp))

        start, critic_trained, end = states
        for before, after in zip(start[0], critic_trained[0], strict=True):
            np.testing.assert_array_equal(after, before)
        assert all(moved(trained.discriminator, start[1], critic_trained[1]).values())
        for before, after in zip(critic_trained[1], end[1], strict=True):
            np.testing.assert_array_equal(after, before)
        assert all(moved(trained.generator, critic_trained[0], end[0]).values())
        assert trained.discriminator.trainable is True


def test_critic_is_trainable_again_after_an_error_in_the_combined_step(trained, monkeypatch):
    def fail():
        assert trained.discriminator.trainable is False
        raise MemoryError("no room for the combined step")

    blurred, sharp = batches(1, seed=2)[0]
    with monkeypatch.context() as patch:
        around_combined(patch, trained, before=fail)
        with pytest.raises(MemoryError, match="no room"):
            trained.step((blurred, sharp))
    assert trained.discriminator.trainable is True
    before = trained.discriminator.get_weights()
    trained.step((blurred, sharp))
    assert not np.array_equal(trained.discriminator.get_weights()[0], before[0])


@pytest.mark.parametrize("critic_updates", [5, 1])
def test_optimizers_step_twice_per_critic_update_and_once_combined(critic_updates, trained, monkeypatch):
    monkeypatch.setattr(trained, "critic_updates", critic_updates)
    optimizers = trained.discriminator.optimizer, trained.d_on_g.optimizer
    before = [int(optimizer.iterations.numpy()) for optimizer in optimizers]
    trained.step(batches(1, seed=3)[0])
    after = [int(optimizer.iterations.numpy()) for optimizer in optimizers]
    assert [a - b for a, b in zip(after, before, strict=True)] == [2 * critic_updates, 1]


def test_optimizers_are_the_tutorials(build):
    gan = build(learning_rate=0.003)
    for optimizer in (gan.discriminator.optimizer, gan.d_on_g.optimizer):
        assert isinstance(optimizer, keras.optimizers.Adam)
        config = optimizer.get_config()
        assert {name: config[name] for name in ("beta_1", "beta_2", "epsilon", "amsgrad", "weight_decay")} == {
            "beta_1": 0.9,
            "beta_2": 0.999,
            "epsilon": 1e-8,
            "amsgrad": False,
            "weight_decay": None,
        }
        assert config["learning_rate"] == pytest.approx(0.003)


# What is told


def test_generator_losses_are_those_of_the_batch_in_hand(trained, monkeypatch):
    """Not means since training began: the second batch is an easy one."""
    copies: list = []
    around_combined(monkeypatch, trained, before=lambda: copies.extend(float64_copies(trained)))
    (blurred, sharp), (other, _) = batches(2, seed=4)
    easy = trained.generator(other, training=False).numpy()
    for source, target in ((blurred, sharp), (other, easy)):
        copies.clear()
        losses = trained.step((source, target))

        generator, discriminator = copies
        restored = generator(source, training=True).numpy()
        weights = vgg_weights()
        true, pred = (reference.vgg16_block3_conv3(images, weights) for images in (target, restored))
        perceptual = np.mean((true - pred) ** 2)
        wasserstein = float(np.mean(discriminator(restored, training=False)))
        assert losses["perceptual_loss"] == pytest.approx(perceptual, rel=1e-4)
        assert losses["wasserstein_loss"] == pytest.approx(wasserstein, abs=1e-5)
        assert losses["g_loss"] == pytest.approx(100 * perceptual + wasserstein, rel=1e-4)
        assert losses["d_loss"] == pytest.approx((losses["d_loss_real"] + losses["d_loss_fake"]) / 2, abs=1e-6)
    assert losses["perceptual_loss"] < 0.5 * trained.step((blurred, sharp))["perceptual_loss"]


# Lower precision


def test_bfloat16_step_has_the_losses_of_float32_and_float32_variables(build):
    gan = build("mixed_bfloat16", compute_dtype="bfloat16", critic_updates=1)
    blurred, sharp = batches(1)[0]
    (expected,) = restated_epoch(*float64_copies(gan), batches(1), 1)
    losses = gan.step((blurred, sharp))

    assert losses == pytest.approx(expected, rel=0.01, abs=2e-3)
    assert losses["perceptual_loss"] != pytest.approx(expected["perceptual_loss"], rel=1e-6), "float32 was used"
    for part in gan.parts().values():
        for variable in part.variables:
            assert str(variable.dtype) in ("float32", "int32", "int64"), variable.path


def test_float16_step_does_not_lose_gradients_too_small_for_float16(build):
    """These weights make gradients as small as large batches of large images do; unscaled, they all become 0."""
    gan = build("mixed_float16", compute_dtype="float16", critic_updates=1, loss_weights=(1e-6, 1e-4))
    start = gan.generator.get_weights()
    generator, discriminator = float64_copies(gan)
    restated_epoch(generator, discriminator, batches(1), 1, (1e-6, 1e-4))
    gan.step(batches(1)[0])
    for variable, end, expected, before in zip(
        gan.generator.weights, gan.generator.get_weights(), generator.get_weights(), start, strict=True
    ):
        if variable.path.endswith("/kernel"):
            assert np.abs(end - expected).mean() < 0.25 * np.abs(expected - before).mean(), variable.path
