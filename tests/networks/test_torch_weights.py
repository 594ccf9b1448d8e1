import re

import keras
import numpy as np
import pytest

from deblurgan.errors import InputError, WeightsError
from deblurgan.networks.zoo import recognise
from tests import torch_reference
from tests.batches import noise, run
from tests.torch_reference import built

FLOAT32 = 1e-4  # see test_networks.py

SMALL = {
    "resnet_generator": {"ngf": 4, "n_blocks": 2},
    "unet_generator": {"ngf": 4, "num_downs": 5},
    "patchgan_discriminator": {"ndf": 4},
}


def state_of(network, **options):
    """A state dict with random values of one of the reference's networks, small unless told otherwise."""
    reference = getattr(torch_reference, network)(**{**SMALL[network], **options})
    return torch_reference.random_state(reference.shapes())


# Names as the published files have them


def test_deblurgans_published_generator_has_the_names_and_shapes_that_are_looked_for():
    shapes = torch_reference.resnet_generator(norm="tracked instance").shapes()
    names = [name for name in shapes if not name.endswith("num_batches_tracked")]
    assert names[:8] == [
        "model.1.weight",
        "model.1.bias",
        "model.2.running_mean",
        "model.2.running_var",
        "model.4.weight",
        "model.4.bias",
        "model.5.running_mean",
        "model.5.running_var",
    ]
    block = [name.removeprefix("model.18.conv_block.") for name in names if name.startswith("model.18.")]
    assert block == [
        *("1.weight", "1.bias", "2.running_mean", "2.running_var"),
        *("6.weight", "6.bias", "7.running_mean", "7.running_var"),
    ]
    assert names[-10:] == [
        *("model.19.weight", "model.19.bias", "model.20.running_mean", "model.20.running_var"),
        *("model.22.weight", "model.22.bias", "model.23.running_mean", "model.23.running_var"),
        *("model.26.weight", "model.26.bias"),
    ]
    assert shapes["model.19.weight"] == (256, 128, 3, 3)
    assert shapes["model.26.weight"] == (3, 64, 7, 7)
    assert recognise(torch_reference.random_state(shapes))[1].kind == "DeblurGAN generator"


def test_pix2pixs_unet_256_has_the_names_and_shapes_that_are_looked_for():
    shapes = torch_reference.unet_generator().shapes()
    inner = "model.model.1" + 6 * ".model.3"
    assert shapes["model.model.0.weight"] == (64, 3, 4, 4)
    assert shapes["model.model.1.model.1.weight"] == (128, 64, 4, 4)
    assert shapes["model.model.1.model.2.running_mean"] == (128,)
    assert shapes["model.model.1.model.5.weight"] == (256, 64, 4, 4)
    assert shapes[f"{inner}.model.1.weight"] == (512, 512, 4, 4)
    assert shapes[f"{inner}.model.3.weight"] == (512, 512, 4, 4)
    assert shapes[f"{inner}.model.4.weight"] == (512,)
    assert shapes["model.model.3.weight"] == (128, 3, 4, 4)
    assert shapes["model.model.3.bias"] == (3,)
    assert not any(name.startswith(f"{inner}.model.2") or name == f"{inner}.model.3.bias" for name in shapes)


def test_the_70x70_discriminator_has_the_names_and_shapes_that_are_looked_for():
    shapes = torch_reference.patchgan_discriminator(channels=6, norm="batch").shapes()
    assert {name: shape for name, shape in shapes.items() if len(shape) == 4} == {
        "model.0.weight": (64, 6, 4, 4),
        "model.2.weight": (128, 64, 4, 4),
        "model.5.weight": (256, 128, 4, 4),
        "model.8.weight": (512, 256, 4, 4),
        "model.11.weight": (1, 512, 4, 4),
    }
    assert {name for name in shapes if name.startswith("model.9.")} == {
        "model.9.weight",
        "model.9.bias",
        "model.9.running_mean",
        "model.9.running_var",
        "model.9.num_batches_tracked",
    }
    assert "model.0.bias" in shapes
    assert "model.2.bias" not in shapes


# What is told from the tensors

RESNET = {"ngf": 4, "n_blocks": 2, "norm": "instance", "output_channels": 3, "up_kernel": 3}
UNET = {"ngf": 4, "num_downs": 5, "norm": "batch", "output_channels": 3}
PATCHGAN = {"ndf": 4, "n_layers": 3, "norm": "instance"}
DEBLURGAN, CYCLEGAN, PIX2PIX = "DeblurGAN generator", "CycleGAN ResNet generator", "pix2pix U-Net generator"


