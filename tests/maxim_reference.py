"""MAXIM in float64 NumPy, module by module as its authors describe it: what the tests compare the network with.

Nothing here is of the code under test. Images are (batch, height, width, channels), RGB in [0, 1]. Weights go by the
authors' names; kernels are as `reference` takes them.
"""

import numpy as np

from tests.reference import conv, dense, leaky_relu, relu, sigmoid


class Weights:
    """The weights below a path; what is taken of them is noted in `taken`."""

    def __init__(self, arrays, path="", taken=None):
        self.arrays, self.path, self.taken = arrays, path, set() if taken is None else taken

    def at(self, name):
        return Weights(self.arrays, f"{self.path}{name}/", self.taken)

    def pair(self, name, first="kernel"):
        names = [f"{self.path}{name}/{part}" for part in (first, "bias")]
        self.taken.update(names)
        return [np.asarray(self.arrays[name], np.float64) for name in names]


def gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def normed(x, weights, name):
    scale, bias = weights.pair(name, "scale")
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-6) * scale + bias


def projected(x, weights, name):
    return dense(x, weights.pair(name))


def convolved(x, weights, name, strides=1):
    return conv(x, weights.pair(name), strides=strides, padding="same")


def squared_up(x, weights):
    """A transposed convolution of stride 2 with a 2x2 kernel (rows, columns, out, in): each pixel makes a square."""
    kernel, bias = weights.pair("ConvTranspose_0")
    batch, height, width, _ = x.shape
    y = np.zeros((batch, 2 * height, 2 * width, kernel.shape[2]))
    for row in range(2):
        for column in range(2):
            y[:, row::2, column::2] = x @ kernel[row, column].T
    return y + bias


def along_grid(x, weights, name, size):
    """Of an image in `size` cells, mix the pixels that lie at the same place of their cell."""
    steps = [side // cells for side, cells in zip(x.shape[1:3], size, strict=True)]
    y = np.zeros_like(x)
    for row in range(steps[0]):
        for column in range(steps[1]):
            here = (slice(None), slice(row, None, steps[0]), slice(column, None, steps[1]))
            y[here] = all_mixed(x[here], weights.pair(name))
    return y


def in_blocks(x, weights, name, size):
    """Of an image in blocks of `size` pixels, mix the pixels of each block."""
    y = np.zeros_like(x)
    for row in range(0, x.shape[1], size[0]):
        for column in range(0, x.shape[2], size[1]):
            here = (slice(None), slice(row, row + size[0]), slice(column, column + size[1]))
            y[here] = all_mixed(x[here], weights.pair(name))
    return y


def all_mixed(x, weights):
    """Mix all pixels of an image, each channel alike."""
    kernel, bias = weights
    batch, height, width, channels = x.shape
    return (
        (dense(np.moveaxis(x, -1, 1).reshape(batch, channels, -1), (kernel, bias)))
        .reshape(batch, channels, height, width)
        .transpose(0, 2, 3, 1)
    )


def resized(x, ratio):
    """Resize bilinearly; where it shrinks, the triangles are as much wider, and those cut by an edge count more."""
    for axis in (1, 2):
        count = x.shape[axis]
        places = (np.arange(int(count * ratio)) + 0.5) / ratio - 0.5
        weights = np.maximum(0, 1 - np.abs(np.arange(count)[:, None] - places) * min(1, ratio))
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ (weights / weights.sum(0)), -1, axis)
    return x


def gated_mlp(x, weights, kind, mix, size):
    own = weights.at(f"{kind}GmlpLayer")
    y = gelu(projected(normed(x, own, "LayerNorm"), own, "in_project"))
    half = y.shape[-1] // 2
    gate = own.at(f"{kind}GatingUnit")
    v = mix(normed(y[..., half:], gate, "intermediate_layernorm"), gate, "Dense_0", size)
    return x + projected(y[..., :half] * (v + 1), own, "out_project")


def multi_axis_mlp(x, weights, size):
    block, grid = size
    y = gelu(projected(normed(x, weights, "LayerNorm_in"), weights, "in_project"))
    half = y.shape[-1] // 2
    u = gated_mlp(y[..., :half], weights, "Grid", along_grid, grid)
    v = gated_mlp(y[..., half:], weights, "Block", in_blocks, block)
    return x + projected(np.concatenate([u, v], -1), weights, "out_project")


def attended(x, weights):
    own = weights.at("channel_attention")
    y = relu(convolved(x.mean((1, 2), keepdims=True), own, "Conv_0"))
    return x * sigmoid(convolved(y, own, "Conv_1"))


def channel_attention_block(x, weights):
    y = leaky_relu(convolved(normed(x, weights, "LayerNorm"), weights, "conv1"), 0.2)
    return x + attended(convolved(y, weights, "conv2"), weights)


def channel_mixing_block(x, weights):
    own = weights.at("channel_mixing")
    y = gelu(projected(normed(x, weights, "LayerNorm"), own, "Dense_0"))
    return x + attended(projected(y, own, "Dense_1"), weights)


