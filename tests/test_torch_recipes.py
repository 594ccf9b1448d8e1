"""The PyTorch side of the benchmark does the same as the package, so that their times compare."""

import sys
from pathlib import Path

import numpy as np
import pytest

from deblurgan.networks.nafnet import nafnet
from deblurgan.networks.paper import paper_generator
from deblurgan.networks.patchgan import patchgan_discriminator
from deblurgan.networks.unet import unet_generator
from deblurgan.networks.vgg import VGG16_LAYERS, vgg19_block3_conv3
from deblurgan.training import adversarial, losses

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def recipes():
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    try:
        import torch_recipes

        yield torch_recipes
    finally:
        sys.path.pop(0)


def images(batch=2, side=64, channels=3, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (batch, side, side, channels)).astype(np.float32)


def nchw(x):
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def with_weights_of(model, module):
    """Give the module the model's weights, both in the order of their layers, and return it in evaluation mode."""
    tensors = [tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")]
    for tensor, weight in zip(tensors, model.weights, strict=True):
        value = np.asarray(weight)
        tensor.copy_(torch.from_numpy(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value))
    return module.eval()


NETWORKS = {
    "paper": (paper_generator, {"ngf": 4, "n_blocks": 2}, "PaperGenerator", {"ngf": 4, "n_blocks": 2}),
    "unet": (unet_generator, {"ngf": 4, "num_downs": 6, "residual": True}, "UNet", {"ngf": 4, "num_downs": 6}),
    "critic": (patchgan_discriminator, {"ndf": 4, "padding": 2}, "PatchGAN", {"ndf": 4, "padding": 2}),
    "conditional critic": (
        patchgan_discriminator,
        {"image_shape": (None, None, 6), "ndf": 4, "norm": "batch"},
        "PatchGAN",
        {"channels": 6, "ndf": 4, "norm": "batch"},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_compute_the_same(name, recipes, randomised):
    builder, options, twin, twin_options = NETWORKS[name]
    model = randomised(builder(**options))
    module = with_weights_of(model, getattr(recipes, twin)(**twin_options))
    x = images(channels=model.input_shape[-1])
    with torch.no_grad():
        found = module(nchw(x)).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(model(x, training=False), found, rtol=0, atol=1e-4 * np.abs(found).max())


@pytest.mark.parametrize(
    ("twin", "builder"),
    [("PaperGenerator", paper_generator), ("UNet", unet_generator), ("PatchGAN", patchgan_discriminator)],
)
def test_networks_of_full_size_have_the_same_weights(twin, builder, recipes):
    with torch.device("meta"):
        module = getattr(recipes, twin)()
    assert sum(p.numel() for p in module.parameters()) == sum(np.prod(w.shape) for w in builder().trainable_weights)


def nafblock_tensors(block):
    """The tensors of a NAFBlock in PyTorch, in the order of Keras' weights."""
    mix, feed = block.mix, block.feed
    parts = [mix[0], mix[1], mix[2], mix[4].scale[1], mix[5], block.beta, feed[0], feed[1], feed[3], block.gamma]
    return [t for part in parts for t in ([part] if isinstance(part, torch.Tensor) else part.parameters())]


def test_nafnet_computes_the_same(recipes, randomised):
    sizes = {"width": 8, "encoder_blocks": (1, 2), "middle_blocks": 1, "decoder_blocks": (1, 2)}
    model, module = randomised(nafnet(**sizes)), recipes.NAFNet(**sizes)
    tensors = [*module.intro.parameters()]
    for blocks, down in zip(module.encoder, module.down, strict=True):
        tensors += [t for block in blocks for t in nafblock_tensors(block)] + list(down.parameters())
    tensors += [t for block in module.middle for t in nafblock_tensors(block)]
    for up, blocks in zip(module.up, module.decoder, strict=True):
        tensors += [*up.parameters()] + [t for block in blocks for t in nafblock_tensors(block)]
    tensors += [*module.ending.parameters()]
    with torch.no_grad():
        for tensor, weight in zip(tensors, model.weights, strict=True):
            value = np.asarray(weight)
            if value.ndim == 2:  # a 1x1 convolution
                value = value[None, None]
            if value.shape[:2] == (1, 1) and "up" in weight.path:  # PyTorch's squares of pixels lie inside a channel
                value = value.reshape(1, 1, value.shape[2], 4, -1).swapaxes(3, 4).reshape(value.shape)
            if value.ndim == 4:
                value = value.transpose(3, 2, 0, 1)
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(value)).reshape(tensor.shape))
        found = module(nchw(images(side=32))).numpy().transpose(0, 2, 3, 1)
    assert np.abs(found - images(side=32)).max() > 0.1
    np.testing.assert_allclose(model(images(side=32)), found, rtol=0, atol=1e-4 * np.abs(found).max())


def test_nafnet_has_the_published_number_of_weights(recipes):
    with torch.device("meta"):
        counts = [sum(p.numel() for p in recipes.NAFNet(width).parameters()) for width in (32, 64)]
    assert [round(count / 1e6, 2) for count in counts] == [17.11, 67.89]


def test_vgg19_computes_the_same(recipes, vgg19, vgg19_file):
    module = recipes.VGG19Features()
    stored = [vgg19[f"{layer}/{kind}"] for layer in VGG16_LAYERS for kind in ("kernel", "bias")]
    for tensor, value in zip(module.state_dict().values(), stored, strict=True):
        tensor.copy_(torch.from_numpy(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value))
    expected = vgg19_block3_conv3(images(side=16), weights=vgg19_file)
    found = module(nchw(images(side=16))).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(expected, found, rtol=0, atol=1e-5 * np.abs(found).max())


def test_losses_are_the_same(recipes, monkeypatch, randomised):
    sharp, restored = images(), images(seed=1)
    assert float(losses.psnr_loss(sharp, restored)) == pytest.approx(
        recipes.psnr_loss(nchw(sharp), nchw(restored)).item(), rel=1e-5
    )
    ragan = adversarial.ADVERSARIAL["ragan-ls"]
    real, fake = (torch.from_numpy(x) for x in (sharp, restored))
    assert recipes.ragan_ls(real, fake).item() == pytest.approx(float(ragan.critic_loss(sharp, restored)), rel=1e-5)
    assert recipes.ragan_ls(fake, real).item() == pytest.approx(
        float(ragan.generator_loss(sharp, restored)), rel=1e-5
    )

    model = randomised(patchgan_discriminator(ndf=4, padding=2))
    module = with_weights_of(model, recipes.PatchGAN(ndf=4, padding=2))
    alpha = np.array([0.3, 0.8], np.float32).reshape(2, 1, 1, 1)
    monkeypatch.setattr(torch, "rand", lambda *shape: torch.from_numpy(alpha).reshape(shape))
    found = recipes.gradient_penalty(module, nchw(sharp), nchw(restored)).item()
    assert found == pytest.approx(float(adversarial.gradient_penalty(model, sharp, restored, alpha)), rel=1e-4)


SIZES = {
    "paper": {"ngf": 4, "n_blocks": 1, "ndf": 4, "critic_updates": 2},
    "unet": {"ngf": 4, "num_downs": 5, "ndf": 4},
    "nafnet": {"width": 4, "encoder_blocks": (1, 1), "decoder_blocks": (1, 1)},
    "nafnet-gan": {"width": 4, "encoder_blocks": (1, 1), "decoder_blocks": (1, 1), "ndf": 4},
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", SIZES)
def test_a_step_trains_both_networks(name, precision, recipes):
    recipe = recipes.torch_step(name, precision=precision, **SIZES[name])
    networks = [recipe.generator, *([recipe.critic] if hasattr(recipe, "critic") else [])]
    before = [[p.detach().clone() for p in network.parameters()] for network in networks]
    blurred, sharp = nchw(images(side=32)), nchw(images(side=32, seed=1))
    for _ in range(2):  # NAFNet's blocks are closed by factors of 0 at first
        found = recipe.step(blurred, sharp)
    assert all(np.isfinite(value) for value in found.values())
    assert all(seconds > 0 for seconds in recipe.seconds.values())
    for network, old in zip(networks, before, strict=True):
        kernels = [(new, o) for new, o in zip(network.parameters(), old, strict=True) if new.ndim == 4]
        assert all(bool((new != o).any()) for new, o in kernels)
        assert all(parameter.requires_grad for parameter in network.parameters())
