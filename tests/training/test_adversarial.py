import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from deblurgan.errors import InputError
from deblurgan.networks.patchgan import patchgan_discriminator
from deblurgan.training.adversarial import ADVERSARIAL, gradient_penalty
from tests import reference


def values(shape, seed=0):
    return np.random.default_rng(seed).normal(0.3 * seed, 1.5, shape).astype(np.float32)


# The losses


def cross_entropy(logits, label):
    probability = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    return -np.mean(label * np.log(probability) + (1 - label) * np.log(1 - probability))


def by_hand(name, real, fake):
    """(what the critic minimises, what the generator minimises) in float64."""
    real, fake = (np.asarray(x, np.float64) for x in (real, fake))
    if name in ("wgan", "wgan-gp"):
        return fake.mean() - real.mean(), -fake.mean()
    if name == "lsgan":
        return 0.5 * np.mean((real - 1) ** 2) + 0.5 * np.mean(fake**2), np.mean((fake - 1) ** 2)
    if name == "gan":
        return cross_entropy(real, 1) + cross_entropy(fake, 0), cross_entropy(fake, 1)
    relative_real, relative_fake = real - fake.mean(), fake - real.mean()
    return (
        0.5 * np.mean((relative_real - 1) ** 2) + 0.5 * np.mean((relative_fake + 1) ** 2),
        0.5 * np.mean((relative_fake - 1) ** 2) + 0.5 * np.mean((relative_real + 1) ** 2),
    )


def test_there_are_five():
    assert set(ADVERSARIAL) == {"wgan", "wgan-gp", "lsgan", "ragan-ls", "gan"}
    assert [name for name, loss in ADVERSARIAL.items() if loss.penalty] == ["wgan-gp"]
    assert [name for name, loss in ADVERSARIAL.items() if loss.generator_needs_real] == ["ragan-ls"]


@pytest.mark.parametrize("shape", [(4,), (4, 1), (3, 5, 6, 1)])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_losses_equal_numpy(name, shape):
    real, fake = values(shape), values(shape, 1)
    found = ADVERSARIAL[name].critic_loss(real, fake), ADVERSARIAL[name].generator_loss(real, fake)
    assert [loss.dtype for loss in found] == [tf.float32] * 2
    assert [float(loss) for loss in found] == pytest.approx(by_hand(name, real, fake), rel=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_losses_compute_in_float32(name, dtype):
    real, fake = (tf.cast(values((2, 40, 40, 1), seed), dtype) for seed in (0, 1))
    found = ADVERSARIAL[name].critic_loss(real, fake), ADVERSARIAL[name].generator_loss(real, fake)
    assert [loss.dtype for loss in found] == [tf.float32] * 2
    assert [float(loss) for loss in found] == pytest.approx(by_hand(name, real, fake), rel=1e-5)


@pytest.mark.parametrize("name", [name for name, loss in ADVERSARIAL.items() if not loss.generator_needs_real])
def test_the_generators_loss_does_without_real_values_where_it_says_so(name):
    fake = values((2, 3, 3, 1))
    found = ADVERSARIAL[name].generator_loss(None, fake)
    assert float(found) == pytest.approx(by_hand(name, np.zeros(1), fake)[1], rel=1e-5)


@pytest.mark.parametrize("role", ["critic_loss", "generator_loss"])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_slopes_equal_finite_differences(name, role):
    real, fake = tf.constant(values((2, 3))), tf.constant(values((2, 3), 1))
    with tf.GradientTape() as tape:
        tape.watch([real, fake])
        loss = getattr(ADVERSARIAL[name], role)(real, fake)
    found = tape.gradient(loss, [real, fake], unconnected_gradients="zero")

    both = np.stack([real, fake]).astype(np.float64)
    expected = np.empty(both.shape)
    for index in np.ndindex(both.shape):
        change = np.zeros(both.shape)
        change[index] = 1e-6
        above, below = (by_hand(name, *moved)[role == "generator_loss"] for moved in (both + change, both - change))
        expected[index] = (above - below) / 2e-6
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_cross_entropy_of_extreme_logits_is_finite():
    loss = ADVERSARIAL["gan"]
    assert float(loss.critic_loss(np.float32([-500]), np.float32([500]))) == 1000
    assert float(loss.critic_loss(np.float32([500]), np.float32([-500]))) == 0
    assert float(loss.generator_loss(None, np.float32([-500]))) == 500


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(4, 1), (3, 5, 6, 1)])
def test_losses_equal_pytorchs(shape):
    torch = pytest.importorskip("torch")
    real, fake = (torch.from_numpy(values(shape, seed)) for seed in (0, 1))
    ones, zeros = torch.ones(shape), torch.zeros(shape)
    bce, mse = torch.nn.BCEWithLogitsLoss(), torch.nn.MSELoss()
    expected = {
        "gan": (bce(real, ones) + bce(fake, zeros), bce(fake, ones)),
        "lsgan": ((mse(real, ones) + mse(fake, zeros)) / 2, mse(fake, ones)),
        "ragan-ls": (
            (mse(real - fake.mean(), ones) + mse(fake - real.mean(), -ones)) / 2,
            (mse(real - fake.mean(), -ones) + mse(fake - real.mean(), ones)) / 2,
        ),
    }
    for name, losses in expected.items():
        found = [
            getattr(ADVERSARIAL[name], role)(real.numpy(), fake.numpy()) for role in ("critic_loss", "generator_loss")
        ]
        assert [float(loss) for loss in found] == pytest.approx([float(loss) for loss in losses], rel=1e-5)


