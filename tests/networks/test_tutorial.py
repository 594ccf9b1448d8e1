import subprocess
import sys

import keras
import numpy as np
import pytest

from deblurgan.errors import InputError
from deblurgan.networks.layers import BatchNormalization
from deblurgan.networks.tutorial import (
    discriminator_model,
    generator_containing_discriminator,
    generator_containing_discriminator_multiple_outputs,
    generator_model,
)
from tests import reference
from tests.batches import noise

UPSAMPLINGS = ["transpose", "resize"]
upsamplings = pytest.mark.parametrize("upsampling", UPSAMPLINGS)


def weights_of(model, names):
    return [[np.asarray(variable) for variable in model.get_layer(name).weights] for name in names]


def generator_layers(n_blocks):
    """Names of the convolutions and of the normalisations, from input to output."""
    start, end = ["in", "down1", "down2"], ["up1", "up2"]
    blocks = [(f"block{i}", part) for i in range(1, n_blocks + 1) for part in (1, 2)]
    convs = [
        *(f"{n}_conv" for n in start),
        *(f"{n}_conv{i}" for n, i in blocks),
        *(f"{n}_conv" for n in end),
        "out_conv",
    ]
    norms = [*(f"{n}_bn" for n in start), *(f"{n}_bn{i}" for n, i in blocks), *(f"{n}_bn" for n in end)]
    return convs, norms


def reference_generator(model, images, n_blocks, upsampling):
    convs, norms = (weights_of(model, names) for names in generator_layers(n_blocks))
    return reference.generator(images, convs, norms, upsampling)


def reference_discriminator(model, images, n_layers=3):
    layers = [f"layer{i + 1}" for i in range(n_layers + 1)]
    convs = weights_of(model, [f"{name}_conv" for name in ("in", *layers, "out")])
    norms = weights_of(model, [f"{name}_bn" for name in layers])
    return reference.discriminator(images, convs, norms, weights_of(model, ["dense", "decision"]))


# How far float32 may be from float64, on values up to 1: a sum of 3136 products rounded at 6e-8 is off by about the
# root of that number times as much, and 24 convolutions in a row by the root of 24 times more, 1.6e-5. An error in
# the arithmetic shows at 1e-2 and more.
FLOAT32 = 2e-5


# Against the reference


@pytest.mark.parametrize(("upsampling", "side"), [("transpose", 256), ("resize", 64)])
def test_the_real_generator_has_11_399_171_parameters_and_equals_the_reference(upsampling, side, randomised, photos):
    model = randomised(generator_model(*[] if side == 256 else [(side, side, 3)], upsampling=upsampling))
    assert model.count_params() == 11_399_171
    assert model.input_shape == model.output_shape == (None, side, side, 3)
    image = photos[0][None, :side, :side].astype(np.float32) / 127.5 - 1
    expected = reference_generator(model, image, 9, upsampling)
    restoration = 2 * expected - image  # the output of tanh alone
    assert 0.2 < restoration.std() < 0.8
    np.testing.assert_allclose(model(image), expected, rtol=0, atol=FLOAT32)


def test_the_real_discriminator_has_3_098_370_parameters_and_equals_the_reference(randomised, photos):
    model = randomised(discriminator_model())
    assert model.count_params() == 3_098_370
    assert model.output_shape == (None, 1)
    images = np.stack([photo[:256, :256].astype(np.float32) / 127.5 - 1 for photo in photos])
    expected = reference_discriminator(model, images)
    assert np.all((expected > 0.01) & (expected < 0.99))
    assert abs(expected[0] - expected[1]) > 1e-3
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=FLOAT32)


