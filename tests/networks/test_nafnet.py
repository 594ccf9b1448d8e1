import keras
import numpy as np
import pytest

from deblurgan.errors import InputError, WeightsError
from deblurgan.networks.nafnet import nafnet
from deblurgan.networks.nafnet_layers import DepthToSpace, NAFBlock, SpaceToDepth, window_mean
from deblurgan.networks.zoo import recognise
from deblurgan.weights.any_file import read
from tests import torch_reference
from tests.batches import noise, run
from tests.torch_reference import built

FLOAT32 = 1e-4  # see test_networks.py

SMALL = {"width": 4, "encoder_blocks": (1, 2), "middle_blocks": 1, "decoder_blocks": (1, 2)}
REFERENCE = {"width": 4, "enc": (1, 2), "middle": 1, "dec": (1, 2)}


@pytest.fixture
def small(any_randomised):
    """A function that builds a small network with random weights, the same for all options."""
    return lambda image_shape=(None, None, 3), **options: any_randomised(nafnet(image_shape, **{**SMALL, **options}))


@pytest.fixture
def any_randomised():
    """A function that gives each weight random values of realistic size: no factor stays 0."""

    def randomise(model, seed=0):
        random = np.random.default_rng(seed)
        for variable in model.weights:
            shape = tuple(variable.shape)
            fan_in = 9 if shape[-1] == 1 else np.prod(shape[:-1])
            scale = fan_in**-0.5 if len(shape) > 1 else 0.2
            variable.assign(random.normal(1.0 if variable.name.endswith("scale") else 0.0, scale, shape))
        return model

    return randomise