@pytest.mark.parametrize(
    ("options", "kind", "told", "assumed"),
    [
        ({}, DEBLURGAN, {}, {"residual": True, "dropout": 0.5}),
        ({"norm": "tracked instance"}, DEBLURGAN, {}, {"residual": True, "dropout": 0.5}),
        ({"dropout": False}, CYCLEGAN, {}, {"residual": False, "dropout": 0}),
        ({"norm": "batch"}, CYCLEGAN, {"norm": "batch"}, {"residual": False, "dropout": 0.5}),
        ({"norm": "none"}, CYCLEGAN, {"norm": "none"}, {"residual": False, "dropout": 0.5}),
        ({"block": "first"}, DEBLURGAN, {}, {"residual": True, "dropout": 0.5, "block": "first"}),
        ({"block": "second"}, DEBLURGAN, {}, {"residual": True, "dropout": 0.5, "block": "first"}),
        ({"block": "first", "norm": "batch"}, DEBLURGAN, {"norm": "batch"}, {"residual": True, "block": "first"}),
        ({"n_blocks": 1, "ngf": 2}, DEBLURGAN, {"n_blocks": 1, "ngf": 2}, {"residual": True}),
        ({"n_blocks": 9}, DEBLURGAN, {"n_blocks": 9}, {"residual": True}),
        ({"up_kernel": 4}, DEBLURGAN, {"up_kernel": 4}, {"residual": True}),
        ({"channels": 1}, DEBLURGAN, {"output_channels": 1}, {"image_shape": (None, None, 1)}),
    ],
)
def test_resnet_generators_are_told_from_their_tensors(options, kind, told, assumed):
    network, found = recognise(state_of("resnet_generator", **options))
    assert (found.kind, network.name) == (kind, "paper")
    assert found.options == {**RESNET, **told}
    assert found.assumed.items() >= assumed.items()
    assert ("block" in found.assumed) == ("block" in assumed)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, {}),
        ({"norm": "instance"}, {"norm": "instance"}),
        ({"norm": "tracked instance"}, {"norm": "instance"}),
        ({"norm": "none"}, {"norm": "none"}),
        ({"num_downs": 7, "ngf": 2}, {"num_downs": 7, "ngf": 2}),
        ({"num_downs": 8, "ngf": 2}, {"num_downs": 8, "ngf": 2}),
    ],
)
def test_unet_generators_are_told_from_their_tensors(options, told):
    network, found = recognise(state_of("unet_generator", **options))
    assert (found.kind, network.name) == (PIX2PIX, "unet")
    assert found.options == {**UNET, **told}
    assert found.assumed == {
        "image_shape": (None, None, 3),
        "residual": False,
        "dropout": 0.5,
        "skip_first": True,
        "test_dropout": False,
        "test_statistics": False,
    }


@pytest.mark.parametrize(
    ("options", "told", "padding"),
    [
        ({}, {}, 1),
        ({"norm": "tracked instance"}, {}, 2),
        ({"norm": "batch", "channels": 6}, {"norm": "batch"}, 1),
        ({"norm": "none"}, {"norm": "none"}, 1),
        ({"n_layers": 1}, {"n_layers": 1}, 1),
        ({"n_layers": 5, "ndf": 2}, {"n_layers": 5, "ndf": 2}, 1),
    ],
)
def test_discriminators_are_told_from_their_tensors(options, told, padding):
    network, found = recognise(state_of("patchgan_discriminator", **options))
    assert (found.kind, network.name) == ("PatchGAN discriminator", "patchgan")
    assert found.options == {**PATCHGAN, **told}
    channels = options.get("channels", 3)
    assert found.assumed == {"image_shape": (None, None, channels), "padding": padding, "sigmoid": False}


# What is built


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("default", [True, False])
def test_the_residual_can_be_chosen_either_way(residual, default):
    reference = torch_reference.resnet_generator(ngf=4, n_blocks=2, dropout=default)
    state, images = torch_reference.random_state(reference.shapes()), noise((1, 32, 32, 3))
    reference.load(state)
    chosen = run(built(state, residual=residual), images)
    np.testing.assert_allclose(chosen, torch_reference.restored(reference, images, residual), rtol=0, atol=FLOAT32)
    assumed = torch_reference.restored(reference, images, residual=default)
    np.testing.assert_allclose(run(built(state), images), assumed, rtol=0, atol=FLOAT32)


def test_other_choices_reach_the_network():
    model = built(state_of("resnet_generator"), dropout=0.2, name="mine", image_shape=(32, 64, 3))
    assert model.name == "mine"
    assert model.input_shape == (None, 32, 64, 3)
    assert model.get_layer("block1_dropout").rate == 0.2
    assert built(state_of("patchgan_discriminator"), padding=2).get_layer("in_pad").padding == ((2, 2), (2, 2))
    assert (
        built(state_of("resnet_generator"), dtype="mixed_bfloat16").get_layer("in_conv").compute_dtype == "bfloat16"
    )
    assert built(state_of("resnet_generator")).input_shape == (None, None, None, 3)


