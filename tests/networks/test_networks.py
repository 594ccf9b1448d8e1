import keras
import numpy as np
import pytest

from deblurgan.errors import InputError
from deblurgan.networks.layers import InstanceNormalization
from deblurgan.networks.paper import paper_generator
from deblurgan.networks.patchgan import patchgan_discriminator
from deblurgan.networks.unet import unet_generator
from tests import torch_reference
from tests.batches import noise, run
from tests.torch_reference import built

# How far float32 may be from float64, on values up to 1: a sum of 8192 products rounded at 6e-8 is off by about the
# root of that number times as much, 16 convolutions in a row by the root of 16 times more, 2e-5; and normalisations
# divide by deviations below 1. An error in the arithmetic shows at 1e-3 and more.
FLOAT32 = 1e-4

NETWORKS = {
    "paper": (paper_generator, {"ngf": 4, "n_blocks": 2}, (16, 24, 3)),
    "unet": (unet_generator, {"ngf": 4, "num_downs": 5}, (32, 64, 3)),
    "patchgan": (patchgan_discriminator, {"ndf": 4}, (32, 40, 3)),
}
each_network = pytest.mark.parametrize(
    ("builder", "options", "image_shape"), [pytest.param(*network, id=name) for name, network in NETWORKS.items()]
)
each_generator = pytest.mark.parametrize(
    ("builder", "options", "image_shape"),
    [pytest.param(*network, id=name) for name, network in NETWORKS.items() if name != "patchgan"],
)
each_norm = pytest.mark.parametrize("norm", ["instance", "batch", "none"])


def check(reference, images, **overrides):
    """Compare Keras with the reference, which have the same random weights, on `images`."""
    state = torch_reference.random_state(reference.shapes())
    got = run(built(state, **overrides), images)
    expected = torch_reference.restored(reference.load(state), images, overrides.get("residual", False))
    assert expected.std() > 0.2
    np.testing.assert_allclose(got, expected, rtol=0, atol=FLOAT32)


# The arithmetic, with the real numbers of filters


def test_paper_generator_computes_what_pytorch_defines():
    check(torch_reference.resnet_generator(), noise((1, 64, 64, 3)), residual=True)


def test_unet_generator_computes_what_pytorch_defines():
    check(torch_reference.unet_generator(), noise((1, 256, 256, 3)))


def test_patchgan_discriminator_computes_what_pytorch_defines():
    check(torch_reference.patchgan_discriminator(channels=6), noise((1, 256, 256, 6)))


# The arithmetic of the variants


@each_norm
@pytest.mark.parametrize(("dropout", "residual"), [(True, True), (False, False)])
def test_paper_generator_variants_compute_what_pytorch_defines(norm, dropout, residual):
    reference = torch_reference.resnet_generator(ngf=4, n_blocks=2, norm=norm, dropout=dropout)
    check(reference, noise((2, 32, 40, 3)), residual=residual)


@each_norm
@pytest.mark.parametrize("block", ["first", "second"])
def test_blocks_of_one_convolution_compute_what_pytorch_defines(norm, block):
    reference = torch_reference.resnet_generator(ngf=4, n_blocks=3, norm=norm, block=block)
    check(reference, noise((2, 32, 40, 3)), residual=True, block=block)


def test_4x4_transposed_convolutions_compute_what_pytorch_defines():
    check(torch_reference.resnet_generator(ngf=4, n_blocks=1, up_kernel=4), noise((2, 32, 40, 3)), residual=True)


@each_norm
@pytest.mark.parametrize(("num_downs", "skip_first"), [(5, True), (5, False), (7, True)])
def test_unet_generator_variants_compute_what_pytorch_defines(norm, skip_first, num_downs):
    reference = torch_reference.unet_generator(ngf=4, num_downs=num_downs, norm=norm, skip_first=skip_first)
    images = noise((2, 2**num_downs, 2 ** (num_downs + 1), 3))
    check(reference, images, skip_first=skip_first, residual=norm == "instance")


@each_norm
@pytest.mark.parametrize(("padding", "n_layers"), [(1, 1), (2, 3), (1, 5)])
def test_patchgan_discriminator_variants_compute_what_pytorch_defines(norm, padding, n_layers):
    reference = torch_reference.patchgan_discriminator(ndf=4, n_layers=n_layers, norm=norm, padding=padding)
    check(reference, noise((2, 131, 150, 3)), padding=padding)


