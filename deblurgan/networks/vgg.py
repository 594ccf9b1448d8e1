"""VGG16 and VGG19 up to their block3_conv3: the features that perceptual losses compare.

The weights are constants in the graph: nothing trains. VGG16's are in the package; VGG19's come from a file or are
downloaded as Keras does it.
"""

import functools
import itertools
import os
import zipfile
from collections.abc import Mapping
from importlib import resources
from typing import Any

import h5py
import keras
import numpy as np
from keras import ops

from deblurgan.errors import FileError, InputError, WeightsError
from deblurgan.files import reason
from deblurgan.untrusted import check_own, opened

VGG16_LAYERS = (  # VGG19's are the same so far; it goes on with a block3_conv4
    "block1_conv1",
    "block1_conv2",
    "block2_conv1",
    "block2_conv2",
    "block3_conv1",
    "block3_conv2",
    "block3_conv3",
)
CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256)  # of the image and after each layer
IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)
NETWORKS = ("vgg16", "vgg19")

VGG19_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
VGG19_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg19/{VGG19_FILE}"
VGG19_MD5 = "253f8cb515780f3b799900260a226db6"  # as in keras.applications

Weights = Mapping[str, np.ndarray]


def vgg_weights(network: str, path: str | os.PathLike[str] | None = None) -> Weights:
    """Return the weights up to block3_conv3, ImageNet's unless a file says otherwise.

    Each source is read once.

    Args:
        network: "vgg16" or "vgg19".
        path: a file with the weights: `.npz` with `block1_conv1/kernel`, `block1_conv1/bias`, ..., or HDF5 that holds
            the layers by these names, such as Keras' own `vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5` or what
            `keras.applications.VGG19().save_weights` writes. Without one, VGG16's come with the package, and VGG19's
            are downloaded (80 MB) and kept in `~/.keras/models`, as `keras.applications.VGG19` does.

    Returns:
        float32 `LAYER/kernel` (3, 3, in, out) and `LAYER/bias` (out,) for each of `VGG16_LAYERS`.

    Raises:
        InputError: another `network`.
        FileError: the file cannot be read, or the download failed.
        WeightsError: the file holds other tensors.
    """
    if network not in NETWORKS:
        raise InputError(f"network: expected {' or '.join(map(repr, NETWORKS))}, received {network!r}")
    if path is not None:
        return _file_weights(os.fspath(path))
    return vgg16_weights() if network == "vgg16" else _file_weights(_downloaded_vgg19())


@functools.cache
def vgg16_weights() -> Weights:
    """The weights of VGG16 that come with the package; see `vgg_weights`."""
    asset = resources.files("deblurgan") / "assets" / "vgg16_block1_to_block3.npz"
    with asset.open("rb") as file, np.load(file, allow_pickle=False) as weights:
        return {name: weights[name] for name in weights.files}


def vgg16_block3_conv3(
    images: Any,
    *,
    weights: str | os.PathLike[str] | None = None,
    imagenet_preprocessing: bool = False,
    dtype: str | None = None,
) -> Any:
    """Return VGG16's block3_conv3 activations of `images`, after their ReLU, as the tutorial's loss takes them.

    Args:
        images: (batch, height, width, 3) RGB in [-1, 1].
        weights: a file; see `vgg_weights`.
        imagenet_preprocessing: False feeds the images as they are, as the tutorial does. True first turns them into
            what the network was trained on: BGR, 0 to 255, ImageNet's mean subtracted.
        dtype: what the convolutions compute in; the compute dtype of Keras' global policy when None.

    Returns:
        (batch, height // 4, width // 4, 256), in `dtype`.
    """
    return ops.relu(_block3_conv3(images, vgg_weights("vgg16", weights), imagenet_preprocessing, dtype))


