"""The networks' arithmetic in float64 NumPy, written from the definitions: what the tests compare Keras with.

Images are (batch, height, width, channels). Convolutions take `(kernel, bias)`, kernels (rows, columns, in, out), or
(rows, columns, out, in) where transposed; normalisations take `(gamma, beta, moving mean, moving variance)`.
"""

import numpy as np

COLUMNS_BYTES = 2**26  # how much of the im2col matrix stands in memory at once


def reflection_padding(x, top, bottom, left, right):
    """Mirror rows and columns around the outermost ones, which are not repeated."""

    def mirrored(size, before, after):
        distance = np.abs(np.arange(-before, size + after))
        return np.where(distance < size, distance, 2 * (size - 1) - distance)

    return x[:, mirrored(x.shape[1], top, bottom)][:, :, mirrored(x.shape[2], left, right)]


def conv(x, weights, strides=1, padding="valid"):
    """Cross-correlate; "same" pads with zeros as TensorFlow does: the odd one below and to the right."""
    kernel, bias = (np.asarray(tensor, np.float64) for tensor in weights)
    sides = kernel.shape[:2]
    steps = (strides, strides) if isinstance(strides, int) else strides
    x = np.asarray(x, np.float64)
    if padding == "same":
        widths = []
        for size, side, step in zip(x.shape[1:3], sides, steps, strict=True):
            missing = max((-(-size // step) - 1) * step + side - size, 0)
            widths.append((missing // 2, missing - missing // 2))
        x = np.pad(x, [(0, 0), *widths, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, sides, axis=(1, 2))[:, :: steps[0], :: steps[1]]
    windows = windows.transpose(0, 1, 2, 4, 5, 3)  # batch, height, width, rows, columns, in
    output = np.empty((*windows.shape[:3], kernel.shape[3]))
    flat = kernel.reshape(-1, kernel.shape[3])
    step = max(1, COLUMNS_BYTES // (8 * windows.shape[2] * flat.shape[0]))
    for image, windows_of_image in zip(output, windows, strict=True):
        for row in range(0, len(image), step):
            block = windows_of_image[row : row + step]
            image[row : row + step] = (block.reshape(-1, flat.shape[0]) @ flat).reshape(*block.shape[:2], -1)
    return output + bias


def conv_transpose(x, weights):
    """Scatter each pixel, times a 3x3 kernel, to the pixels from twice its position on; drop what sticks out."""
    kernel, bias = (np.asarray(tensor, np.float64) for tensor in weights)
    batch, height, width, _ = x.shape
    output = np.zeros((batch, 2 * height + 1, 2 * width + 1, kernel.shape[2]))
    for i in range(3):
        for j in range(3):
            product = x.reshape(-1, x.shape[3]) @ kernel[i, j].T
            output[:, i : i + 2 * height : 2, j : j + 2 * width : 2] += product.reshape(batch, height, width, -1)
    return output[:, :-1, :-1] + bias


def upsample(x):
    """Repeat every pixel twice in both directions."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def batch_normalization(x, weights, epsilon=1e-3):
    """Normalise with the noted mean and variance."""
    gamma, beta, mean, variance = (np.asarray(tensor, np.float64) for tensor in weights)
    return (x - mean) * (gamma / np.sqrt(variance + epsilon)) + beta


def relu(x):
    return np.maximum(x, 0)


def leaky_relu(x, slope=0.2):
    return np.where(x < 0, slope * x, x)


def max_pool(x):
    """Take the largest of each 2x2; an odd last row or column is dropped."""
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


def dense(x, weights):
    kernel, bias = (np.asarray(tensor, np.float64) for tensor in weights)
    return x @ kernel + bias


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def res_block(x, convs, norms):
    """The tutorial's block with 3x3 kernels, at inference (no dropout)."""
    y = conv(reflection_padding(x, 1, 1, 1, 1), convs[0])
    y = relu(batch_normalization(y, norms[0]))
    y = conv(reflection_padding(y, 1, 1, 1, 1), convs[1])
    return x + batch_normalization(y, norms[1])


def generator(x, convs, norms, upsampling):
    """The tutorial's generator; `convs` and `norms` from input to output, as many blocks as they hold."""
    first, down1, down2, *blocks, up1, up2, last = convs
    first_norm, down1_norm, down2_norm, *block_norms, up1_norm, up2_norm = norms
    image = np.asarray(x, np.float64)
    x = relu(batch_normalization(conv(reflection_padding(image, 3, 3, 3, 3), first), first_norm))
    for weights, norm in ((down1, down1_norm), (down2, down2_norm)):
        x = relu(batch_normalization(conv(x, weights, strides=2, padding="same"), norm))
    for i in range(0, len(blocks), 2):
        x = res_block(x, blocks[i : i + 2], block_norms[i : i + 2])
    for weights, norm in ((up1, up1_norm), (up2, up2_norm)):
        x = conv_transpose(x, weights) if upsampling == "transpose" else conv(upsample(x), weights, padding="same")
        x = relu(batch_normalization(x, norm))
    x = conv(reflection_padding(x, 3, 3, 3, 3), last)
    return (np.tanh(x) + image) / 2


def discriminator(x, convs, norms, denses):
    """The tutorial's critic; `convs` from input to output, a normalisation for all but the first and the last.

    A normalisation is its weights, or "instance", or "none".
    """

    def normalised(x, norm):
        if norm == "instance":
            return (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
        return x if norm == "none" else batch_normalization(x, norm)

    first, *middle, last = convs
    x = leaky_relu(conv(x, first, strides=2, padding="same"))
    for i, (weights, norm) in enumerate(zip(middle, norms, strict=True), 1):
        strides = 2 if i < len(middle) else 1
        x = leaky_relu(normalised(conv(x, weights, strides=strides, padding="same"), norm))
    x = conv(x, last, padding="same")
    x = np.tanh(dense(x.reshape(len(x), -1), denses[0]))
    return sigmoid(dense(x, denses[1]))


def vgg16_block3_conv3(x, weights, imagenet_preprocessing=False):
    """Activations of VGG16; `weights` maps `block1_conv1/kernel`, `block1_conv1/bias`, ... to arrays."""
    return relu(vgg19_block3_conv3(x, weights, imagenet_preprocessing))


def vgg19_block3_conv3(x, weights, imagenet_preprocessing=False):
    """The same of VGG19, but without the last ReLU. So far the two networks have the same layers."""
    x = np.asarray(x, np.float64)
    if imagenet_preprocessing:
        red, green, blue = np.moveaxis((x + 1) / 2 * 255, -1, 0)
        x = np.stack([blue - 103.939, green - 116.779, red - 123.68], axis=-1)
    for block, depth in ((1, 2), (2, 2), (3, 3)):
        x = max_pool(x) if block > 1 else x
        for i in range(1, depth + 1):
            layer = f"block{block}_conv{i}"
            x = relu(x) if layer != "block1_conv1" else x
            x = conv(x, (weights[f"{layer}/kernel"], weights[f"{layer}/bias"]), padding="same")
    return x