@each_norm
def test_pixel_discriminator_computes_what_pytorch_defines(norm):
    check(torch_reference.pixel_discriminator(ndf=4, norm=norm), noise((2, 9, 12, 3)))


def test_patchgan_discriminator_with_sigmoid_computes_what_pytorch_defines():
    check(torch_reference.patchgan_discriminator(ndf=4, sigmoid=True), noise((2, 64, 64, 3)), sigmoid=True)


# Sizes and counts


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (lambda: paper_generator(), 11_378_179),
        (lambda: paper_generator(block="first"), 6_067_459),
        (lambda: paper_generator(block="second"), 6_067_459),
        (lambda: unet_generator(), 54_413_955),
        (lambda: unet_generator(num_downs=7), 41_828_995),
        (lambda: patchgan_discriminator(), 2_764_737),
        (lambda: patchgan_discriminator((None, None, 6), norm="batch"), 2_768_705),
    ],
)
def test_networks_have_as_many_trainable_parameters_as_pytorchs(model, count):
    assert sum(np.prod(variable.shape) for variable in model().trainable_weights) == count


@each_generator
def test_generators_keep_any_size_that_they_can_halve(builder, options, image_shape):
    model = builder((None, None, 3), **options)
    height, width, _ = image_shape
    for size in ((height, width), (2 * height, width), (height, 3 * width)):
        assert run(model, noise((1, *size, 3))).shape == (1, *size, 3)


@each_norm
def test_a_unet_trains_on_its_least_size(norm):
    """Where a bottleneck of one pixel is normalised."""
    model = unet_generator(ngf=2, num_downs=5, norm=norm)
    model.compile("sgd", "mse", jit_compile=False)
    assert np.isfinite(model.train_on_batch(noise((1, 32, 32, 3)), noise((1, 32, 32, 3), 1)))
    assert np.isfinite(run(model, noise((1, 32, 32, 3)))).all()


@each_generator
def test_generators_can_have_other_output_channels(builder, options, image_shape):
    model = builder((*image_shape[:2], 1), **options, residual=False, output_channels=2)
    assert model.output_shape == (None, *image_shape[:2], 2)
    assert run(model, noise((1, *image_shape[:2], 1))).shape == (1, *image_shape[:2], 2)


@pytest.mark.parametrize(("padding", "side"), [(1, 30), (2, 35)])
def test_patchgan_discriminator_gives_a_value_for_each_patch(padding, side):
    model = patchgan_discriminator((256, 256, 3), ndf=4, padding=padding)
    assert model.output_shape == (None, side, side, 1)


@pytest.mark.parametrize(("n_layers", "patch"), [(0, 1), (1, 16), (2, 34), (3, 70), (5, 286)])
def test_patchgan_discriminator_sees_patches(n_layers, patch):
    model = patchgan_discriminator((None, None, 1), ndf=4, n_layers=n_layers, norm="none")
    model.set_weights([np.abs(weight) for weight in model.get_weights()])
    images = np.ones((1, 512, 512, 1), np.float32)
    at_rest = run(model, images)
    images[0, 200, 200] = 9
    rows, columns = np.nonzero((run(model, images) != at_rest)[0, ..., 0])
    # With padding 1, 1 (1 + 2 + 4 + ... + 2^n + 2^n) pixels are before the first.
    stride, before = 2**n_layers, 3 * 2**n_layers - 1 if n_layers else 0
    seeing = [i for i in range(at_rest.shape[1]) if 0 <= 200 - (stride * i - before) < patch]
    assert sorted(set(rows)) == sorted(set(columns)) == seeing


