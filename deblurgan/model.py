"""The tutorial's `model`: its networks, which are in `networks.tutorial`."""

from deblurgan.networks.tutorial import (
    discriminator_model,
    generator_containing_discriminator,
    generator_containing_discriminator_multiple_outputs,
    generator_model,
    image_shape,
    input_nc,
    input_shape_discriminator,
    input_shape_generator,
    n_blocks_gen,
    ndf,
    ngf,
    output_nc,
)

__all__ = [
    "discriminator_model",
    "generator_containing_discriminator",
    "generator_containing_discriminator_multiple_outputs",
    "generator_model",
    "image_shape",
    "input_nc",
    "input_shape_discriminator",
    "input_shape_generator",
    "n_blocks_gen",
    "ndf",
    "ngf",
    "output_nc",
]
