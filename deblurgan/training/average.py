"""Averaged weights."""

import keras
import numpy as np


class WeightAverage:
    """Keeps an exponential moving average of a model's trainable weights.

    Args:
        model: the model, built.
        decay: what the average keeps of itself in each step. In the first steps it keeps less,
            (1 + steps) / (10 + steps), so that the random weights of the start are soon forgotten.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        import tensorflow as tf

        self.steps = keras.Variable(0, dtype="int64", trainable=False, name="steps")
        weights = model.trainable_variables
        self.average = [keras.Variable(np.asarray(w.numpy()), trainable=False, name="average") for w in weights]

        def update() -> None:
            steps = tf.cast(self.steps.assign_add(1), tf.float32)
            keep = tf.minimum(decay, (1.0 + steps) / (10.0 + steps))
            for average, weight in zip(self.average, weights, strict=True):
                average.assign(average * keep + weight * (1.0 - keep))

        self.update = tf.function(update, autograph=False)
        """Takes in the weights after a step."""

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a checkpoint needs."""
        return [self.steps, *self.average]
