import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from deblurgan.scoring.samples import distance, diversity, grid, nearest


def drawn(count=40, seed=0, shape=(6, 5, 1)):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *shape)).astype(np.float32)


def flat(pictures):
    return pictures.reshape(len(pictures), -1).astype(float)


def test_diversity_and_distance_are_those_of_pairwise_distances():
    samples, real = 0.5 * drawn(30, seed=1), drawn()
    apart = pdist(flat(real)).mean()
    assert diversity(samples, real) == pytest.approx(pdist(flat(samples)).mean() / apart, rel=1e-6)
    expected = (2 * cdist(flat(samples), flat(real)).mean() - pdist(flat(samples)).mean() - apart) / apart
    assert distance(samples, real) == pytest.approx(expected, rel=1e-6)


def test_real_pictures_score_as_real_and_one_picture_always_does_not():
    real, others = drawn(200), drawn(200, seed=1)
    assert diversity(others, real) == pytest.approx(1, abs=0.02)
    assert distance(others, real) == pytest.approx(0, abs=0.02)
    always = np.repeat(others[:1], 200, axis=0)
    assert diversity(always, real) == pytest.approx(0, abs=1e-6)
    assert distance(always, real) > 0.5


def test_the_nearest_real_picture_and_how_far_it_is():
    real = np.random.default_rng(0).integers(0, 256, (2500, 4, 4, 3), dtype=np.uint8)
    chosen = [2400, 7, 1200]
    samples = real[chosen].copy()
    samples[1, 0, 0, 0] ^= 128  # one of 48 values differs by 128
    indices, differences = nearest(samples, real)
    assert indices.tolist() == chosen
    np.testing.assert_allclose(differences, [0, 128 / 48 / 127.5, 0])


def test_a_grid_shows_all_pictures_enlarged_in_rows():
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1) * 10
    shown = grid(images, 3, side=2)
    assert shown.shape == (12, 18, 3)
    assert shown[2::6, 2::6, 0].tolist() == [[0, 10, 20], [30, 40, 255]]
    assert shown[3::6, 3::6, 2].tolist() == [[0, 10, 20], [30, 40, 255]]
    assert (shown[0] == 255).all()
    colours = np.random.default_rng(0).integers(0, 256, (2, 60, 60, 3), dtype=np.uint8)
    np.testing.assert_array_equal(grid(colours, 2)[2:62, 2:62], colours[0])