def test_blocks_that_use_one_convolution_twice_load_it_twice():
    state = state_of("resnet_generator")
    for block in (10, 11):
        for part in ("weight", "bias"):
            state[f"model.{block}.conv_block.6.{part}"] = state[f"model.{block}.conv_block.1.{part}"]
    model = built(state)
    for first, second in zip(
        model.get_layer("block1_conv1").get_weights(), model.get_layer("block1_conv2").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("network", ["resnet_generator", "unet_generator", "patchgan_discriminator"])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_names_may_come_from_data_parallel_and_values_in_another_precision(network, dtype):
    state = state_of(network, norm="batch")
    state = {f"module.{name}": tensor.astype(dtype) for name, tensor in state.items()}
    images = noise((1, 32, 32, 3))
    same = {name.removeprefix("module."): tensor.astype(np.float32) for name, tensor in state.items()}
    np.testing.assert_array_equal(run(built(state), images), run(built(same), images))


def test_statistics_that_an_instance_normalisation_noted_change_nothing():
    tracked = state_of("resnet_generator", norm="tracked instance")
    plain = {name: tensor for name, tensor in tracked.items() if "running" not in name and "tracked" not in name}
    images = noise((1, 32, 32, 3))
    np.testing.assert_array_equal(run(built(tracked), images), run(built(plain), images))


def test_statistics_that_an_instance_normalisation_noted_can_be_used():
    reference = torch_reference.resnet_generator(ngf=4, n_blocks=2, norm="tracked instance")
    state, images = torch_reference.random_state(reference.shapes()), noise((1, 32, 32, 3))
    model = built(state, statistics="noted")
    names = {"in_norm": "model.2", "block2_norm2": "model.11.conv_block.7", "up2_norm": "model.16"}
    for layer, name in names.items():
        for variable, tensor in zip(model.get_layer(layer).weights, ("running_mean", "running_var"), strict=True):
            np.testing.assert_array_equal(variable, state[f"{name}.{tensor}"].astype(np.float32))
    model = keras.Model(model.input, [model.get_layer("in_conv").output, model.get_layer("in_norm").output])
    before, after = (np.asarray(x, np.float64) for x in model(images))
    expected = (before - state["model.2.running_mean"]) / np.sqrt(state["model.2.running_var"] + 1e-5)
    np.testing.assert_allclose(after, expected, rtol=1e-4, atol=FLOAT32)


# What is refused


def refused(message, state, error=WeightsError, **overrides):
    with pytest.raises(error, match=re.escape(message)) as raised:
        built(state, **overrides)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("network", "name", "expected"),
    [
        ("resnet_generator", "model.1.weight", "a kernel of 7x7"),
        ("resnet_generator", "model.4.bias", "8"),
        ("resnet_generator", "model.11.conv_block.6.weight", "16x16x3x3"),
        ("resnet_generator", "model.12.weight", "a kernel of 3x3 or 4x4"),
        ("resnet_generator", "model.15.weight", "8x4x3x3"),
        ("resnet_generator", "model.19.bias", "3"),
        ("unet_generator", "model.model.3.weight", "a kernel of 4x4"),
        ("unet_generator", "model.model.1.model.2.running_mean", "8"),
        ("unet_generator", "model.model.1.model.3.model.5.weight", "32x8x4x4"),
        ("patchgan_discriminator", "model.5.weight", "16x8x4x4"),
        ("patchgan_discriminator", "model.11.bias", "1"),
    ],
)
def test_a_missing_tensor_is_named_with_what_was_expected(network, name, expected):
    state = state_of(network)
    del state[name]
    refused(f"{name}: expected {expected}", state)
    refused("found no such tensor", state)


@pytest.mark.parametrize(
    ("network", "name", "shape", "message"),
    [
        ("resnet_generator", "model.11.conv_block.1.weight", (16, 8, 3, 3), "expected 16x16x3x3"),
        ("resnet_generator", "model.12.weight", (8, 16, 3, 3), "expected 16x8x3x3"),
        ("resnet_generator", "model.12.weight", (16, 8, 5, 5), "expected a kernel of 3x3 or 4x4"),
        ("resnet_generator", "model.1.weight", (4,), "expected a kernel of 7x7"),
        ("resnet_generator", "model.1.weight", (0, 3, 7, 7), "expected a kernel of 7x7"),
        ("resnet_generator", "model.1.bias", (), "expected 4"),
        ("unet_generator", "model.model.0.weight", (4, 3, 3, 3), "expected a kernel of 4x4"),
        ("unet_generator", "model.model.1.model.6.running_var", (3,), "expected 4"),
        ("patchgan_discriminator", "model.11.weight", (2, 32, 4, 4), "expected 1x32x4x4"),
    ],
)
def test_a_tensor_of_another_shape_is_named_with_both_shapes(network, name, shape, message):
    state = state_of(network)
    state[name] = np.zeros(shape, np.float32)
    refused(f"{name}: {message}", state)
    refused(f"found {'x'.join(map(str, shape)) or 'a single value'}", state)


