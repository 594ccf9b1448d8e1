"""The losses: perceptual (VGG16), Wasserstein, L1 and gradient penalty, each usable in `compile(loss=...)`."""

import functools
from importlib import resources
from typing import Any

import keras
import numpy as np
from keras import ops

VGG16_LAYERS = (
    "block1_conv1",
    "block1_conv2",
    "block2_conv1",
    "block2_conv2",
    "block3_conv1",
    "block3_conv2",
    "block3_conv3",
)
IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)


@functools.cache
def vgg16_weights() -> dict[str, np.ndarray]:
    """The ImageNet weights of VGG16 up to block3_conv3, float32 kernels (rows, columns, in, out) and biases."""
    asset = resources.files("deblurgan") / "assets" / "vgg16_block1_to_block3.npz"
    with asset.open("rb") as file, np.load(file, allow_pickle=False) as weights:
        return {name: weights[name] for name in weights.files}


def vgg16_block3_conv3(images: Any, *, imagenet_preprocessing: bool = False, dtype: str | None = None) -> Any:
    """Return VGG16's block3_conv3 activations (after its ReLU) of `images`.

    The weights are constants in the graph and are read from the package once: nothing is downloaded, nothing trains.

    Args:
        images: (batch, height, width, 3) RGB in [-1, 1].
        imagenet_preprocessing: False feeds the images as they are, as the tutorial does. True first turns them into
            what the network was trained on: BGR, 0 to 255, ImageNet's mean subtracted.
        dtype: what the convolutions compute in; the compute dtype of Keras' global policy when None.

    Returns:
        (batch, height // 4, width // 4, 256), in `dtype`.
    """
    dtype = dtype or keras.config.dtype_policy().compute_dtype
    x = images
    if imagenet_preprocessing:
        x = (ops.flip(x, axis=-1) + 1.0) * 127.5 - np.asarray(IMAGENET_MEAN_BGR, "float32")
    x = ops.cast(x, dtype)
    weights = vgg16_weights()
    for name in VGG16_LAYERS:
        if name.endswith("conv1") and name != VGG16_LAYERS[0]:
            x = ops.max_pool(x, 2, 2, padding="valid", data_format="channels_last")
        kernel = ops.cast(weights[f"{name}/kernel"], dtype)
        x = ops.conv(x, kernel, 1, padding="same", data_format="channels_last")
        x = ops.relu(x + ops.cast(weights[f"{name}/bias"], dtype))
    return x


@keras.saving.register_keras_serializable(package="deblurgan")
class PerceptualLoss(keras.losses.Loss):
    """Mean squared difference between the VGG16 block3_conv3 features of two batches of images.

    Args:
        imagenet_preprocessing: see `vgg16_block3_conv3`. The tutorial's weight of 100 is tuned to False; True gives
            values thousands of times larger, so lower the weight with it.
        compute_dtype: what VGG16's convolutions compute in; that of Keras' global policy when None. The difference
            and its mean are float32.

    Takes `(y_true, y_pred)`, both (batch, height, width, 3) RGB in [-1, 1]; returns a scalar.

    Source: Johnson et al., arXiv 1603.08155, as used in the Keras DeblurGAN tutorial.
    """

    def __init__(self, imagenet_preprocessing: bool = False, compute_dtype: str | None = None, **kwargs: Any) -> None:
        super().__init__(**{"name": "perceptual_loss", **kwargs})
        self.imagenet_preprocessing = imagenet_preprocessing
        self.compute_dtype = compute_dtype

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the scalar loss."""
        true, pred = (
            vgg16_block3_conv3(images, imagenet_preprocessing=self.imagenet_preprocessing, dtype=self.compute_dtype)
            for images in (y_true, y_pred)
        )
        return ops.mean(ops.square(ops.cast(true, "float32") - ops.cast(pred, "float32")))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again."""
        return {
            **super().get_config(),
            "imagenet_preprocessing": self.imagenet_preprocessing,
            "compute_dtype": self.compute_dtype,
        }


def perceptual_loss(y_true: Any, y_pred: Any) -> Any:
    """`PerceptualLoss` with the tutorial's choices, as the function that the tutorial passes to `compile`."""
    return PerceptualLoss().call(y_true, y_pred)


def perceptual_loss_100(y_true: Any, y_pred: Any) -> Any:
    """100 times `perceptual_loss`."""
    return 100 * perceptual_loss(y_true, y_pred)


def wasserstein_loss(y_true: Any, y_pred: Any) -> Any:
    """Return mean(y_true * y_pred), a scalar; `y_true` is +1 for real and -1 for generated images."""
    return ops.mean(y_true * y_pred)


def l1_loss(y_true: Any, y_pred: Any) -> Any:
    """Return the mean absolute difference, a scalar."""
    return ops.mean(ops.abs(y_pred - y_true))


def gradient_penalty_loss(y_true: Any, y_pred: Any) -> Any:
    """Return the mean over the batch of (1 - norm of the critic's input gradient) squared, a scalar.

    Args:
        y_true: ignored; `compile` wants the argument.
        y_pred: (batch, ...) gradient of a critic's value with respect to each sample, as the layer
            `layer_utils.InputGradient` gives it. Its norm is taken per sample, over all pixels and channels.

    Source: Gulrajani et al., arXiv 1704.00028, equation 3, without its lambda (use `loss_weights`).
    """
    axes = tuple(range(1, len(y_pred.shape)))
    norm = ops.sqrt(ops.sum(ops.square(y_pred), axis=axes) + 1e-12)  # the root has no slope at 0
    return ops.mean(ops.square(1.0 - norm))
