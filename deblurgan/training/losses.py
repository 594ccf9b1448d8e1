"""The losses: perceptual (VGG), L1, PSNR, frequency, ..., their weighted sum, Wasserstein and gradient penalty.

Each is usable in `compile(loss=...)`, gives a scalar, and computes in float32 whatever the dtype of what it is given.
"""

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from deblurgan.errors import InputError, nearest
from deblurgan.networks.vgg import vgg16_block3_conv3, vgg19_block3_conv3, vgg_weights

CHARBONNIER_EPSILON = 1e-3
PSNR_EPSILON = 1e-8
FEATURES: Mapping[str, Callable[..., Any]] = {"vgg16": vgg16_block3_conv3, "vgg19": vgg19_block3_conv3}


@keras.saving.register_keras_serializable(package="deblurgan")
class PerceptualLoss(keras.losses.Loss):
    """Mean squared difference between the VGG features (block3_conv3) of two batches of images.

    Args:
        imagenet_preprocessing: see `vgg.vgg16_block3_conv3`. The tutorial's weight of 100 is tuned to VGG16 without
            it; True gives values thousands of times larger, so lower the weight with it.
        compute_dtype: what VGG's convolutions compute in; that of Keras' global policy when None. The difference
            and its mean are float32.
        network: "vgg16", after the ReLU (the tutorial), or "vgg19", before it (the paper's PyTorch code).
        weights: file of the network's weights; see `vgg.vgg_weights` for its formats and for what None means.

    Takes `(y_true, y_pred)`, both (batch, height, width, 3) RGB in [-1, 1]; returns a scalar.

    Raises:
        InputError, FileError, WeightsError: as `vgg.vgg_weights`.

    Source: Johnson et al., arXiv 1603.08155, as used in the Keras DeblurGAN tutorial (VGG16) and in DeblurGAN, arXiv
    1711.07064, equation 4 (VGG19).

    Examples:
        >>> import numpy as np
        >>> from deblurgan.losses import PerceptualLoss
        >>> sharp = np.zeros((1, 16, 16, 3), "float32")
        >>> float(PerceptualLoss(imagenet_preprocessing=True)(sharp, sharp))
        0.0
    """

    def __init__(
        self,
        imagenet_preprocessing: bool = False,
        compute_dtype: str | None = None,
        *,
        network: str = "vgg16",
        weights: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"name": "perceptual_loss", **kwargs})
        vgg_weights(network, weights)  # a missing file is found here, not when the first step is traced
        self.imagenet_preprocessing = imagenet_preprocessing
        self.compute_dtype = compute_dtype
        self.network = network
        self.weights = None if weights is None else os.fspath(weights)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the scalar loss."""
        true, pred = (
            FEATURES[self.network](
                images,
                weights=self.weights,
                imagenet_preprocessing=self.imagenet_preprocessing,
                dtype=self.compute_dtype,
            )
            for images in (y_true, y_pred)
        )
        return mse_loss(true, pred)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        return {
            **super().get_config(),
            "imagenet_preprocessing": self.imagenet_preprocessing,
            "compute_dtype": self.compute_dtype,
            "network": self.network,
            "weights": self.weights,
        }


def perceptual_loss(y_true: Any, y_pred: Any) -> Any:
    """`PerceptualLoss` with the tutorial's choices, as the function that the tutorial passes to `compile`.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.losses import perceptual_loss
        >>> sharp = np.zeros((1, 16, 16, 3), "float32")
        >>> float(perceptual_loss(sharp, sharp)), float(perceptual_loss(sharp, sharp + 0.5)) > 0
        (0.0, True)
    """
    return PerceptualLoss().call(y_true, y_pred)


def perceptual_loss_100(y_true: Any, y_pred: Any) -> Any:
    """100 times `perceptual_loss`.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.losses import perceptual_loss, perceptual_loss_100
        >>> sharp = np.zeros((1, 16, 16, 3), "float32")
        >>> round(float(perceptual_loss_100(sharp, sharp + 0.5) / perceptual_loss(sharp, sharp + 0.5)), 3)
        100.0
    """
    return 100 * perceptual_loss(y_true, y_pred)


def wasserstein_loss(y_true: Any, y_pred: Any) -> Any:
    """Return mean(y_true * y_pred), a scalar; `y_true` is +1 for real and -1 for generated images.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.losses import wasserstein_loss
        >>> float(wasserstein_loss(np.array([[1.0], [-1.0]]), np.array([[0.75], [0.25]])))
        0.25
    """
    return ops.mean(ops.cast(y_true, "float32") * ops.cast(y_pred, "float32"))


def l1_loss(y_true: Any, y_pred: Any) -> Any:
    """Return the mean absolute difference, a scalar.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.losses import l1_loss
        >>> sharp, restored = np.zeros((1, 4, 4, 3)), np.full((1, 4, 4, 3), 0.5)
        >>> float(l1_loss(sharp, restored))
        0.5
    """
    return ops.mean(ops.abs(_difference(y_true, y_pred)))


def mse_loss(y_true: Any, y_pred: Any) -> Any:
    """Return the mean squared difference, a scalar.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.losses import mse_loss
        >>> sharp, restored = np.zeros((1, 4, 4, 3)), np.full((1, 4, 4, 3), 0.5)
        >>> float(mse_loss(sharp, restored))
        0.25
    """
    return ops.mean(ops.square(_difference(y_true, y_pred)))


def charbonnier_loss(y_true: Any, y_pred: Any) -> Any:
    """Return the mean of sqrt(difference squared + 0.001 squared), a scalar: L1 with a round tip, 0.001 at its least.

    Source: Lai et al. (LapSRN), arXiv 1710.01992, equation 4.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.losses import charbonnier_loss
        >>> sharp = np.zeros((1, 4, 4, 3))
        >>> print(f"{float(charbonnier_loss(sharp, sharp)):.4f} {float(charbonnier_loss(sharp, sharp + 0.5)):.4f}")
        0.0010 0.5000
    """
    return ops.mean(ops.sqrt(ops.square(_difference(y_true, y_pred)) + CHARBONNIER_EPSILON**2))


def psnr_loss(y_true: Any, y_pred: Any) -> Any:
    """Return minus the PSNR in dB, a scalar: the mean over the batch of 10 log10(mean squared error + 1e-8).

    The error is that of images in [0, 1], as NAFNet has it: a quarter of the one of these images in [-1, 1]. The
    value of images that agree is -80.

    Source: NAFNet, arXiv 2204.04676, and its code; HINet, arXiv 2105.06086, equation 5.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.losses import psnr_loss
        >>> sharp = np.zeros((1, 4, 4, 3))
        >>> print(f"{float(psnr_loss(sharp, sharp + 0.2)):.2f}")  # 0.1 in [0, 1]
        -20.00
    """
    squares = ops.square(_difference(y_true, y_pred) / 2)
    errors = ops.mean(squares, axis=tuple(range(1, len(squares.shape))))
    return ops.mean(ops.log(errors + PSNR_EPSILON)) * (10 / math.log(10))


def frequency_loss(y_true: Any, y_pred: Any) -> Any:
    """Return the mean absolute difference of the images' Fourier transforms, a scalar.

    The transforms are over height and width and not normalised, so that noise counts the more the larger the images
    are. The mean is over real and imaginary parts apart.

    Source: MIMO-UNet's loss of that name, arXiv 2108.05054, and its code.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.losses import frequency_loss
        >>> sharp = np.zeros((1, 4, 4, 3))
        >>> print(f"{float(frequency_loss(sharp, sharp + 0.5)):.4f}")  # 16 x 0.5 at frequency 0, 0 at 31 others
        0.2500
    """
    difference = ops.transpose(_difference(y_true, y_pred), (0, 3, 1, 2))
    parts = ops.fft2((difference, ops.zeros_like(difference)))
    return sum(ops.mean(ops.abs(part)) for part in parts) / 2


def gradient_penalty_loss(y_true: Any, y_pred: Any) -> Any:
    """Return the mean over the batch of (1 - norm of the critic's input gradient) squared, a scalar.

    Args:
        y_true: ignored; `compile` wants the argument.
        y_pred: (batch, ...) gradient of a critic's value with respect to each sample, as the layer
            `layers.InputGradient` gives it. Its norm is taken per sample, over all pixels and channels.

    Source: Gulrajani et al., arXiv 1704.00028, equation 3, without its lambda (use `loss_weights`).

    Examples:
        >>> import numpy as np
        >>> from deblurgan.losses import gradient_penalty_loss
        >>> gradients = np.zeros((2, 4, 4, 3))
        >>> gradients[:, 0, 0, 0] = 3  # norms of 3
        >>> float(gradient_penalty_loss(None, gradients))
        4.0
    """
    y_pred = ops.cast(y_pred, "float32")
    axes = tuple(range(1, len(y_pred.shape)))
    norm = ops.sqrt(ops.sum(ops.square(y_pred), axis=axes) + 1e-12)  # the root has no slope at 0
    return ops.mean(ops.square(1.0 - norm))


LOSSES: Mapping[str, Callable[..., Any]] = {
    "l1": l1_loss,
    "mse": mse_loss,
    "charbonnier": charbonnier_loss,
    "psnr": psnr_loss,
    "frequency": frequency_loss,
    "perceptual": PerceptualLoss,
}


@keras.saving.register_keras_serializable(package="deblurgan")
class WeightedSum(keras.losses.Loss):
    """A weighted sum of losses: `WeightedSum({"perceptual": 100, "l1": 1}, network="vgg19")`.

    Args:
        terms: weight of each loss, by its name in `LOSSES`.
        name: the loss's name in logs.
        reduction: as in any Keras loss; the sum is a scalar already.
        dtype: as in any Keras loss.
        perceptual: arguments of `PerceptualLoss`, for the term "perceptual".

    Takes `(y_true, y_pred)`, both (batch, height, width, 3) RGB in [-1, 1]; returns a scalar.

    Raises:
        InputError: no terms, an unknown name, or a weight that is not a finite number.
        FileError, WeightsError: as `PerceptualLoss`, where that is a term.

    Examples:
        >>> import numpy as np
        >>> from deblurgan.losses import WeightedSum
        >>> sharp = np.zeros((1, 4, 4, 3))
        >>> float(WeightedSum({"l1": 1, "mse": 2})(sharp, sharp + 0.5))
        1.0
    """

    def __init__(
        self,
        terms: Mapping[str, float],
        *,
        name: str = "weighted_sum",
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
        **perceptual: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.term_weights = {term: _checked_weight(term, weight) for term, weight in terms.items()}
        if not terms:
            raise InputError(f"terms: expected at least one of {', '.join(LOSSES)}, received none")
        self.perceptual = perceptual
        self._losses = {term: self._make(LOSSES[term]) for term in self.term_weights}

    def _make(self, loss: Callable[..., Any]) -> Callable[..., Any]:
        return loss(**self.perceptual) if loss is PerceptualLoss else loss

    def terms(self, y_true: Any, y_pred: Any) -> dict[str, Any]:
        """Return each loss, unweighted, by its name: float32 scalars."""
        return {term: ops.cast(loss(y_true, y_pred), "float32") for term, loss in self._losses.items()}

    def total(self, values: Mapping[str, Any]) -> Any:
        """Return the weighted sum of what `terms` returned."""
        return sum(weight * values[term] for term, weight in self.term_weights.items())

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the scalar loss."""
        return self.total(self.terms(y_true, y_pred))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        return {**super().get_config(), "terms": self.term_weights, **self.perceptual}


def _difference(y_true: Any, y_pred: Any) -> Any:
    return ops.cast(y_pred, "float32") - ops.cast(y_true, "float32")


def _checked_weight(term: str, weight: Any) -> float:
    """Return the weight as a float, or raise InputError for an unknown term or no number."""
    if term not in LOSSES:
        raise InputError(f"terms: expected {', '.join(LOSSES)}, received {term!r}{nearest(str(term), LOSSES)}")
    try:
        number = float(weight)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"terms: expected a finite number as the weight of {term}, received {weight!r}")
    return number
