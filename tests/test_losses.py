import inspect

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from deblurgan import vgg
from deblurgan.losses import (
    PerceptualLoss,
    gradient_penalty_loss,
    l1_loss,
    perceptual_loss,
    perceptual_loss_100,
    wasserstein_loss,
)
from deblurgan.vgg import vgg16_block3_conv3


def noise(shape, seed=0):
    """Images of noise in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@pytest.fixture(scope="module")
def vgg16():
    """The shipped weights, read without the code under test."""
    with np.load(inspect.getfile(vgg).replace("vgg.py", "assets/vgg16_block1_to_block3.npz")) as file:
        return dict(file)


@pytest.fixture(scope="module")
def crops(photos):
    """Two pairs of a real blurred and sharp crop in [-1, 1]: two arrays (2, 32, 40, 3)."""
    return [
        np.stack([photo[y : y + 32, x : x + 40] for y, x in ((0, 0), (128, 100))]).astype(np.float32) / 127.5 - 1
        for photo in photos
    ]


def gradient(loss, y_true, y_pred):
    y_pred = tf.constant(y_pred)
    with tf.GradientTape() as tape:
        tape.watch(y_pred)
        value = loss(tf.constant(y_true), y_pred)
    return tape.gradient(value, y_pred).numpy()


# The simple ones


def test_wasserstein_loss_equals_numpy():
    labels, values = np.array([[1.0], [-1], [1], [-1]], np.float32), noise((4, 1))
    assert float(wasserstein_loss(labels, values)) == pytest.approx(np.mean(labels * values), rel=1e-6)
    assert float(wasserstein_loss(np.ones((4, 1)), np.full((4, 1), 0.25))) == 0.25


def test_l1_loss_equals_numpy():
    images, others = noise((2, 5, 4, 3)), noise((2, 5, 4, 3), 1)
    assert float(l1_loss(images, others)) == pytest.approx(np.abs(images - others).mean(), rel=1e-6)
    assert float(l1_loss(images, images)) == 0


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (4, 7)])
def test_gradient_penalty_loss_equals_numpy(shape):
    gradients = noise(shape) * np.array([0.01, 0.1, 1, 3], np.float32).reshape(4, *[1] * (len(shape) - 1))
    norms = np.linalg.norm(gradients.reshape(4, -1).astype(np.float64), axis=1)
    assert float(gradient_penalty_loss(None, gradients)) == pytest.approx(np.mean((1 - norms) ** 2), rel=1e-5)


def test_gradient_penalty_loss_takes_the_norm_over_all_pixels_and_channels_of_a_sample():
    gradients = np.zeros((2, 4, 4, 3), np.float32)
    gradients[0, 1, 2, 0], gradients[0, 3, 0, 2] = 0.6, 0.8  # norm 1
    gradients[1, 0, 0, 1] = 3  # norm 3
    assert float(gradient_penalty_loss(None, gradients)) == pytest.approx(0.5 * (0 + 4), abs=1e-6)


def test_gradient_penalty_loss_of_no_gradient_is_1_with_a_finite_slope():
    nothing = np.zeros((2, 4, 4, 3), np.float32)
    assert float(gradient_penalty_loss(None, nothing)) == pytest.approx(1, abs=1e-5)
    assert np.isfinite(gradient(gradient_penalty_loss, nothing[:, :1, 0, 0], nothing)).all()


# Their slopes


def test_the_slope_of_the_wasserstein_loss_lowers_real_values_and_raises_generated_ones():
    slope = gradient(wasserstein_loss, np.array([[1.0], [-1]], np.float32), np.array([[0.3], [0.4]], np.float32))
    np.testing.assert_allclose(slope, [[0.5], [-0.5]])


def test_the_slope_of_the_l1_loss_is_the_sign_of_the_difference():
    true, pred = noise((1, 4, 5, 3)), noise((1, 4, 5, 3), 1)
    np.testing.assert_allclose(gradient(l1_loss, true, pred), np.sign(pred - true) / true.size, rtol=1e-6)


def test_the_slope_of_the_gradient_penalty_pulls_norms_towards_1():
    directions = noise((2, 3, 3, 2))
    directions /= np.linalg.norm(directions.reshape(2, -1), axis=1).reshape(2, 1, 1, 1)
    norms = np.array([0.5, 2], np.float32).reshape(2, 1, 1, 1)
    slope = gradient(gradient_penalty_loss, norms, norms * directions)
    np.testing.assert_allclose(slope, (norms - 1) * directions, rtol=1e-5, atol=1e-7)  # 2 (norm - 1) / 2 samples


@pytest.mark.parametrize("imagenet_preprocessing", [False, True])
def test_a_step_down_the_slope_of_the_perceptual_loss_lowers_it(imagenet_preprocessing, crops):
    blurred, sharp = crops
    loss = PerceptualLoss(imagenet_preprocessing)
    slope = gradient(loss, sharp, blurred)
    before = float(loss(sharp, blurred))
    step = 0.05 * before / np.sum(slope.astype(np.float64) ** 2)
    after = float(loss(sharp, blurred - step * slope))
    assert 0.9 * before < after < 0.98 * before  # 5 % to first order


# VGG16


@pytest.mark.parametrize("imagenet_preprocessing", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (23, 18), (4, 5)])
def test_vgg16_features_equal_the_reference(size, imagenet_preprocessing, crops, vgg16):
    images = crops[1][:, : size[0], : size[1]]
    expected = reference.vgg16_block3_conv3(images, vgg16, imagenet_preprocessing)
    assert expected.shape == (2, size[0] // 4, size[1] // 4, 256)
    features = vgg16_block3_conv3(images, imagenet_preprocessing=imagenet_preprocessing)
    assert features.dtype == "float32"
    np.testing.assert_allclose(features, expected, rtol=0, atol=1e-5 * expected.max())


@pytest.mark.parametrize("imagenet_preprocessing", [False, True])
def test_perceptual_loss_equals_the_reference(imagenet_preprocessing, crops, vgg16):
    blurred, sharp = crops
    features = [reference.vgg16_block3_conv3(images, vgg16, imagenet_preprocessing) for images in (sharp, blurred)]
    expected = np.mean((features[0] - features[1]) ** 2)
    assert float(PerceptualLoss(imagenet_preprocessing)(sharp, blurred)) == pytest.approx(expected, rel=1e-5)


def test_the_functions_are_the_tutorials_perceptual_loss_and_100_times_it(crops, vgg16):
    blurred, sharp = crops
    true, pred = (reference.vgg16_block3_conv3(images, vgg16) for images in (sharp, blurred))
    expected = np.mean((true - pred) ** 2)
    assert float(perceptual_loss(sharp, blurred)) == pytest.approx(expected, rel=1e-5)
    assert float(perceptual_loss_100(sharp, blurred)) == pytest.approx(100 * expected, rel=1e-5)


@pytest.mark.parametrize("imagenet_preprocessing", [False, True])
def test_perceptual_loss_of_identical_images_is_0(imagenet_preprocessing, crops):
    assert float(PerceptualLoss(imagenet_preprocessing)(crops[0], crops[0])) == 0


def test_perceptual_loss_computes_in_the_given_dtype(crops):
    blurred, sharp = crops
    exact = float(PerceptualLoss()(sharp, blurred))
    half = PerceptualLoss(compute_dtype="bfloat16")(sharp, blurred)
    assert half.dtype == "float32"
    assert float(half) != exact
    assert float(half) == pytest.approx(exact, rel=0.05)
    assert vgg16_block3_conv3(sharp, dtype="bfloat16").dtype == "bfloat16"


def test_perceptual_loss_computes_in_the_global_policys_dtype_where_none_is_given(crops):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        assert vgg16_block3_conv3(crops[0]).dtype == "bfloat16"
    finally:
        keras.config.set_dtype_policy(before)
    assert vgg16_block3_conv3(crops[0]).dtype == "float32"


def test_vgg16_weights_are_read_from_the_package_once(monkeypatch):
    opened = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda *args, **kwargs: opened.append(args) or load(*args, **kwargs))
    vgg.vgg16_weights.cache_clear()
    images = noise((1, 8, 8, 3))
    for loss in (perceptual_loss, perceptual_loss_100, PerceptualLoss(), PerceptualLoss(imagenet_preprocessing=True)):
        loss(images, images)
    assert len(opened) == 1


# The shipped weights are the real ones


def test_the_shipped_weights_have_the_shapes_of_vgg16(vgg16):
    channels = [3, 64, 64, 128, 128, 256, 256]
    expected = {}
    for name, inputs, outputs in zip(vgg.VGG16_LAYERS, channels, [*channels[1:], 256], strict=True):
        expected[f"{name}/kernel"] = (3, 3, inputs, outputs)
        expected[f"{name}/bias"] = (outputs,)
    assert {name: array.shape for name, array in vgg16.items()} == expected
    assert {array.dtype for array in vgg16.values()} == {np.dtype(np.float32)}
    assert sum(array.size for array in vgg16.values()) == 1_735_488


def test_the_shipped_weights_begin_as_those_trained_on_imagenet_do(vgg16):
    """The numbers that `keras.applications.VGG16().get_weights()` prints first."""
    expected = [
        [0.42947057, 0.11727387, 0.03401296],
        [0.55037946, 0.02087744, 0.09883115],
        [0.4800154, -0.17269668, 0.03755771],
    ]
    np.testing.assert_allclose(vgg16["block1_conv1/kernel"][0, 0, :, :3], expected, atol=1e-8)


def test_the_shipped_weights_find_much_and_different_things_in_a_photo(vgg16, crops):
    features = np.array(vgg16_block3_conv3(crops[1], imagenet_preprocessing=True)).reshape(-1, 256)
    assert np.all(features.max(axis=0) > 0)  # no channel sees nothing
    assert 0.2 < np.mean(features > 0) < 0.6  # and a position shows a part of them
    assert np.abs(np.corrcoef(features.T)).mean() < 0.2


# In a model


def test_perceptual_loss_trains_a_compiled_model(crops):
    blurred, sharp = crops
    inputs = keras.Input((32, 40, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 5, padding="same", kernel_initializer="zeros")(inputs))
    model.compile(keras.optimizers.Adam(1e-3), loss=PerceptualLoss())
    expected = float(perceptual_loss(sharp, np.zeros_like(sharp)))
    found = [model.train_on_batch(blurred, sharp) for _ in range(8)]
    assert found[0] == pytest.approx(expected, rel=1e-4)
    assert found[-1] < 0.98 * found[0]


@pytest.mark.parametrize("loss", [perceptual_loss, perceptual_loss_100, PerceptualLoss(), l1_loss], ids=str)
def test_the_image_losses_give_a_compiled_model_their_value(loss, crops):
    blurred, sharp = crops
    inputs = keras.Input((32, 40, 3))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile(loss=loss)
    assert model.evaluate(blurred, sharp, verbose=0) == pytest.approx(float(loss(sharp, blurred)), rel=1e-5)


def test_vgg16_adds_no_weights_to_a_model(crops):
    inputs = keras.Input((32, 40, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    model.compile("sgd", PerceptualLoss())
    model.train_on_batch(*crops)
    assert len(model.weights) == 2


def test_perceptual_loss_config_makes_the_same_loss_again(crops):
    loss = PerceptualLoss(imagenet_preprocessing=True, compute_dtype="bfloat16", name="vgg", reduction="sum")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert isinstance(again, PerceptualLoss)
    assert again.get_config() == loss.get_config()
    assert (again.name, again.imagenet_preprocessing, again.compute_dtype) == ("vgg", True, "bfloat16")
    assert float(again(*crops)) == float(loss(*crops))


def test_a_model_compiled_with_perceptual_loss_loads_in_safe_mode(tmp_path, crops):
    blurred, sharp = crops
    inputs = keras.Input((32, 40, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    model.compile("sgd", PerceptualLoss(imagenet_preprocessing=True))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert again.evaluate(blurred, sharp, verbose=0) == pytest.approx(model.evaluate(blurred, sharp, verbose=0))
