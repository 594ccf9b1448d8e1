"""Adversarial losses: what a critic and a generator minimise, given the critic's values of real and generated images.

The values may have any shape (batch, ...), such as a PatchGAN's (batch, rows, columns, 1), and any float dtype. They
are unbounded: logits, not probabilities. Each loss is a float32 scalar.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from deblurgan.errors import InputError
from deblurgan.networks.layers import input_gradient
from deblurgan.training.losses import gradient_penalty_loss


def wgan_critic_loss(real_values: Any, fake_values: Any) -> Any:
    """Return mean(fake) - mean(real).

    Source: Arjovsky et al., arXiv 1701.07875, algorithm 1; with the penalty, Gulrajani et al., arXiv 1704.00028.
    """
    return _mean(fake_values) - _mean(real_values)


def wgan_generator_loss(real_values: Any, fake_values: Any) -> Any:
    """Return -mean(fake). `real_values` is not used. Source: as `wgan_critic_loss`."""
    return -_mean(fake_values)


def lsgan_critic_loss(real_values: Any, fake_values: Any) -> Any:
    """Return (mean((real - 1)^2) + mean(fake^2)) / 2.

    Source: Mao et al., arXiv 1611.04076, equation 9, as halved in CycleGAN, arXiv 1703.10593, section 4.
    """
    return (_mean_square(real_values, 1) + _mean_square(fake_values, 0)) / 2


def lsgan_generator_loss(real_values: Any, fake_values: Any) -> Any:
    """Return mean((fake - 1)^2), without the half of arXiv 1611.04076, as in CycleGAN. `real_values` is not used."""
    return _mean_square(fake_values, 1)


def ragan_ls_critic_loss(real_values: Any, fake_values: Any) -> Any:
    """Return (mean((real - mean(fake) - 1)^2) + mean((fake - mean(real) + 1)^2)) / 2.

    The means are those of this batch; DeblurGAN-v2's code takes them over its last 50 batches.

    Source: RaGAN-LS of DeblurGAN-v2, arXiv 1908.03826, section 3.2, halved as in its code; Jolicoeur-Martineau, arXiv
    1807.00734.
    """
    mean_real, mean_fake = _mean(real_values), _mean(fake_values)
    return (_mean_square(real_values, mean_fake + 1) + _mean_square(fake_values, mean_real - 1)) / 2


def ragan_ls_generator_loss(real_values: Any, fake_values: Any) -> Any:
    """Return (mean((fake - mean(real) - 1)^2) + mean((real - mean(fake) + 1)^2)) / 2.

    Source: as `ragan_ls_critic_loss`, whose roles it exchanges.
    """
    return ragan_ls_critic_loss(fake_values, real_values)


def gan_critic_loss(real_values: Any, fake_values: Any) -> Any:
    """Return the binary cross-entropy of real logits with 1 plus that of generated ones with 0.

    Source: Goodfellow et al., arXiv 1406.2661, equation 1.
    """
    return _mean(ops.softplus(-_float32(real_values))) + _mean(ops.softplus(_float32(fake_values)))


def gan_generator_loss(real_values: Any, fake_values: Any) -> Any:
    """Return the binary cross-entropy of generated logits with 1. `real_values` is not used.

    Source: Goodfellow et al., arXiv 1406.2661, section 3: the form whose slope does not vanish where the critic wins.
    """
    return _mean(ops.softplus(-_float32(fake_values)))


@dataclass(frozen=True)
class AdversarialLoss:
    """One way to train a generator against a critic.

    Attributes:
        critic_loss: function of (real values, generated images' values); a scalar that the critic minimises.
        generator_loss: function of the same; a scalar that the generator minimises.
        generator_needs_real: whether `generator_loss` looks at the real values; otherwise they may be None.
        penalty: whether the critic's loss wants `gradient_penalty` (times 10) added.
        boundary: the value above which a picture counts as real; None where only differences between values count.
    """

    critic_loss: Callable[[Any, Any], Any]
    generator_loss: Callable[[Any, Any], Any]
    generator_needs_real: bool = False
    penalty: bool = False
    boundary: float | None = None


ADVERSARIAL: Mapping[str, AdversarialLoss] = {
    "wgan": AdversarialLoss(wgan_critic_loss, wgan_generator_loss),
    "wgan-gp": AdversarialLoss(wgan_critic_loss, wgan_generator_loss, penalty=True),
    "lsgan": AdversarialLoss(lsgan_critic_loss, lsgan_generator_loss, boundary=0.5),
    "ragan-ls": AdversarialLoss(ragan_ls_critic_loss, ragan_ls_generator_loss, generator_needs_real=True),
    "gan": AdversarialLoss(gan_critic_loss, gan_generator_loss, boundary=0.0),
}


class Clipped(keras.constraints.Constraint):
    """Cuts a variable to [-limit, limit] after each update, as WGAN does a critic's trainable weights.

    Source: Arjovsky et al., arXiv 1701.07875, algorithm 1.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def __call__(self, w: Any) -> Any:
        """Return the variable's value, cut."""
        return ops.clip(w, -self.limit, self.limit)


def gradient_penalty(critic: Any, real: Any, fake: Any, alpha: Any) -> Any:
    """Return the mean over the batch of (norm of the critic's gradient at alpha real + (1 - alpha) fake, less 1)^2.

    The norm is that of each sample's gradient, over all its pixels and channels; the value whose gradient it is, the
    mean over the sample's patches, as in the critic's loss. (DeblurGAN's PyTorch code draws one alpha for the batch,
    sums the patches, and takes a norm over the channels at each pixel.)

    In mixed precision the gradient is taken through the critic's dtype, and the norm, in float32. float16 has a
    narrow range: use bfloat16, or scale the loss and skip steps that overflow (`keras.optimizers.LossScaleOptimizer`
    does both).

    Args:
        critic: called as `critic(images, training=True)`, gives (batch, ...); see `layers.input_gradient`.
        real: (batch, height, width, channels), as the critic takes it; a conditional critic's with its condition.
        fake: generated ones of the same shape.
        alpha: (batch, 1, 1, 1), uniform in [0, 1], drawn anew for each step.

    Returns:
        A float32 scalar, without the lambda of 10, differentiable with respect to the critic's weights. Needs the
        TensorFlow backend.

    Raises:
        InputError: `alpha` has another shape.

    Source: Gulrajani et al., arXiv 1704.00028, equation 3 and algorithm 1.
    """
    shape, batch = tuple(alpha.shape), real.shape[0]
    if len(shape) != 4 or shape[1:] != (1, 1, 1) or (batch != shape[0] and None not in (batch, shape[0])):
        raise InputError(f"alpha: expected one for each sample, shape ({batch}, 1, 1, 1), received {shape}")
    alpha, real, fake = _float32(alpha), _float32(real), _float32(fake)
    mixed = alpha * real + (1.0 - alpha) * fake
    return gradient_penalty_loss(None, input_gradient(critic, mixed, training=True))


def _float32(values: Any) -> Any:
    return ops.cast(values, "float32")


def _mean(values: Any) -> Any:
    return ops.mean(_float32(values))


def _mean_square(values: Any, target: Any) -> Any:
    """The mean squared distance from `target`."""
    return ops.mean(ops.square(_float32(values) - target))