@upsamplings
@pytest.mark.parametrize("size", [(8, 8), (8, 12), (20, 8), (36, 28)])
def test_a_small_generator_equals_the_reference_at_awkward_sizes(upsampling, size, randomised):
    model = randomised(generator_model((*size, 3), ngf=4, n_blocks=2, upsampling=upsampling))
    images = noise((2, *size, 3))
    expected = reference_generator(model, images, 2, upsampling)
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("size", [(16, 16), (30, 21), (5, 3)])
def test_a_small_discriminator_equals_the_reference_at_awkward_sizes(size, randomised):
    model = randomised(discriminator_model((*size, 3), ndf=4))
    images = noise((2, *size, 3))
    np.testing.assert_allclose(model(images), reference_discriminator(model, images), rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("sigmoid", [True, False])
def test_discriminators_of_other_norms_and_outputs_equal_the_reference(norm, sigmoid, randomised):
    model = randomised(discriminator_model((32, 24, 3), ndf=4, norm=norm, sigmoid=sigmoid))
    images = noise((2, 32, 24, 3))
    layers = [f"layer{i + 1}" for i in range(4)]
    convs = weights_of(model, [f"{name}_conv" for name in ("in", *layers, "out")])
    norms = weights_of(model, [f"{name}_bn" for name in layers]) if norm == "batch" else [norm] * 4
    expected = reference.discriminator(images, convs, norms, weights_of(model, ["dense", "decision"]))
    logits = np.log(expected / (1 - expected))
    assert abs(logits[0] - logits[1]) > 1e-4
    np.testing.assert_allclose(model(images), expected if sigmoid else logits, rtol=0, atol=FLOAT32)
    batch_norms = [layer.name for layer in model.layers if isinstance(layer, BatchNormalization)]
    assert batch_norms == ([f"{name}_bn" for name in layers] if norm == "batch" else [])


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_discriminators_without_batchnorm_judge_each_image_alone(norm, randomised):
    model = randomised(discriminator_model((16, 16, 3), ndf=4, norm=norm, sigmoid=False))
    images = noise((3, 16, 16, 3))
    alone = np.concatenate([model(images[i : i + 1], training=True) for i in range(3)])
    np.testing.assert_allclose(model(images, training=True), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "layer"}, "norm: expected 'instance', 'batch', 'none', received 'layer'"),
        ({"norm": "none", "legacy_batchnorm": True}, "legacy_batchnorm: expected norm='batch' with it"),
    ],
)
def test_a_discriminators_options_that_make_no_network_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        discriminator_model((16, 16, 3), ndf=4, **options)


# Sizes and keywords


@upsamplings
def test_a_generator_of_unknown_size_equals_those_of_fixed_sizes(upsampling, randomised):
    free = randomised(generator_model((None, None, 3), ngf=4, n_blocks=2, upsampling=upsampling))
    assert free.input_shape == free.output_shape == (None, None, None, 3)
    for size in ((8, 12), (32, 16)):
        fixed = generator_model((*size, 3), ngf=4, n_blocks=2, upsampling=upsampling)
        fixed.set_weights(free.get_weights())
        images = noise((2, *size, 3))
        np.testing.assert_allclose(free(images), fixed(images), rtol=0, atol=1e-6)


def test_one_side_of_a_generator_may_be_unknown():
    model = generator_model((16, None, 3), ngf=4, n_blocks=1)
    assert model(noise((1, 16, 24, 3))).shape == (1, 16, 24, 3)


def test_ngf_sets_the_generators_filters():
    model = generator_model((16, 16, 3), ngf=5, n_blocks=2)
    filters = [model.get_layer(name).filters for name in generator_layers(2)[0]]
    assert filters == [5, 10, 20, 20, 20, 20, 20, 10, 5, 3]


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_n_blocks_sets_the_generators_depth(n_blocks, randomised):
    model = randomised(generator_model((16, 16, 3), ngf=4, n_blocks=n_blocks))
    convs, norms = generator_layers(n_blocks)
    assert [layer.name for layer in model.layers if "conv" in layer.name] == convs
    assert [layer.name for layer in model.layers if isinstance(layer, BatchNormalization)] == norms
    images = noise((1, 16, 16, 3))
    expected = reference_generator(model, images, n_blocks, "transpose")
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=FLOAT32)


def test_ndf_and_n_layers_set_the_discriminators_filters():
    model = discriminator_model((32, 32, 3), ndf=3, n_layers=4)
    convs = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convs] == [3, 3, 6, 12, 24, 24, 1]
    assert [layer.strides[0] for layer in convs] == [2, 2, 2, 2, 2, 1, 1]


@pytest.mark.parametrize("channels", [1, 4])
def test_the_networks_take_other_channels(channels, randomised):
    images = noise((2, 16, 16, channels))
    generator = randomised(generator_model((16, 16, channels), ngf=4, n_blocks=1))
    expected = reference_generator(generator, images, 1, "transpose")
    np.testing.assert_allclose(generator(images), expected, rtol=0, atol=FLOAT32)
    discriminator = randomised(discriminator_model((16, 16, channels), ndf=4))
    expected = reference_discriminator(discriminator, images)
    np.testing.assert_allclose(discriminator(images), expected, rtol=0, atol=FLOAT32)


def test_the_generator_drops_out_in_training_only(randomised):
    model = randomised(generator_model((16, 16, 3), ngf=4, n_blocks=2))
    images = noise((1, 16, 16, 3))
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.5, 0.5]
    np.testing.assert_array_equal(model(images, training=False), model(images, training=False))
    assert np.abs(model(images, training=True) - model(images, training=True)).max() > 1e-2


def test_dropout_0_leaves_the_layers_out(randomised):
    model = randomised(generator_model((16, 16, 3), ngf=4, n_blocks=2, dropout=0))
    images = noise((1, 16, 16, 3))
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in model.layers)
    np.testing.assert_array_equal(model(images, training=True), model(images, training=True))


