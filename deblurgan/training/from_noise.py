"""The recipes that make pictures from noise, fitted to a dataset."""

from typing import Any

from deblurgan.data.arrays import Shape, shape_of
from deblurgan.errors import InputError
from deblurgan.training.recipe import read_fields

KINDS = ("gan", "wgan", "wgan-gp")
SIZES = ("small", "tutorial")

_GENERATORS: dict[str, dict[str, list[int]]] = {
    "tutorial": {"upsample": [2, 2, 1, 1], "conv_filters": [128, 64, 64, 1], "conv_strides": [1, 1, 1, 1]},
    "small": {"upsample": [2, 2, 1], "conv_filters": [32, 16, 1], "conv_strides": [1, 1, 1]},
}
_CRITICS: dict[str, dict[str, list[int]]] = {
    "tutorial": {"conv_filters": [64, 64, 128, 128], "conv_strides": [2, 2, 2, 1]},
    "small": {"conv_filters": [32, 64], "conv_strides": [2, 2]},
}


def fields(kind: str, dataset: str, *, size: str = "tutorial", side: int = 64) -> dict[str, Any]:
    """Return the fields of a recipe, with networks for the dataset's pictures.

    Args:
        kind: one of `KINDS`, the names of the recipes.
        dataset: as for `data.arrays.open_set`.
        size: one of `SIZES`: the networks of the tutorial, or some with a tenth of the work.
        side: of the pictures that are made of those of a folder, in pixels.

    Raises:
        InputError, FileError: of the dataset; or its pictures are not square with a side that is a multiple of 4.
    """
    shape: Shape = shape_of(dataset, side)
    height, width, channels = shape
    if height != width or height % 4:
        raise InputError(f"dataset {dataset}: expected squares with a side that is a multiple of 4, found {shape}")
    known = read_fields(kind)
    generator = {name: list(values) for name, values in _GENERATORS[size].items()}
    generator["conv_filters"][-1] = channels
    generator["initial_dense_layer_size"] = [height // 4, width // 4, 64]
    generator["conv_kernel_size"] = [5] * len(generator["conv_filters"])
    critic = {**_CRITICS[size], "conv_kernel_size": [5] * len(_CRITICS[size]["conv_filters"])}
    return {
        **known,
        "dataset": dataset,
        "image_size": height,
        "network_options": {**known.get("network_options", {}), **generator},
        "critic_options": {**known["critic_options"], **critic},
    }
