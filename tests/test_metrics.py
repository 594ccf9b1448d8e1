import math

import numpy as np
import pytest
from skimage.filters import gaussian
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from deblurgan.errors import InputError
from deblurgan.metrics import psnr, ssim


def noise(shape, seed):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def natural(shape, seed):
    """Smoothed noise stretched to the full range: edges and flat areas at several scales."""
    smooth = gaussian(np.random.default_rng(seed).normal(size=shape), (3, 3, 0)[: len(shape)])
    return np.round(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def degraded(image, seed):
    """The image blurred and with a little noise."""
    blurred = gaussian(image, (1.2, 0.4, 0)[: image.ndim], preserve_range=True)
    grain = np.random.default_rng(seed).normal(scale=3, size=image.shape)
    return np.clip(np.round(blurred + grain), 0, 255).astype(np.uint8)


def flat(shape, value):
    return np.full(shape, value, np.uint8)


PAIRS = {
    "noise, RGB": (noise((40, 56, 3), 1), noise((40, 56, 3), 2)),
    "noise, grey": (noise((40, 56), 3), noise((40, 56), 4)),
    "natural, RGB": (natural((64, 48, 3), 5), degraded(natural((64, 48, 3), 5), 6)),
    "natural, grey": (natural((64, 48), 7), degraded(natural((64, 48), 7), 8)),
    "odd size, RGB": (natural((37, 53, 3), 9), degraded(natural((37, 53, 3), 9), 10)),
    "odd size, grey": (natural((53, 37), 11), degraded(natural((53, 37), 11), 12)),
    "as small as the window": (noise((11, 11, 3), 13), noise((11, 11, 3), 14)),
    "one window wide": (natural((11, 30, 3), 15), degraded(natural((11, 30, 3), 15), 16)),
    "constant, RGB": (flat((20, 21, 3), 200), flat((20, 21, 3), 190)),
    "constant, grey": (flat((20, 21), 3), flat((20, 21), 250)),
    "black and white": (flat((20, 21, 3), 0), flat((20, 21, 3), 255)),
    "inverted": (natural((40, 40, 3), 17), 255 - natural((40, 40, 3), 17)),
    "channels of unlike quality": (
        natural((40, 41, 3), 18),
        np.dstack([natural((40, 41, 3), 18)[..., :2], noise((40, 41), 19)]),
    ),
}
pairs = pytest.mark.parametrize(("reference", "image"), PAIRS.values(), ids=PAIRS.keys())
metrics = pytest.mark.parametrize("metric", [psnr, ssim])


@pairs
def test_psnr_equals_scikit_image(reference, image):
    assert psnr(reference, image) == pytest.approx(
        peak_signal_noise_ratio(reference, image, data_range=255), abs=1e-6, rel=0
    )


@pairs
def test_ssim_equals_scikit_image(reference, image):
    expected = structural_similarity(
        reference,
        image,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=-1 if reference.ndim == 3 else None,
        data_range=255,
    )
    assert ssim(reference, image) == pytest.approx(expected, abs=1e-6, rel=0)


def test_psnr_of_a_difference_of_one_everywhere_is_48_13_decibels():
    assert psnr(flat((4, 5, 3), 7), flat((4, 5, 3), 8)) == pytest.approx(48.1308036, abs=1e-6)


def test_psnr_of_black_against_white_is_zero_decibels():
    assert psnr(flat((4, 5), 0), flat((4, 5), 255)) == 0


def test_psnr_takes_one_mean_over_all_channels():
    reference, image = flat((6, 6, 3), 100), flat((6, 6, 3), 100)
    image[..., 0] = 130
    assert psnr(reference, image) == pytest.approx(10 * math.log10(255**2 / (30**2 / 3)), abs=1e-9)


def test_ssim_equals_the_definition_summed_window_by_window():
    reference, image = natural((13, 14), 20), degraded(natural((13, 14), 20), 21)
    weights = {(i, j): math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5**2)) for i in range(11) for j in range(11)}
    total = sum(weights.values())
    values = []
    for top in range(13 - 10):
        for left in range(14 - 10):
            window = [
                (weight / total, float(reference[top + i, left + j]), float(image[top + i, left + j]))
                for (i, j), weight in weights.items()
            ]
            mean_x = sum(w * x for w, x, _ in window)
            mean_y = sum(w * y for w, _, y in window)
            variance_x = sum(w * (x - mean_x) ** 2 for w, x, _ in window)
            variance_y = sum(w * (y - mean_y) ** 2 for w, _, y in window)
            covariance = sum(w * (x - mean_x) * (y - mean_y) for w, x, y in window)
            luminance = (2 * mean_x * mean_y + 2.55**2) / (mean_x**2 + mean_y**2 + 2.55**2)
            structure = (2 * covariance + 7.65**2) / (variance_x + variance_y + 7.65**2)
            values.append(luminance * structure)
    assert ssim(reference, image) == pytest.approx(sum(values) / len(values), abs=1e-9)