@pytest.mark.parametrize(
    ("builder", "arguments", "message"),
    [
        (paper_generator, {"image_shape": (30, 32, 3)}, "image_shape: expected sides that are multiples of 4"),
        (paper_generator, {"image_shape": (4, 32, 3)}, "at least 8"),
        (paper_generator, {"image_shape": (32, 32)}, "image_shape"),
        (paper_generator, {"image_shape": (32, 32, None)}, "image_shape"),
        (paper_generator, {"image_shape": (32, -32, 3)}, "image_shape"),
        (paper_generator, {"ngf": 0}, "ngf: expected an int of at least 1, received 0"),
        (paper_generator, {"n_blocks": 2.5}, "n_blocks"),
        (paper_generator, {"norm": "layer"}, "norm: expected 'instance', 'batch', 'none', received 'layer'"),
        (paper_generator, {"dropout": 1}, "dropout"),
        (paper_generator, {"block": "half"}, "block: expected 'whole', 'first', 'second', received 'half'"),
        (paper_generator, {"up_kernel": 5}, "up_kernel: expected 3, 4, received 5"),
        (paper_generator, {"output_channels": 1}, "output_channels: a residual needs the input's 3, received 1"),
        (paper_generator, {"output_channels": 0, "residual": False}, "output_channels"),
        (paper_generator, {"statistics": "batch"}, "statistics: expected 'image', 'noted', received 'batch'"),
        (paper_generator, {"statistics": "noted", "norm": "batch"}, "statistics: 'noted' are those of an instance"),
        (unet_generator, {"image_shape": (256, 128, 3)}, "image_shape: expected sides that are multiples of 256"),
        (unet_generator, {"image_shape": (128, 128, 3)}, r"multiples of 256, 2 to the num_downs=8, \(or None\), rec"),
        (unet_generator, {"image_shape": (48, 32, 3), "num_downs": 5}, "multiples of 32, 2 to the num_downs=5"),
        (unet_generator, {"image_shape": 256}, "image_shape: expected .height, width, channels., .* received 256"),
        (unet_generator, {"image_shape": (256.0, 256, 3)}, r"received \(256.0, 256, 3\)"),
        (unet_generator, {"num_downs": 4}, "num_downs: expected an int of at least 5, received 4"),
        (unet_generator, {"norm": None}, "norm"),
        (unet_generator, {"dropout": -0.1}, "dropout"),
        (patchgan_discriminator, {"image_shape": (16, 256, 3)}, "image_shape: too small"),
        (patchgan_discriminator, {"padding": 0}, "padding: expected 1, 2, received 0"),
        (patchgan_discriminator, {"n_layers": -1}, "n_layers"),
        (patchgan_discriminator, {"wiring": "keras"}, "wiring: expected 'pytorch', 'tensorflow', received 'keras'"),
        (unet_generator, {"wiring": "keras"}, "wiring: expected 'pytorch', 'tensorflow', received 'keras'"),
        (unet_generator, {"norm": "instance", "test_statistics": True}, "test_statistics: expected batch norm"),
        (patchgan_discriminator, {"norm": "spectral"}, "norm"),
    ],
)
def test_arguments_that_make_no_network_are_refused(builder, arguments, message):
    with pytest.raises(InputError, match=message):
        builder(**arguments)


def test_smallest_image_of_a_patchgan_discriminator_gives_one_value():
    assert patchgan_discriminator((24, 24, 3), ndf=4).output_shape == (None, 1, 1, 1)
    with pytest.raises(InputError):
        patchgan_discriminator((23, 24, 3), ndf=4)


# Behaviour as Keras models


@each_network
def test_layer_names_do_not_depend_on_what_was_built_before(builder, options, image_shape):
    first, second = (builder(image_shape, **options) for _ in range(2))
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]


@each_network
@each_norm
def test_saved_models_load_in_safe_mode(tmp_path, randomised, builder, options, image_shape, norm):
    model = randomised(builder(image_shape, **options, norm=norm))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    images = noise((1, *image_shape))
    np.testing.assert_array_equal(run(loaded, images), run(model, images))


@each_network
def test_mixed_precision_comes_out_as_float32_and_close(randomised, builder, options, image_shape):
    model = randomised(builder(image_shape, **options))
    mixed = builder(image_shape, **options, dtype="mixed_bfloat16")
    mixed.set_weights(model.get_weights())
    images = noise((1, *image_shape))
    got, expected = run(mixed, images), run(model, images)
    assert got.dtype == np.float32
    assert 0 < np.abs(got - expected).mean() < 0.1 * expected.std()