def gate_of(x, weights, size):
    block, grid = size
    y = gelu(projected(normed(x, weights, "LayerNorm_in"), weights, "in_project"))
    half = y.shape[-1] // 2
    u = along_grid(y[..., :half], weights, "Dense_0", grid)
    v = in_blocks(y[..., half:], weights, "Dense_1", block)
    return projected(np.concatenate([u, v], -1), weights, "out_project")


def cross_gated(x, y, weights, size, up=False):
    """Return both images that leave a cross gating; `up`: the second has half the size."""
    y = squared_up(y, weights) if up else y
    x = convolved(x, weights, "Conv_0")
    y = convolved(y, weights, "Conv_1")
    within = {
        side: gelu(projected(normed(image, weights, f"LayerNorm_{side}"), weights, f"in_project_{side}"))
        for side, image in (("x", x), ("y", y))
    }
    gates = {
        side: gate_of(image, weights.at(f"SplitHeadMultiAxisGating_{side}"), size) for side, image in within.items()
    }
    y = y + projected(within["y"] * gates["x"], weights, "out_project_y")
    return x + y + projected(within["x"] * gates["y"], weights, "out_project_x"), y


def block_of_unet(x, weights, size, groups, before=None):
    x = shortcut = convolved(x, weights, "Conv_0")
    for i in range(groups):
        x = multi_axis_mlp(x, weights.at(f"SplitHeadMultiAxisGmlpLayer_{i}"), size)
        x = channel_attention_block(x, weights.at(f"channel_attention_block_1{i}"))
    x = x + shortcut
    return x if before is None else cross_gated(x, before, weights.at("cross_gating_block"), size)[0]


def network(image, arrays, options, taken):
    """Return the pictures of each stage, each stage's from the full size down; `taken` gets the names of weights.

    `options` has the keywords of the network's builder, each of them.
    """
    weights = Weights(arrays, taken=taken)
    depth, scales, stages = options["depth"], options["scales"], options["stages"]
    low = options["low_block_size"], options["low_grid_size"]
    high = options["block_size"], options["grid_size"]
    sizes = [high if level < options["high_resolutions"] else low for level in range(depth)]
    images = [np.asarray(image, np.float64)]
    while len(images) < scales:
        step = 2 ** len(images)
        images.append(images[0][:, step // 2 :: step, step // 2 :: step])
    numbers = iter(range(10**6))

    def fused(parts, ratios):
        return np.concatenate(
            [
                convolved(resized(part, ratio), weights.at(f"UpSampleRatio_{next(numbers)}"), "Conv_0")
                for part, ratio in zip(parts, ratios, strict=True)
            ],
            -1,
        )

    pictures, attentions, before = [], {}, None
    for stage in range(stages):
        at = f"stage_{stage}"
        taken_in = [convolved(image, weights, f"{at}_input_conv_{i}") for i, image in enumerate(images)]
        for i, features in attentions.items():
            gating = weights.at(f"{at}_input_fuse_sam_{i}")
            taken_in[i], _ = cross_gated(taken_in[i], features, gating, sizes[i])

        x, encoded = taken_in[0], []
        for level in range(depth):
            block = weights.at(f"{at}_encoder_block_{level}")
            x = np.concatenate([x, taken_in[level]], -1) if level < scales else x
            x = block_of_unet(x, block, sizes[level], options["groups"], before and before[level])
            encoded.append(x)
            x = convolved(x, block, "Conv_1", strides=2)

        for i in range(options["bottleneck_blocks"]):
            block = weights.at(f"{at}_global_block_{i}")
            x = shortcut = convolved(x, block, "input_proj")
            for j in range(options["groups"]):
                x = multi_axis_mlp(x, block.at(f"SplitHeadMultiAxisGmlpLayer_{j}"), low)
                x = channel_mixing_block(x, block.at(f"channel_attention_block_1_{j}"))
            x = x + shortcut

        levels = range(depth - 1, -1, -1)
        gate, skips = x, {}
        for level in levels:
            signal = fused(encoded, [2.0**j / 2**level for j in range(depth)])
            gating = weights.at(f"{at}_cross_gating_block_{level}")
            skips[level], gate = cross_gated(signal, gate, gating, sizes[level], up=True)

        decoded, attentions, here = {}, {}, {}
        for level in levels:
            block = weights.at(f"{at}_decoder_block_{level}")
            signal = fused([skips[j] for j in levels], [2.0**j / 2**level for j in levels])
            x = np.concatenate([squared_up(x, block), signal], -1)
            x = decoded[level] = block_of_unet(x, block.at("UNetEncoderBlock_0"), sizes[level], options["groups"])
            if level >= scales:
                continue
            if stage == stages - 1:
                here[level] = images[level] + convolved(x, weights, f"{at}_output_conv_{level}")
                continue
            module = weights.at(f"{at}_supervised_attention_module_{level}")
            here[level] = images[level] + convolved(x, module, "Conv_1")
            attentions[level] = x + convolved(x, module, "Conv_0") * sigmoid(convolved(here[level], module, "Conv_2"))
        before = [encoded[level] + decoded[level] for level in range(depth)]
        pictures.append([here[level] for level in range(scales)])
    return pictures