def test_rgb_ssim_is_the_mean_of_the_channels():
    reference, image = PAIRS["channels of unlike quality"]
    channels = [ssim(reference[..., channel], image[..., channel]) for channel in range(3)]
    assert channels[:2] == [1, 1]
    assert channels[2] < 0.5
    assert ssim(reference, image) == pytest.approx(sum(channels) / 3, abs=1e-12)


@pytest.mark.parametrize("image", [noise((16, 17, 3), 22), natural((16, 17), 23), flat((16, 17, 3), 0)])
def test_identical_images_score_infinity_and_one(image):
    assert psnr(image, image.copy()) == math.inf
    assert ssim(image, image.copy()) == 1


@metrics
def test_scores_are_python_floats_and_symmetric(metric):
    reference, image = PAIRS["natural, RGB"]
    assert type(metric(reference, image)) is float
    assert metric(reference, image) == metric(image, reference)


@metrics
def test_images_are_read_only_and_may_be_strided_views(metric):
    reference, image = PAIRS["natural, RGB"]
    views = reference[::-1, ::-1, ::-1], image[::-1, ::-1, ::-1]
    for view in views:
        view.flags.writeable = False
    assert metric(*views) == pytest.approx(metric(reference, image), abs=1e-9)


@metrics
def test_two_shapes_are_refused_and_both_named(metric):
    with pytest.raises(InputError, match=r"same shape, got uint8 \(16, 20, 3\) and uint8 \(16, 24, 3\)"):
        metric(noise((16, 20, 3), 0), noise((16, 24, 3), 0))
    with pytest.raises(InputError, match=r"\(16, 20, 3\) and uint8 \(16, 20\)"):
        metric(noise((16, 20, 3), 0), noise((16, 20), 0))


@metrics
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.int8, bool])
def test_other_dtypes_than_uint8_are_refused(metric, dtype):
    image = noise((16, 16, 3), 0)
    name = np.dtype(dtype).name
    with pytest.raises(InputError, match=rf"round to uint8 first.*got {name} \(16, 16, 3\) and uint8 \(16, 16, 3\)"):
        metric(image.astype(dtype), image)
    with pytest.raises(InputError, match=rf"got uint8 .* and {name} "):
        metric(image, image.astype(dtype))


@metrics
@pytest.mark.parametrize("shape", [(16,), (16, 16, 1), (16, 16, 4), (2, 16, 16, 3), (0, 16, 3), (16, 0)])
def test_shapes_that_are_neither_rgb_nor_grey_are_refused(metric, shape):
    with pytest.raises(InputError, match=r"\(height, width, 3\) or \(height, width\)"):
        metric(noise(shape, 0), noise(shape, 0))


@pytest.mark.parametrize("shape", [(10, 11, 3), (11, 10, 3), (1, 1), (10, 400)])
def test_ssim_refuses_images_smaller_than_its_window(shape):
    with pytest.raises(InputError, match=r"at least 11 by 11 pixels, got \("):
        ssim(noise(shape, 0), noise(shape, 1))


def test_psnr_takes_images_smaller_than_the_ssim_window():
    assert psnr(flat((1, 1), 10), flat((1, 1), 20)) == pytest.approx(20 * math.log10(25.5), abs=1e-9)