# The gradient penalty


def half_square(x, training):
    """A critic whose gradient is the image itself, with one value for each image."""
    return tf.reduce_sum(tf.square(x), axis=(1, 2, 3), keepdims=True) / 2


@pytest.fixture
def samples():
    """Real and generated images of quite different size, and an alpha for each pair."""
    sizes = np.array([0.03, 0.1, 0.4], np.float32).reshape(3, 1, 1, 1)
    real, fake = values((3, 4, 5, 3)) * sizes, values((3, 4, 5, 3), 1) * sizes
    return real, fake, np.array([0.9, 0.2, 0.5], np.float32).reshape(3, 1, 1, 1)


def test_gradient_penalty_takes_each_samples_norm_over_all_pixels_and_channels(samples):
    real, fake, alpha = samples
    mixed = (alpha * real + (1 - alpha) * fake).astype(np.float64)
    expected = np.mean((np.linalg.norm(mixed.reshape(3, -1), axis=1) - 1) ** 2)
    assert float(gradient_penalty(half_square, real, fake, alpha)) == pytest.approx(expected, rel=1e-5)

    over_channels = np.mean((np.linalg.norm(mixed, axis=3) - 1) ** 2)
    over_the_batch = (np.linalg.norm(mixed) - 1) ** 2
    one_alpha = alpha[0] * real + (1 - alpha[0]) * fake
    with_one_alpha = np.mean((np.linalg.norm(one_alpha.reshape(3, -1), axis=1) - 1) ** 2)
    for other in (over_channels, over_the_batch, with_one_alpha):
        assert other != pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("amount", [0, 1])
def test_alpha_is_the_share_of_the_real_image(samples, amount):
    real, fake, _ = samples
    norms = np.linalg.norm((real if amount else fake).reshape(3, -1).astype(np.float64), axis=1)
    found = gradient_penalty(half_square, real, fake, np.full((3, 1, 1, 1), amount, np.float32))
    assert float(found) == pytest.approx(np.mean((norms - 1) ** 2), rel=1e-5)


def test_the_value_of_a_map_of_patches_is_its_mean(samples):
    real, fake, alpha = samples

    def patches(x, training):
        return tf.reduce_sum(tf.square(x), axis=3, keepdims=True) / 2

    mixed = (alpha * real + (1 - alpha) * fake).astype(np.float64)
    norms = np.linalg.norm((mixed / 20).reshape(3, -1), axis=1)
    assert float(gradient_penalty(patches, real, fake, alpha)) == pytest.approx(np.mean((norms - 1) ** 2), rel=1e-5)


def test_the_critic_is_called_in_training_mode(samples):
    called = []

    def critic(x, training):
        called.append(training)
        return half_square(x, training)

    gradient_penalty(critic, *samples)
    assert called == [True]


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 1, 1, 1), (3, 1), (3, 1, 1, 3), (2, 1, 1, 1)])
def test_an_alpha_that_is_not_one_for_each_sample_is_refused(samples, shape):
    real, fake, _ = samples
    with pytest.raises(InputError, match=r"alpha: expected one for each sample, shape \(3, 1, 1, 1\), received \("):
        gradient_penalty(half_square, real, fake, np.ones(shape, np.float32))


def tiny_critic():
    """Values of patches from two convolutions with a smooth bend between them."""
    inputs = keras.Input((None, None, 2))
    x = layers.Conv2D(3, 3, strides=2, activation="softplus", name="first")(inputs)
    return keras.Model(inputs, layers.Conv2D(1, 2, name="second")(x))


def tiny_critic_by_hand(x, tensors):
    x = np.logaddexp(0, reference.conv(x, tensors[:2], strides=2))
    return reference.conv(x, tensors[2:]).mean(axis=(1, 2, 3))


def penalty_by_hand(tensors, mixed, step=1e-4):
    """The penalty in float64, with the gradient from central differences."""
    gradient = np.empty(mixed.shape)
    for index in np.ndindex(mixed.shape[1:]):
        change = np.zeros(mixed.shape[1:])
        change[index] = step
        above, below = (tiny_critic_by_hand(mixed + sign * change, tensors) for sign in (1, -1))
        gradient[(slice(None), *index)] = (above - below) / (2 * step)
    return np.mean((np.sqrt(np.sum(gradient**2, axis=(1, 2, 3))) - 1) ** 2)