def test_the_generator_maps_minus_1_to_1_onto_itself(randomised):
    model = randomised(generator_model((16, 16, 3), ngf=4, n_blocks=1))
    model.get_layer("out_conv").bias.assign([50, -50, 0])
    images = np.concatenate([np.ones((1, 16, 16, 3)), -np.ones((1, 16, 16, 3))])
    output = np.asarray(model(images))
    assert output.min() >= -1
    assert output.max() <= 1
    np.testing.assert_allclose(output[0, :, :, 0], 1, atol=1e-6)
    np.testing.assert_allclose(output[1, :, :, 1], -1, atol=1e-6)


# Precision


@pytest.mark.parametrize(("policy", "tolerance"), [("mixed_bfloat16", 0.05), ("mixed_float16", 0.01)])
@upsamplings
def test_a_generator_in_half_precision_gives_nearly_the_same_in_float32(upsampling, policy, tolerance, randomised):
    arguments = {"ngf": 8, "n_blocks": 2, "upsampling": upsampling}
    exact = randomised(generator_model((32, 32, 3), **arguments))
    half = generator_model((32, 32, 3), **arguments, dtype=policy)
    half.set_weights(exact.get_weights())
    images = noise((2, 32, 32, 3))
    output = half(images)
    assert output.dtype == "float32"
    assert half.get_layer("block1_conv1").compute_dtype == policy.removeprefix("mixed_")
    assert {half.get_layer(name).compute_dtype for name in ("out_tanh", "out_add", "out_half")} == {"float32"}
    assert {variable.dtype for variable in half.weights} == {"float32"}
    difference = np.abs(output - exact(images))
    assert 0 < difference.max() < tolerance


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_discriminator_in_half_precision_gives_nearly_the_same_in_float32(policy, randomised):
    exact = randomised(discriminator_model((32, 32, 3), ndf=8))
    half = discriminator_model((32, 32, 3), ndf=8, dtype=policy)
    half.set_weights(exact.get_weights())
    images = noise((4, 32, 32, 3))
    output = half(images)
    assert output.dtype == "float32"
    assert half.get_layer("layer1_conv").compute_dtype == policy.removeprefix("mixed_")
    assert {half.get_layer(name).compute_dtype for name in ("flatten", "dense", "decision")} == {"float32"}
    assert 0 < np.abs(output - exact(images)).max() < 0.05


def test_the_global_dtype_policy_holds_where_none_is_given():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        generator = generator_model((16, 16, 3), ngf=4, n_blocks=1)
        discriminator = discriminator_model((16, 16, 3), ndf=4)
    finally:
        keras.config.set_dtype_policy(before)
    assert generator.get_layer("in_conv").compute_dtype == "bfloat16"
    assert generator.get_layer("out_conv").compute_dtype == "bfloat16"
    assert generator(noise((1, 16, 16, 3))).dtype == "float32"
    assert discriminator(noise((1, 16, 16, 3))).dtype == "float32"


# Files


def test_the_networks_load_in_safe_mode_in_a_process_that_knows_the_layers_alone(tmp_path, randomised):
    images = noise((2, 16, 16, 3))
    np.save(tmp_path / "images.npy", images)
    models = {
        "transpose": generator_model((None, None, 3), ngf=4, n_blocks=1),
        "resize": generator_model((16, 16, 3), ngf=4, n_blocks=1, upsampling="resize", dtype="mixed_bfloat16"),
        "discriminator": discriminator_model((16, 16, 3), ndf=4),
    }
    for name, model in models.items():
        randomised(model).save(tmp_path / f"{name}.keras")
    program = """if True:
        import sys
        from pathlib import Path
        import keras
        import numpy as np
        import deblurgan.layer_utils
        folder = Path(sys.argv[1])
        for path in folder.glob("*.keras"):
            output = keras.saving.load_model(path, safe_mode=True)(np.load(folder / "images.npy"))
            np.save(path.with_suffix(".npy"), output)
    """
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    for name, model in models.items():
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), model(images), err_msg=name)


@pytest.mark.parametrize(
    "build",
    [
        lambda: generator_model((16, 16, 3), ngf=4, n_blocks=2),
        lambda: generator_model((16, 16, 3), ngf=4, n_blocks=2, upsampling="resize"),
        lambda: discriminator_model((16, 16, 3), ndf=4),
    ],
    ids=["transpose", "resize", "discriminator"],
)
def test_every_layer_has_the_same_name_however_often_the_network_is_built(build):
    first, second = build(), build()
    names = [layer.name for layer in first.layers]
    assert len(set(names)) == len(names)
    assert names == [layer.name for layer in second.layers]
    assert [variable.path for variable in first.weights] == [variable.path for variable in second.weights]


