"""PSNR, SSIM and CW-SSIM of 8-bit images, each with the protocol that makes its numbers comparable.

Numbers of other protocols differ by more than networks do. Of seven blurred GOPRO pictures (720p, two test scenes)
the 3-D SSIM reads 0.016 to 0.065 higher than the 2-D one, and CW-SSIM from 0.026 lower to 0.12 higher; at half the
size, up to 0.25 higher. Print `Metric.protocol` and `Metric.comparable` with every table.

Each takes the true image and the one to judge, both uint8 of one shape, (height, width, 3) or (height, width), and
raises InputError for others, see `check_pair`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deblurgan.errors import InputError

MIN_SIDE = 11  # pixels, of the SSIM window

_RADIUS = MIN_SIDE // 2
_TAPS = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / 1.5) ** 2)
_TAPS /= _TAPS.sum()
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2

_WAVELET_WIDTHS = range(1, 31)  # pixels
_WAVELET_REACH = 10 * _WAVELET_WIDTHS[-1] // 2
_CW_SSIM_K = 0.01
_FFT_SIZE = 2**14


def psnr(reference: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB: 10 log10(255^2 / mean squared difference), after `PSNR.protocol`.

    Higher is better; `math.inf` for identical images.
    """
    check_pair(reference, image)
    difference = reference.astype(np.int32) - image
    squares = int(np.sum(difference * difference, dtype=np.int64))
    return 10 * math.log10(255**2 * difference.size / squares) if squares else math.inf