@each_network
def test_convolutions_start_normal_with_deviation_002_and_different(builder, options, image_shape):
    model = builder(image_shape, **options)
    kernels = [np.asarray(v).ravel() for v in model.weights if v.path.endswith("kernel")]
    values = np.concatenate(kernels)
    assert abs(values.mean()) < 0.002
    assert abs(values.std() - 0.02) < 0.002
    assert len({kernel[0] for kernel in kernels}) == len(kernels)


@each_network
@each_norm
def test_a_training_step_moves_every_kernel(randomised, builder, options, image_shape, norm):
    model = randomised(builder(image_shape, **options, norm=norm))
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=False)
    kernels = [variable for variable in model.trainable_weights if variable.path.endswith("kernel")]
    before = [np.asarray(variable) for variable in kernels]
    loss = model.train_on_batch(noise((2, *image_shape)), noise((2, *model.output_shape[1:])))
    assert np.isfinite(loss)
    assert all(np.any(np.asarray(variable) != old) for variable, old in zip(kernels, before, strict=True))


def test_batch_normalisation_notes_a_tenth_of_each_batch_as_pytorch_does():
    model = paper_generator(ngf=4, n_blocks=1, norm="batch")
    images = noise((2, 16, 16, 3))
    seen = run(keras.Model(model.input, model.get_layer("in_conv").output), images)
    run(model, images, training=True)
    noted = np.asarray(model.get_layer("in_norm").moving_mean)
    np.testing.assert_allclose(noted, 0.1 * seen.mean((0, 1, 2)), rtol=1e-4, atol=1e-7)


@each_generator
def test_dropout_acts_in_training_only_and_leaves_with_rate_0(randomised, builder, options, image_shape):
    options = {**options, "norm": "instance"} | ({"num_downs": 6} if builder is unet_generator else {})
    images = noise((1, 64, 64, 3))
    model = randomised(builder((64, 64, 3), **options))
    np.testing.assert_array_equal(run(model, images), run(model, images))
    assert np.any(run(model, images, training=True) != run(model, images, training=True))
    without = randomised(builder((64, 64, 3), **options, dropout=0))
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in without.layers)
    np.testing.assert_array_equal(run(without, images, training=True), run(model, images))


def test_unet_generator_drops_out_in_the_inner_levels_only():
    names = [layer.name for layer in unet_generator(ngf=4).layers if isinstance(layer, keras.layers.Dropout)]
    assert names == ["up7_dropout", "up6_dropout", "up5_dropout"]


@each_generator
def test_a_residual_generator_that_adds_nothing_returns_its_input(builder, options, image_shape):
    model = builder(image_shape, **options, residual=True)
    for variable in model.get_layer("out_conv").weights:
        variable.assign(np.zeros(variable.shape))
    images = noise((2, *image_shape))
    np.testing.assert_array_equal(run(model, images), images)


@each_generator
def test_a_residual_generator_stays_in_range(randomised, builder, options, image_shape):
    model = randomised(builder(image_shape, **options, residual=True))
    model.get_layer("out_conv").bias.assign([5, -5, 5])
    output = run(model, noise((2, *image_shape)))
    assert output.min() == -1
    assert output.max() == 1


# The instance normalisation


def instance_normalised(x, epsilon=1e-5):
    x = np.asarray(x, np.float64)
    return (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + epsilon)


@pytest.mark.parametrize("training", [True, False])
def test_instance_normalisation_uses_each_images_own_statistics(training):
    images = (noise((3, 7, 5, 4)) * [[[[1]]], [[[10]]], [[[0.01]]]] + [0, 1, 2, -3]).astype(np.float32)
    got = run(InstanceNormalization(), images, training=training)
    np.testing.assert_allclose(got, instance_normalised(images), rtol=0, atol=1e-4)


def test_instance_normalisation_has_weights_where_affine():
    layer = InstanceNormalization(affine=True, epsilon=0.1)
    images = noise((2, 6, 5, 3))
    np.testing.assert_allclose(run(layer, images), instance_normalised(images, 0.1), rtol=0, atol=1e-6)
    layer.gamma.assign([1, -2, 0])
    layer.beta.assign([0.5, 0, 3])
    expected = instance_normalised(images, 0.1) * [1, -2, 0] + [0.5, 0, 3]
    np.testing.assert_allclose(run(layer, images), expected, rtol=0, atol=1e-6)
    assert not InstanceNormalization().weights


