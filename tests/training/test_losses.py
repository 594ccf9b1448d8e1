import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage.metrics import peak_signal_noise_ratio

from deblurgan import losses as door
from deblurgan.errors import FileError, InputError
from deblurgan.networks import vgg
from deblurgan.networks.vgg import vgg16_block3_conv3
from deblurgan.training import losses
from deblurgan.training.losses import (
    LOSSES,
    PerceptualLoss,
    WeightedSum,
    charbonnier_loss,
    frequency_loss,
    gradient_penalty_loss,
    l1_loss,
    mse_loss,
    perceptual_loss,
    perceptual_loss_100,
    psnr_loss,
    wasserstein_loss,
)
from tests import reference
from tests.batches import noise


def gradient(loss, y_true, y_pred):
    y_pred = tf.constant(y_pred)
    with tf.GradientTape() as tape:
        tape.watch(y_pred)
        value = loss(tf.constant(y_true), y_pred)
    return tape.gradient(value, y_pred).numpy()


# The simple ones


def test_the_tutorials_module_has_all_content_losses():
    assert {loss.__name__ for loss in LOSSES.values()} <= set(door.__all__)
    assert all(getattr(door, name) is getattr(losses, name) for name in door.__all__)


def test_wasserstein_loss_equals_numpy():
    labels, values = np.array([[1.0], [-1], [1], [-1]], np.float32), noise((4, 1))
    assert float(wasserstein_loss(labels, values)) == pytest.approx(np.mean(labels * values), rel=1e-6)
    assert float(wasserstein_loss(np.ones((4, 1)), np.full((4, 1), 0.25))) == 0.25


def test_l1_loss_equals_numpy():
    images, others = noise((2, 5, 4, 3)), noise((2, 5, 4, 3), 1)
    assert float(l1_loss(images, others)) == pytest.approx(np.abs(images - others).mean(), rel=1e-6)
    assert float(l1_loss(images, images)) == 0


def test_mse_loss_equals_numpy():
    images, others = noise((2, 5, 4, 3)), noise((2, 5, 4, 3), 1)
    assert float(mse_loss(images, others)) == pytest.approx(np.mean((images - others) ** 2), rel=1e-6)
    assert float(mse_loss(images, images)) == 0


def test_charbonnier_loss_equals_numpy():
    images = noise((2, 5, 4, 3))
    others = images + np.random.default_rng(1).normal(scale=2e-3, size=images.shape).astype(np.float32)
    expected = np.mean(np.sqrt((images.astype(np.float64) - others) ** 2 + 1e-6))
    assert expected != pytest.approx(np.abs(images - others).mean(), rel=0.1)
    assert float(charbonnier_loss(images, others)) == pytest.approx(expected, rel=1e-5)
    assert float(charbonnier_loss(images, images)) == pytest.approx(1e-3, rel=1e-6)


def test_psnr_loss_is_minus_the_mean_psnr_of_the_images_by_scikit_image(crops):
    blurred, sharp = crops
    each = [peak_signal_noise_ratio(true, pred, data_range=2) for true, pred in zip(sharp, blurred, strict=True)]
    assert abs(each[0] - each[1]) > 1  # so that one mean over the whole batch would not do
    assert float(psnr_loss(sharp, blurred)) == pytest.approx(-np.mean(each), abs=1e-4)


def test_psnr_loss_of_images_that_agree_is_minus_80_with_a_finite_slope():
    images = noise((2, 5, 4, 3))
    assert float(psnr_loss(images, images)) == pytest.approx(-80, abs=1e-4)
    assert np.isfinite(gradient(psnr_loss, images, images)).all()


def test_psnr_loss_is_that_of_images_from_0_to_1():
    error = np.full((1, 4, 4, 3), 0.2, np.float32)  # 0.1 there
    assert float(psnr_loss(np.zeros_like(error), error)) == pytest.approx(10 * np.log10(0.01 + 1e-8), abs=1e-4)


