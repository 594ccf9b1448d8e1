"""The tutorial's three networks, and the step that trains them on one batch."""

from typing import Any

import keras
import numpy as np

from deblurgan.networks.tutorial import generator_containing_discriminator_multiple_outputs
from deblurgan.training.losses import PerceptualLoss, wasserstein_loss

FIXED = (  # fields of a recipe that this step gives no choice of
    *("network", "critic", "conditional", "perceptual_network", "imagenet_preprocessing", "vgg_weights"),
    *(
        "input_channels",
        "output_channels",
        "sharp_weight",
        "teacher",
        "adversarial",
        "gradient_penalty",
        "critic_learning_rate",
    ),
    *("optimizer", "beta_1", "beta_2", "epsilon", "weight_decay", "schedule", "warmup_steps", "clip_norm"),
    *("accumulate", "simultaneous", "devices"),
)
LOSSES = ("d_loss", "d_loss_real", "d_loss_fake", "g_loss", "perceptual_loss", "wasserstein_loss")


class TutorialGAN:
    """The tutorial's generator, critic and combined model `d_on_g`, compiled, and the step that trains them.

    One step on a batch: generate restored images once, with the generator as it would be used (inference); train
    the critic `critic_updates` times, each on the sharp batch with label +1 and on the restored batch with label -1;
    then train the generator through `d_on_g` on 100 x perceptual + 1 x Wasserstein loss, the critic frozen. It is
    one of the `steps` that the trainer drives.

    A frozen critic normalises with its moving statistics, as Keras 3 does; Keras 2.1 used the batch's, which a
    discriminator built with `legacy_batchnorm=True` does too.

    Args:
        generator: a model from `generator_model`.
        discriminator: a model from `discriminator_model` of the same image size.
        critic_updates: critic steps per generator step.
        learning_rate: of both Adam optimizers (betas 0.9 and 0.999, epsilon 1e-8).
        loss_weights: of the perceptual and the Wasserstein loss.
        compute_dtype: what the networks and the perceptual loss's VGG16 compute in. With "float16" the gradients, too
            small for it, are scaled; a step whose scaled gradients overflow is skipped.
        jit: whether XLA compiles the updates. On CPUs it is slower than oneDNN's kernels in bfloat16, and no faster
            in float32.
    """

    watched = "g_loss"

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        *,
        critic_updates: int = 5,
        learning_rate: float = 1e-4,
        loss_weights: tuple[float, float] = (100, 1),
        compute_dtype: str = "float32",
        jit: bool = False,
    ) -> None:
        import tensorflow as tf

        self.generator = generator
        self.discriminator = discriminator
        self.critic_updates = critic_updates
        self.d_on_g = generator_containing_discriminator_multiple_outputs(generator, discriminator)
        discriminator.compile(optimizer=_adam(learning_rate, compute_dtype), loss=wasserstein_loss, jit_compile=jit)
        discriminator.trainable = False  # as in the tutorial; Keras 3 does not look at it here, `compat` does
        self.d_on_g.compile(
            optimizer=_adam(learning_rate, compute_dtype),
            loss=[PerceptualLoss(compute_dtype=compute_dtype), wasserstein_loss],
            loss_weights=list(loss_weights),
            jit_compile=jit,
        )
        discriminator.trainable = True
        discriminator.optimizer.build(discriminator.trainable_variables)
        self.d_on_g.optimizer.build(generator.trainable_variables)
        self.generate = tf.function(lambda blurred: generator(blurred, training=False), autograph=False)

    @property
    def model(self) -> keras.Model:
        """What Keras' callbacks are given: `d_on_g`."""
        return self.d_on_g

    def step(self, batch: tuple[Any, Any]) -> dict[str, float]:
        """Train on one batch and return its losses by the names in `LOSSES`.

        Args:
            batch: blurred, float32 (batch, height, width, 3) RGB in [-1, 1], and the same scenes, sharp.
        """
        blurred, sharp = batch
        real, fake = np.ones((len(blurred), 1), np.float32), -np.ones((len(blurred), 1), np.float32)
        generated = self.generate(blurred)
        for _ in range(self.critic_updates):
            d_loss_real = _train_on_batch(self.discriminator, sharp, real)["loss"]
            d_loss_fake = _train_on_batch(self.discriminator, generated, fake)["loss"]
        # Keras reads `trainable` when it first traces a step, not in compile(): freeze around every combined step.
        self.discriminator.trainable = False
        try:
            combined = _train_on_batch(self.d_on_g, blurred, [sharp, real])
        finally:
            self.discriminator.trainable = True
        perceptual, wasserstein = (combined[f"{name}_loss"] for name in self.d_on_g.output_names)
        g_loss = combined["loss"]
        values = (0.5 * (d_loss_real + d_loss_fake), d_loss_real, d_loss_fake, g_loss, perceptual, wasserstein)
        return dict(zip(LOSSES, map(float, values), strict=True))

    def networks(self) -> dict[str, keras.Model]:
        """Both networks, by the names of their files."""
        return {"generator": self.generator, "discriminator": self.discriminator}

    def parts(self) -> dict[str, Any]:
        """Everything that training changes, for a checkpoint."""
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "discriminator_optimizer": self.discriminator.optimizer,
            "d_on_g_optimizer": self.d_on_g.optimizer,
        }


def _adam(learning_rate: float, compute_dtype: str) -> keras.optimizers.Optimizer:
    adam = keras.optimizers.Adam(learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8)
    # Keras adds the scaling by itself only where float16 is the global policy.
    return keras.optimizers.LossScaleOptimizer(adam) if compute_dtype == "float16" else adam


def _train_on_batch(model: keras.Model, x: Any, y: Any) -> dict[str, Any]:
    """Return this batch's losses; Keras 3 would return their mean since its metrics were last reset."""
    model.reset_metrics()
    return model.train_on_batch(x, y, return_dict=True)
