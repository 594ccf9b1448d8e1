"""Synthetic blur: random camera trajectories, the point spread functions they leave, and what they do to a picture.

The trajectories are those of DeblurGAN (arXiv 1711.07064, section 4.2, after Boracchi and Foi, 2012). A kernel is a
float64 array with odd sides, sums to 1, and has its centre of mass in its middle pixel, so that the blurred picture
stays aligned with the sharp one. It is no larger than what it moves.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deblurgan.data.synthetic import KERNELS, LENGTH
from deblurgan.errors import InputError

EXPOSURES = (1 / 100, 1 / 10, 1 / 2, 1)

_STEPS = 2000
_IMPULSIVENESS = (0.01, 0.009, 0.008, 0.007, 0.005, 0.003)
_NEGLIGIBLE = 1e-9  # of a kernel's sum
_SAMPLES_PER_PIXEL = 16


def random_trajectory(
    rng: np.random.Generator, steps: int = _STEPS, length: float = LENGTH, part: float = 1
) -> NDArray[np.complex128]:
    """Draw the way that a shaking camera takes: positions, complex (right + i down), in pixels from the first one.

    Args:
        rng: source of all that is random.
        steps: positions, at equal times.
        length: of the whole way.
        part: return so large a part of the positions only, from the first on; they do not depend on this.

    Raises:
        InputError: fewer than two steps, a length that is not positive, or a part not above 0 and at most 1.
    """
    if steps < 2 or not 0 < length < math.inf:
        raise InputError(f"trajectory: expected 2 or more steps and a positive length, received {steps} and {length}")
    _check_exposure(part)
    pace = length / (steps - 1)
    centripetal, p_shake, gauss, angle = rng.random(4) * (0.7, 0.2, 10, 2 * np.pi)
    impulsiveness = float(rng.choice(_IMPULSIVENESS))
    shakes = rng.random(steps - 1) < p_shake * impulsiveness
    reversals = 2 * np.exp(1j * (np.pi + rng.random(steps - 1) - 0.5)) * shakes
    pushes = impulsiveness * pace * gauss * (rng.standard_normal((steps - 1, 2)) @ (1, 1j))
    pull = impulsiveness * pace * float(centripetal)

    position, velocity = 0j, complex(np.exp(1j * angle)) * pace
    positions = [position]
    moves = math.ceil(part * steps) - 1
    for reversal, push in zip(reversals[:moves].tolist(), pushes[:moves].tolist(), strict=True):  # lists are faster
        velocity += velocity * reversal + push - pull * position
        velocity *= pace / abs(velocity)
        position += velocity
        positions.append(position)
    return np.array(positions)


def trajectory_kernels(
    trajectory: NDArray[np.complex128], exposures: Sequence[float] = EXPOSURES
) -> list[NDArray[np.float64]]:
    """Return the kernel of each exposure: of so large a part of the trajectory, from its start.

    Args:
        trajectory: positions at equal times, complex (right + i down), in pixels.
        exposures: each above 0 and at most 1. What is over of the last step counts by its part.

    Raises:
        InputError: an exposure is out of range.
    """
    kernels = []
    for exposure in exposures:
        _check_exposure(exposure)
        share = np.clip(exposure * len(trajectory) - np.arange(len(trajectory)), 0, 1)
        seen = share > 0
        kernels.append(_splat(trajectory[seen], share[seen]))
    return kernels


def linear_motion_kernel(length: float, angle: float) -> NDArray[np.float64]:
    """Return the kernel of a straight motion at constant speed.

    Args:
        length: the way that a point moves, in pixels; 0 leaves the picture as it is.
        angle: of the motion in degrees, from the right, counter-clockwise.

    Raises:
        InputError: a negative length, or a number that is not finite.
    """
    if not (0 <= length < math.inf and math.isfinite(angle)):
        raise InputError(f"linear motion: expected a length of 0 or more and an angle, received {length} and {angle}")
    count = max(1, math.ceil(length * _SAMPLES_PER_PIXEL))
    along = ((np.arange(count) + 0.5) / count - 0.5) * length
    return _splat(along * np.exp(-1j * np.deg2rad(angle)), np.ones(count))


def random_kernel(rng: np.random.Generator, kind: str = "paper", length: float = LENGTH) -> NDArray[np.float64]:
    """Draw a kernel.

    Args:
        rng: source of all that is random.
        kind: "paper", a random trajectory seen for one of `EXPOSURES`; "linear", a straight motion in any direction;
            "both", either, with equal chances.
        length: in pixels, of the trajectory, or the longest straight motion: up to that all are equally likely.

    Raises:
        InputError: an unknown kind, or a length that is not positive.
    """
    if kind not in KERNELS:
        raise InputError(f"kernel: expected one of {', '.join(KERNELS)}, received {kind!r}")
    if kind == "both":
        kind = str(rng.choice(KERNELS[:2]))
    if kind == "linear":
        return linear_motion_kernel(rng.random() * length, rng.random() * 180)
    exposure = float(rng.choice(EXPOSURES))
    return trajectory_kernels(random_trajectory(rng, length=length, part=exposure), [1])[0]


def apply_kernel(
    image: NDArray[np.uint8],
    kernel: NDArray[np.float64],
    *,
    gamma: float | None = None,
    window: tuple[int, int, int, int] | None = None,
) -> NDArray[np.uint8]:
    """Blur a picture of any size, also one smaller than the kernel. Beyond its edges it is reflected, repeatedly.

    Args:
        image: uint8 (height, width, 3).
        kernel: with odd sides; the picture keeps its brightness when it sums to 1. It is the trace that a point
            leaves, so this is a convolution and not a correlation.
        gamma: blur in linear light: pixel values are taken to the power of this first, and back after. None blurs the
            pixel values as they are.
        window: top, left, height and width of the part to return; the pixels around it take part. None: all.

    Raises:
        InputError: the image, the kernel or gamma does not fit.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or 0 in image.shape:
        raise InputError(f"image to blur: expected uint8 (height, width, 3), received {image.dtype} {image.shape}")
    if kernel.ndim != 2 or not all(side % 2 for side in kernel.shape):
        raise InputError(f"kernel: expected a table with odd sides, received shape {kernel.shape}")
    if gamma is not None and not 0 < gamma < math.inf:
        raise InputError(f"gamma: expected a positive number, received {gamma}")
    top, left, height, width = window or (0, 0, *image.shape[:2])
    rows, columns = (
        _reflected(np.arange(start - side // 2, start + size + side // 2), whole)
        for start, size, side, whole in zip((top, left), (height, width), kernel.shape, image.shape[:2], strict=True)
    )
    light = _light(gamma)[image[rows[:, np.newaxis], columns].transpose(2, 0, 1)]
    blurred = _filtered(light, kernel)
    np.clip(blurred, 0, 1, out=blurred)
    if gamma is not None:
        np.power(blurred, np.float32(1 / gamma), out=blurred)
    return np.ascontiguousarray(np.rint(blurred * np.float32(255)).astype(np.uint8).transpose(1, 2, 0))


def add_noise(image: NDArray[np.uint8], sigma: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Add independent Gaussian noise to each value; `sigma` is its standard deviation in grey levels of 255.

    Raises:
        InputError: sigma is negative.
    """
    if not 0 <= sigma < math.inf:
        raise InputError(f"noise: expected a standard deviation of 0 or more, received {sigma}")
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(sigma)
    return np.rint(np.clip(image + noise, 0, 255)).astype(np.uint8)


def jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Compress a picture, uint8 (height, width, 3), as a JPEG file with subsampled colour would, and decode it again.

    Raises:
        InputError: quality is not 1 to 100.
    """
    if not 1 <= quality <= 100:
        raise InputError(f"JPEG quality: expected 1 to 100, received {quality}")
    content = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.save(content, format="JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(content))


@dataclass(frozen=True)
class SyntheticBlur:
    """How sharp pictures are to be spoilt: a random kernel, then noise, then JPEG.

    Args:
        kernel: one of `KERNELS`, see `random_kernel`.
        length: likewise.
        gamma: see `apply_kernel`.
        noise: least and greatest standard deviation, in grey levels of 255; None for no noise.
        jpeg: least and greatest quality; None for no compression.

    Raises:
        InputError: a value is out of range; the message names it.
    """

    kernel: str = "paper"
    length: float = LENGTH
    gamma: float | None = None
    noise: tuple[float, float] | None = None
    jpeg: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.kernel not in KERNELS:
            raise InputError(f"kernel: expected one of {', '.join(KERNELS)}, received {self.kernel!r}")
        for name, value in (("length", self.length), ("gamma", self.gamma)):
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name}: expected a positive number, received {value}")
        for name, span, least, most in (("noise", self.noise, 0, 255), ("jpeg", self.jpeg, 1, 100)):
            if span is not None and not least <= span[0] <= span[1] <= most:
                raise InputError(
                    f"{name}: expected a range in {least} to {most}, received {span[0]:g} to {span[1]:g}"
                )

    def draw_kernel(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw a kernel; see `random_kernel`."""
        return random_kernel(rng, self.kernel, self.length)

    def apply(
        self,
        image: NDArray[np.uint8],
        rng: np.random.Generator,
        window: tuple[int, int, int, int] | None = None,
    ) -> NDArray[np.uint8]:
        """Spoil a picture, uint8 (height, width, 3), or a window of it as in `apply_kernel`.

        The kernel is the first thing drawn from `rng`, and does not depend on the picture.
        """
        blurred = apply_kernel(image, self.draw_kernel(rng), gamma=self.gamma, window=window)
        if self.noise is not None:
            blurred = add_noise(blurred, rng.uniform(*self.noise), rng)
        if self.jpeg is not None:
            blurred = jpeg(blurred, int(rng.integers(self.jpeg[0], self.jpeg[1] + 1)))
        return blurred


def kernel_sheet(kernels: Sequence[NDArray[np.float64]], columns: int = 8, scale: int = 2) -> NDArray[np.uint8]:
    """Draw kernels as a picture, uint8 (height, width): white on black, each as bright as its own maximum allows.

    Args:
        kernels: one or more; all are drawn at the same scale.
        columns: kernels in a row.
        scale: side in pixels of one value.

    Raises:
        InputError: no kernels, or a count below 1.
    """
    if not kernels or columns < 1 or scale < 1:
        raise InputError(
            f"kernel sheet: expected kernels, columns and a scale of 1 or more, received {len(kernels)}, {columns}"
            f" and {scale}"
        )
    columns = min(columns, len(kernels))
    side = max(max(kernel.shape) for kernel in kernels) + 2
    rows = -(-len(kernels) // columns)
    sheet = np.zeros((rows * (side + 1) + 1, columns * (side + 1) + 1), np.uint8)
    sheet[:: side + 1] = sheet[:, :: side + 1] = 64
    for number, kernel in enumerate(kernels):
        row, column = divmod(number, columns)
        height, width = kernel.shape
        top = row * (side + 1) + 1 + (side - height) // 2
        left = column * (side + 1) + 1 + (side - width) // 2
        brightness = np.sqrt(kernel / kernel.max())  # the square root lets thin parts be seen
        sheet[top : top + height, left : left + width] = np.rint(255 * brightness)
    return sheet.repeat(scale, axis=0).repeat(scale, axis=1)


def _check_exposure(exposure: float) -> None:
    if not 0 < exposure <= 1:
        raise InputError(f"exposure: expected a number above 0 and at most 1, received {exposure}")


def _splat(points: NDArray[np.complex128], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share out each point's weight to the four pixels around it, linearly, with the centre of mass in the middle."""
    weights = weights / weights.sum()
    points = points - weights @ points
    radii = [int(np.abs(part).max()) + 1 for part in (points.imag, points.real)]
    shape = tuple(2 * radius + 1 for radius in radii)
    rows, columns = points.imag + radii[0], points.real + radii[1]
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    below, right = rows - top, columns - left
    kernel = np.zeros(shape[0] * shape[1])
    for row, row_share in ((top, 1 - below), (top + 1, below)):
        for column, column_share in ((left, 1 - right), (left + 1, right)):
            kernel += np.bincount(row * shape[1] + column, weights * row_share * column_share, len(kernel))
    return _trimmed(kernel.reshape(shape))


def _trimmed(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut away empty borders, as much on either side, and let the rest sum to 1."""
    window = []
    for axis in (0, 1):
        offsets = np.flatnonzero(kernel.sum(axis=1 - axis) > _NEGLIGIBLE) - kernel.shape[axis] // 2
        radius = int(np.abs(offsets).max())
        window.append(slice(kernel.shape[axis] // 2 - radius, kernel.shape[axis] // 2 + radius + 1))
    kernel = kernel[tuple(window)]
    return kernel / kernel.sum()


def _light(gamma: float | None) -> NDArray[np.float32]:
    """The light, 0 to 1, of each of the 256 pixel values."""
    return (np.linspace(0, 1, 256) ** (1 if gamma is None else gamma)).astype(np.float32)


def _reflected(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Fold positions outside 0 to size - 1 back at the first and last pixel, which are not repeated."""
    period = max(2 * (size - 1), 1)
    positions = positions % period
    return np.minimum(positions, period - positions) if size > 1 else positions


def _filtered(channels: NDArray[np.float32], kernel: NDArray[np.float64]) -> NDArray[np.float32]:
    """Convolve (channels, height, width) and return the part that needs nothing beyond the edges."""
    if kernel.size == 1:
        return channels * np.float32(kernel[0, 0])
    axes = (1, 2)
    shape = tuple(_fast_length(side) for side in channels.shape[1:])
    spectrum = np.fft.rfft2(channels, shape, axes) * np.fft.rfft2(kernel.astype(np.float32), shape)
    whole = np.fft.irfft2(spectrum, shape, axes)
    height, width = channels.shape[1:]
    return whole[:, kernel.shape[0] - 1 : height, kernel.shape[1] - 1 : width].astype(np.float32)


def _fast_length(least: int) -> int:
    """The smallest length from `least` on that the fast Fourier transform is fast for: factors 2, 3 and 5 alone."""
    length = least
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1