@pytest.mark.parametrize("size", [(8, 8), (12, 6), (5, 7)])
def test_frequency_loss_is_that_of_the_transforms_by_numpy(size):
    images, others = noise((2, *size, 3)), noise((2, *size, 3), 1)
    spectra = [np.fft.fft2(np.float64(x), axes=(1, 2)) for x in (images, others)]
    real, imaginary = (getattr(spectra[1], part) - getattr(spectra[0], part) for part in ("real", "imag"))
    expected = np.mean(np.abs(np.stack([real, imaginary])))
    assert float(frequency_loss(images, others)) == pytest.approx(expected, rel=1e-5)
    assert float(frequency_loss(images, images)) == 0
    assert np.isfinite(gradient(frequency_loss, images, images)).all()


def test_the_slope_of_the_frequency_loss_is_that_of_differences():
    images, others = noise((1, 4, 6, 1)), noise((1, 4, 6, 1), 1)
    slope = gradient(frequency_loss, images, others)

    def value(pixels):
        spectrum = np.fft.fft2(pixels - np.float64(images), axes=(1, 2))
        return (np.abs(spectrum.real).mean() + np.abs(spectrum.imag).mean()) / 2

    for place in np.ndindex(others.shape):
        step = np.zeros(others.shape)
        step[place] = 1e-6
        assert slope[place] == pytest.approx((value(others + step) - value(others - step)) / 2e-6, abs=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("loss", [l1_loss, mse_loss, charbonnier_loss, psnr_loss, frequency_loss, wasserstein_loss])
def test_losses_compute_in_float32(loss, dtype):
    images, others = (keras.ops.cast(noise((2, 64, 64, 3), seed), dtype) for seed in (0, 1))
    value = loss(images, others)
    assert value.dtype == "float32"
    exact = loss(*(np.asarray(keras.ops.cast(x, "float32")) for x in (images, others)))
    assert float(value) == pytest.approx(float(exact), rel=1e-6)


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


@pytest.mark.parametrize("loss", [charbonnier_loss, psnr_loss, mse_loss])
def test_slopes_equal_finite_differences(loss):
    def value(true, pred):
        difference = (pred - true).astype(np.float64)
        errors = np.mean((difference / 2) ** 2, axis=(1, 2, 3))
        return {
            "charbonnier_loss": np.mean(np.sqrt(difference**2 + 1e-6)),
            "psnr_loss": np.mean(10 * np.log10(errors + 1e-8)),
            "mse_loss": np.mean(difference**2),
        }[loss.__name__]

    true, pred = noise((2, 2, 3, 3)), noise((2, 2, 3, 3), 1)
    expected = np.empty(pred.shape)
    for index in np.ndindex(pred.shape):
        change = np.zeros(pred.shape)
        change[index] = 1e-6
        expected[index] = (value(true, pred + change) - value(true, pred - change)) / 2e-6
    np.testing.assert_allclose(gradient(loss, true, pred), expected, rtol=1e-4, atol=1e-6)


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


# The perceptual loss


@pytest.mark.parametrize("imagenet_preprocessing", [False, True])
def test_perceptual_loss_equals_the_reference(imagenet_preprocessing, crops, vgg16):
    blurred, sharp = crops
    features = [reference.vgg16_block3_conv3(images, vgg16, imagenet_preprocessing) for images in (sharp, blurred)]
    expected = np.mean((features[0] - features[1]) ** 2)
    assert float(PerceptualLoss(imagenet_preprocessing)(sharp, blurred)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("imagenet_preprocessing", [False, True])
def test_perceptual_loss_of_vgg19_equals_the_reference(imagenet_preprocessing, crops, vgg19, vgg19_file):
    features = [reference.vgg19_block3_conv3(images, vgg19, imagenet_preprocessing) for images in crops]
    expected = np.mean((features[0] - features[1]) ** 2)
    loss = PerceptualLoss(imagenet_preprocessing, network="vgg19", weights=vgg19_file)
    assert float(loss(*crops)) == pytest.approx(expected, rel=1e-5)


def test_perceptual_loss_refuses_what_it_cannot_use_when_it_is_made(tmp_path):
    with pytest.raises(InputError, match="network: expected 'vgg16' or 'vgg19', received 'vgg'"):
        PerceptualLoss(network="vgg")
    with pytest.raises(FileError, match=r"vgg19\.h5"):
        PerceptualLoss(network="vgg19", weights=tmp_path / "vgg19.h5")


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


def test_vgg16_weights_are_read_from_the_package_once(monkeypatch):
    opened = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda *args, **kwargs: opened.append(args) or load(*args, **kwargs))
    vgg.vgg16_weights.cache_clear()
    images = noise((1, 8, 8, 3))
    for loss in (perceptual_loss, perceptual_loss_100, PerceptualLoss(), PerceptualLoss(imagenet_preprocessing=True)):
        loss(images, images)
    assert len(opened) == 1


# The weighted sum

TERMS = {"l1": 2, "mse": 0, "charbonnier": 0.5, "psnr": -0.01, "perceptual": 30}


def test_weighted_sum_is_the_sum_of_its_weighted_terms(crops, vgg19_file):
    loss = WeightedSum(TERMS, network="vgg19", weights=vgg19_file, imagenet_preprocessing=True)
    perceptual = PerceptualLoss(True, network="vgg19", weights=vgg19_file)
    expected = {
        "l1": l1_loss(*crops),
        "mse": mse_loss(*crops),
        "charbonnier": charbonnier_loss(*crops),
        "psnr": psnr_loss(*crops),
        "perceptual": perceptual(*crops),
    }
    found = loss.terms(*crops)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-6
    )
    total = sum(TERMS[name] * float(value) for name, value in expected.items())
    assert float(loss(*crops)) == pytest.approx(total, rel=1e-5)
    assert float(loss.total(found)) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weighted_sum_gives_float32_terms_for_images_of_any_dtype(crops, dtype):
    images = [keras.ops.cast(x, dtype) for x in crops]
    terms = WeightedSum(TERMS).terms(*images)
    assert {value.dtype for value in terms.values()} == {tf.float32}
    exact = WeightedSum(TERMS).terms(*(keras.ops.cast(x, "float32") for x in images))
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(
        {name: float(value) for name, value in exact.items()}, rel=1e-6
    )