def ssim(reference: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> float:
    """Structural similarity of Wang et al. 2004 (eq. 13, K1 0.01, K2 0.03), after `SSIM.protocol`.

    The window, 11x11 and gaussian with sigma 1.5, stands only where it fits whole, so the outer 5 pixels have no
    value of their own; variances are those of the population. The result is the mean of the channels' means: at most
    1, higher is better.

    Raises:
        InputError: as for all, or an image smaller than the window.
    """
    check_pair(reference, image)
    if min(reference.shape[:2]) < MIN_SIDE:
        raise InputError(f"expected images of at least {MIN_SIDE} by {MIN_SIDE} pixels, got {reference.shape}")
    x, y = (np.atleast_3d(pixels).astype(np.float64) for pixels in (reference, image))
    means = [_similarity(_moments(x[..., channel], y[..., channel])) for channel in range(x.shape[2])]
    return sum(means) / len(means)


def ssim_3d(reference: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> float:
    """Structural similarity with the RGB image as a volume, as MATLAB's `ssim` takes it: `SSIM_3D.protocol`.

    The gaussian window is 11x11x11, across the three channels too, and stands at every pixel of every channel;
    where it reaches over an edge, the outermost value is repeated (in the channels R R R R R R G B B B B B B). The
    formula is that of `ssim`. It is what MPRNet's and Restormer's evaluation (MATLAB) and NAFNet's (`_ssim_3d` of
    its basicsr, in float32) compute. A grey image is a single plane, under a window of 11x11. At most 1, higher is
    better; images may be of any size.
    """
    check_pair(reference, image)
    moments = _moments(*(np.atleast_3d(pixels).astype(np.float64) for pixels in (reference, image)))
    channels = moments[0].shape[2]
    nearest = np.clip(np.arange(channels)[:, None] + np.arange(-_RADIUS, _RADIUS + 1), 0, channels - 1)
    means = []
    for seen in nearest:  # the channels under the window that stands on one
        mixing = np.bincount(seen, weights=_TAPS, minlength=channels)
        means.append(_similarity([np.pad(moment @ mixing, _RADIUS, mode="edge") for moment in moments]))
    return sum(means) / channels


def cw_ssim(reference: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> float:
    """The "CW-SSIM" of pyssim 0.3 to 0.6, which the DeblurGAN paper's SSIM most likely is: `CW_SSIM.protocol`.

    Not the measure of Sampat et al. 2009 after which it is named: no steerable pyramid and no complex wavelet. The
    grey image (ITU-R 601, rounded) is read row after row as one signal. With its convolutions c(i, w) with the
    Mexican hats of width w = 1 ... 30 pixels, cut at 5 w, zeros around the signal,

        CW-SSIM = mean over i of (2 |sum_w c1 c2| + k) / (sum_w c1^2 + sum_w c2^2 + k),   k = 0.01.

    (pyssim multiplies two fractions; for real wavelets a factor cancels.) pyssim 0.7.1 samples the wavelets in
    another way and reads differently. DeblurGAN's authors name pyssim (KupynOrest/DeblurGAN, issue 9); a user got
    0.956 for their network with `pyssim --cw`, 0.856 with its plain SSIM; the paper prints 0.958 (issue 111).

    From 0 to 1, higher is better; images may be of any size.
    """
    check_pair(reference, image)
    signal = _grey(reference).ravel() + 1j * _grey(image).ravel()  # one transform does both
    length = signal.size
    padded = np.pad(signal, _WAVELET_REACH)
    wavelets, starts = zip(*(_mexican_hat(width, length) for width in _WAVELET_WIDTHS), strict=True)
    spectra = np.stack([np.fft.fft(wavelet, _FFT_SIZE) for wavelet in wavelets])
    step = _FFT_SIZE - 2 * _WAVELET_REACH
    total = 0.0
    for first in range(0, length, step):
        count = min(step, length - first)
        convolved = np.fft.ifft(spectra * np.fft.fft(padded[first : first + _FFT_SIZE], _FFT_SIZE))
        coefficients = np.stack([row[start : start + count] for row, start in zip(convolved, starts, strict=True)])
        both = np.abs(np.sum(coefficients.real * coefficients.imag, axis=0))
        squares = np.sum(coefficients.real**2 + coefficients.imag**2, axis=0)
        total += float(np.sum((2 * both + _CW_SSIM_K) / (squares + _CW_SSIM_K)))
    return total / length


@dataclass(frozen=True)
class Metric:
    """A way to score an image against the true one.

    Attributes:
        name: a short one for options and for keys in files.
        title: as it is usually written.
        protocol: one line that says what exactly is computed.
        comparable: one line that says with which published numbers.
        score: of (true image, image), both uint8 of one shape.
        unit: of the score.
        digits: after the point, in tables.
        lower_is_better: of a distance.
        mean: of the scores of some pictures.
        reference: whether it needs the true image; if not, any will do in its place.
    """

    name: str
    title: str
    protocol: str
    comparable: str
    score: Callable[[npt.NDArray[np.uint8], npt.NDArray[np.uint8]], float]
    unit: str = ""
    digits: int = 4
    lower_is_better: bool = False
    mean: Callable[[Sequence[Any]], float] = lambda scores: float(np.mean(scores))
    reference: bool = True

    @property
    def heading(self) -> str:
        """Heads a column: title and unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


PSNR = Metric(
    "psnr",
    "PSNR",
    "PSNR: 8 bit, data range 255, one mean over all pixels and RGB channels",
    "comparable with GOPRO tables of PSNR of RGB at full size (MPRNet's, NAFNet's) on the same frames; not with PSNR "
    "of luma or of resized pictures",
    psnr,
    unit="dB",
    digits=2,
)
SSIM = Metric(
    "ssim",
    "SSIM",
    "SSIM: 8 bit, 2-D gaussian 11x11 sigma 1.5, mean over RGB (scikit-image gaussian_weights=True)",
    "comparable with papers that name scikit-image with these settings; not with MATLAB's SSIM of RGB (ssim3d), nor "
    "with the DeblurGAN paper's (cwssim)",
    ssim,
)
SSIM_3D = Metric(
    "ssim3d",
    "SSIM 3-D",
    "SSIM 3-D: 8 bit, gaussian 11x11x11 sigma 1.5 over RGB as a volume, edges replicated (MATLAB ssim)",
    "comparable with GOPRO tables made with MATLAB's ssim of RGB, such as MPRNet's, Restormer's and NAFNet's",
    ssim_3d,
)
CW_SSIM = Metric(
    "cwssim",
    "CW-SSIM",
    "CW-SSIM: 8-bit grey, rows end to end, Mexican hat wavelets of widths 1 to 30 (pyssim 0.3 to 0.6)",
    "comparable with the DeblurGAN paper's SSIM (0.958) on its own pictures, GOPRO at 640x360; with nothing else",
    cw_ssim,
)


def _moments(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    return [x, y, x**2 + y**2, x * y]


def _similarity(moments: list[npt.NDArray[np.float64]]) -> float:
    """The mean SSIM of two planes over all windows that fit, from their `_moments`."""
    mean_x, mean_y, mean_squares, mean_product = map(_window_means, moments)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance, variances = mean_product - product, mean_squares - squares
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


def _grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Luma of ITU-R 601 rounded to whole numbers, in Pillow's fixed point."""
    if image.ndim == 2:
        return image.astype(np.int32)
    return (image.astype(np.int32) @ np.array([19595, 38470, 7471], np.int32) + 0x8000) >> 16


def _mexican_hat(width: int, longest: int) -> tuple[npt.NDArray[np.float64], int]:
    """The wavelet in 10 `width` samples, `longest` at most, and where its convolution's central part starts."""
    size = min(10 * width, longest)
    squares = ((np.arange(size) - (size - 1) / 2) / width) ** 2
    wavelet = 2 / (math.sqrt(3 * width) * math.pi**0.25) * (1 - squares) * np.exp(-squares / 2)
    return wavelet, _WAVELET_REACH + (size - 1) // 2


def check_pair(reference: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> None:
    """Raise InputError for what is not two uint8 images, RGB or grey, of one shape."""
    received = f"got {reference.dtype} {reference.shape} and {image.dtype} {image.shape}"
    if reference.dtype != np.uint8 or image.dtype != np.uint8:
        raise InputError(f"expected two uint8 images (round to uint8 first), {received}")
    if reference.shape != image.shape:
        raise InputError(f"expected two images of the same shape, {received}")
    if reference.size == 0 or not (reference.ndim == 2 or (reference.ndim == 3 and reference.shape[2] == 3)):
        raise InputError(f"expected images of shape (height, width, 3) or (height, width), {received}")
