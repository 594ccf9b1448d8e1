"""The networks, one file each; what they are made of, and what they are called."""

from deblurgan.networks.maxim import maxim
from deblurgan.networks.nafnet import nafnet
from deblurgan.networks.paper import paper_generator
from deblurgan.networks.patchgan import patchgan_discriminator
from deblurgan.networks.unet import unet_generator

__all__ = ["maxim", "nafnet", "paper_generator", "patchgan_discriminator", "unet_generator"]
