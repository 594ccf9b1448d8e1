"""The training recipes in plain PyTorch eager: what this package's steps are measured against.

The same networks, losses and optimizers as the recipes', written as one would write them in PyTorch, each with a
`step(blurred, sharp)`. Nothing is compiled; in bfloat16 the forward passes run under `torch.autocast`. VGG19 has
random weights, which take as long as others.

    step = torch_step("paper", precision="bfloat16")
    losses = step.step(blurred, sharp)  # float32 (batch, 3, height, width) in [-1, 1]
    step.seconds  # what each part of the steps so far took
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

# Networks


class ResBlock(nn.Module):
    """Pad, convolve, normalise, ReLU, dropout, pad, convolve, normalise; add the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class PaperGenerator(nn.Module):
    """DeblurGAN's generator, as `networks.paper_generator`."""

    def __init__(self, ngf: int = 64, n_blocks: int = 9) -> None:
        super().__init__()

        def norm_relu(channels: int) -> list[nn.Module]:
            return [nn.InstanceNorm2d(channels), nn.ReLU()]

        self.body = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(3, ngf, 7),
            *norm_relu(ngf),
            nn.Conv2d(ngf, 2 * ngf, 3, stride=2, padding=1),
            *norm_relu(2 * ngf),
            nn.Conv2d(2 * ngf, 4 * ngf, 3, stride=2, padding=1),
            *norm_relu(4 * ngf),
            *(ResBlock(4 * ngf) for _ in range(n_blocks)),
            nn.ConvTranspose2d(4 * ngf, 2 * ngf, 3, stride=2, padding=1, output_padding=1),
            *norm_relu(2 * ngf),
            nn.ConvTranspose2d(2 * ngf, ngf, 3, stride=2, padding=1, output_padding=1),
            *norm_relu(ngf),
            nn.ReflectionPad2d(3),
            nn.Conv2d(ngf, 3, 7),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(x + self.body(x), -1, 1)


class UNet(nn.Module):
    """pix2pix's generator with a residual, as `networks.unet_generator`."""

    def __init__(self, ngf: int = 64, num_downs: int = 8) -> None:
        super().__init__()
        filters = [ngf * min(2**level, 8) for level in range(num_downs)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (before, after) in enumerate(zip([3, *filters], filters, strict=False)):
            layers: list[nn.Module] = [nn.LeakyReLU(0.2)] if level else []
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(after)] if 0 < level < num_downs - 1 else []
            self.down.append(nn.Sequential(*layers))
        for level in range(num_downs - 1, 0, -1):
            before, after = filters[level], filters[level - 1]
            inputs = before if level == num_downs - 1 else 2 * before
            layers = [nn.ReLU(), nn.ConvTranspose2d(inputs, after, 4, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(after)]
            layers += [nn.Dropout(0.5)] if 4 <= level < num_downs - 1 else []
            self.up.append(nn.Sequential(*layers))
        self.out = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(2 * ngf, 3, 4, stride=2, padding=1), nn.Tanh())

    def forward(self, image: Tensor) -> Tensor:
        x = image
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        skips.pop()
        for up in self.up:
            x = torch.cat([skips.pop(), up(x)], 1)
        return torch.clamp(image + self.out(x), -1, 1)


class PatchGAN(nn.Sequential):
    """The discriminator of 70x70 patches, as `networks.patchgan_discriminator`."""

    def __init__(
        self, channels: int = 3, ndf: int = 64, n_layers: int = 3, norm: str = "instance", padding: int = 1
    ) -> None:
        make_norm = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d}[norm]
        layers: list[nn.Module] = [nn.Conv2d(channels, ndf, 4, stride=2, padding=padding), nn.LeakyReLU(0.2)]
        before = ndf
        for n in range(1, n_layers + 1):
            after, stride = ndf * min(2**n, 8), 2 if n < n_layers else 1
            conv = nn.Conv2d(before, after, 4, stride=stride, padding=padding, bias=norm == "instance")
            layers += [conv, make_norm(after), nn.LeakyReLU(0.2)]
            before = after
        super().__init__(*layers, nn.Conv2d(before, 1, 4, padding=padding))


