"""3x3 convolutions of a CPU with two thirds of the multiplications, by Winograd's F(2, 3) down the columns.

Two rows of a result need 4 products with rows of the kernel in place of 6 (Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", 2015):

    y0 = m0 + m1 + m2    m0 = (d0 - d2) g0             m2 = (d2 - d1) (g0 - g1 + g2) / 2
    y1 = m1 - m2 - m3    m1 = (d1 + d2) (g0 + g1 + g2) / 2    m3 = (d1 - d3) g2

d0 to d3 are rows of the input, g0 to g2 those of the kernel. Even and odd rows are kept apart from one convolution to
the next, as each takes and gives them so.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Halves(NamedTuple):
    """The even and the odd rows of images.

    Attributes:
        even: tensor (count, (height + 1) // 2, width, channels).
        odd: the same; where the height is odd, its last row means nothing.
        height: of the images, a scalar tensor.
    """

    even: Any
    odd: Any
    height: Any

    def map(self, function: Callable[..., Any], *others: "Halves") -> "Halves":
        """Return what `function` makes of the even rows, and of the odd ones, of this and of `others`."""
        even, odd = (function(*(images[i] for images in (self, *others))) for i in range(2))
        return Halves(even, odd, self.height)


def _traced_once(function: F) -> F:
    """Let TensorFlow trace `function` once for all layers of a network that give it the like."""

    @functools.cache
    def graph() -> Any:
        import tensorflow as tf

        return tf.function(function, autograph=False, reduce_retracing=True)

    return functools.wraps(function)(lambda *inputs: graph()(*inputs))  # type: ignore[return-value]


def split(images: Any) -> Halves:
    """Return the rows of a tensor (count, height, width, channels) apart."""
    import tensorflow as tf

    count, height, width, _ = tf.unstack(tf.shape(images))
    even_many = tf.concat([images, images[:, : height % 2]], 1)
    pairs = tf.reshape(even_many, (count, (height + 1) // 2, 2, width, images.shape[-1]))
    return Halves(pairs[:, :, 0], pairs[:, :, 1], height)


def joined(images: Any) -> Any:
    """Return `images` as a tensor (count, height, width, channels), whether they are one or `Halves`."""
    import tensorflow as tf

    if not isinstance(images, Halves):
        return images
    count, half, width, _ = tf.unstack(tf.shape(images.even))
    pairs = tf.stack([images.even, images.odd], 2)
    return tf.reshape(pairs, (count, 2 * half, width, images.even.shape[-1]))[:, : images.height]


@_traced_once
def reflected(images: Halves) -> Halves:
    """Mirror a row at the top and one at the bottom; at least 2 rows."""
    import tensorflow as tf

    even, odd, height = images
    half = tf.shape(odd)[1]
    left = height % 2  # rows of `odd` that mean nothing
    # The rows from -1 on: -1 is row 1, and the one below the last is that above it.
    first = tf.concat([odd[:, :1], odd[:, : half - left], odd[:, half - 2 : half - 2 + left]], 1)
    return Halves(first, tf.concat([even, even[:, -1:]], 1), height + 2)


def kernels(kernel: Any) -> list[Any]:
    """Return the four kernels (1, 3, in, out) that take the place of one (3, 3, in, out); the last is -g2."""
    first, middle, last = kernel[:1], kernel[1:2], kernel[2:]
    return [first, (first + middle + last) / 2, (first - middle + last) / 2, -last]


@_traced_once
def convolved(images: Halves, four: list[Any], bias: Any) -> Halves:
    """Convolve images of at least 3x3 pixels without padding, in their dtype, with the four of `kernels`."""
    import tensorflow as tf

    def product(rows: Any, kernel: Any) -> Any:
        return tf.nn.conv2d(rows, kernel, 1, "VALID")

    even, odd, height = images
    d0, d1, d2, d3 = even[:, :-1], odd[:, :-1], even[:, 1:], odd[:, 1:]
    m1, m2 = product(d1 + d2, four[1]), product(d2 - d1, four[2])
    # The products come first in these sums, so that TensorFlow adds within its convolutions.
    y0 = tf.nn.bias_add(product(d0 - d2, four[0]), bias) + (m1 + m2)
    y1 = tf.nn.bias_add(product(d1 - d3, four[3]), bias) + (m1 - m2)
    return Halves(y0, y1, height - 2)
