"""PyTorch's modules in float64 NumPy, written from their documentation, and the peers' networks made of modules.

Images are (batch, channels, height, width), as there. Each network takes the modules from `nn`: this file for the
arithmetic that the tests compare Keras with, or `torch.nn` itself, so that PyTorch can confirm that arithmetic, the
names of the tensors and their shapes.
"""

import sys

import numpy as np

from deblurgan.networks.zoo import recognise

COLUMNS_BYTES = 2**26  # how much of the im2col matrix stands in memory at once


class Parameter(np.ndarray):
    """A tensor that is no part of a module with a name of its own."""

    def __new__(cls, values):
        return np.asarray(values).view(cls)


class Module:
    """Something with tensors and children; names are joined with dots, as in a PyTorch state dict."""

    def tensors(self):
        """The names of this module's own tensors and their shapes."""
        return {name: value.shape for name, value in vars(self).items() if isinstance(value, Parameter)}

    def children(self):
        return {name: value for name, value in vars(self).items() if isinstance(value, Module)}

    def shapes(self, prefix=""):
        own = {prefix + name: shape for name, shape in self.tensors().items()}
        for name, child in self.children().items():
            own |= child.shapes(f"{prefix}{name}.")
        return own

    def load(self, state, prefix=""):
        for name in self.tensors():
            setattr(self, name, Parameter(np.asarray(state[prefix + name], np.float64)))
        for name, child in self.children().items():
            child.load(state, f"{prefix}{name}.")
        return self

    def __call__(self, x):
        return self.forward(x)


class Sequential(Module):
    def __init__(self, *modules):
        self.modules = modules

    def children(self):
        return {str(i): module for i, module in enumerate(self.modules)}

    def forward(self, x):
        for module in self.modules:
            x = module(x)
        return x


class ModuleList(Sequential):
    def __init__(self, modules):
        super().__init__(*modules)

    def __iter__(self):
        return iter(self.modules)


