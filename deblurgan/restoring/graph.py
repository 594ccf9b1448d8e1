"""One call of a network on pictures: scaled, computed and rounded, in one compiled graph or by another engine."""

import functools
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from deblurgan.errors import InputError
from deblurgan.networks.footprint import footprint, run, takes_statistics
from deblurgan.restoring import fast_layers, winograd
from deblurgan.runtimes import engines

Image = NDArray[Any]


def top(dtype: Any) -> float:
    """The value of white."""
    return 1.0 if dtype == np.float32 else float(np.iinfo(dtype).max)


class OfEngine:
    """A call of a network in another engine, on the same images and with the same results as `Compiled`."""

    def __init__(self, engine: engines.Engine) -> None:
        self._engine = engine
        self.needs = engine.about.needs
        self.takes_statistics = engine.about.statistics

    def __call__(self, images: Image, dtype: Any, statistics: Any = None) -> Image:
        """Return the restored images; see `Compiled.__call__`."""
        values = self._engine.run(np.multiply(images, 1 / top(images.dtype), dtype=np.float32))
        if dtype == np.float32:
            return values
        return np.rint(values * np.float32(top(np.dtype(dtype)))).astype(dtype)

    def measured(self, images: Image) -> Any:
        """Raise InputError: other engines have no way to share statistics."""
        raise InputError(
            "engine: a network with instance normalisation restores in tiles with tensorflow only; expected that, "
            "more memory or a smaller picture"
        )


class Compiled:
    """A call of `network` on images (count, height, width, 3), scaled and rounded in the same graph.

    There is one graph for each dtype that comes and that is asked for, for all sizes; made when first needed. With
    `fixed`, it keeps what is computed from the weights that the network has then.
    """

    def __init__(self, network: keras.Model, *, fixed: bool = False) -> None:
        self.needs = footprint(network)
        self._network = network
        self._fixed = fixed
        self._norms = [layer for layer in network.operations if takes_statistics(layer)]
        self.takes_statistics = bool(self._norms)
        self._graph = functools.cache(self._traced)

    def __call__(self, images: Image, dtype: Any, statistics: Any = None) -> Image:
        """Return the restored images as `dtype`; float32 is in [0, 1].

        With `statistics`, from `measured`, these take the place of the images' own in each instance normalisation.
        """
        known = () if statistics is None else (statistics,)
        return self._graph(images.dtype.name, np.dtype(dtype).name, bool(known))(images, *known).numpy()

    def measured(self, images: Image) -> Any:
        """Return mean and variance for each instance normalisation, all images taken as one."""
        return self._graph(images.dtype.name, None, False)(images)

    def _traced(self, source: str, target: str | None, with_statistics: bool) -> Any:
        import tensorflow as tf

        def scaled(images: Any) -> Any:
            half = top(np.dtype(source)) / 2
            return tf.cast(images, tf.float32) / half - 1.0

        def restore(images: Any, *statistics: Any) -> Any:
            known = iter(statistics[0]) if with_statistics else None

            def called(layer: Any, given: Any) -> Any:
                if known is not None and takes_statistics(layer):
                    return layer.normalised(winograd.joined(given), *next(known))
                return fast_layers.call(layer, given, self._fixed)

            x = winograd.joined(run(self._network, scaled(images), called))
            half = top(np.dtype(target)) / 2
            x = tf.clip_by_value(x * half + half, 0.0, 2 * half)
            return x if target == "float32" else tf.cast(tf.round(x), target)

        def measure(images: Any) -> Any:
            found = []

            def called(layer: Any, given: Any) -> Any:
                if not takes_statistics(layer):
                    return fast_layers.call(layer, given, self._fixed)
                given = winograd.joined(given)
                found.append(layer.moments(given, of_all=True))
                return layer.normalised(given, *found[-1])

            run(self._network, scaled(images), called)
            return found

        signature: list[Any] = [tf.TensorSpec((None, None, None, 3), source)]
        if with_statistics:
            signature.append([(tf.TensorSpec((1, 1, 1, norm.output.shape[-1])),) * 2 for norm in self._norms])
        return tf.function(measure if target is None else restore, input_signature=signature, autograph=False)