def test_weighted_sum_gives_a_compiled_model_its_value_and_loads_with_it_in_safe_mode(tmp_path, crops):
    blurred, sharp = crops
    inputs = keras.Input((32, 40, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    model.compile(
        "sgd",
        WeightedSum({"perceptual": 10, "l1": 1}, imagenet_preprocessing=True, name="content"),
        jit_compile=False,
    )
    restored = model.predict(blurred, verbose=0)
    expected = 10 * float(PerceptualLoss(True)(sharp, restored)) + float(l1_loss(sharp, restored))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    for trained in (model, again):
        assert trained.loss.name == "content"
        assert trained.evaluate(blurred, sharp, verbose=0) == pytest.approx(expected, rel=1e-4)


def test_weighted_sum_trains_a_compiled_model(crops):
    blurred, sharp = crops
    inputs = keras.Input((32, 40, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 5, padding="same", kernel_initializer="zeros")(inputs))
    model.compile(
        keras.optimizers.Adam(1e-3), loss=WeightedSum({"charbonnier": 1, "perceptual": 1}), jit_compile=False
    )
    found = [model.train_on_batch(blurred, sharp) for _ in range(8)]
    assert found[-1] < 0.98 * found[0]


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({}, "terms: expected at least one of l1, mse, .*, received none"),
        ({"l1": 1, "perceptul": 1}, "received 'perceptul'; did you mean perceptual?"),
        ({"Charbonier": 1}, "received 'Charbonier'; did you mean charbonnier?"),
        ({"ssim": 1}, "terms: expected l1, mse, charbonnier, psnr, frequency, perceptual, received 'ssim'$"),
        ({"l1": "much"}, "terms: expected a finite number as the weight of l1, received 'much'"),
        ({"l1": float("nan")}, "terms: expected a finite number as the weight of l1, received nan"),
        ({"l1": None}, "terms: expected a finite number as the weight of l1, received None"),
    ],
)
def test_weighted_sum_refuses_terms_that_make_no_sum(terms, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        WeightedSum(terms)


BACKEND_SCRIPT = """
import json, sys
import keras, numpy as np
from deblurgan.losses import WeightedSum
assert keras.backend.backend() == sys.argv[1]
with np.load(sys.argv[2]) as file:
    blurred, sharp = file["blurred"], file["sharp"]
inputs = keras.Input((32, 40, 3))
model = keras.Model(inputs, keras.layers.Identity()(inputs))
model.compile("sgd", WeightedSum(json.loads(sys.argv[3])))
print(model.evaluate(blurred, sharp, verbose=0))
"""


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.torch)])
def test_weighted_sum_gives_the_same_on_other_backends(backend, tmp_path, crops):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    blurred, sharp = crops
    np.savez(tmp_path / "crops.npz", blurred=blurred, sharp=sharp)
    run = subprocess.run(
        [sys.executable, "-c", BACKEND_SCRIPT, backend, tmp_path / "crops.npz", json.dumps(TERMS)],
        env={**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout.split()[-1]) == pytest.approx(float(WeightedSum(TERMS)(sharp, blurred)), rel=1e-4)


# In a model


def test_perceptual_loss_trains_a_compiled_model(crops):
    blurred, sharp = crops
    inputs = keras.Input((32, 40, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 5, padding="same", kernel_initializer="zeros")(inputs))
    model.compile(keras.optimizers.Adam(1e-3), loss=PerceptualLoss(), jit_compile=False)
    expected = float(perceptual_loss(sharp, np.zeros_like(sharp)))
    found = [model.train_on_batch(blurred, sharp) for _ in range(8)]
    assert found[0] == pytest.approx(expected, rel=1e-4)
    assert found[-1] < 0.98 * found[0]


@pytest.mark.parametrize(
    "loss",
    [perceptual_loss, perceptual_loss_100, PerceptualLoss(), l1_loss],
    ids=["perceptual_loss", "perceptual_loss_100", "PerceptualLoss", "l1_loss"],
)
def test_the_image_losses_give_a_compiled_model_their_value(loss, crops):
    blurred, sharp = crops
    inputs = keras.Input((32, 40, 3))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile(loss=loss, jit_compile=False)
    assert model.evaluate(blurred, sharp, verbose=0) == pytest.approx(float(loss(sharp, blurred)), rel=1e-5)


def test_vgg16_adds_no_weights_to_a_model(crops):
    inputs = keras.Input((32, 40, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    model.compile("sgd", PerceptualLoss(), jit_compile=False)
    model.train_on_batch(*crops)
    assert len(model.weights) == 2


def test_perceptual_loss_config_makes_the_same_loss_again(crops, vgg19_file):
    loss = PerceptualLoss(True, "bfloat16", network="vgg19", weights=vgg19_file, name="vgg", reduction="sum")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert isinstance(again, PerceptualLoss)
    assert again.get_config() == loss.get_config()
    assert (again.name, again.imagenet_preprocessing, again.compute_dtype) == ("vgg", True, "bfloat16")
    assert (again.network, again.weights) == ("vgg19", str(vgg19_file))
    assert float(again(*crops)) == float(loss(*crops))


def test_a_model_compiled_with_perceptual_loss_loads_in_safe_mode(tmp_path, crops):
    blurred, sharp = crops
    inputs = keras.Input((32, 40, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
    model.compile("sgd", PerceptualLoss(imagenet_preprocessing=True), jit_compile=False)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert again.evaluate(blurred, sharp, verbose=0) == pytest.approx(model.evaluate(blurred, sharp, verbose=0))
