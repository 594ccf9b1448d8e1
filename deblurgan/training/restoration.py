"""The Keras model that trains a generator on pairs, with or without a critic: one batch in, one update out."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from deblurgan.networks.maxim_parts import KERAS
from deblurgan.training.adversarial import AdversarialLoss, gradient_penalty
from deblurgan.training.losses import WeightedSum

Values = dict[str, Any]
Recorded = tuple[tf.GradientTape, Any]  # a network's loss, scaled, and the tape that recorded it
Compute = Callable[[], tuple[list[Recorded], Values]]  # of each network to update, and values by name

TAUGHT = "teacher_"  # before the name of a content loss: against the teacher's picture


class Part(NamedTuple):
    """Some of a batch's pictures: blurred, sharp, and as the teacher restores them, where there is one."""

    blurred: Any
    sharp: Any
    taught: Any = None


class Seeds(keras.random.SeedGenerator):
    """Seeds that each device of a `tf.distribute` strategy gets others of; one alone gets Keras' own."""

    def next(self, ordered: bool = True) -> Any:
        """Return the next seed."""
        seed, context = super().next(ordered), tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return seed
        return tf.random.experimental.stateless_fold_in(seed, tf.cast(context.replica_id_in_sync_group, seed.dtype))


class Restoration(keras.Model):
    """Trains `generator` on batches of (blurred, sharp): one of the `steps` that the trainer drives.

    One training step, with a critic: restore the batch once; update the critic `critic_updates` times, each time on
    the sharp and on the restored crops and with a new random point between them for the gradient penalty; then
    update the generator on content loss + `adversarial_weight` x adversarial loss. The generator's forward pass
    is made once and serves both (twice where a batch is computed in parts). Without a critic there is only the last
    update. With `simultaneous`, the critic judges the sharp and the restored crops once, and both networks are
    updated after both gradients are known: the generator's is that against the critic before its update.

    With a teacher, the content loss is `sharp_weight` x that against the sharp picture + `teacher_weight` x that
    against the teacher's. Where a sharp picture is NaN, there is none, and the teacher's takes its place.

    A generator may give several pictures, of its stages and at several scales. Each of them counts: what it is
    compared with is made as small as it is, and each content loss is the sum of those of all pictures.

    Args:
        generator: float32 (batch, height, width, 3) RGB in [-1, 1] -> the same, or a list of such pictures.
        content: the loss between sharp and restored pictures; the critic's judgement alone counts when None.
        reductions: how many times smaller than the input each of the generator's pictures is. The last one of full
            size is the restored picture, which a critic judges.
        sharp_weight: weight of that in the generator's loss.
        teacher: from blurred pictures to those to learn from, without a gradient; none when None.
        teacher_weight: weight of the loss between these and the restored pictures.
        critic: pictures, or (`conditional`) blurred and other pictures in 6 channels -> values of any shape.
        adversarial: what is made of the critic's values; needed with a critic.
        adversarial_weight: weight of the adversarial loss beside the content loss.
        penalty_weight: weight of the gradient penalty in the critic's loss; 0 leaves it out.
        critic_updates: critic updates per generator update.
        simultaneous: whether both networks are updated at once, as above; with one critic update.
        conditional: whether the critic sees the blurred pictures, too.
        accumulate: equal parts in which each batch is computed, one after the other, before an update.
            Statistics of a batch (BatchNormalization, relativistic losses) are those of the part.
        clip_norm: largest global norm of the gradients of a network; no clipping when None.
        seed: of the gradient penalty's random points.

    The step's results are the values of this batch: `loss` (the generator's), each content term before its weight
    (against the sharp picture under its own name, against the teacher's behind `teacher_`),
    `gradient_norm` (before clipping), and with a critic `adversarial`, `d_loss` and `gradient_penalty`.

    Under a `tf.distribute` strategy a batch is that of one replica; losses are divided by the number of replicas and
    gradients are summed before they are clipped, so that the update is that of the global batch.
    """

    watched = "loss"

    def __init__(
        self,
        generator: keras.Model,
        content: WeightedSum | None,
        *,
        reductions: Sequence[int] = (1,),
        sharp_weight: float = 1.0,
        teacher: Callable[[Any], Any] | None = None,
        teacher_weight: float = 1.0,
        critic: keras.Model | None = None,
        adversarial: AdversarialLoss | None = None,
        adversarial_weight: float = 1.0,
        penalty_weight: float = 0.0,
        critic_updates: int = 1,
        simultaneous: bool = False,
        conditional: bool = False,
        accumulate: int = 1,
        clip_norm: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(name="restoration")
        self.generator = generator
        self.critic = critic
        self.content = content
        self.reductions = tuple(reductions)
        self.teacher = teacher
        self.target_weights = ("", sharp_weight), (TAUGHT, teacher_weight if teacher else 0.0)
        self.adversarial = adversarial
        self.adversarial_weight = adversarial_weight
        self.penalty_weight = penalty_weight
        self.critic_updates = critic_updates
        self.simultaneous = simultaneous
        self.conditional = conditional
        self.accumulate = accumulate
        self.clip_norm = clip_norm
        self.points = Seeds(seed)
        self.built = True

    def compile(self, optimizer: Any, critic_optimizer: Any = None, **options: Any) -> None:
        """Set the networks' optimizers; `options` are those of `keras.Model.compile`, e.g. `jit_compile`."""
        super().compile(optimizer=optimizer, **options)
        optimizer.build(self.generator.trainable_variables)
        self.critic_optimizer = critic_optimizer
        if self.critic is not None:
            critic_optimizer.build(self.critic.trainable_variables)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Restore a batch of pictures."""
        return self._final(self._pictures(inputs, training))

    @property
    def model(self) -> keras.Model:
        """What Keras' callbacks are given: this model."""
        return self

    def step(self, batch: Any) -> dict[str, float]:
        """Update the networks on a batch, shared out among the devices, and return its losses."""
        return {name: float(value) for name, value in self._distributed(batch).items()}

    def networks(self) -> dict[str, keras.Model]:
        """The networks, by the names of their files."""
        return {"generator": self.generator} | ({} if self.critic is None else {"discriminator": self.critic})

    def parts(self) -> dict[str, Any]:
        """Everything that training changes, for a checkpoint."""
        optimizers = {"optimizer": self.optimizer, "critic_optimizer": self.critic_optimizer}
        return {"model": self} | {name: optimizer for name, optimizer in optimizers.items() if optimizer is not None}

    @functools.cached_property
    def _distributed(self) -> Callable[[Any], Values]:
        strategy, train_step = self.distribute_strategy, self.train_step
        if self.jit_compile:
            train_step = tf.function(train_step, autograph=False, jit_compile=True)

        def step(batch: Any) -> Values:
            values = strategy.run(train_step, args=(batch,))
            return {name: strategy.reduce(tf.distribute.ReduceOp.MEAN, value, None) for name, value in values.items()}

        return tf.function(step, autograph=False)

    def train_step(self, data: Any) -> Values:
        """Update the networks on one device's part of a batch and return its losses."""
        parts = self._parts(*data)
        generator, critic = (self.generator, self.optimizer), (self.critic, self.critic_optimizer)
        if self.critic is not None and self.simultaneous:
            return self._update([generator, critic], [self._part_of_both(part) for part in parts])
        first = self._restored(parts[0]) if len(parts) == 1 else None
        values: Values = {}
        if self.critic is not None:
            restored = [self._final(first[1] if first else self._pictures(part.blurred, True)) for part in parts]
            for _ in range(self.critic_updates):
                values |= self._update(
                    [critic], [self._critic_part(*each) for each in zip(parts, restored, strict=True)]
                )
        return values | self._update([generator], [self._generator_part(part, first) for part in parts])

    def _parts(self, blurred: Any, sharp: Any) -> list[Part]:
        """Return the parts that a batch is computed in."""
        parts: list[Part] = []
        for pair in zip(tf.split(blurred, self.accumulate), tf.split(sharp, self.accumulate), strict=True):
            with tf.control_dependencies([part.taught for part in parts if self.teacher]):  # one after the other
                parts.append(self._with_teacher(*pair))
        return parts

    def _with_teacher(self, blurred: Any, sharp: Any) -> Part:
        if self.teacher is None:
            return Part(blurred, sharp)
        taught = self.teacher(blurred)
        return Part(blurred, tf.where(tf.math.is_nan(sharp), taught, sharp), taught)

    def _pictures(self, blurred: Any, training: bool | None) -> list[Any]:
        """Return all pictures that the generator makes of blurred ones."""
        pictures = self.generator(blurred, training=training)
        return list(pictures) if isinstance(pictures, list | tuple) else [pictures]

    def _final(self, pictures: Sequence[Any]) -> Any:
        """Return the restored picture of all that the generator made."""
        return pictures[max(i for i, reduction in enumerate(self.reductions) if reduction == 1)]

    def _restored(self, part: Part) -> tuple[tf.GradientTape, list[Any]]:
        """Restore a part and return the tape that recorded how."""
        with tf.GradientTape() as tape:
            pictures = self._pictures(part.blurred, True)
        return tape, pictures

    def _content(self, part: Part, pictures: Sequence[Any]) -> tuple[Values, Any]:
        """Return the content losses by name, each the sum of those of all pictures, and their weighted sum."""
        values: Values = {}
        loss = 0.0
        if self.content is None:
            return values, loss
        for (kind, weight), target in zip(self.target_weights, (part.sharp, part.taught), strict=True):
            if not weight:
                continue
            smaller = {reduction: reduced(target, reduction) for reduction in set(self.reductions)}
            found = [
                self.content.terms(smaller[reduction], picture)
                for reduction, picture in zip(self.reductions, pictures, strict=True)
            ]
            terms = {term: sum(each[term] for each in found) for term in self.content.term_weights}
            values |= {kind + term: value for term, value in terms.items()}
            loss += weight * self.content.total(terms)
        return values, loss

    def _judge(self, blurred: Any, images: Any) -> Any:
        assert self.critic is not None
        if self.conditional:
            images = tf.concat([blurred, images], axis=-1)
        return self.critic(images, training=True)

    def _critic_loss(self, part: Part, restored: Any, real: Any, fake: Any) -> tuple[Any, Values]:
        """Return the critic's loss on a part, scaled, and its values, from those that it gave to the pictures."""
        assert self.adversarial is not None
        loss = self.adversarial.critic_loss(real, fake)
        values = {"d_loss": loss}
        if self.penalty_weight:
            alpha = keras.random.uniform((tf.shape(part.sharp)[0], 1, 1, 1), seed=self.points)
            values["gradient_penalty"] = gradient_penalty(
                lambda images, training: self._judge(part.blurred, images), part.sharp, restored, alpha
            )
            loss += self.penalty_weight * values["gradient_penalty"]
        return self.critic_optimizer.scale_loss(loss / self._divisor), values

    def _generator_loss(self, part: Part, pictures: Sequence[Any], real: Any, fake: Any) -> tuple[Any, Values]:
        """The same of the generator; without a critic the last two are None."""
        values, loss = self._content(part, pictures)
        if self.adversarial is not None:
            values["adversarial"] = self.adversarial.generator_loss(real, fake)
            loss += self.adversarial_weight * values["adversarial"]
        values["loss"] = loss
        return self.optimizer.scale_loss(loss / self._divisor), values

    def _critic_part(self, part: Part, restored: Any) -> Compute:
        """Return what computes the critic's loss on a part."""

        def compute() -> tuple[list[Recorded], Values]:
            with tf.GradientTape() as tape:
                real, fake = self._judge(part.blurred, part.sharp), self._judge(part.blurred, restored)
                loss, values = self._critic_loss(part, restored, real, fake)
            return [(tape, loss)], values

        return compute

    def _generator_part(self, part: Part, first: tuple[tf.GradientTape, list[Any]] | None) -> Compute:
        """Return what computes the generator's loss on a part; it goes on from the pass `first` if there is one."""

        def compute() -> tuple[list[Recorded], Values]:
            tape, pictures = first or self._restored(part)
            with tape:
                real = fake = None
                if self.adversarial is not None:
                    real = self._judge(part.blurred, part.sharp) if self.adversarial.generator_needs_real else None
                    fake = self._judge(part.blurred, self._final(pictures))
                loss, values = self._generator_loss(part, pictures, real, fake)
            return [(tape, loss)], values

        return compute

    def _part_of_both(self, part: Part) -> Compute:
        """Return what computes the losses of both networks, in this order, from one pass through each."""

        def compute() -> tuple[list[Recorded], Values]:
            with tf.GradientTape() as tape, tf.GradientTape() as critic_tape:
                pictures = self._pictures(part.blurred, True)
                restored = self._final(pictures)
                real, fake = self._judge(part.blurred, part.sharp), self._judge(part.blurred, restored)
                loss, values = self._generator_loss(part, pictures, real, fake)
                critic_loss, critic_values = self._critic_loss(part, restored, real, fake)
            return [(tape, loss), (critic_tape, critic_loss)], critic_values | values

        return compute

    @property
    def _divisor(self) -> int:
        return self.accumulate * tf.distribute.get_strategy().num_replicas_in_sync

    def _update(self, networks: Sequence[tuple[Any, Any]], parts: Sequence[Compute]) -> Values:
        """Update networks by their optimizers with the gradients of all parts, and return the means of the values.

        Among these is the norm of the gradient, where the generator is the first.
        """
        variables = [network.trainable_variables for network, _ in networks]
        gradients: list[list[Any]] = []
        values: Values = {}
        for compute in parts:
            done = list(itertools.chain(*gradients))
            with tf.control_dependencies(done):  # so that only one part's activations are in memory
                recorded, own = compute()
                new = [tape.gradient(loss, of) for (tape, loss), of in zip(recorded, variables, strict=True)]
            if gradients:
                new = [[a + b for a, b in zip(*both, strict=True)] for both in zip(gradients, new, strict=True)]
            gradients = new
            values = {name: values.get(name, 0.0) + value / len(parts) for name, value in own.items()}
        for (network, optimizer), of, slopes in zip(networks, variables, gradients, strict=True):
            clipped, norm = self._clipped(self._summed(slopes), optimizer)
            optimizer.apply(clipped, of)
            if network is self.generator:
                values["gradient_norm"] = norm
        return values

    def _summed(self, gradients: list[Any]) -> list[Any]:
        """Return the sum of the gradients over all replicas."""
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return gradients
        return context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)

    def _clipped(self, gradients: list[Any], optimizer: Any) -> tuple[list[Any], Any]:
        """Return the gradients, clipped, and their global norm before; both as if the loss had not been scaled.

        Optimizers of Keras would clip each replica's gradients before they are summed. They do sum, so that each
        replica hands in its share.
        """
        norm = tf.linalg.global_norm(gradients) / optimizer.scale_loss(1.0)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if self.clip_norm is None:
            return gradients if replicas == 1 else [gradient / replicas for gradient in gradients], norm
        factor = self.clip_norm / tf.maximum(norm, self.clip_norm) / replicas
        return [gradient * factor for gradient in gradients], norm


def reduced(images: Any, factor: int) -> Any:
    """Make images smaller by `factor`, bilinearly with antialiasing: what MAXIM's smaller pictures were trained on.

    Measured on its published weights: compared with sharp pictures that are made smaller like this they score 0.5 to
    1.5 dB higher than with means of squares, the next best.
    """
    return images if factor == 1 else KERAS.shrunk(images, factor)
