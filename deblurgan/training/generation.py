"""The step that trains a generator of pictures from noise against a critic: GAN, WGAN, WGAN-GP."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from deblurgan.training.adversarial import AdversarialLoss
from deblurgan.training.restoration import Part, Restoration, Values

FIXED = (  # fields of a recipe that this step gives no choice of
    *("init_weights", "losses", "conditional", "simultaneous", "sharp_weight", "teacher", "teacher_options"),
    *("input_channels", "output_channels", "preprocess", "resize", "downscale", "augment", "candidates", "sources"),
    *("val_dir", "val_resize", "early_stopping", "reduce_lr", "panels"),
)


class Generation(Restoration):
    """Trains `generator`, from noise to pictures, as `Restoration` trains with a critic and without content losses.

    One training step: update the critic `critic_updates` times, each time on real pictures of its own and on as many
    made from new noise; then update the generator on a batch from new noise. The noise is normal with deviation 1.

    Args:
        generator: float32 (batch, numbers of noise) -> (batch, height, width, channels) in [-1, 1].
        critic: pictures -> (batch, 1), unbounded.
        adversarial: what is made of the critic's values.
        others: as for `Restoration`: `penalty_weight`, `critic_updates`, `accumulate`, `clip_norm`, `seed`.

    The step's results are `g_loss`, `gradient_norm` (the generator's), `d_loss` and `gradient_penalty` (the critic's
    last update), and where the adversarial loss draws a line between real and generated, `d_acc_real` and
    `d_acc_fake`: the shares of both that the critic takes for what they are.
    """

    watched = "val_distance"

    def __init__(
        self, generator: keras.Model, critic: keras.Model, adversarial: AdversarialLoss, **others: Any
    ) -> None:
        super().__init__(generator, None, critic=critic, adversarial=adversarial, **others)

    def train_step(self, data: Any) -> Values:
        """Update the networks on one device's part of a batch, `critic_updates` times as many pictures as usual."""
        values: Values = {}
        for images in tf.split(data, self.critic_updates):
            parts = self._parts(self._noise_for(images), images)
            made = [self.generator(part.blurred, training=True) for part in parts]
            values |= self._update(
                [(self.critic, self.critic_optimizer)],
                [self._critic_part(*each) for each in zip(parts, made, strict=True)],
            )
        parts = self._parts(self._noise_for(images), images)
        return values | self._update(
            [(self.generator, self.optimizer)], [self._generator_part(part, None) for part in parts]
        )

    def _noise_for(self, images: Any) -> Any:
        return keras.random.normal((tf.shape(images)[0], self.generator.input_shape[-1]), seed=self.points)

    def _critic_loss(self, part: Part, restored: Any, real: Any, fake: Any) -> tuple[Any, Values]:
        loss, values = super()._critic_loss(part, restored, real, fake)
        assert self.adversarial is not None
        if (line := self.adversarial.boundary) is not None:
            values["d_acc_real"] = _share(real > line)
            values["d_acc_fake"] = _share(fake <= line)
        return loss, values

    def _generator_loss(self, part: Part, pictures: Sequence[Any], real: Any, fake: Any) -> tuple[Any, Values]:
        loss, values = super()._generator_loss(part, pictures, real, fake)
        return loss, {"g_loss": values["loss"]}


def _share(found: Any) -> Any:
    return tf.reduce_mean(tf.cast(found, tf.float32))
