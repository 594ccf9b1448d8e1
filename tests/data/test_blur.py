import io

import numpy as np
import pytest
from PIL import Image

from deblurgan.data.blur import (
    EXPOSURES,
    KERNELS,
    SyntheticBlur,
    add_noise,
    apply_kernel,
    jpeg,
    kernel_sheet,
    linear_motion_kernel,
    random_kernel,
    random_trajectory,
    trajectory_kernels,
)
from deblurgan.errors import InputError


def centre_of_mass(image):
    """Row and column, relative to the middle."""
    rows, columns = (np.arange(side) - (side - 1) / 2 for side in image.shape)
    return np.array([image.sum(axis=1) @ rows, image.sum(axis=0) @ columns]) / image.sum()


def reflected(position, size):
    """Walk from 0 to `position`, turning at both ends."""
    at, step = 0, 1 if position > 0 else -1
    direction = 1
    for _ in range(abs(position)):
        if size == 1:
            break
        if not 0 <= at + direction * step < size:
            direction = -direction
        at += direction * step
    return at


def convolved(image, kernel):
    """Convolution of (height, width, channels) by loops, float64."""
    height, width = image.shape[:2]
    result = np.zeros(image.shape)
    for y, x in np.ndindex(height, width):
        for i, j in np.ndindex(kernel.shape):
            row, column = y - (i - kernel.shape[0] // 2), x - (j - kernel.shape[1] // 2)
            result[y, x] += kernel[i, j] * image[reflected(row, height), reflected(column, width)]
    return result


def splatted(points, weights, radius):
    """Each point's weight shared out to the four pixels around it, by loops, in a canvas around 0."""
    canvas = np.zeros((2 * radius + 1, 2 * radius + 1))
    for point, weight in zip(points, weights, strict=True):
        for i, j in np.ndindex(canvas.shape):
            down, right = abs(point.imag - (i - radius)), abs(point.real - (j - radius))
            canvas[i, j] += weight * max(0, 1 - down) * max(0, 1 - right)
    return canvas / canvas.sum()


def padded(kernel, side):
    rows, columns = ((side - length) // 2 for length in kernel.shape)
    return np.pad(kernel, ((rows, rows), (columns, columns)))


# Kernels


@pytest.mark.parametrize("kind", KERNELS)
def test_kernels_sum_to_1_and_have_their_centre_of_mass_in_their_middle_pixel(kind):
    rng = np.random.default_rng(0)
    for _ in range(20):
        kernel = random_kernel(rng, kind)
        assert kernel.dtype == np.float64
        assert all(side % 2 for side in kernel.shape)
        assert kernel.min() >= 0
        assert kernel.sum() == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(centre_of_mass(kernel), 0, atol=1e-6)
        assert kernel[[0, -1]].any()  # no larger than what it moves
        assert kernel[:, [0, -1]].any()


def test_a_trajectory_follows_the_equations_of_the_paper():
    steps, length = 50, 60
    positions = random_trajectory(np.random.default_rng(5), steps, length)

    rng = np.random.default_rng(5)
    centripetal, p_shake, gauss, angle = rng.random(4) * (0.7, 0.2, 10, 2 * np.pi)
    exponent = rng.choice((0.01, 0.009, 0.008, 0.007, 0.005, 0.003))
    for_shakes, for_turns = rng.random(steps - 1), rng.random(steps - 1)
    normal = rng.standard_normal((steps - 1, 2))
    pace = length / (steps - 1)
    x, v = [0j], pace * (np.cos(angle) + 1j * np.sin(angle))
    for t in range(steps - 1):
        dv = exponent * (gauss * (normal[t, 0] + 1j * normal[t, 1]) - centripetal * x[t]) * pace
        if for_shakes[t] < p_shake * exponent:
            dv += 2 * v * np.exp(1j * (np.pi + for_turns[t] - 0.5))
        v += dv
        v *= pace / np.abs(v)
        x.append(x[t] + v)
    np.testing.assert_allclose(positions, x, atol=1e-10)


def test_a_trajectory_has_its_length_and_a_constant_pace():
    positions = random_trajectory(np.random.default_rng(3))
    assert len(positions) == 2000
    np.testing.assert_allclose(np.abs(np.diff(positions)), 60 / 1999)


def test_part_of_a_trajectory_is_how_the_whole_begins():
    whole = random_trajectory(np.random.default_rng(7), 400)
    part = random_trajectory(np.random.default_rng(7), 400, part=0.1)
    np.testing.assert_array_equal(part, whole[:40])


def test_cameras_that_shake_turn_back_now_and_then():
    """Without the big shakes neighbouring moves differ by a few degrees; P(shake) is at most 0.2 x 0.01 a step."""
    turns = []
    for seed in range(40):
        moves = np.diff(random_trajectory(np.random.default_rng(seed)))
        turns.append(np.abs(np.angle(moves[1:] / moves[:-1])).max())
    assert 5 < sum(turn > np.pi / 2 for turn in turns) < 40


def test_the_kernel_of_an_exposure_is_that_part_of_the_trajectory_splatted():
    trajectory = random_trajectory(np.random.default_rng(1), steps=70, length=9)
    kernels = trajectory_kernels(trajectory, [0.105, 1])
    weights = np.array([1] * 7 + [0.35])  # 0.105 x 70 steps
    for kernel, points, weight in ((kernels[0], trajectory[:8], weights), (kernels[1], trajectory, np.ones(70))):
        centred = points - np.average(points, weights=weight)
        np.testing.assert_allclose(padded(kernel, 21), splatted(centred, weight, 10), atol=1e-8)


def test_longer_exposures_blur_more():
    kernels = trajectory_kernels(random_trajectory(np.random.default_rng(2)))
    assert len(kernels) == len(EXPOSURES)
    peaks = [kernel.max() for kernel in kernels]
    assert peaks == sorted(peaks, reverse=True)


def test_linear_motion():
    """A point that moves 9 pixels covers the inner 8 wholly and 7/8 and 1/8 of those at either end."""
    row = np.array([1 / 8, 7 / 8, *[1] * 7, 7 / 8, 1 / 8]) / 9
    np.testing.assert_allclose(linear_motion_kernel(9, 0), [row], atol=1e-12)
    np.testing.assert_allclose(linear_motion_kernel(9, 90), row[:, np.newaxis], atol=1e-12)
    np.testing.assert_array_equal(linear_motion_kernel(0, 30), [[1]])
    rising = linear_motion_kernel(5, 45)
    assert rising[0, -1] > 0  # to the right and up
    assert rising[0, 0] == 0


def test_kernels_are_reproducible():
    first, again, other = (random_kernel(np.random.default_rng(seed)) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()


# What they do to a picture


@pytest.mark.parametrize("gamma", [None, 2.2])
@pytest.mark.parametrize("size", [(6, 7), (1, 5), (2, 1), (9, 3)])
def test_blur_is_the_convolution_with_reflection_also_of_pictures_smaller_than_the_kernel(size, gamma):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    kernel = rng.random((7, 11))
    kernel /= kernel.sum()
    power = gamma or 1
    expected = 255 * convolved((image / 255) ** power, kernel) ** (1 / power)
    blurred = apply_kernel(image, kernel, gamma=gamma)
    assert blurred.dtype == np.uint8
    np.testing.assert_allclose(blurred, expected, atol=0.501)


def test_a_window_is_that_part_of_the_whole_blurred_picture(photos):
    kernel = random_kernel(np.random.default_rng(0), "linear")
    whole = apply_kernel(photos[1], kernel)
    for top, left, height, width in ((0, 0, 40, 30), (100, 50, 64, 64), (248, 200, 40, 88)):
        window = apply_kernel(photos[1], kernel, window=(top, left, height, width)).astype(int)
        part = whole[top : top + height, left : left + width]
        assert np.abs(window - part).max() <= 1  # the transforms have different lengths, and round differently


@pytest.mark.parametrize("gamma", [None, 2.2])
@pytest.mark.parametrize("value", [0, 1, 100, 255])
def test_a_constant_picture_stays_as_it_is(value, gamma):
    image = np.full((30, 40, 3), value, np.uint8)
    for seed in range(5):
        np.testing.assert_array_equal(
            apply_kernel(image, random_kernel(np.random.default_rng(seed)), gamma=gamma), image
        )


def test_brightness_is_kept():
    image = np.zeros((101, 101, 3), np.uint8)
    image[40:61, 40:61] = 240
    for seed in range(5):
        blurred = apply_kernel(image, random_kernel(np.random.default_rng(seed), "both"))
        assert blurred.mean() == pytest.approx(image.mean(), rel=0.01)


def test_blurred_and_sharp_are_aligned():
    image = np.zeros((101, 101, 3), np.uint8)
    image[40:61, 40:61] = 240
    for seed in range(10):
        blurred = apply_kernel(image, random_kernel(np.random.default_rng(seed)))
        np.testing.assert_allclose(centre_of_mass(blurred[:, :, 0].astype(float)), 0, atol=0.1)


def test_the_trace_of_a_point_is_the_kernel():
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 20] = 255
    kernel = np.zeros((3, 5))
    kernel[0, 4], kernel[2, 0], kernel[2, 2] = 0.2, 0.4, 0.4
    blurred = apply_kernel(image, kernel)
    np.testing.assert_array_equal(blurred[19:22, 18:23, 1], np.rint(255 * kernel))
    assert blurred[:, :, 1].sum() == pytest.approx(255, abs=1)


def test_noise_has_its_deviation_and_no_bias():
    image = np.full((100, 100, 3), 128, np.uint8)
    noisy = add_noise(image, 6, np.random.default_rng(0)).astype(float)
    assert noisy.std() == pytest.approx(6, rel=0.03)
    assert noisy.mean() == pytest.approx(128, abs=0.15)
    np.testing.assert_array_equal(add_noise(image, 0, np.random.default_rng(0)), image)
    bright = add_noise(np.full((9, 9, 3), 254, np.uint8), 20, np.random.default_rng(0))
    assert bright.min() > 150  # clipped, not wrapped around


def test_jpeg_is_what_pillow_writes(photos):
    content = io.BytesIO()
    Image.fromarray(photos[1]).save(content, "JPEG", quality=30)
    np.testing.assert_array_equal(jpeg(photos[1], 30), np.asarray(Image.open(content)))


def test_a_synthetic_blur_is_kernel_then_noise_then_jpeg(photos):
    blur = SyntheticBlur("linear", length=20, gamma=2.2, noise=(1, 4), jpeg=(40, 60))
    result = blur.apply(photos[1], np.random.default_rng(9))
    rng = np.random.default_rng(9)
    expected = apply_kernel(photos[1], random_kernel(rng, "linear", 20), gamma=2.2)
    expected = add_noise(expected, rng.uniform(1, 4), rng)
    np.testing.assert_array_equal(result, jpeg(expected, int(rng.integers(40, 61))))


def test_a_sheet_shows_every_kernel_at_one_scale():
    kernels = [linear_motion_kernel(length, angle) for length, angle in ((0, 0), (9, 0), (5, 90))]
    sheet = kernel_sheet(kernels, columns=2, scale=3)
    side = 11 + 2
    assert sheet.shape == (3 * (2 * (side + 1) + 1), 3 * (2 * (side + 1) + 1))
    small = sheet[1::3, 1::3]
    tiles = [small[1 : 1 + side, 1 : 1 + side], small[1 : 1 + side, 2 + side : 2 + 2 * side]]
    tiles.append(small[2 + side : 2 + 2 * side, 1 : 1 + side])
    for tile, kernel in zip(tiles, kernels, strict=True):
        assert (tile > 0).sum() == (kernel > 0).sum()
        assert tile.max() == 255
        np.testing.assert_allclose(centre_of_mass(tile.astype(float)), 0, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: random_kernel(np.random.default_rng(), "papper"),
            "kernel: expected one of paper, linear, both, rec",
        ),
        (lambda: random_trajectory(np.random.default_rng(), 1), "expected 2 or more steps and a positive length"),
        (lambda: trajectory_kernels(np.zeros(3, complex), [0]), "exposure: expected a number above 0 and at most 1"),
        (lambda: linear_motion_kernel(-1, 0), "expected a length of 0 or more and an angle, received -1 and 0"),
        (
            lambda: apply_kernel(np.zeros((4, 4, 3)), np.ones((1, 1))),
            r"expected uint8 \(height, width, 3\), received f",
        ),
        (lambda: apply_kernel(np.zeros((4, 4, 3), np.uint8), np.ones((2, 3))), r"odd sides, received shape \(2, 3\)"),
        (lambda: apply_kernel(np.zeros((4, 4, 3), np.uint8), np.ones((1, 1)), gamma=0), "gamma: expected a positive"),
        (lambda: add_noise(np.zeros((4, 4, 3), np.uint8), -1, np.random.default_rng()), "noise: .*received -1"),
        (lambda: jpeg(np.zeros((4, 4, 3), np.uint8), 101), "JPEG quality: expected 1 to 100, received 101"),
        (lambda: kernel_sheet([]), "expected kernels"),
        (lambda: SyntheticBlur("paper", noise=(5, 1)), "noise: expected a range in 0 to 255, received 5 to 1"),
        (lambda: SyntheticBlur("paper", jpeg=(0, 10)), "jpeg: expected a range in 1 to 100, received 0 to 10"),
        (lambda: SyntheticBlur("none"), "kernel: expected one of"),
        (lambda: SyntheticBlur(length=0), "length: expected a positive number, received 0"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
