"""The critic's answer to whole pictures, to look at."""

import keras
import numpy as np
from numpy.typing import NDArray

from deblurgan.errors import InputError
from deblurgan.networks import zoo
from deblurgan.pictures.pixels import to_model
from deblurgan.training.recipe import Recipe

STRONGEST = 20.0  # the value whose colour is the strongest
REAL, FAKE = (178, 24, 43), (33, 102, 172)  # red, blue


class Judge:
    """Asks the critic in training about pictures of any size.

    Args:
        recipe: tells the critic.
        trained: the critic in training.

    Raises:
        InputError: it gives one value for a picture of one size.
    """

    def __init__(self, recipe: Recipe, trained: keras.Model) -> None:
        assert recipe.critic is not None  # `panels` says so
        if zoo.find("critic", recipe.critic).defaults["image_shape"][0] is not None:
            raise InputError(
                "panels: expected a critic with a value for each patch, such as patchgan, for the panel critic, "
                f"received {recipe.critic}"
            )
        shape = (None, None, trained.input_shape[-1])
        self._critic = zoo.build_critic(recipe.critic, {**recipe.critic_options, "image_shape": shape})
        self._trained = trained
        self._channels = recipe.channels if recipe.conditional else recipe.channels[1:]

    def __call__(self, blurred: NDArray[np.uint8], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what the critic makes of `image`, restored from `blurred`, as a heat map of the same size."""
        self._critic.set_weights(self._trained.get_weights())
        pictures = zip([blurred, image][-len(self._channels) :], self._channels, strict=True)
        given = [to_model(picture)[None, ..., :channels] for picture, channels in pictures]  # grey is RGB all alike
        values = self._critic(np.concatenate(given, -1), training=False)
        return heat_map(np.asarray(values)[0, ..., 0], image.shape[0], image.shape[1])


def heat_map(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    """Return a picture of a map of logits: white for 0, red for what looks real, blue for what does not."""
    strength = np.clip(values / STRONGEST, -1, 1)[..., None]
    colour = np.where(strength > 0, REAL, FAKE)
    picture = np.rint(255 + np.abs(strength) * (colour - 255)).astype(np.uint8)
    rows, columns = (np.arange(side) * of // side for side, of in zip((height, width), values.shape, strict=True))
    return picture[rows][:, columns]
