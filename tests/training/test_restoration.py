"""The training step of recipes, against float64 arithmetic by hand and against itself in other forms."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from deblurgan.training.adversarial import ADVERSARIAL
from deblurgan.training.losses import WeightedSum
from deblurgan.training.recipe import make
from deblurgan.training.restoration import Restoration
from deblurgan.training.steps import build_step
from tests.ordering import unordered

RATE = 0.05
SIDE = 6


def linear(filters, channels=3, seed=0, name=None):
    """A network that multiplies each pixel's channels by a matrix and adds a vector."""
    random = np.random.default_rng(seed)
    inputs = keras.Input((None, None, channels))
    layer = keras.layers.Conv2D(filters, 1, name=f"{name or 'linear'}_conv")
    model = keras.Model(inputs, layer(inputs), name=name)
    layer.set_weights([random.normal(0, 0.5, (1, 1, channels, filters)), random.normal(0, 0.5, filters)])
    return model


def batch(count=4, seed=1):
    random = np.random.default_rng(seed)
    return tuple(random.uniform(-1, 1, (count, SIDE, SIDE, 3)).astype(np.float32) for _ in range(2))


def compiled(optimizer=None, critic_optimizer=None, jit=False, **options):
    model = Restoration(linear(3, name="generator"), WeightedSum({"mse": 2.0}), **options)
    model.compile(
        optimizer or keras.optimizers.SGD(RATE), critic_optimizer or keras.optimizers.SGD(RATE), jit_compile=jit
    )
    return model


def with_critic(conditional=False, **options):
    critic = linear(1, 6 if conditional else 3, seed=5, name="critic")
    return {"critic": critic, "adversarial": ADVERSARIAL["wgan-gp"], "conditional": conditional, **options}


def trained(model, blurred, sharp):
    """The losses of one step on a batch, as plain numbers."""
    return model.step((blurred, sharp))


def values(model):
    return [np.float64(weight) for weight in model.get_weights()]


def by_hand(model, blurred, sharp, critic_updates, penalty_weight, adversarial_weight):
    """One step of WGAN-GP with linear networks and gradient descent, in float64; returns new weights and losses."""
    (kernel, bias), (critic_kernel, critic_bias) = values(model.generator), values(model.critic)
    first_kernel = critic_kernel
    blurred, sharp = np.float64(blurred), np.float64(sharp)
    pixels = SIDE * SIDE
    restored = blurred @ kernel[0, 0] + bias
    for _ in range(critic_updates):
        w = critic_kernel[0, 0, :, 0]
        d_loss = (restored @ w).mean() - (sharp @ w).mean()
        norm = np.sqrt(pixels * np.sum((w / pixels) ** 2))  # the gradient of a sample is w / pixels at each pixel
        penalty = (norm - 1) ** 2
        slope = restored.mean((0, 1, 2)) - sharp.mean((0, 1, 2))
        slope += penalty_weight * 2 * (norm - 1) * w / (norm * pixels)
        critic_kernel = critic_kernel - RATE * slope[None, None, :, None]
    w = (first_kernel if model.simultaneous else critic_kernel)[0, 0, :, 0]
    content = np.mean((restored - sharp) ** 2)
    adversarial = -(restored @ w).mean() - critic_bias[0]
    slope = 2 * 2 * (restored - sharp) / restored.size - adversarial_weight * w / (len(blurred) * pixels)
    kernel_slope = np.einsum("bhwi,bhwo->io", blurred, slope)
    bias_slope = slope.sum((0, 1, 2))
    losses = {
        "mse": content,
        "adversarial": adversarial,
        "loss": 2 * content + adversarial_weight * adversarial,
        "d_loss": d_loss,
        "gradient_penalty": penalty,
        "gradient_norm": np.sqrt(np.sum(kernel_slope**2) + np.sum(bias_slope**2)),
    }
    new = [kernel - RATE * kernel_slope[None, None], bias - RATE * bias_slope], [critic_kernel, critic_bias]
    return *new, losses


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("simultaneous", [False, True])
def test_a_step_is_that_of_the_formulas(simultaneous, jit):
    blurred, sharp = batch()
    updates = 1 if simultaneous else 3
    options = {"critic_updates": updates, "penalty_weight": 10.0, "adversarial_weight": 0.7}
    model = compiled(jit=jit, **with_critic(simultaneous=simultaneous, **options))
    generator, critic, losses = by_hand(model, blurred, sharp, *options.values())
    got = trained(model, blurred, sharp)
    assert got == pytest.approx(losses, rel=1e-5)
    for new, expected in zip(values(model.generator), generator, strict=True):
        np.testing.assert_allclose(new, expected, atol=1e-6)
    for new, expected in zip(values(model.critic), critic, strict=True):
        np.testing.assert_allclose(new, expected, atol=1e-6)


