"""The generator in training as it will be used."""

from pathlib import Path

import keras
import numpy as np

from deblurgan import devices
from deblurgan.networks import zoo
from deblurgan.training.average import WeightAverage
from deblurgan.training.recipe import Recipe
from deblurgan.weights.labelled import save_network


class Snapshot:
    """A generator that has the weights of the one in training whenever it takes them; restoring, it is for any size.

    What only training needs is left out. Where there are averaged weights it has those.

    Args:
        recipe: tells the network.
        precision: "float32", "bfloat16" or "float16", to compute in.
        trained: the generator in training.
        average: of its weights, if it is wanted.

    Attributes:
        generator: has the weights that were taken last.
    """

    def __init__(
        self, recipe: Recipe, precision: str, trained: keras.Model, average: WeightAverage | None = None
    ) -> None:
        self._role, self._name = recipe.role, recipe.network
        self._options = zoo.without_training(self._role, self._name, recipe.generator_options)
        self.generator = zoo.build(self._role, self._name, self._options, dtype=devices.policy(precision))
        self._trained = trained
        self._average = average

    def take(self) -> None:
        """Take over the present weights of the generator in training, or their average."""
        averages = {}
        if self._average is not None:
            trained = zip(self._trained.trainable_variables, self._average.average, strict=True)
            averages = {id(variable): average for variable, average in trained}
        layers = {layer.name: layer for layer in self._trained.layers}  # some of which only training has
        for layer in self.generator.layers:
            for variable, trained_one in zip(layer.weights, layers[layer.name].weights, strict=True):
                variable.assign(np.asarray(averages.get(id(trained_one), trained_one).numpy()))

    def save(self, path: Path) -> None:
        """Write the weights that were taken last, with the network's name and options."""
        save_network(self.generator, path, self._name, self._options, role=self._role)