def test_the_networks_have_names():
    assert generator_model((16, 16, 3), ngf=4, n_blocks=1).name == "Generator"
    assert discriminator_model((16, 16, 3), ndf=4).name == "Discriminator"
    assert generator_model((16, 16, 3), ngf=4, n_blocks=1, name="g").name == "g"
    assert discriminator_model((16, 16, 3), ndf=4, name="d").name == "d"


# Combined


@pytest.fixture
def networks(randomised):
    return (
        randomised(generator_model((16, 16, 3), ngf=4, n_blocks=1), seed=1),
        randomised(discriminator_model((16, 16, 3), ndf=4), seed=2),
    )


def test_the_combined_model_values_the_generated_image(networks):
    generator, discriminator = networks
    images = noise((2, 16, 16, 3))
    combined = generator_containing_discriminator(generator, discriminator)
    np.testing.assert_allclose(combined(images), discriminator(generator(images)), atol=1e-6)


def test_the_combined_model_of_two_outputs_gives_the_generated_image_and_its_value(networks):
    generator, discriminator = networks
    images = noise((2, 16, 16, 3))
    combined = generator_containing_discriminator_multiple_outputs(generator, discriminator)
    generated, value = combined(images)
    np.testing.assert_allclose(generated, generator(images), atol=1e-6)
    np.testing.assert_allclose(value, discriminator(generator(images)), atol=1e-6)


def test_the_combined_models_share_the_networks_weights(networks):
    generator, discriminator = networks
    paths = {id(variable) for network in networks for variable in network.weights}
    for combine in (generator_containing_discriminator, generator_containing_discriminator_multiple_outputs):
        assert {id(variable) for variable in combine(generator, discriminator).weights} == paths


# Errors

SHAPES = {
    "not a multiple of 4": ((30, 32, 3), "multiples of 4 and at least 8"),
    "the width either": ((32, 31, 3), "multiples of 4 and at least 8"),
    "too small": ((4, 32, 3), "multiples of 4 and at least 8"),
    "no channels": ((32, 32), r"expected \(height, width, channels\)"),
    "a batch axis": ((None, 32, 32, 3), r"expected \(height, width, channels\)"),
    "unknown channels": ((32, 32, None), r"expected \(height, width, channels\)"),
    "zero": ((0, 32, 3), r"expected \(height, width, channels\)"),
    "negative": ((-32, 32, 3), r"expected \(height, width, channels\)"),
    "no channel": ((32, 32, 0), r"expected \(height, width, channels\)"),
    "a fraction": ((32.0, 32, 3), r"expected \(height, width, channels\)"),
}


@pytest.mark.parametrize(("shape", "message"), SHAPES.values(), ids=SHAPES.keys())
def test_the_generator_refuses_a_shape_it_does_not_have(shape, message):
    with pytest.raises(InputError, match=f"image_shape: .*{message}.*received") as caught:
        generator_model(shape, ngf=4, n_blocks=1)
    assert str(shape) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_generator_refuses_an_unknown_upsampling():
    with pytest.raises(InputError, match="upsampling: expected 'transpose', 'resize', received 'bilinear'"):
        generator_model((16, 16, 3), upsampling="bilinear")


@pytest.mark.parametrize(
    ("argument", "value"),
    [("ngf", 0), ("ngf", -4), ("ngf", 4.0), ("n_blocks", 0), ("n_blocks", -1), ("dropout", 1.0), ("dropout", -0.1)],
)
def test_the_generator_refuses_a_hyper_parameter_that_makes_no_network(argument, value):
    with pytest.raises(InputError, match=f"{argument}: expected .*, received {value}"):
        generator_model((16, 16, 3), **{"ngf": 4, "n_blocks": 1, argument: value})


@pytest.mark.parametrize(("argument", "value"), [("ndf", 0), ("ndf", 2.5), ("n_layers", 0), ("n_layers", None)])
def test_the_discriminator_refuses_a_hyper_parameter_that_makes_no_network(argument, value):
    with pytest.raises(InputError, match=f"{argument}: expected an int of at least 1, received {value}"):
        discriminator_model((16, 16, 3), **{argument: value})


@pytest.mark.parametrize("shape", [(None, 32, 3), (32, None, 3), (None, None, 3)])
def test_the_discriminator_refuses_unknown_sizes(shape):
    with pytest.raises(
        InputError, match="image_shape: the discriminator's dense head needs a known height and width"
    ):
        discriminator_model(shape)


@pytest.mark.parametrize("shape", [(32, 32), (32, 32, None), (0, 32, 3), (32, 32.5, 3)])
def test_the_discriminator_refuses_a_shape_that_is_none(shape):
    with pytest.raises(InputError, match=r"image_shape: expected \(height, width, channels\)"):
        discriminator_model(shape)
