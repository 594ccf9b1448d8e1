"""Weights from elsewhere that a generator starts from: a recipe's `init_weights`."""

import dataclasses
from typing import Any

import keras

from deblurgan.errors import WeightsError
from deblurgan.networks import zoo
from deblurgan.training.progress import Progress
from deblurgan.training.recipe import Recipe
from deblurgan.weights.any_file import WeightFile


def with_network_of(content: WeightFile, recipe: Recipe, progress: Progress) -> Recipe:
    """Return the recipe with the network and options of the weight file, where that says what it is.

    What the file leaves open (`WeightFile.left_open`), such as the number of stages, is as the recipe says.
    """
    if content.named is None:
        return recipe
    network, options = content.named.name, {**content.named.options, **_open_options(recipe, content)}
    progress.notice(f"network: {network}, as in {recipe.init_weights}, with its options")
    shape = options.get("image_shape", zoo.ANY_SIZE)
    return dataclasses.replace(
        recipe,
        network=network,
        network_options=options,
        input_channels=shape[2],
        output_channels=options.get("output_channels") or shape[2],
    )


def take_weights(generator: keras.Model, recipe: Recipe, content: WeightFile) -> None:
    """Start `generator`, built as the recipe says, from the weights in the file.

    Raises:
        WeightsError: they are those of another network.
    """
    weights = content.build(**_open_options(recipe, content)).get_weights()
    shapes, found = [tuple(weight.shape) for weight in generator.weights], [weight.shape for weight in weights]
    if shapes != found:
        raise WeightsError(
            f"init_weights {recipe.init_weights}: expected weights of {len(shapes)} tensors that fit this recipe's "
            f"network, found {len(found)} of a {content.network}"
        )
    generator.set_weights(weights)


def _open_options(recipe: Recipe, content: WeightFile) -> dict[str, Any]:
    """Return those of the recipe's options that the weight file leaves open."""
    if content.named is None or content.named.name != recipe.network:
        return {}
    return {option: value for option, value in recipe.network_options.items() if option in content.left_open}