class LayerNorm2d(nn.Module):
    """Normalise over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(1, keepdim=True)
        return x / (x.square().mean(1, keepdim=True) + 1e-6).sqrt() * self.weight + self.bias


class SimpleGate(nn.Module):
    """The product of the two halves of the channels."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return first * second


class ChannelAttention(nn.Module):
    """Simplified channel attention: scale each channel by a linear function of all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale(x)


class NAFBlock(nn.Module):
    """NAFNet's block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.mix = nn.Sequential(
            LayerNorm2d(channels),
            nn.Conv2d(channels, wide, 1),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide),
            SimpleGate(),
            ChannelAttention(channels),
            nn.Conv2d(channels, channels, 1),
        )
        self.feed = nn.Sequential(
            LayerNorm2d(channels),
            nn.Conv2d(channels, wide, 1),
            SimpleGate(),
            nn.Conv2d(channels, channels, 1),
        )
        self.beta = nn.Parameter(torch.zeros(channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.beta * self.mix(x)
        return x + self.gamma * self.feed(x)


class NAFNet(nn.Module):
    """NAFNet, as `networks.nafnet`: a U-Net of `NAFBlock`s with additive skips; [0, 1] inside."""

    def __init__(
        self,
        width: int = 32,
        encoder_blocks: Sequence[int] = (1, 1, 1, 28),
        middle_blocks: int = 1,
        decoder_blocks: Sequence[int] = (1, 1, 1, 1),
        space_to_depth: int = 1,
    ) -> None:
        super().__init__()
        self.factor, channels = space_to_depth, 3 * space_to_depth**2

        def blocks(channels: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(NAFBlock(channels) for _ in range(count)))

        self.intro, self.ending = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, channels, 3, padding=1)
        widths = [width * 2**level for level in range(len(encoder_blocks) + 1)]
        self.encoder = nn.ModuleList(blocks(*level) for level in zip(widths, encoder_blocks, strict=False))
        self.down = nn.ModuleList(nn.Conv2d(channels, 2 * channels, 2, stride=2) for channels in widths[:-1])
        self.middle = blocks(widths[-1], middle_blocks)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, 2 * channels, 1, bias=False), nn.PixelShuffle(2))
            for channels in widths[:0:-1]
        )
        self.decoder = nn.ModuleList(blocks(*level) for level in zip(widths[-2::-1], decoder_blocks, strict=True))

    def forward(self, image: Tensor) -> Tensor:
        x = self.intro(functional.pixel_unshuffle(0.5 * image + 0.5, self.factor))
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            x = blocks(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x)
        for up, blocks in zip(self.up, self.decoder, strict=True):
            x = blocks(up(x) + skips.pop())
        return 2 * functional.pixel_shuffle(self.ending(x), self.factor) + image