def test_without_a_critic_only_the_content_counts():
    blurred, sharp = batch()
    model = compiled()
    kernel, bias = values(model.generator)
    got = trained(model, blurred, sharp)
    error = np.float64(blurred) @ kernel[0, 0] + bias - sharp
    assert set(got) == {"loss", "mse", "gradient_norm"}
    assert got["loss"] == pytest.approx(2 * np.mean(error**2), rel=1e-6)
    np.testing.assert_allclose(
        values(model.generator)[1], bias - RATE * 4 * error.sum((0, 1, 2)) / error.size, atol=1e-6
    )


@pytest.mark.parametrize("critic", [{}, {"critic_updates": 2}, {"simultaneous": True}])
def test_a_batch_in_parts_gives_the_update_of_the_whole(critic):
    blurred, sharp = batch()
    results = []
    for accumulate in (1, 4):
        options = with_critic(penalty_weight=10.0, **critic) if critic else {}
        model = compiled(accumulate=accumulate, **options)
        results.append((trained(model, blurred, sharp), model.get_weights()))
    for losses, weights in results[1:]:
        assert losses == pytest.approx(results[0][0], rel=1e-5)
        for one, other in zip(weights, results[0][1], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_without_content_the_critic_alone_counts():
    blurred, sharp = batch()
    model = Restoration(linear(3, name="generator"), None, **with_critic(adversarial_weight=0.7))
    model.compile(keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE), jit_compile=False)
    bias = values(model.generator)[1]
    got = trained(model, blurred, sharp)
    assert set(got) == {"loss", "adversarial", "d_loss", "gradient_norm"}
    assert got["loss"] == pytest.approx(0.7 * got["adversarial"])
    np.testing.assert_allclose(
        values(model.generator)[1], bias + RATE * 0.7 * values(model.critic)[0][0, 0, :, 0], atol=1e-6
    )


def test_gradients_are_clipped_by_their_global_norm():
    blurred, sharp = batch()
    free, clipped = compiled(), compiled(clip_norm=0.25)
    before = values(free.generator)
    norm = trained(free, blurred, sharp)["gradient_norm"]
    assert trained(clipped, blurred, sharp)["gradient_norm"] == pytest.approx(norm)
    assert norm > 0.25
    moved = [np.concatenate([(new - old).ravel() for new, old in zip(values(model.generator), before, strict=True)])
             for model in (free, clipped)]  # fmt: skip
    assert np.linalg.norm(moved[1]) == pytest.approx(RATE * 0.25, rel=1e-5)
    np.testing.assert_allclose(moved[1], moved[0] * 0.25 / norm, atol=1e-7)


# Learning from a teacher


def taught(picture):
    """A teacher's picture, by float64 arithmetic or in TensorFlow: mirrored, and darker."""
    return 0.6 * picture[:, ::-1] - 0.1


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(("sharp_weight", "teacher_weight"), [(1.0, 0.3), (0.0, 0.3), (0.5, 0.0)])
def test_the_students_step_is_that_of_the_formulas(sharp_weight, teacher_weight, jit):
    blurred, sharp = batch()
    sharp[[0, 2]] = np.nan  # no sharp pictures of these
    model = compiled(jit=jit, teacher=taught, sharp_weight=sharp_weight, teacher_weight=teacher_weight)
    kernel, bias = values(model.generator)
    got = trained(model, blurred, sharp)
    restored = np.float64(blurred) @ kernel[0, 0] + bias
    of_teacher = taught(np.float64(blurred))
    errors = {
        "mse": restored - np.where(np.isnan(sharp), of_teacher, sharp),
        "teacher_mse": restored - of_teacher,
    }
    weights = {"mse": sharp_weight, "teacher_mse": teacher_weight}
    slope = sum(2 * 2 * weights[name] * error / error.size for name, error in errors.items())
    kernel_slope, bias_slope = np.einsum("bhwi,bhwo->io", blurred, slope), slope.sum((0, 1, 2))
    expected = {name: np.mean(error**2) for name, error in errors.items() if weights[name]}
    expected["loss"] = sum(2 * weights[name] * np.mean(error**2) for name, error in errors.items())
    expected["gradient_norm"] = np.sqrt(np.sum(kernel_slope**2) + np.sum(bias_slope**2))
    assert got == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(values(model.generator)[0], kernel - RATE * kernel_slope[None, None], atol=1e-6)
    np.testing.assert_allclose(values(model.generator)[1], bias - RATE * bias_slope, atol=1e-6)


