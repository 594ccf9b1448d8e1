"""The tutorial's `losses`: all content losses and the critic's, which are in `training.losses`."""

from deblurgan.training.losses import (
    PerceptualLoss,
    WeightedSum,
    charbonnier_loss,
    frequency_loss,
    gradient_penalty_loss,
    l1_loss,
    mse_loss,
    perceptual_loss,
    perceptual_loss_100,
    psnr_loss,
    wasserstein_loss,
)

__all__ = [
    "PerceptualLoss",
    "WeightedSum",
    "charbonnier_loss",
    "frequency_loss",
    "gradient_penalty_loss",
    "l1_loss",
    "mse_loss",
    "perceptual_loss",
    "perceptual_loss_100",
    "psnr_loss",
    "wasserstein_loss",
]
