"""GAN image deblurring in Keras 3: the DeblurGAN tutorial of 2018, working again, at full resolution."""

__version__ = "0.1.0"
