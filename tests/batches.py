"""Batches for networks: images of noise, and what a network makes of them."""

import numpy as np


def noise(shape, seed=0):
    """Images of noise in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def run(model, images, training=False):
    return np.asarray(model(images, training=training))