def test_instance_normalisation_of_a_constant_channel_is_zero():
    np.testing.assert_array_equal(run(InstanceNormalization(), np.full((1, 8, 8, 2), 3, np.float32)), 0)


def test_instance_normalisation_of_a_large_image_keeps_its_digits():
    images = 3 + 0.5 * noise((1, 1024, 1024, 4))
    np.testing.assert_allclose(run(InstanceNormalization(), images), instance_normalised(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_instance_normalisation_computes_its_statistics_in_float32(dtype):
    images = keras.ops.cast(300 + 40 * noise((1, 32, 32, 2)), dtype)  # squares leave float16, sums lose in bfloat16
    got = InstanceNormalization(dtype=dtype)(images)
    assert keras.backend.standardize_dtype(got.dtype) == dtype
    expected = instance_normalised(keras.ops.cast(images, "float32"))
    np.testing.assert_allclose(keras.ops.cast(got, "float32"), expected, rtol=2**-8, atol=1e-4)


def test_instance_normalisation_refuses_anything_but_images():
    with pytest.raises(ValueError, match="ndim=4"):
        InstanceNormalization()(np.zeros((2, 3, 4), np.float32))


# What the paper's generator does outside training


def test_the_papers_generator_can_keep_dropping_out(randomised):
    images = noise((1, 16, 16, 3))

    def built(**options):
        keras.utils.set_random_seed(0)
        return randomised(paper_generator(ngf=4, n_blocks=2, **options))

    model = built(test_dropout=True)
    first, second = run(model, images), run(model, images)
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(first, run(built(), images, training=True))


def test_the_papers_generator_takes_noted_statistics_from_training(randomised):
    model = randomised(paper_generator(ngf=4, n_blocks=2, statistics="noted", dropout=0))
    plain = randomised(paper_generator(ngf=4, n_blocks=2, dropout=0))
    assert [v.path for v in model.trainable_weights] == [v.path for v in plain.trainable_weights]
    plain.set_weights([np.asarray(v) for v in model.trainable_weights])
    images = noise((1, 32, 32, 3))
    np.testing.assert_allclose(run(model, images, training=True), run(plain, images), rtol=0, atol=1e-6)
    for _ in range(100):  # until (1 - 0.1)^100 of what was there is left
        run(model, images, training=True)
    # These statistics are the picture's own, but for the unbiased variance, on 8x8 pixels at the smallest size.
    np.testing.assert_allclose(run(model, images), run(plain, images), rtol=0, atol=0.1)
    other = 0.1 * images + 0.5
    assert np.abs(run(model, other) - run(plain, other)).max() > 0.2


def test_with_noted_statistics_a_part_of_a_picture_is_restored_as_in_the_whole(randomised):
    images = noise((1, 128, 16, 3))
    noted, own = (randomised(paper_generator(ngf=4, n_blocks=1, statistics=s)) for s in ("noted", "image"))
    rows = slice(32, 96)  # away from the edges of the part, as far as the network sees
    part = slice(4, 124)
    inside = slice(rows.start - part.start, rows.stop - part.start)
    np.testing.assert_allclose(run(noted, images[:, part])[:, inside], run(noted, images)[:, rows], atol=1e-5)
    assert np.abs(run(own, images[:, part])[:, inside] - run(own, images)[:, rows]).max() > 1e-4


def test_a_saved_paper_generator_keeps_these_choices(randomised, tmp_path):
    model = randomised(paper_generator(ngf=4, n_blocks=1, statistics="noted", test_dropout=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.get_layer("block1_dropout").always
    for variable, again in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(variable, again)


def test_weights_are_the_same_with_and_without_test_dropout(randomised, tmp_path):
    """Keras looks for the state of a dropout layer's random numbers by the name of its class."""
    model = randomised(paper_generator(ngf=4, n_blocks=1))
    model.save_weights(tmp_path / "model.weights.h5")
    other = paper_generator(ngf=4, n_blocks=1, test_dropout=True)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.get_layer("up2_conv").kernel, model.get_layer("up2_conv").kernel)