def test_gradient_penalty_and_its_slope_in_the_weights_equal_finite_differences(randomised):
    critic = randomised(tiny_critic())
    real, fake = values((2, 6, 5, 2)), values((2, 6, 5, 2), 1)
    alpha = np.array([0.3, 0.8], np.float32).reshape(2, 1, 1, 1)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 2))] * 2 + [tf.TensorSpec((None, 1, 1, 1))])
    def penalty_and_slopes(real, fake, alpha):
        with tf.GradientTape() as tape:
            penalty = gradient_penalty(critic, real, fake, alpha)
        return penalty, tape.gradient(penalty, critic.trainable_variables[:-1])

    penalty, slopes = penalty_and_slopes(real, fake, alpha)
    mixed = (alpha * real + (1 - alpha) * fake).astype(np.float64)
    tensors = [np.asarray(weight, np.float64) for weight in critic.get_weights()]
    assert float(penalty) == pytest.approx(penalty_by_hand(tensors, mixed), rel=1e-5)
    for tensor, slope in zip(tensors[:-1], slopes, strict=True):  # the last bias has no part in a gradient
        expected = np.empty(tensor.shape)
        for index in np.ndindex(tensor.shape):
            kept = tensor[index]
            found = []
            for moved in (kept + 1e-3, kept - 1e-3):
                tensor[index] = moved
                found.append(penalty_by_hand(tensors, mixed))
            tensor[index] = kept
            expected[index] = (found[0] - found[1]) / 2e-3
        np.testing.assert_allclose(slope, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.torch
def test_gradient_penalty_of_a_patchgan_and_its_slope_equal_pytorchs(randomised):
    torch = pytest.importorskip("torch")
    critic = randomised(patchgan_discriminator((64, 64, 3), ndf=4, n_layers=2))
    real, fake = (np.tanh(values((3, 64, 64, 3), seed)) for seed in (0, 1))
    alpha = np.array([0.1, 0.6, 0.9], np.float32).reshape(3, 1, 1, 1)
    with tf.GradientTape() as tape:
        penalty = gradient_penalty(critic, real, fake, alpha)
    kernels = [variable for variable in critic.trainable_variables if variable.path.endswith("kernel")]
    slopes = tape.gradient(penalty, kernels)

    tensors = [
        torch.tensor(np.asarray(w), dtype=torch.float64, requires_grad=True) for w in critic.trainable_variables
    ]
    mixed = torch.from_numpy((alpha * real + (1 - alpha) * fake).astype(np.float64).transpose(0, 3, 1, 2))
    mixed.requires_grad_()
    x = mixed
    strides = (2, 2, 1, 1)
    for i, stride in enumerate(strides):
        kernel, bias = tensors[2 * i].permute(3, 2, 0, 1), tensors[2 * i + 1]
        x = torch.nn.functional.conv2d(x, kernel, bias, stride=stride, padding=1)
        if 0 < i < len(strides) - 1:
            x = torch.nn.functional.instance_norm(x)
        if i < len(strides) - 1:
            x = torch.nn.functional.leaky_relu(x, 0.2)
    (gradient,) = torch.autograd.grad(x.mean(dim=(1, 2, 3)).sum(), mixed, create_graph=True)
    expected = ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
    assert float(penalty) == pytest.approx(expected.item(), rel=1e-4)
    for slope, other in zip(slopes, torch.autograd.grad(expected, tensors[::2]), strict=True):
        np.testing.assert_allclose(slope, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gradient_penalty_works_in_mixed_precision(dtype, randomised):
    real, fake = (np.tanh(values((2, 64, 64, 3), seed)) for seed in (0, 1))
    alpha = np.array([0.1, 0.6], np.float32).reshape(2, 1, 1, 1)
    results = []
    for policy in ("float32", f"mixed_{dtype}"):
        critic = randomised(patchgan_discriminator((64, 64, 3), ndf=4, n_layers=2, dtype=policy))
        with tf.GradientTape() as tape:
            penalty = gradient_penalty(critic, real, fake, alpha)
        assert penalty.dtype == tf.float32
        results.append((penalty, tape.gradient(penalty, critic.get_layer("in_conv").kernel)))
    (exact, exact_slope), (penalty, slope) = results
    assert float(penalty) != float(exact)
    assert float(penalty) == pytest.approx(float(exact), rel=0.05)
    assert np.linalg.norm(slope - exact_slope) < 0.2 * np.linalg.norm(exact_slope)


def test_the_penalty_trains_a_critic_towards_a_slope_of_1(randomised):
    critic = randomised(tiny_critic())
    real, fake = values((8, 6, 5, 2)), values((8, 6, 5, 2), 1)
    optimizer = keras.optimizers.Adam(0.02)
    random = np.random.default_rng(0)
    penalties = []
    for _ in range(80):
        with tf.GradientTape() as tape:
            penalty = gradient_penalty(critic, real, fake, random.uniform(size=(8, 1, 1, 1)).astype(np.float32))
        slopes = tape.gradient(penalty, critic.trainable_variables[:-1])
        optimizer.apply(slopes, critic.trainable_variables[:-1])
        penalties.append(float(penalty))
    assert np.mean(penalties[-10:]) < 0.1 * penalties[0]