class _Convolution(Module):
    transposed = False

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, bias=True, groups=1
    ):
        channels = (in_channels, out_channels) if self.transposed else (out_channels, in_channels // groups)
        self.shape = (*channels, kernel_size, kernel_size)
        self.out_channels = out_channels
        self.stride, self.padding, self.output_padding, self.has_bias = stride, padding, output_padding, bias

    def tensors(self):
        return {"weight": self.shape, **({"bias": (self.out_channels,)} if self.has_bias else {})}

    def add_bias(self, x):
        return x + self.bias[:, None, None] if self.has_bias else x


class Conv2d(_Convolution):
    def forward(self, x):
        if self.shape[1] == 1 and x.shape[1] == self.out_channels:  # depthwise, of stride 1
            return self.add_bias(self.each_channel(x))
        padding, side = (self.padding, self.padding), self.shape[-1]
        x = np.pad(x, [(0, 0), (0, 0), padding, padding])
        windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(2, 3))
        windows = windows[:, :, :: self.stride, :: self.stride].transpose(0, 2, 3, 1, 4, 5)
        kernel = self.weight.reshape(len(self.weight), -1).T
        output = np.empty((*windows.shape[:3], kernel.shape[1]))
        step = max(1, COLUMNS_BYTES // (8 * windows.shape[2] * len(kernel)))
        for image, windows_of_image in zip(output, windows, strict=True):
            for row in range(0, len(image), step):
                block = windows_of_image[row : row + step]
                image[row : row + step] = (block.reshape(-1, len(kernel)) @ kernel).reshape(*block.shape[:2], -1)
        return self.add_bias(output.transpose(0, 3, 1, 2))

    def each_channel(self, x):
        (_, _, height, width), pad = x.shape, self.padding
        x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
        return sum(
            x[:, :, i : i + height, j : j + width] * self.weight[:, 0, i, j][:, None, None]
            for i in range(self.shape[-1])
            for j in range(self.shape[-1])
        )


class ConvTranspose2d(_Convolution):
    transposed = True

    def forward(self, x):
        """Add each pixel, times the kernel, to the pixels from `stride` times its position on; then cut `padding`."""
        (batch, _, height, width), side, stride = x.shape, self.shape[-1], self.stride
        full = [(size - 1) * stride + side + self.output_padding for size in (height, width)]
        output = np.zeros((batch, *full, self.out_channels))
        pixels, kernels = x.transpose(0, 2, 3, 1), np.ascontiguousarray(self.weight.transpose(2, 3, 0, 1))
        for i in range(side):
            for j in range(side):
                rows, columns = slice(i, i + stride * height, stride), slice(j, j + stride * width, stride)
                output[:, rows, columns] += pixels @ kernels[i, j]
        kept = [slice(self.padding, size - self.padding) for size in full]
        return self.add_bias(output[:, kept[0], kept[1]].transpose(0, 3, 1, 2))


class InstanceNorm2d(Module):
    """Always with the statistics of the image at hand: what training mode does, or tracking none."""

    def __init__(self, features, affine=False, track_running_stats=False):
        self.features, self.affine, self.track = features, affine, track_running_stats

    def tensors(self):
        affine = {"weight": (self.features,), "bias": (self.features,)} if self.affine else {}
        noted = {"running_mean": (self.features,), "running_var": (self.features,), "num_batches_tracked": ()}
        return {**affine, **(noted if self.track else {})}

    def forward(self, x):
        mean, variance = x.mean((2, 3), keepdims=True), x.var((2, 3), keepdims=True)
        x = (x - mean) / np.sqrt(variance + 1e-5)
        return x * self.weight[:, None, None] + self.bias[:, None, None] if self.affine else x


class BatchNorm2d(Module):
    """In evaluation mode: with the noted statistics."""

    def __init__(self, features):
        self.features = features

    def tensors(self):
        names = ("weight", "bias", "running_mean", "running_var")
        return {**dict.fromkeys(names, (self.features,)), "num_batches_tracked": ()}

    def forward(self, x):
        factor = self.weight / np.sqrt(self.running_var + 1e-5)
        return x * factor[:, None, None] + (self.bias - self.running_mean * factor)[:, None, None]


class Identity(Module):
    def forward(self, x):
        return x


class Dropout(Identity):
    """In evaluation mode."""

    def __init__(self, rate):
        self.rate = rate


class ReflectionPad2d(Module):
    def __init__(self, padding):
        self.padding = padding

    def forward(self, x):
        def mirrored(size):
            distance = np.abs(np.arange(-self.padding, size + self.padding))
            return np.where(distance < size, distance, 2 * (size - 1) - distance)

        return x[:, :, mirrored(x.shape[2])][:, :, :, mirrored(x.shape[3])]


class ReLU(Module):
    def forward(self, x):
        return np.maximum(x, 0)


class AdaptiveAvgPool2d(Module):
    """To one pixel."""

    def __init__(self, size):
        assert size == 1

    def forward(self, x):
        return x.mean((2, 3), keepdims=True)


class PixelShuffle(Module):
    def __init__(self, factor):
        self.factor = factor

    def forward(self, x):
        (batch, channels, height, width), f = x.shape, self.factor
        output = np.empty((batch, channels // f**2, height * f, width * f))
        for i in range(f):
            for j in range(f):
                output[:, :, i::f, j::f] = x[:, i * f + j :: f**2]
        return output


class LeakyReLU(Module):
    def __init__(self, slope):
        self.slope = slope

    def forward(self, x):
        return np.where(x < 0, self.slope * x, x)


class Tanh(Module):
    def forward(self, x):
        return np.tanh(x)


class Sigmoid(Module):
    def forward(self, x):
        return 1 / (1 + np.exp(-x))


def _namespace():
    return sys.modules[__name__]


def _norms(nn, norm):
    """(a function that makes the normalisation, whether convolutions before it have a bias)."""
    if norm == "batch":
        return nn.BatchNorm2d, False
    if norm == "none":
        return lambda features: nn.Identity(), False
    tracked = norm == "tracked instance"
    return lambda features: nn.InstanceNorm2d(features, track_running_stats=tracked), True


def _holder(nn, forward, **children):
    """A module with these children whose forward function is `forward(children..., x)`."""

    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            for name, child in children.items():
                setattr(self, name, child)

        def forward(self, x):
            return forward(*(getattr(self, name) for name in children), x)

    return Holder()


def resnet_generator(
    nn=None, *, channels=3, ngf=64, n_blocks=9, norm="instance", dropout=True, block="whole", up_kernel=3
):
    """CycleGAN's and DeblurGAN's ResNet generator without the residual; `block` as in `networks.paper_generator`."""
    nn = nn or _namespace()
    make_norm, bias = _norms(nn, norm)

    def conv_norm_relu(conv, filters):
        return [conv, make_norm(filters), nn.ReLU()]

    def half():
        width = 4 * ngf
        return [nn.ReflectionPad2d(1), nn.Conv2d(width, width, kernel_size=3, bias=bias), make_norm(width)]

    def res_block():
        first = [*half(), nn.ReLU(), *([nn.Dropout(0.5)] if dropout else [])]
        body = {"whole": [*first, *half()], "first": first, "second": half()}[block]
        return _holder(nn, lambda conv_block, x: x + conv_block(x), conv_block=nn.Sequential(*body))

    def down(filters):
        return nn.Conv2d(filters, 2 * filters, kernel_size=3, stride=2, padding=1, bias=bias)

    def up(filters):
        output_padding = 1 if up_kernel == 3 else 0
        return nn.ConvTranspose2d(
            filters, filters // 2, up_kernel, stride=2, padding=1, output_padding=output_padding, bias=bias
        )

    modules = [
        nn.ReflectionPad2d(3),
        *conv_norm_relu(nn.Conv2d(channels, ngf, kernel_size=7, bias=bias), ngf),
        *conv_norm_relu(down(ngf), 2 * ngf),
        *conv_norm_relu(down(2 * ngf), 4 * ngf),
        *(res_block() for _ in range(n_blocks)),
        *conv_norm_relu(up(4 * ngf), 2 * ngf),
        *conv_norm_relu(up(2 * ngf), ngf),
        nn.ReflectionPad2d(3),
        nn.Conv2d(ngf, channels, kernel_size=7),
        nn.Tanh(),
    ]
    return _holder(nn, lambda model, x: model(x), model=nn.Sequential(*modules))


def unet_generator(
    nn=None, cat=np.concatenate, *, channels=3, ngf=64, num_downs=8, norm="batch", dropout=True, skip_first=True
):
    """pix2pix's U-Net, from the innermost level outwards; `cat` joins two tensors along axis 1."""
    nn = nn or _namespace()
    make_norm, bias = _norms(nn, norm)

    def level(outer, inner, inside, drop=False):
        down = nn.Conv2d(outer, inner, kernel_size=4, stride=2, padding=1, bias=bias)
        up = nn.ConvTranspose2d(inner * 2 if inside else inner, outer, kernel_size=4, stride=2, padding=1, bias=bias)
        body = [nn.LeakyReLU(0.2), down]
        body += [make_norm(inner), inside] if inside else []
        body += [nn.ReLU(), up, make_norm(outer)]
        body += [nn.Dropout(0.5)] if drop else []

        def with_skip(model, x):
            return cat([x, model(x)] if skip_first else [model(x), x], 1)

        return _holder(nn, with_skip, model=nn.Sequential(*body))

    inside = level(8 * ngf, 8 * ngf, None)
    for _ in range(num_downs - 5):
        inside = level(8 * ngf, 8 * ngf, inside, drop=dropout)
    for outer in (4 * ngf, 2 * ngf, ngf):
        inside = level(outer, 2 * outer, inside)
    outermost = nn.Sequential(
        nn.Conv2d(channels, ngf, kernel_size=4, stride=2, padding=1, bias=bias),
        inside,
        nn.ReLU(),
        nn.ConvTranspose2d(2 * ngf, channels, kernel_size=4, stride=2, padding=1),
        nn.Tanh(),
    )
    outermost = _holder(nn, lambda model, x: model(x), model=outermost)
    return _holder(nn, lambda model, x: model(x), model=outermost)


def patchgan_discriminator(nn=None, *, channels=3, ndf=64, n_layers=3, norm="instance", padding=1, sigmoid=False):
    """pix2pix's discriminator of patches."""
    nn = nn or _namespace()
    make_norm, bias = _norms(nn, norm)
    modules = [nn.Conv2d(channels, ndf, kernel_size=4, stride=2, padding=padding), nn.LeakyReLU(0.2)]
    before = ndf
    for n in range(1, n_layers + 1):
        filters, stride = ndf * min(2**n, 8), 2 if n < n_layers else 1
        conv = nn.Conv2d(before, filters, kernel_size=4, stride=stride, padding=padding, bias=bias)
        modules += [conv, make_norm(filters), nn.LeakyReLU(0.2)]
        before = filters
    modules += [nn.Conv2d(before, 1, kernel_size=4, stride=1, padding=padding)]
    modules += [nn.Sigmoid()] if sigmoid else []
    return _holder(nn, lambda model, x: model(x), model=nn.Sequential(*modules))


def pixel_discriminator(nn=None, *, channels=3, ndf=64, norm="instance"):
    """pix2pix's discriminator of single pixels."""
    nn = nn or _namespace()
    make_norm, bias = _norms(nn, norm)
    modules = [nn.Conv2d(channels, ndf, kernel_size=1), nn.LeakyReLU(0.2)]
    modules += [nn.Conv2d(ndf, 2 * ndf, kernel_size=1, bias=bias), make_norm(2 * ndf), nn.LeakyReLU(0.2)]
    modules += [nn.Conv2d(2 * ndf, 1, kernel_size=1, bias=bias)]
    return _holder(nn, lambda model, x: model(x), net=nn.Sequential(*modules))


def nafnet(
    nn=None, zeros=np.zeros, *, channels=3, width=32, enc=(1, 1, 1, 28), middle=1, dec=(1, 1, 1, 1), pool=None
):
    """NAFNet in [0, 1]; `zeros` makes a tensor; `pool` makes the attention's pooling for a level, from 0 on."""
    nn = nn or _namespace()
    pool = pool or (lambda level: nn.AdaptiveAvgPool2d(1))

    def layer_norm(c):
        def forward(weight, bias, x):
            x = x - x.mean(1, keepdims=True)
            x = x / ((x * x).mean(1, keepdims=True) + 1e-6) ** 0.5
            return x * weight.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1)

        return _holder(nn, forward, weight=nn.Parameter(zeros(c)), bias=nn.Parameter(zeros(c)))

    def gate(x):
        half = x.shape[1] // 2
        return x[:, :half] * x[:, half:]

    def block(c, level):
        def forward(norm1, conv1, conv2, sca, conv3, beta, norm2, conv4, conv5, gamma, x):
            y = gate(conv2(conv1(norm1(x))))
            x = x + conv3(y * sca(y)) * beta
            return x + conv5(gate(conv4(norm2(x)))) * gamma

        return _holder(
            nn,
            forward,
            norm1=layer_norm(c),
            conv1=nn.Conv2d(c, 2 * c, 1),
            conv2=nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c),
            sca=nn.Sequential(pool(level), nn.Conv2d(c, c, 1)),
            conv3=nn.Conv2d(c, c, 1),
            beta=nn.Parameter(zeros((1, c, 1, 1))),
            norm2=layer_norm(c),
            conv4=nn.Conv2d(c, 2 * c, 1),
            conv5=nn.Conv2d(c, c, 1),
            gamma=nn.Parameter(zeros((1, c, 1, 1))),
        )

    def stage(count, level):
        return nn.Sequential(*(block(width * 2**level, level) for _ in range(count)))

    def forward(intro, encoders, downs, middle_blks, ups, decoders, ending, inputs):
        x, skips = intro(inputs), []
        for encoder, down in zip(encoders, downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = middle_blks(x)
        for up, decoder, skip in zip(ups, decoders, reversed(skips), strict=True):
            x = decoder(up(x) + skip)
        return ending(x) + inputs

    levels = range(len(enc))
    widths = [width * 2**n for n in levels]
    ups = [nn.Sequential(nn.Conv2d(2 * c, 4 * c, 1, bias=False), nn.PixelShuffle(2)) for c in widths]
    return _holder(
        nn,
        forward,
        intro=nn.Conv2d(channels, width, 3, padding=1),
        encoders=nn.ModuleList([stage(enc[n], n) for n in levels]),
        downs=nn.ModuleList([nn.Conv2d(c, 2 * c, 2, stride=2) for c in widths]),
        middle_blks=stage(middle, len(enc)),
        ups=nn.ModuleList(ups[::-1]),
        decoders=nn.ModuleList([stage(dec[i], n) for i, n in enumerate(reversed(levels))]),
        ending=nn.Conv2d(width, channels, 3, padding=1),
    )


def random_state(shapes, seed=0):
    """float32 tensors of realistic size for a state dict's names and shapes."""
    random = np.random.default_rng(seed)
    state = {}
    for name, shape in shapes.items():
        if len(shape) == 4:
            value = random.normal(scale=np.sqrt(2 / np.prod(shape[1:])), size=shape)
        elif name.endswith("running_var"):
            value = random.uniform(0.3, 2, shape)
        elif name.endswith("num_batches_tracked"):
            value = np.array(1000)
        elif name.endswith("weight"):
            value = random.uniform(0.5, 1.5, shape)
        else:
            value = random.normal(scale=0.2, size=shape)
        state[name] = np.asarray(value, np.int64 if name.endswith("tracked") else np.float32)
    return state


def restored(network, images, residual=False):
    """What `network` makes of `images` (batch, height, width, channels): the same layout, float64."""
    images = np.asarray(images, np.float64)
    output = network(images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    return np.clip(images + output, -1, 1) if residual else output


def built(state, **choices):
    """The network that the package makes of a state dict."""
    return recognise(state)[1].build(**choices)