def test_the_critic_takes_the_teachers_pictures_for_those_that_are_not_there():
    blurred, sharp = batch()
    there = sharp.copy()
    sharp[1], there[1] = np.nan, taught(np.float64(blurred))[1]
    one, other = (compiled(teacher=taught, **with_critic(critic_updates=2, penalty_weight=10.0)) for _ in range(2))
    assert trained(one, blurred, sharp) == pytest.approx(trained(other, blurred, there), rel=1e-6)
    for a, b in zip(values(one), values(other), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_a_taught_batch_in_parts_gives_the_update_of_the_whole():
    blurred, sharp = batch()
    sharp[3] = np.nan
    results = []
    for accumulate in (1, 4):
        model = compiled(accumulate=accumulate, teacher=taught, teacher_weight=0.3)
        results.append((trained(model, blurred, sharp), model.get_weights()))
    for losses, weights in results[1:]:
        assert losses == pytest.approx(results[0][0], rel=1e-5)
        for one, other in zip(weights, results[0][1], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_missing_sharp_picture_without_a_teacher_is_no_silent_zero():
    blurred, sharp = batch()
    sharp[0] = np.nan
    assert np.isnan(trained(compiled(), blurred, sharp)["loss"])


# Networks with several pictures


def staged():
    """Two stages that multiply channels by matrices, each with pictures of full, half and quarter size."""
    random = np.random.default_rng(3)
    inputs = x = keras.Input((None, None, 3))
    pictures = []
    for stage in range(2):
        x = keras.layers.Conv2D(3, 1, name=f"stage{stage}")(x)
        smaller = [keras.layers.AveragePooling2D(factor)(x) for factor in (2, 4)]
        pictures += [x, *smaller]
    model = keras.Model(inputs, pictures)
    model.set_weights([random.normal(0, 0.5, weight.shape) for weight in model.weights])
    return model


def in_pairs(weights):
    return list(zip(weights[::2], weights[1::2], strict=True))


def smaller(images, factor):
    """Bilinear reduction with antialiasing: triangles twice as wide as a new pixel, cut off at the edges."""
    for axis in (1, 2):
        side = images.shape[axis]
        centres, places = (np.arange(side // factor) + 0.5) * factor, np.arange(side) + 0.5
        weights = np.maximum(0, 1 - np.abs(centres[:, None] - places) / factor)
        weights /= weights.sum(axis=1, keepdims=True)
        images = np.moveaxis(np.tensordot(weights, images, (1, axis)), 0, axis)
    return images


def pooled(images, factor):
    count, height, width, channels = images.shape
    return images.reshape(count, height // factor, factor, width // factor, factor, channels).mean((2, 4))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_loss_is_summed_over_stages_and_scales(accumulate):
    random = np.random.default_rng(4)
    blurred, sharp = random.uniform(-1, 1, (2, 4, 16, 24, 3)).astype(np.float32)
    network = staged()
    model = Restoration(
        network, WeightedSum({"charbonnier": 1.0, "frequency": 0.1}), reductions=(1, 2, 4, 1, 2, 4),
        accumulate=accumulate, teacher=taught, teacher_weight=0.3,
    )  # fmt: skip
    model.compile(keras.optimizers.SGD(RATE), jit_compile=False)
    weights = in_pairs(values(network))

    def losses(target):
        charbonnier = frequency = 0.0
        x = np.float64(blurred)
        for kernel, bias in weights:
            x = x @ kernel[0, 0] + bias
            for factor in (1, 2, 4):
                error = pooled(x, factor) - (target if factor == 1 else smaller(target, factor))
                charbonnier += np.mean(np.sqrt(error**2 + 1e-6))
                spectrum = np.fft.fft2(error, axes=(1, 2))
                frequency += (np.abs(spectrum.real).mean() + np.abs(spectrum.imag).mean()) / 2
        return charbonnier, frequency

    of_sharp, of_teacher = losses(np.float64(sharp)), losses(taught(np.float64(blurred)))
    got = trained(model, blurred, sharp)
    names = ["charbonnier", "frequency", "teacher_charbonnier", "teacher_frequency"]
    assert [got[name] for name in names] == pytest.approx([*of_sharp, *of_teacher], rel=1e-5)
    expected = of_sharp[0] + 0.1 * of_sharp[1] + 0.3 * (of_teacher[0] + 0.1 * of_teacher[1])
    assert got["loss"] == pytest.approx(expected, rel=1e-5)
    assert got["gradient_norm"] > 0


def test_the_critic_judges_the_last_picture_of_full_size():
    random = np.random.default_rng(4)
    blurred, sharp = random.uniform(-1, 1, (2, 4, 16, 24, 3)).astype(np.float32)
    network = staged()
    model = Restoration(network, WeightedSum({"l1": 1.0}), reductions=(1, 2, 4, 1, 2, 4), **with_critic())
    model.compile(keras.optimizers.SGD(RATE), keras.optimizers.SGD(RATE), jit_compile=False)
    w = values(model.critic)[0][0, 0, :, 0]
    x = np.float64(blurred)
    for kernel, bias in in_pairs(values(network)):
        x = x @ kernel[0, 0] + bias
    assert np.asarray(model(blurred)) == pytest.approx(x, abs=1e-5)
    assert trained(model, blurred, sharp)["d_loss"] == pytest.approx((x @ w).mean() - (sharp @ w).mean(), abs=1e-5)


# Precision, and Keras around it


def test_scaled_losses_give_the_same_update():
    blurred, sharp = batch()
    plain = compiled(clip_norm=0.25, **with_critic(penalty_weight=10.0))
    scaled = compiled(
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(RATE)),
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(RATE)),
        clip_norm=0.25,
        **with_critic(penalty_weight=10.0),
    )
    expected, got = (trained(model, blurred, sharp) for model in (plain, scaled))
    assert got == pytest.approx(expected, rel=1e-5)
    for one, other in zip(scaled.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_conditional_critic_sees_the_blurred_picture_first():
    blurred, sharp = batch()
    model = compiled(**with_critic(conditional=True))
    w = values(model.critic)[0][0, 0, :, 0]
    kernel, bias = values(model.generator)
    restored = np.float64(blurred) @ kernel[0, 0] + bias
    pairs = [np.concatenate([np.float64(blurred), other], -1) for other in (sharp, restored)]
    real, fake = (float((pair @ w).mean()) for pair in pairs)
    assert trained(model, blurred, sharp)["d_loss"] == pytest.approx(fake - real, abs=1e-6)


def test_a_step_takes_any_number_of_channels():
    plan = make(
        {
            "network": "unet",
            "network_options": {"ngf": 2, "num_downs": 5},
            "input_channels": 4,
            "output_channels": 2,
            "critic": "patchgan",
            "critic_options": {"ndf": 2, "n_layers": 1},
            "conditional": True,
            "adversarial": "gan",
            "image_size": 32,
            "precision": "float32",
        }
    )
    step = build_step(plan, 1, "float32")
    assert step.networks()["discriminator"].input_shape[-1] == 4 + 2
    random = np.random.default_rng(0)
    blurred, sharp = (random.uniform(-1, 1, (1, 32, 32, channels)).astype(np.float32) for channels in (4, 2))
    losses = trained(step, blurred, sharp)
    before = step.generator(blurred, training=False)
    trained(step, blurred, sharp)
    assert np.abs(step.generator(blurred, training=False) - before).max() > 0
    assert before.shape == sharp.shape
    assert np.isfinite(list(losses.values())).all()


@pytest.mark.parametrize("simultaneous", [False, True])
def test_weights_are_read_before_they_are_updated(simultaneous):
    updates = 1 if simultaneous else 2
    model = compiled(**with_critic(critic_updates=updates, penalty_weight=10.0, simultaneous=simultaneous))
    assert unordered(lambda: trained(model, *batch())) == []


PROGRAM = """
import sys
import keras, numpy as np, tensorflow as tf
sys.path.insert(0, {root!r})
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.training.test_restoration import ADVERSARIAL, RATE, Restoration, WeightedSum, batch, linear
from deblurgan.training.hosts import ALONE
from deblurgan.training.team import Team

class Twelve:
    def batches(self, first, count, share):
        return tf.data.Dataset.from_tensor_slices(batch(12)).batch(share.of_device(4), drop_remainder=True)

results = []
for kind in ("one", "all"):
    team = Team(ALONE, kind)
    strategy = team.strategy
    print(kind, strategy.num_replicas_in_sync)
    with strategy.scope():
        model = Restoration(
            linear(3, name="generator"), WeightedSum({{"mse": 2.0}}), critic=linear(1, seed=5, name="critic"),
            adversarial=ADVERSARIAL["wgan-gp"], penalty_weight=10.0, critic_updates=2, clip_norm=0.25,
            teacher=linear(3, seed=7, name="teacher").__call__, teacher_weight=0.3,
        )
        model.compile(keras.optimizers.AdamW(RATE, epsilon=1e-3), keras.optimizers.SGD(RATE), jit_compile=False)
    losses = [model.step(batch) for batch in team.batches(Twelve(), 0, 3)]
    results.append((losses, model.get_weights()))
(one, weights), (other, others) = results
assert len(one) == len(other) == 3
for step in range(3):
    for name in one[step]:
        np.testing.assert_allclose(one[step][name], other[step][name], rtol=2e-5, err_msg=name)
for a, b in zip(weights, others):
    np.testing.assert_allclose(a, b, atol=2e-6)
draw = tf.function(lambda: strategy.run(lambda: keras.random.normal((9,), seed=model.points)))
assert not np.isin(*strategy.experimental_local_results(draw())).any()
print("SAME")
"""


def test_two_devices_give_the_update_of_one():
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(root=str(Path(__file__).parents[2]))],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.split() == ["one", "1", "all", "2", "SAME"]