def vgg19_block3_conv3(
    images: Any,
    *,
    weights: str | os.PathLike[str] | None = None,
    imagenet_preprocessing: bool = False,
    dtype: str | None = None,
) -> Any:
    """Return VGG19's block3_conv3 of `images` before its ReLU, as the loss of DeblurGAN's PyTorch code takes it.

    That code cuts the network behind the convolution, and feeds it images in [-1, 1]. Its weights are torchvision's,
    trained on RGB of mean 0 and deviation 1; Keras' were trained on BGR from 0 to 255, mean subtracted, so that
    with them the features of unprocessed images, and the loss, are of another size than there.

    Arguments and result are those of `vgg16_block3_conv3`.
    """
    return _block3_conv3(images, vgg_weights("vgg19", weights), imagenet_preprocessing, dtype)


def _block3_conv3(images: Any, weights: Weights, imagenet_preprocessing: bool, dtype: str | None) -> Any:
    """Return what the convolution block3_conv3 makes of the layers before it, each with its ReLU."""
    dtype = dtype or keras.config.dtype_policy().compute_dtype
    x = images
    if imagenet_preprocessing:
        x = (ops.flip(x, axis=-1) + 1.0) * 127.5 - np.asarray(IMAGENET_MEAN_BGR, "float32")
    x = ops.cast(x, dtype)
    for name in VGG16_LAYERS:
        if name != VGG16_LAYERS[0]:
            x = ops.relu(x)
            if name.endswith("conv1"):
                x = ops.max_pool(x, 2, 2, padding="valid", data_format="channels_last")
        kernel = ops.cast(weights[f"{name}/kernel"], dtype)
        x = ops.conv(x, kernel, 1, padding="same", data_format="channels_last")
        x = x + ops.cast(weights[f"{name}/bias"], dtype)
    return x


@functools.cache
def _downloaded_vgg19() -> str:
    """Return where `keras.applications` keeps VGG19's weights, once they are there."""
    try:
        return keras.utils.get_file(VGG19_FILE, VGG19_URL, cache_subdir="models", file_hash=VGG19_MD5)
    except Exception as error:  # get_file raises no narrower class where the server cannot be reached
        raise FileError(
            f"vgg_weights: VGG19's weights could not be downloaded ({reason(error)}); "
            f"pass --vgg_weights FILE with a copy of {VGG19_URL}"
        ) from error


@functools.cache
def _file_weights(path: str) -> Weights:
    """Read the weights from the file `path`; see `vgg_weights`."""
    with opened(path, "a file with VGG's weights (.npz or HDF5)") as file:
        stored = _read_npz(path) if zipfile.is_zipfile(file) else _read_hdf5(path)
        for name, (inputs, outputs) in zip(VGG16_LAYERS, itertools.pairwise(CHANNELS), strict=True):
            for tensor, shape in ((f"{name}/kernel", (3, 3, inputs, outputs)), (f"{name}/bias", (outputs,))):
                found = f"one of shape {stored[tensor].shape}" if tensor in stored else "none"
                if tensor not in stored or stored[tensor].shape != shape:
                    raise WeightsError(f"expected VGG's tensor {tensor} of shape {shape}, found {found}")
    return stored


def _read_npz(path: str) -> dict[str, np.ndarray]:
    wanted = {f"{layer}/{kind}" for layer in VGG16_LAYERS for kind in ("kernel", "bias")}
    with np.load(path, allow_pickle=False) as file:
        return {name: np.asarray(file[name], np.float32) for name in file.files if name in wanted}


def _read_hdf5(path: str) -> dict[str, np.ndarray]:
    """Return the tensors of an HDF5 file that belong to layers named as VGG's, wherever they lie in it.

    Keras 1 and 2 name a group after each layer; Keras 3 numbers them and notes the layer's name beside its variables.
    """
    tensors: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        check_own(file)

        def take(name: str, entry: h5py.HLObject) -> None:
            if isinstance(entry, h5py.Dataset) and entry.ndim in (1, 4):
                layers = {*name.split("/"), str(entry.parent.attrs.get("name"))} & set(VGG16_LAYERS)
                for layer in layers:
                    tensors[f"{layer}/{'bias' if entry.ndim == 1 else 'kernel'}"] = entry[()].astype(np.float32)

        file.get("model_weights", file).visititems(take)  # `model.save` keeps the optimizer's beside them
    return tensors
