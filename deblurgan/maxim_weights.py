"""Weights of MAXIM by the names that its authors gave them: build the network that they belong to."""

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from deblurgan.errors import WeightsError
from deblurgan.networks.maxim import SPARE, maxim
from deblurgan.networks.maxim_names import authors_names

Tensors = Mapping[str, np.ndarray]


def build(tensors: Tensors, options: Mapping[str, Any], **overrides: Any) -> keras.Model:
    """Return the network of these weights. What only training needs starts at zero where it is missing.

    Args:
        tensors: by the authors' names, in Keras' layouts; of the stages that the network has, or of more.
        options: the builder's keywords that the tensors tell.
        overrides: others, such as `stages` and `dtype`.

    Raises:
        WeightsError: one is missing, of another size, or not finite; it is named.
        InputError: an override that makes no network.
    """
    depth = options.get("depth", 3)

    def initial(path: str) -> np.ndarray:
        names = authors_names(path, depth)
        name = next((name for name in names if name in tensors), None)
        if name is None and re.fullmatch(SPARE, path.partition("/")[0]):
            return np.zeros(())
        if name is None:
            raise WeightsError(f"{names[0]} is missing")
        values = np.asarray(tensors[name], np.float32)
        if not np.isfinite(values).all():
            raise WeightsError(f"expected finite values, found NaN or infinity in {name}")
        return values

    return maxim(**{**options, **overrides}, initial=initial)