class WindowMean(torch_reference.Module):
    """The mean of each pixel's window, pixel by pixel, as the local converter's authors define it."""

    def __init__(self, window):
        self.window = window

    def forward(self, x):
        output = np.empty_like(x)
        spans = []
        for size in x.shape[2:]:
            length = min(self.window, size)
            starts = [min(max(i - (length - 1) // 2, 0), size - length) for i in range(size)]
            spans.append([slice(start, start + length) for start in starts])
        for i, rows in enumerate(spans[0]):
            for j, columns in enumerate(spans[1]):
                output[:, :, i, j] = x[:, :, rows, columns].mean((2, 3))
        return output


def random_state(network):
    """Random tensors for a state dict, of such size that what gates multiply stays in the range of images."""
    state = torch_reference.random_state(network.shapes())
    return {name: values * (0.5 if values.ndim == 4 else 1) for name, values in state.items()}


def compared(images, *, pool=None, reference=REFERENCE, **overrides):
    """What Keras and the reference make of `images` with the same random weights."""
    network = torch_reference.nafnet(**reference, pool=pool)
    state = random_state(network)
    got = run(built(state, **overrides), images)
    expected = torch_reference.restored(network.load(state), (images + 1.0) / 2) * 2 - 1
    assert 0.2 < (expected - images).std() < 20
    return got, expected


# The arithmetic


def test_it_computes_what_pytorch_defines():
    got, expected = compared(noise((2, 16, 24, 3)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=FLOAT32)


def test_stages_of_other_depths_compute_what_pytorch_defines():
    reference = {"width": 5, "enc": (0, 1, 2), "middle": 0, "dec": (2, 0, 1), "channels": 1}
    got, expected = compared(noise((2, 16, 24, 1)), reference=reference)
    np.testing.assert_allclose(got, expected, rtol=0, atol=FLOAT32)


def test_the_papers_network_has_its_number_of_parameters():
    assert nafnet(encoder_blocks=(1, 1, 1, 28)).count_params() == 17_111_907  # as PyTorch's; see the next
    shapes = torch_reference.nafnet().shapes()
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 17_111_907


@pytest.mark.parametrize("window", [1, 5, 8, 12, 16, 21])
def test_the_local_converter_takes_the_means_of_windows(window):
    """By brute force, in a picture that is larger than the windows in one direction or both, and in none."""

    def pool(level):
        return WindowMean(max(1, window // 2**level))

    got, expected = compared(noise((1, 12, 20, 3)), pool=pool, local_window=window)
    np.testing.assert_allclose(got, expected, rtol=0, atol=FLOAT32)


def test_the_local_converter_matters_and_only_outside_training(small):
    images = noise((1, 16, 24, 3))
    local, whole = small(local_window=8), small()
    assert np.abs(run(local, images) - run(whole, images)).max() > 1e-3
    np.testing.assert_array_equal(run(local, images, training=True), run(whole, images, training=True))
    np.testing.assert_allclose(run(small(local_window=24), images), run(whole, images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("window", [1, 2, 7, 384, 5000])
def test_window_means_of_a_long_side_keep_their_digits(window):
    x = 3 + noise((1, 2, 4000, 2))
    padded = np.concatenate([np.zeros((1, 2, 1, 2)), np.cumsum(x.astype(np.float64), axis=2)], axis=2)
    length = min(window, 4000)
    start = np.clip(np.arange(4000) - (length - 1) // 2, 0, 4000 - length)
    expected = (padded[:, :, start + length] - padded[:, :, start]) / length
    np.testing.assert_allclose(window_mean(x, window, axis=2), expected, rtol=0, atol=2e-3 if window < 3 else 5e-4)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_space_to_depth_is_as_described_and_depth_to_space_its_inverse(factor):
    images = noise((2, 2 * factor, 3 * factor, 5))
    squares = np.asarray(SpaceToDepth(factor)(images))
    assert squares.shape == (2, 2, 3, 5 * factor**2)
    for i in range(factor):
        for j in range(factor):
            part = squares[..., (i * factor + j) * 5 : (i * factor + j + 1) * 5]
            np.testing.assert_array_equal(part, images[:, i::factor, j::factor])
    np.testing.assert_array_equal(DepthToSpace(factor)(squares), images)


def test_on_squares_it_is_the_network_of_their_pixels_as_channels(small):
    images = noise((1, 16, 24, 3))
    squares = np.asarray(SpaceToDepth(2)(images))
    expected = DepthToSpace(2)(run(small((None, None, 12)), squares))
    np.testing.assert_allclose(run(small(space_to_depth=2), images), expected, rtol=0, atol=1e-5)


def test_it_starts_as_a_plain_u_net_since_its_blocks_start_as_the_identity():
    block = NAFBlock()
    images = noise((2, 5, 7, 4))
    np.testing.assert_array_equal(block(images), images)


def test_all_weights_get_a_gradient(small):
    model = small((16, 16, 3), dropout=0.1)
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=False)
    before = [np.array(weight) for weight in model.trainable_weights]
    model.train_on_batch(noise((2, 16, 16, 3)), noise((2, 16, 16, 3), 1))
    for weight, old in zip(model.trainable_weights, before, strict=True):
        assert np.any(np.array(weight) != old), weight.path


def test_the_gradient_is_that_of_finite_differences(small):
    """Of one block, in float64, with respect to its input and weights: its arithmetic is not only that of Keras."""
    import tensorflow as tf

    block = NAFBlock(dtype="float64")
    random = np.random.default_rng(0)
    x = tf.Variable(random.normal(size=(1, 4, 5, 2)))
    block(x)
    for weight in block.weights:
        weight.assign(random.normal(scale=0.5, size=weight.shape))
    target = random.normal(size=x.shape)
    variables = [x, *(weight.value for weight in block.weights)]
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(target * block(x))
    for variable, gradient in zip(variables, tape.gradient(value, variables), strict=True):
        direction = random.normal(size=variable.shape)
        values = []
        for step in (1e-5, -1e-5):
            variable.assign_add(step * direction)
            values.append(float(tf.reduce_sum(target * block(x))))
            variable.assign_add(-step * direction)
        expected = (values[0] - values[1]) / 2e-5
        np.testing.assert_allclose(np.sum(gradient * direction), expected, rtol=1e-6, atol=1e-8)


def test_initial_weights_follow_the_seed_and_no_two_kernels_are_equal():
    def built(seed):
        keras.utils.set_random_seed(seed)
        model = nafnet(**{**SMALL, "encoder_blocks": (2, 2), "decoder_blocks": (2, 2)})
        return {variable.path: np.array(variable) for variable in model.weights}

    first, again, other = built(1), built(1), built(2)
    kernels = {path: value for path, value in first.items() if value.ndim > 1 and value.any()}
    assert len(kernels) == 9 * 6 + 5  # six in each block; the first, two down, two up
    for path, value in first.items():
        np.testing.assert_array_equal(again[path], value)
    for path, value in kernels.items():
        assert np.any(other[path] != value), path
    values = list(kernels.values())
    for i, value in enumerate(values):
        assert not any(value.shape == later.shape and np.any(value == later) for later in values[i + 1 :])


def test_initial_weights_are_spread_as_pytorchs():
    """Uniform within 1 / sqrt(fan in), of convolutions of every kind; the last one starts at 0."""
    model = nafnet(width=16, encoder_blocks=(1, 1), decoder_blocks=(1, 1))
    for variable in model.weights:
        values, shape = np.asarray(variable), tuple(variable.shape)
        if variable.path.startswith("out_conv"):
            assert not values.any()
        elif len(shape) > 1:
            bound = (9 if shape[-1] == 1 else np.prod(shape[:-1])) ** -0.5
            assert 0.95 * bound < np.abs(values).max() <= bound * (1 + 1e-6), variable.path
            assert abs(values.std() - bound / 3**0.5) < 0.1 * bound, variable.path


# As a Keras model


def test_a_saved_model_loads_in_safe_mode(small, tmp_path):
    model = small(space_to_depth=2, dropout=0.1, local_window=8)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    images = noise((1, 16, 24, 3))
    np.testing.assert_array_equal(run(loaded, images), run(model, images))
    assert read(tmp_path / "model.keras").network == "NAFNet generator"


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_comes_out_as_float32_and_close(small, policy):
    images = noise((1, 16, 24, 3))
    for options in ({}, {"local_window": 8, "space_to_depth": 2}):
        got, expected = run(small(dtype=policy, **options), images), run(small(**options), images)
        assert got.dtype == np.float32
        assert 0 < np.abs(got - expected).mean() < 0.1 * (expected - images).std()


def test_dropout_acts_in_training_only(small):
    images = noise((1, 16, 16, 3))
    model = small(dropout=0.3)
    np.testing.assert_array_equal(run(model, images), run(small(), images))
    assert np.any(run(model, images, training=True) != run(model, images, training=True))


def test_the_output_is_not_limited(small):
    model = small()
    model.get_layer("out_conv").bias.assign([1, -1, 1])
    output = run(model, noise((1, 16, 16, 3)))
    assert output.min() < -1.5
    assert output.max() > 1.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (8, 30, 3)}, "image_shape: expected sides that are multiples of 4"),
        ({"image_shape": (12, 32, 3), "space_to_depth": 2}, "multiples of 8"),
        ({"width": 0}, "width: expected an int of at least 1, received 0"),
        ({"encoder_blocks": 3}, "encoder_blocks: expected the number of blocks at each size, received 3"),
        ({"encoder_blocks": ()}, "encoder_blocks"),
        ({"encoder_blocks": (1, -1)}, "encoder_blocks"),
        ({"decoder_blocks": (1, 1, 1)}, "decoder_blocks: expected 2 numbers"),
        ({"middle_blocks": -1}, "middle_blocks: expected an int of at least 0, received -1"),
        ({"space_to_depth": 0}, "space_to_depth"),
        ({"local_window": 0}, "local_window: expected an int of at least 1, received 0"),
        ({"dropout": 1}, "dropout: expected a rate"),
        ({"dropout": "much"}, "dropout: expected a rate"),
    ],
)
def test_arguments_that_make_no_network_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        nafnet(**{**SMALL, **arguments})


@pytest.mark.parametrize("factor", [0, 1.5, None])
def test_a_factor_that_is_no_positive_int_is_refused(factor):
    with pytest.raises(InputError, match="factor: expected a positive int"):
        SpaceToDepth(factor)


# PyTorch's weights


def state_of(**options):
    return torch_reference.random_state(torch_reference.nafnet(**{**REFERENCE, **options}).shapes())


def test_the_published_network_has_the_names_and_shapes_that_are_looked_for():
    shapes = torch_reference.nafnet().shapes()
    block = {
        name.removeprefix("encoders.3.27."): s for name, s in shapes.items() if name.startswith("encoders.3.27.")
    }
    assert block == {
        "beta": (1, 256, 1, 1),
        "gamma": (1, 256, 1, 1),
        "conv1.weight": (512, 256, 1, 1),
        "conv1.bias": (512,),
        "conv2.weight": (512, 1, 3, 3),
        "conv2.bias": (512,),
        "conv3.weight": (256, 256, 1, 1),
        "conv3.bias": (256,),
        "sca.1.weight": (256, 256, 1, 1),
        "sca.1.bias": (256,),
        "conv4.weight": (512, 256, 1, 1),
        "conv4.bias": (512,),
        "conv5.weight": (256, 256, 1, 1),
        "conv5.bias": (256,),
        "norm1.weight": (256,),
        "norm1.bias": (256,),
        "norm2.weight": (256,),
        "norm2.bias": (256,),
    }
    assert shapes["intro.weight"] == (32, 3, 3, 3)
    assert shapes["downs.0.weight"] == (64, 32, 2, 2)
    assert shapes["ups.0.0.weight"] == (1024, 512, 1, 1)
    assert shapes["middle_blks.0.beta"] == (1, 512, 1, 1)
    assert shapes["decoders.0.0.beta"] == (1, 256, 1, 1)
    assert shapes["ending.weight"] == (3, 32, 3, 3)


def test_width_and_depths_are_told_from_the_tensors():
    network, found = recognise(state_of())
    assert (found.kind, network.name) == ("NAFNet generator", "nafnet")
    assert found.options == SMALL
    assert found.assumed == {"image_shape": (None, None, 3), "dropout": 0.0, "local_window": 384}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("encoders.1.1.conv3.bias"), "encoders.1.1.conv3.bias: expected 8 for a NAFNet"),
        (lambda state: state.pop("ups.0.0.weight"), "ups.0.0.weight: expected 32x16x1x1"),
        (lambda state: state.pop("downs.0.bias"), "downs.0.bias: expected 8"),
        (lambda state: [state.pop(f"downs.{i}.{name}") for i in (0, 1) for name in ("weight", "bias")], "downs.0"),
        (lambda state: state.update(extra=np.zeros(3)), "extra: left over"),
        (lambda state: state.update({"intro.weight": np.zeros((4, 3, 5, 5))}), "expected a kernel of 3x3"),
        (
            lambda state: state.update({"middle_blks.0.beta": np.zeros(16)}),
            "expected 1x16x1x1 for a NAFNet",
        ),
        (lambda state: state.update({"encoders.0.0.conv1.weight": np.zeros((8, 4))}), "expected 8x4x1x1"),
        (lambda state: state.update({"encoders.0.0.conv2.weight": np.zeros((1, 8, 3, 3))}), "expected 8x1x3x3"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, message):
    state = state_of()
    change(state)
    with pytest.raises(WeightsError, match=message):
        built(state)


@pytest.mark.torch
def test_pytorch_agrees_with_the_reference():
    torch = pytest.importorskip("torch")
    reference, module = (
        torch_reference.nafnet(**REFERENCE),
        torch_reference.nafnet(torch.nn, torch.zeros, **REFERENCE),
    )
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert shapes == reference.shapes()
    state = torch_reference.random_state(shapes)
    module.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in state.items()})
    images = noise((2, 16, 24, 3)).transpose(0, 3, 1, 2).astype(np.float64)
    with torch.no_grad():
        expected = module.double()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(reference.load(state)(images), expected, rtol=0, atol=1e-10)
