"""The tutorial's `layer_utils`: its layers, which are in `networks.layers`."""

from deblurgan.networks.layers import (
    BatchNormalization,
    Dropout,
    InputGradient,
    InstanceNormalization,
    ReflectionPadding2D,
    input_gradient,
    res_block,
)

__all__ = [
    "BatchNormalization",
    "Dropout",
    "InputGradient",
    "InstanceNormalization",
    "ReflectionPadding2D",
    "input_gradient",
    "res_block",
]
