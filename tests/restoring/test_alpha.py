import numpy as np
import pytest

from deblurgan.restoring.alpha import restore_with_alpha


def blurred(image):
    """A stand-in for a network that mixes neighbours: the mean of 5x5 pixels, edges repeated."""
    padded = np.pad(image.astype(np.float64), ((2, 2), (2, 2), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(0, 1))
    return np.rint(windows.mean(axis=(-2, -1))).astype(image.dtype)


@pytest.fixture(params=[np.uint8, np.uint16])
def cut_out(request):
    """A disc of one colour on transparent black: colours and alpha."""
    top = np.iinfo(request.param).max
    y, x = np.mgrid[:60, :70]
    disc = (y - 30) ** 2 + (x - 35) ** 2 < 15**2
    rgb = np.where(disc[:, :, None], np.array([top, top // 2, top // 3]), 0).astype(request.param)
    return rgb, np.where(disc, top, 0).astype(request.param)


def test_hidden_colours_do_not_bleed_into_the_edge(cut_out):
    rgb, alpha = cut_out
    restored, new_alpha = restore_with_alpha(blurred, rgb, alpha)
    assert (restored.dtype, new_alpha.dtype) == (rgb.dtype, rgb.dtype)
    visible = new_alpha > 0
    assert visible.sum() > (alpha > 0).sum()  # the edge has become softer
    np.testing.assert_array_equal(restored[visible], np.broadcast_to(rgb[30, 35], (visible.sum(), 3)))
    assert blurred(rgb)[visible].min() < rgb[30, 35].min()  # which black would have spoilt


def test_alpha_is_restored_as_a_grey_picture_and_stays_exact_far_from_edges(cut_out):
    rgb, alpha = cut_out

    def restore(image):
        return blurred(image) // 2 + 1

    _, new_alpha = restore_with_alpha(restore, rgb, alpha)
    expected = restore(np.repeat(alpha[:, :, None], 3, axis=2))[:, :, 0]
    y, x = np.mgrid[:60, :70]
    distance = np.sqrt((y - 30.0) ** 2 + (x - 35.0) ** 2)
    near, far = np.abs(distance - 15) < 4, np.abs(distance - 15) > 14
    np.testing.assert_array_equal(new_alpha[near], expected[near])
    np.testing.assert_array_equal(new_alpha[far], alpha[far])


def test_hidden_colours_stay_as_stored_where_the_result_hides_them_too(cut_out):
    rgb, alpha = cut_out
    rgb[:5] = 77
    restored, new_alpha = restore_with_alpha(blurred, rgb, alpha)
    np.testing.assert_array_equal(new_alpha[:5], 0)
    np.testing.assert_array_equal(restored[:5], 77)


@pytest.mark.parametrize("value", [0, 90, 255])
def test_constant_alpha_costs_nothing_and_changes_nothing(value):
    rgb = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    alpha = np.full((9, 11), value, np.uint8)
    calls = []
    restored, new_alpha = restore_with_alpha(lambda image: calls.append(1) or 255 - image, rgb, alpha)
    np.testing.assert_array_equal(restored, 255 - rgb)
    np.testing.assert_array_equal(new_alpha, alpha)
    assert calls == [1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (33, 17)])
def test_one_visible_pixel_is_enough_at_any_size(shape):
    random = np.random.default_rng(0)
    rgb = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    alpha = np.zeros(shape, np.uint8)
    alpha[-1, -1] = 9
    seen = []
    restore_with_alpha(lambda image: seen.append(image) or image, rgb, alpha)
    np.testing.assert_array_equal(seen[0], np.broadcast_to(rgb[-1, -1], (*shape, 3)))
