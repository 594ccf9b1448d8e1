import math

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import correlate
from scipy.signal import convolve
from skimage.filters import gaussian
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from deblurgan.errors import InputError
from deblurgan.scoring.metrics import cw_ssim, psnr, ssim, ssim_3d


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
metrics = pytest.mark.parametrize("metric", [psnr, ssim, ssim_3d, cw_ssim])


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
    assert ssim_3d(image, image.copy()) == pytest.approx(1, abs=1e-12)
    assert cw_ssim(image, image.copy()) == pytest.approx(1, abs=1e-12)


@metrics
def test_scores_are_python_floats_and_symmetric(metric):
    reference, image = PAIRS["natural, RGB"]
    assert type(metric(reference, image)) is float
    assert metric(reference, image) == pytest.approx(metric(image, reference), abs=1e-12)


@metrics
def test_images_are_read_only_and_may_be_strided_views(metric):
    reference, image = PAIRS["natural, RGB"]
    views = reference[::-1, ::-1, ::-1], image[::-1, ::-1, ::-1]
    for view in views:
        view.flags.writeable = False
    assert metric(*views) == pytest.approx(metric(*map(np.ascontiguousarray, views)), abs=1e-9)


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


# SSIM in the MATLAB 3-D protocol


def volumes(reference, image):
    """Both as volumes with five more planes on every side, each a copy of the outermost."""
    sides = [(5, 5)] * reference.ndim
    return (np.pad(pixels.astype(np.float64), sides, mode="edge") for pixels in (reference, image))


@pairs
def test_ssim_3d_equals_scikit_image_on_the_padded_volume(reference, image):
    _, values = structural_similarity(
        *volumes(reference, image),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        full=True,
    )
    inner = values[(slice(5, -5),) * reference.ndim]
    assert inner.shape == reference.shape
    assert ssim_3d(reference, image) == pytest.approx(inner.mean(), abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 7, 3), (6, 5), (13, 12, 3)])
def test_ssim_3d_equals_a_correlation_with_the_whole_window_for_any_size(shape):
    reference, image = (noise(shape, seed).astype(np.float64) for seed in (30, 31))
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = taps[:, None] * taps
    window = window[..., None] * taps if len(shape) == 3 else window
    window /= window.sum()
    mean_x, mean_y, square_x, square_y, product = (
        correlate(plane, window, mode="nearest")
        for plane in (reference, image, reference**2, image**2, reference * image)
    )
    luminance = (2 * mean_x * mean_y + 2.55**2) / (mean_x**2 + mean_y**2 + 2.55**2)
    structure = (2 * (product - mean_x * mean_y) + 7.65**2) / (square_x - mean_x**2 + square_y - mean_y**2 + 7.65**2)
    expected = float(np.mean(luminance * structure))
    assert ssim_3d(noise(shape, 30), noise(shape, 31)) == pytest.approx(expected, abs=1e-9)


def test_ssim_3d_of_a_corner_equals_the_definition_summed_over_its_window():
    reference, image = noise((1, 1, 3), 32), noise((1, 1, 3), 33)
    values = []
    for channel in range(3):
        weights = {step: math.exp(-(step**2) / 4.5) for step in range(-5, 6)}
        seen = [(weight, min(max(channel + step, 0), 2)) for step, weight in weights.items()]
        total = sum(weights.values())
        window = [(weight / total, float(reference[0, 0, c]), float(image[0, 0, c])) for weight, c in seen]
        mean_x, mean_y = sum(w * x for w, x, _ in window), sum(w * y for w, _, y in window)
        variances = sum(w * ((x - mean_x) ** 2 + (y - mean_y) ** 2) for w, x, y in window)
        covariance = sum(w * (x - mean_x) * (y - mean_y) for w, x, y in window)
        luminance = (2 * mean_x * mean_y + 2.55**2) / (mean_x**2 + mean_y**2 + 2.55**2)
        values.append(luminance * (2 * covariance + 7.65**2) / (variances + 7.65**2))
    assert ssim_3d(reference, image) == pytest.approx(sum(values) / 3, abs=1e-9)


def test_ssim_3d_reads_higher_than_the_2_d_one_on_a_real_blurred_picture(photos):
    blurred, sharp = photos
    assert ssim(sharp, blurred) + 0.01 < ssim_3d(sharp, blurred) < 1


# CW-SSIM


def grey(image):
    return np.asarray(Image.fromarray(image).convert("L"), np.float64)


def mexican_hat(width, size):
    t = (np.arange(size) - (size - 1) / 2) / width
    return 2 / (np.sqrt(3 * width) * np.pi**0.25) * (1 - t**2) * np.exp(-(t**2) / 2)


def two_fractions(reference, image):
    """CW-SSIM as it is published: the product of two fractions, of all coefficients at once."""
    signals = [grey(pixels).ravel() for pixels in (reference, image)]
    wavelets = [mexican_hat(width, min(10 * width, signals[0].size)) for width in range(1, 31)]
    c1, c2 = (np.stack([convolve(signal, wavelet, mode="same") for wavelet in wavelets]) for signal in signals)
    first = (2 * np.sum(np.abs(c1) * np.abs(c2), 0) + 0.01) / (np.sum(c1**2, 0) + np.sum(c2**2, 0) + 0.01)
    second = (2 * np.abs(np.sum(c1 * c2, 0)) + 0.01) / (2 * np.sum(np.abs(c1 * c2), 0) + 0.01)
    return float(np.mean(first * second))


@pairs
def test_cw_ssim_equals_its_definition_by_scipy(reference, image):
    assert cw_ssim(reference, image) == pytest.approx(two_fractions(reference, image), abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9, 3), (12, 25, 3), (150, 220), (3, 16084, 3)])
def test_cw_ssim_takes_any_size_in_one_block_or_several(shape):
    reference, image = noise(shape, 40), noise(shape, 41)
    image = np.where(noise(shape, 42) < 128, reference, image)
    assert cw_ssim(reference, image) == pytest.approx(two_fractions(reference, image), abs=1e-9)


def test_cw_ssim_equals_figures_of_pyssim(photos):
    """Computed once with pyssim 0.4 and scipy 1.14, the last one with the `signal.cwt` that it needs."""
    blurred, sharp = photos
    assert cw_ssim(sharp, blurred) == pytest.approx(0.8432223687803145, abs=1e-9)
    assert cw_ssim(sharp[:60, :80], blurred[:60, :80]) == pytest.approx(0.8091989725363434, abs=1e-9)


def test_cw_ssim_reads_rows_end_to_end():
    reference, image = PAIRS["natural, grey"]
    row = cw_ssim(reference.reshape(1, -1), image.reshape(1, -1))
    assert cw_ssim(reference, image) == row
    assert abs(cw_ssim(np.ascontiguousarray(reference.T), np.ascontiguousarray(image.T)) - row) > 1e-3
