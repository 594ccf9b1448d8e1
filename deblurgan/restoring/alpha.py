"""Restoring pictures with alpha: what lies under transparent pixels stays out of sight, and alpha is restored too."""

import numpy as np
from numpy.typing import NDArray

from deblurgan.pictures.pixels import Pixels, Restore, channels_of

_REACH = 8  # pixels: where alpha is the same for that far around, it stays exactly so


def restore_with_alpha(restore: Restore, rgb: Pixels, alpha: Pixels | None) -> tuple[Pixels, Pixels | None]:
    """Restore a picture, RGB with alpha (height, width) of the same dtype or None; return its colours and alpha.

    The colours that the network sees under wholly transparent pixels are those of the visible ones around, so that
    whatever is stored there does not bleed into the edge; where the result is transparent too, they stay as stored.
    Alpha is restored as a grey picture of its own, and left alone where nothing changes, and by networks that take or
    give grey.
    """
    if alpha is None or channels_of(restore) != (3, 3) or (alpha == alpha.flat[0]).all():
        return restore(rgb), alpha
    restored = restore(_bled(rgb, alpha))
    grey = restore(np.repeat(alpha[:, :, None], 3, axis=2)).mean(axis=2, dtype=np.float32)
    new_alpha = np.where(_is_flat(alpha), alpha, np.rint(grey).astype(alpha.dtype))
    unseen = (alpha == 0) & (new_alpha == 0)
    return np.where(unseen[:, :, None], rgb, restored), new_alpha


def _bled(rgb: Pixels, alpha: Pixels) -> Pixels:
    """The picture with the colours of visible pixels spread over the wholly transparent ones."""
    seen = (alpha > 0)[:, :, None]
    if seen.all():
        return rgb
    filled = _filled(rgb * seen.astype(np.float32), seen.astype(np.float32))
    return np.where(seen, rgb, np.rint(filled).astype(rgb.dtype))


def _filled(sums: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of known colours, (height, width, 3); where none is known, those of 2x2 blocks, of 4x4 and so on."""
    known = weights > 0
    means = sums / np.maximum(weights, np.float32(1))
    if known.all() or known.size == 1:
        return means
    height, width = known.shape[:2]
    coarse = _filled(_halved(sums), _halved(weights)).repeat(2, axis=0).repeat(2, axis=1)
    return np.where(known, means, coarse[:height, :width])


def _halved(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums of blocks of 2x2 pixels."""
    height, width, channels = values.shape
    even = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    return even.reshape(-(-height // 2), 2, -(-width // 2), 2, channels).sum(axis=(1, 3))


def _is_flat(alpha: Pixels) -> NDArray[np.bool_]:
    """Where alpha does not change within `_REACH` pixels."""
    edge = np.zeros(alpha.shape, bool)
    down, across = alpha[1:] != alpha[:-1], alpha[:, 1:] != alpha[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    for _ in range(2):
        padded = np.pad(edge, ((_REACH - 1, _REACH - 1), (0, 0)))
        edge = np.lib.stride_tricks.sliding_window_view(padded, 2 * _REACH - 1, axis=0).any(axis=-1).T
    return ~edge