class VGG19Features(nn.Sequential):
    """VGG19 up to the convolution conv3_3, with random weights that do not train."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for filters in (64, 64, "pool", 128, 128, "pool", 256, 256, 256):
            if isinstance(filters, str):
                layers += [nn.MaxPool2d(2)]
            else:
                layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
                channels = filters
        super().__init__(*layers[:-1])
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        self.requires_grad_(False)


# Losses


def psnr_loss(sharp: Tensor, restored: Tensor) -> Tensor:
    """Minus the mean PSNR of images in [-1, 1]."""
    errors = ((restored - sharp) / 2).square().mean((1, 2, 3))
    return 10 / math.log(10) * (errors + 1e-8).log().mean()


def ragan_ls(better: Tensor, worse: Tensor) -> Tensor:
    """DeblurGAN-v2's RaGAN-LS: the critic passes (real, fake), the generator (fake, real)."""
    return ((better - worse.mean() - 1).square().mean() + (worse - better.mean() + 1).square().mean()) / 2


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """WGAN-GP's penalty with an alpha and a norm for each sample; a patch counts as a part of its sample's mean."""
    alpha = torch.rand(len(real), 1, 1, 1)
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_()
    value = critic(mixed).float().mean((1, 2, 3)).sum()
    (gradient,) = torch.autograd.grad(value, mixed, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


# Steps


class TorchStep:
    """What the recipes share.

    Args:
        precision: "float32", or "bfloat16" for autocast.

    Attributes:
        seconds: what each part of the steps took in all.
    """

    def __init__(self, precision: str = "float32") -> None:
        self.precision = precision
        self.seconds: dict[str, float] = {}

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16")

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the block's time to that part's."""
        begin = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    def step(self, blurred: Tensor, sharp: Tensor) -> dict[str, float]:
        """Train on one batch, float32 (batch, 3, height, width) in [-1, 1]; return its losses."""
        raise NotImplementedError


def update(optimizer: torch.optim.Optimizer, loss: Tensor, clip_norm: float | None = None) -> None:
    optimizer.zero_grad()
    loss.backward()
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], clip_norm)
    optimizer.step()


class PaperStep(TorchStep):
    """DeblurGAN: WGAN-GP + 100 x VGG19; one generated batch for all critic updates and the generator's."""

    def __init__(
        self, *, ngf: int = 64, n_blocks: int = 9, ndf: int = 64, critic_updates: int = 5, precision: str = "float32"
    ) -> None:
        super().__init__(precision)
        self.generator, self.critic = PaperGenerator(ngf, n_blocks), PatchGAN(ndf=ndf, padding=2)
        self.vgg = VGG19Features()
        self.critic_updates = critic_updates
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), 1e-4, betas=(0.5, 0.999))
        self.d_optimizer = torch.optim.Adam(self.critic.parameters(), 1e-4, betas=(0.5, 0.999))

    def step(self, blurred: Tensor, sharp: Tensor) -> dict[str, float]:
        with self.part("generate"), self.autocast():
            restored = self.generator(blurred)
        fake = restored.detach().float()
        for _ in range(self.critic_updates):
            with self.part("critic"):
                with self.autocast():
                    distance = self.critic(fake).float().mean() - self.critic(sharp).float().mean()
                    penalty = gradient_penalty(self.critic, sharp, fake)
                update(self.d_optimizer, distance + 10 * penalty)
        with self.part("generator"):
            self.critic.requires_grad_(False)
            with self.autocast():
                adversarial = -self.critic(restored).float().mean()
                with torch.no_grad():
                    target = self.vgg(sharp)
                perceptual = functional.mse_loss(self.vgg(restored).float(), target.float())
            update(self.g_optimizer, adversarial + 100 * perceptual)
            self.critic.requires_grad_(True)
        return {
            "d_loss": (distance + 10 * penalty).item(),
            "adversarial": adversarial.item(),
            "perceptual": perceptual.item(),
        }


class UNetStep(TorchStep):
    """pix2pix: a conditional critic, cross-entropy + 100 x L1."""

    def __init__(
        self, *, ngf: int = 64, num_downs: int = 8, ndf: int = 64, n_layers: int = 3, precision: str = "float32"
    ) -> None:
        super().__init__(precision)
        self.generator, self.critic = UNet(ngf, num_downs), PatchGAN(6, ndf, n_layers, norm="batch")
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), 2e-4, betas=(0.5, 0.999))
        self.d_optimizer = torch.optim.Adam(self.critic.parameters(), 2e-4, betas=(0.5, 0.999))

    def step(self, blurred: Tensor, sharp: Tensor) -> dict[str, float]:
        with self.part("generate"), self.autocast():
            restored = self.generator(blurred)
        with self.part("critic"):
            with self.autocast():
                real = self.critic(torch.cat([blurred, sharp], 1)).float()
                fake = self.critic(torch.cat([blurred, restored.detach()], 1)).float()
            d_loss = functional.softplus(-real).mean() + functional.softplus(fake).mean()
            update(self.d_optimizer, d_loss)
        with self.part("generator"):
            self.critic.requires_grad_(False)
            with self.autocast():
                fake = self.critic(torch.cat([blurred, restored], 1)).float()
            adversarial = functional.softplus(-fake).mean()
            l1 = functional.l1_loss(restored.float(), sharp)
            update(self.g_optimizer, adversarial + 100 * l1)
            self.critic.requires_grad_(True)
        return {"d_loss": d_loss.item(), "adversarial": adversarial.item(), "l1": l1.item()}


