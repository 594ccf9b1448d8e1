"""What an exported network is: what it takes and gives, and what its file says of it.

However it is stored, it takes float32 (count, height, width, 3) RGB in [0, 1] and gives the same; with 1 channel
that side is grey. Heights and widths are multiples of what `About.needs` says, and at least `LEAST_INPUT`.
"""

import dataclasses
import importlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deblurgan.errors import FileError, InputError
from deblurgan.files import shown
from deblurgan.untrusted import from_json

if TYPE_CHECKING:
    import keras

    from deblurgan.networks.footprint import Footprint

Images = NDArray[np.float32]

KEY = "deblurgan"  # of the metadata in a file
INPUT, OUTPUT = "blurred", "restored"
LEAST_INPUT = 8  # a side; the innermost reflection of the ResNet generators needs two pixels after two halvings


@dataclass(frozen=True)
class About:
    """What an exported file says of itself.

    Attributes:
        network: what it is, in words.
        precision: "float32" or "int8".
        statistics: whether it normalises an image by the image's own statistics, so that tiles would not fit.
        needs: what it needs when it restores a part of a picture.
        channels: how many it takes and gives.
    """

    network: str
    precision: str
    statistics: bool
    needs: "Footprint"
    channels: tuple[int, int] = (3, 3)

    @property
    def least_side(self) -> int:
        """The smallest height or width that it takes."""
        return max(LEAST_INPUT, self.needs.multiple)

    @property
    def contract(self) -> str:
        """What it takes and gives, in words."""
        sides = f"height and width multiples of {self.needs.multiple}, at least {self.least_side}"
        taken, given = (
            f"(count, height, width, {number}), {'grey' if number == 1 else 'RGB'}" for number in self.channels
        )
        return f"float32 {taken} in [0, 1], {sides}; gives {'the same' if given == taken else given}"

    def text(self) -> str:
        """Return all this as JSON."""
        return json.dumps({"takes": self.contract, **dataclasses.asdict(self)})


def parse_about(text: str | None, path: str | os.PathLike[str]) -> About:
    """Return what `About.text` wrote into the file `path`.

    Raises:
        FileError: it is missing or something else, so that the file is not one that was exported here.
    """
    from deblurgan.networks.footprint import Footprint

    try:
        found = from_json(text or "")
        del found["takes"]
        needs, (taken, given) = Footprint(**found.pop("needs")), found.pop("channels", (3, 3))
        return About(needs=needs, channels=(taken, given), **found)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise FileError(
            f"{shown(path)}: expected a file of `deblurgan export`, found none of its metadata ({KEY})"
        ) from error


def about(model: "keras.Model", network: str) -> About:
    """Describe `model`, a generator for images of any size, in colours or grey.

    Raises:
        InputError: a network that cannot be exported: of other channels or precision, or with a random result.
    """
    from deblurgan.networks.footprint import footprint, require_channels, takes_statistics

    require_channels(model, (1, 3), network)
    needs = footprint(model)
    for layer in model.operations:
        if getattr(layer, "always", False):
            raise InputError(f"{network}: expected test_dropout=false; a random result cannot be exported")
        if layer.compute_dtype not in (None, "float32"):
            raise InputError(f"{network}: expected layers that compute in float32, found {layer.compute_dtype}")
    channels = model.input_shape[-1], model.output_shape[-1]
    return About(network, "float32", any(map(takes_statistics, model.operations)), needs, channels)


def optional(name: str, extra: str = "export") -> Any:
    """Import a module of a package that only exporting and other engines need, and that `extra` brings.

    Raises:
        InputError: the package is not installed; the message says how to get it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0].replace("_", "-")
        raise InputError(f"{package}: is not installed; pip install 'deblurgan[{extra}]'") from error
