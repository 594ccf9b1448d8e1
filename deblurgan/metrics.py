"""PSNR and SSIM of 8-bit images, each with the protocol that makes its numbers comparable.

Numbers of other protocols differ by more than networks do: SSIM as MATLAB computes it for RGB, with one 3-D window
across the channels, reads higher than the 2-D SSIM here. Print `PSNR_PROTOCOL` and `SSIM_PROTOCOL` with every table.
"""

import math

import numpy as np
import numpy.typing as npt

from deblurgan.errors import InputError

PSNR_PROTOCOL = "PSNR: 8 bit, data range 255, one mean over all pixels and RGB channels"
SSIM_PROTOCOL = "SSIM: 8 bit, 2-D gaussian 11x11 sigma 1.5, mean over RGB (scikit-image gaussian_weights=True)"

MIN_SIDE = 11  # pixels, of the SSIM window

_RADIUS = MIN_SIDE // 2
_TAPS = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / 1.5) ** 2)
_TAPS /= _TAPS.sum()
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


def psnr(reference: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(255^2 / mean squared difference), after `PSNR_PROTOCOL`.

    Args:
        reference: the true image, uint8, (height, width, 3) or (height, width).
        image: the image to judge, uint8, of the same shape.

    Returns:
        Decibels, higher is better; `math.inf` for identical images.

    Raises:
        InputError: a dtype other than uint8, two shapes, or a shape that is neither RGB nor grey.
    """
    _check_pair(reference, image)
    difference = reference.astype(np.int32) - image
    squares = int(np.sum(difference * difference, dtype=np.int64))
    return 10 * math.log10(255**2 * difference.size / squares) if squares else math.inf


def ssim(reference: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> float:
    """Structural similarity of Wang et al. 2004 (eq. 13, K1 0.01, K2 0.03), after `SSIM_PROTOCOL`.

    The window, 11x11 and gaussian with sigma 1.5, stands only where it fits whole, so the outer 5 pixels have no
    value of their own; variances are those of the population. The result is the mean of the channels' means.

    Args:
        reference: the true image, uint8, (height, width, 3) or (height, width), at least 11 by 11 pixels.
        image: the image to judge, uint8, of the same shape.

    Returns:
        At most 1, higher is better; 1 for identical images.

    Raises:
        InputError: as for `psnr`, or an image smaller than the window.
    """
    _check_pair(reference, image)
    if min(reference.shape[:2]) < MIN_SIDE:
        raise InputError(f"expected images of at least {MIN_SIDE} by {MIN_SIDE} pixels, got {reference.shape}")
    if reference.ndim == 2:
        return _ssim_plane(reference, image)
    return sum(_ssim_plane(reference[..., channel], image[..., channel]) for channel in range(3)) / 3


def _ssim_plane(reference: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> float:
    x, y = reference.astype(np.float64), image.astype(np.float64)
    mean_x, mean_y = _window_means(x), _window_means(y)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance = _window_means(x * y) - product
    variances = _window_means(x**2 + y**2) - squares
    similarity = (2 * product + _C1) * (2 * covariance + _C2) / ((squares + _C1) * (variances + _C2))
    return float(similarity.mean())


def _window_means(plane: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Gaussian-weighted means of all windows that fit: (height, width) -> (height - 10, width - 10)."""
    height, width = plane.shape[0] - 2 * _RADIUS, plane.shape[1] - 2 * _RADIUS
    columns = np.zeros((height, plane.shape[1]))
    for start, weight in enumerate(_TAPS):
        columns += weight * plane[start : start + height]
    means = np.zeros((height, width))
    for start, weight in enumerate(_TAPS):
        means += weight * columns[:, start : start + width]
    return means


def _check_pair(reference: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> None:
    received = f"got {reference.dtype} {reference.shape} and {image.dtype} {image.shape}"
    if reference.dtype != np.uint8 or image.dtype != np.uint8:
        raise InputError(f"expected two uint8 images (round to uint8 first), {received}")
    if reference.shape != image.shape:
        raise InputError(f"expected two images of the same shape, {received}")
    if reference.size == 0 or not (reference.ndim == 2 or (reference.ndim == 3 and reference.shape[2] == 3)):
        raise InputError(f"expected images of shape (height, width, 3) or (height, width), {received}")