class NAFNetStep(TorchStep):
    """NAFNet on its own: PSNR loss, AdamW."""

    def __init__(
        self,
        *,
        width: int = 32,
        encoder_blocks: Sequence[int] = (1, 1, 1, 28),
        middle_blocks: int = 1,
        decoder_blocks: Sequence[int] = (1, 1, 1, 1),
        space_to_depth: int = 1,
        precision: str = "float32",
    ) -> None:
        super().__init__(precision)
        self.generator = NAFNet(width, encoder_blocks, middle_blocks, decoder_blocks, space_to_depth)
        self.optimizer = torch.optim.AdamW(self.generator.parameters(), 1e-3, betas=(0.9, 0.9), weight_decay=1e-3)

    def step(self, blurred: Tensor, sharp: Tensor) -> dict[str, float]:
        with self.part("forward"), self.autocast():
            restored = self.generator(blurred)
        with self.part("backward and update"):
            loss = psnr_loss(sharp, restored.float())
            update(self.optimizer, loss, clip_norm=0.01)
        return {"psnr": loss.item()}


class NAFNetGANStep(NAFNetStep):
    """NAFNet against a PatchGAN: L1 + 0.002 x VGG19 + 0.01 x RaGAN-LS, AdamW for both."""

    def __init__(self, *, ndf: int = 64, **options) -> None:
        super().__init__(**options)
        self.critic = PatchGAN(ndf=ndf)
        self.vgg = VGG19Features()
        self.optimizer, self.d_optimizer = (
            torch.optim.AdamW(network.parameters(), 1e-4, betas=(0.9, 0.99), weight_decay=0)
            for network in (self.generator, self.critic)
        )

    def step(self, blurred: Tensor, sharp: Tensor) -> dict[str, float]:
        with self.part("generate"), self.autocast():
            restored = self.generator(blurred)
        with self.part("critic"):
            with self.autocast():
                real, fake = self.critic(sharp).float(), self.critic(restored.detach()).float()
            d_loss = ragan_ls(real, fake)
            update(self.d_optimizer, d_loss, clip_norm=1.0)
        with self.part("generator"):
            self.critic.requires_grad_(False)
            with self.autocast():
                with torch.no_grad():
                    real, target = self.critic(sharp).float(), self.vgg(sharp).float()
                fake, features = self.critic(restored).float(), self.vgg(restored).float()
            adversarial, perceptual = ragan_ls(fake, real), functional.mse_loss(features, target)
            l1 = functional.l1_loss(restored.float(), sharp)
            update(self.optimizer, l1 + 0.002 * perceptual + 0.01 * adversarial, clip_norm=1.0)
            self.critic.requires_grad_(True)
        return {
            "d_loss": d_loss.item(),
            "adversarial": adversarial.item(),
            "perceptual": perceptual.item(),
            "l1": l1.item(),
        }


class SmallNAFNetStep(NAFNetStep):
    """The NAFNet that a CPU can train, with AdamW in place of Muon."""

    def __init__(self, **options) -> None:
        blocks = {"encoder_blocks": (1, 1, 4), "middle_blocks": 2, "decoder_blocks": (1, 1, 1)}
        super().__init__(**{**blocks, "space_to_depth": 2, **options})


STEPS = {
    "paper": PaperStep,
    "unet": UNetStep,
    "nafnet": NAFNetStep,
    "nafnet-gan": NAFNetGANStep,
    "nafnet-small": SmallNAFNetStep,
}


def torch_step(name: str, *, precision: str = "float32", seed: int = 0, **sizes) -> TorchStep:
    """Return the recipe `name` of `STEPS` with weights drawn from `seed`; `sizes` are its networks'."""
    torch.manual_seed(seed)
    return STEPS[name](precision=precision, **sizes)
