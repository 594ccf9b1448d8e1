"""One call of a network on pictures: scaled, computed and rounded, in one compiled graph or by another engine."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from deblurgan.errors import InputError
from deblurgan.networks.footprint import footprint, takes_statistics
from deblurgan.restoring import fast_layers
from deblurgan.runtimes import ENGINES, engines

Image = NDArray[Any]


def top(dtype: Any) -> float:
    """The value of white."""
    return 1.0 if dtype == np.float32 else float(np.iinfo(dtype).max)


class OfEngine:
    """A call of a network in another engine, on the same images and with the same results as `Compiled`."""

    def __init__(self, engine: engines.Engine) -> None:
        self._engine = engine
        self.engine, self.precision = engine.name, engine.precision
        self.needs, self.channels = engine.about.needs, engine.about.channels
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
            "engine: a network that normalises by a picture's own statistics restores in tiles with tensorflow only; "
            "expected that, more memory or a smaller picture"
        )


class Compiled:
    """A call of `network` on images (count, height, width, its channels), scaled and rounded in the same graph.

    There is one graph for each dtype that comes and that is asked for, for all sizes; made when first needed. With
    `fixed`, it keeps what is computed from the weights that the network has then.
    """

    engine, precision = ENGINES[0], None

    def __init__(self, network: keras.Model, *, fixed: bool = False) -> None:
        self.needs = footprint(network)
        self.channels = network.input_shape[-1], network.output_shape[-1]
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
        graph = self._graph(images.dtype.name, np.dtype(dtype).name, bool(known))
        return graph(keras.ops.convert_to_tensor(images, images.dtype.name), *known).numpy()

    def measured(self, images: Image) -> Any:
        """Return mean and variance for each instance normalisation, all images taken as one."""
        graph = self._graph(images.dtype.name, None, False)
        return graph(keras.ops.convert_to_tensor(images, images.dtype.name))

    def _traced(self, source: str, target: str | None, with_statistics: bool) -> Any:
        import tensorflow as tf

        def restored(normalise: Callable[[Any, Any], Any] | None, images: Any) -> Any:
            scaled = tf.cast(images, tf.float32) / (top(np.dtype(source)) / 2) - 1.0
            return fast_layers.restored(self._network, scaled, fixed=self._fixed, normalise=normalise)

        def restore(images: Any, *statistics: Any) -> Any:
            known = iter(statistics[0] if with_statistics else ())

            def normalise(layer: Any, x: Any) -> Any:
                return layer.normalised(x, *next(known))

            x = restored(normalise if with_statistics else None, images)
            half = top(np.dtype(target)) / 2
            x = tf.clip_by_value(x * half + half, 0.0, 2 * half)
            return x if target == "float32" else tf.cast(tf.round(x), target)

        def measure(images: Any) -> Any:
            found = []

            def normalise(layer: Any, x: Any) -> Any:
                found.append(layer.moments(x, of_all=True))
                return layer.normalised(x, *found[-1])

            restored(normalise, images)
            return found

        signature: list[Any] = [tf.TensorSpec((None, None, None, self.channels[0]), source)]
        if with_statistics:
            signature.append([(tf.TensorSpec((1, 1, 1, norm.output.shape[-1])),) * 2 for norm in self._norms])
        function = tf.function(measure if target is None else restore, input_signature=signature, autograph=False)
        # Of functions of the same code, one for each network, TensorFlow would say that they are traced too often.
        return function.get_concrete_function()