@pytest.mark.parametrize(
    ("network", "options", "name"),
    [
        ("resnet_generator", {}, "model.28.weight"),
        ("resnet_generator", {}, "epoch"),
        ("resnet_generator", {"norm": "batch"}, "model.1.bias"),
        ("resnet_generator", {"norm": "none"}, "model.2.running_mean"),
        ("resnet_generator", {"block": "first"}, "model.11.conv_block.6.weight"),
        ("unet_generator", {}, "model.model.1.model.8.weight"),
        ("patchgan_discriminator", {}, "model.12.weight"),
    ],
)
def test_a_tensor_that_is_left_over_is_named(network, options, name):
    refused(f"{name}: left over", {**state_of(network, **options), name: np.zeros(4, np.float32)})


def test_tensors_of_an_unknown_network_are_listed_with_the_known_kinds():
    state = {f"features.{i}.weight": np.zeros((i, 3, 3, 3), np.float32) for i in range(8)}
    refused("expected the tensors of a DeblurGAN or CycleGAN ResNet generator, a pix2pix U-Net", state)
    refused("found features.0.weight 0x3x3x3, features.1.weight 1x3x3x3,", state)
    refused("features.4.weight 4x3x3x3 and 3 more", state)
    refused("found model.0.weight 64x3x3x3", {"model.0.weight": np.zeros((64, 3, 3, 3))})
    refused("found model.0.weight 4", {"model.0.weight": np.zeros(4)})
    refused("found none", {})


def test_a_unet_of_too_few_levels_is_refused():
    state = {name: tensor for name, tensor in state_of("unet_generator").items() if 3 * ".model.3" not in name}
    refused("expected a pix2pix U-Net generator of at least 5 levels, found 4", state)


def test_choices_that_make_no_network_are_refused():
    resnet, one_convolution = state_of("resnet_generator"), state_of("resnet_generator", block="first")
    refused("block: expected 'first' or 'second'", one_convolution, InputError, block="whole")
    refused("dropout: expected a rate", resnet, InputError, dropout=2)


# PyTorch itself

SIZES = {"resnet_generator": (32, 40), "unet_generator": (32, 64), "patchgan_discriminator": (70, 64)}
VARIANTS = [
    *(("resnet_generator", {"norm": norm}) for norm in ("instance", "tracked instance", "batch", "none")),
    ("resnet_generator", {"dropout": False}),
    ("resnet_generator", {"block": "first"}),
    ("resnet_generator", {"block": "second"}),
    ("resnet_generator", {"up_kernel": 4}),
    *(("unet_generator", {"norm": norm}) for norm in ("instance", "tracked instance", "batch", "none")),
    ("unet_generator", {"skip_first": False}),
    *(("patchgan_discriminator", {"norm": norm}) for norm in ("instance", "tracked instance", "batch", "none")),
    ("patchgan_discriminator", {"padding": 2, "sigmoid": True}),
]


@pytest.mark.torch
@pytest.mark.parametrize(("network", "options"), VARIANTS)
def test_pytorch_agrees_with_the_reference_and_with_keras(network, options):
    torch = pytest.importorskip("torch")
    make, options = getattr(torch_reference, network), {**SMALL[network], **options}
    reference = make(**options)
    module = make(torch.nn, torch.cat, **options) if network == "unet_generator" else make(torch.nn, **options)

    own = module.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in own.items()} == reference.shapes()
    state = torch_reference.random_state(reference.shapes())
    module.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in state.items()})
    module.eval()
    for part in module.modules():
        if isinstance(part, torch.nn.InstanceNorm2d):
            part.train()  # the image's own statistics, also where others were noted

    images = noise((2, *SIZES[network], 3))
    with torch.no_grad():
        expected = (
            module.double()(torch.from_numpy(images.transpose(0, 3, 1, 2)).double()).numpy().transpose(0, 2, 3, 1)
        )
    reference.load(state)
    np.testing.assert_allclose(torch_reference.restored(reference, images), expected, rtol=0, atol=1e-10)
    choices = {"padding": 1} if network == "patchgan_discriminator" else {"residual": False}
    choices |= {name: options[name] for name in ("block", "skip_first", "padding", "sigmoid") if name in options}
    np.testing.assert_allclose(run(built(state, **choices), images), expected, rtol=0, atol=FLOAT32)
